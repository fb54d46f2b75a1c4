# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection plugin: what it asks of the way to the host, and Ansible itself through it, to a host that is a script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.playbook.play_context import PlayContext
from ansible_collections.virt.sandbox.plugins.connection import sandbox

PLACE = "/usr/local/sbin/virt-sandbox"
# enters a sandbox that is a directory: what is below /INSIDE is there, the name and the user are written down
FAKE = """#!/bin/sh
[ "$1 $3" = "exec --" ] || exit 2
echo "$2 ${AS-direct}" >>"$LOG"
case $2 in missing) echo "virt-sandbox: sandbox $2 is not running" >&2; exit 125;; esac
shift 3
exec "$@"
"""
SUDO = """#!/bin/sh
[ "$1" = -n ] && shift
export AS=sudo
exec "$@"
"""


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


class Way:
    """A way to a host that is this machine."""

    def __init__(self, executable: Path) -> None:
        self.commands: list[str] = []
        self.inputs: list[bytes | None] = []
        self.sudoable: list[bool] = []
        self.options: dict[str, Any] = {}
        self.become: Any = None
        self.answer: tuple[int, bytes, bytes] | None = None
        self._executable = executable

    def set_become_plugin(self, plugin: Any) -> None:
        self.become = plugin

    def set_option(self, name: str, value: Any) -> None:
        self.options[name] = value

    def get_option(self, name: str) -> Any:
        return self.options.get(name)

    def exec_command(self, command: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        self.commands.append(command)
        self.inputs.append(in_data)
        self.sudoable.append(sudoable)
        if self.answer:
            return self.answer
        # an input that nothing is sent to does not end
        with subprocess.Popen(
            ["timeout", "10", "/bin/sh", "-c", command.replace(PLACE, str(self._executable))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            if not in_data:
                assert process.stdout
                assert process.stderr
                output, errors = process.stdout.read(), process.stderr.read()
            else:
                output, errors = process.communicate(in_data)
            return process.wait(), output, errors


@pytest.fixture
def way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Way:
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    return Way(script(tmp_path / "virt-sandbox", FAKE))


OPTIONS = {
    "sandbox_name": "container1",
    "sandbox_host": "lab12",
    "sandbox_sudo": "sudo -n",
    "sandbox_executable": PLACE,
}


def connection(way: Way, monkeypatch: pytest.MonkeyPatch, user: str | None = "root", **options: Any) -> sandbox.Connection:
    made = sandbox.Connection(PlayContext())
    made.ssh_type_conn = way
    way.options["remote_user"] = user
    monkeypatch.setattr(made, "get_option", {**OPTIONS, **options}.__getitem__)
    return made


@pytest.fixture
def inside(way: Way, monkeypatch: pytest.MonkeyPatch) -> sandbox.Connection:
    return connection(way, monkeypatch)


class Sudo(NamedTuple):
    user: str | None
    sudo: str
    begins: str


@pytest.mark.parametrize(
    "case",
    [
        Sudo("root", "sudo -n", f"{PLACE} exec container1 -- /bin/sh -c "),
        Sudo("alice", "sudo -n", f"sudo -n {PLACE} exec container1 -- /bin/sh -c "),
        Sudo("alice", "doas -n", f"doas -n {PLACE} exec "),
        Sudo("alice", "", f"{PLACE} exec "),
        Sudo(None, "", f"{PLACE} exec "),
        Sudo(None, "sudo -n", f'if [ "$(id -u)" = 0 ]; then exec {PLACE} exec container1 '),
    ],
    ids=str,
)
def test_who_enters(way: Way, monkeypatch: pytest.MonkeyPatch, case: Sudo) -> None:
    connection(way, monkeypatch, case.user, sandbox_sudo=case.sudo)._wrapped("id")
    assert connection(way, monkeypatch, case.user, sandbox_sudo=case.sudo)._wrapped("id").startswith(case.begins)


@pytest.mark.parametrize(("uid", "begins"), [(0, PLACE), (1000, f"sudo -n {PLACE}")])
def test_who_enters_from_this_machine(way: Way, monkeypatch: pytest.MonkeyPatch, uid: int, begins: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert connection(way, monkeypatch, sandbox_host="localhost")._wrapped("id").startswith(begins)


@pytest.mark.parametrize(
    "command",
    ["printf '%s|' 'a b' \"c'd\" '$HOME' '`id`' ';' '\\n'", "echo $((6 * 7)) && false", "cat <<'E'\na 'quoted' line\nE"],
)
@pytest.mark.parametrize("user", ["root", None])
def test_a_command_arrives_as_it_is(way: Way, monkeypatch: pytest.MonkeyPatch, command: str, user: str | None) -> None:
    here = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    code, output, errors = connection(way, monkeypatch, user).exec_command(command)
    assert (code, output, errors) == (here.returncode, here.stdout, here.stderr)


def test_a_name_cannot_become_a_command(way: Way, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = f"x; touch {tmp_path}/harm #"
    connection(way, monkeypatch, sandbox_name=name).exec_command("true")
    assert (tmp_path / "log").read_text() == f"{name} direct\n"
    assert not (tmp_path / "harm").exists()


def test_input_and_terminal_are_passed_on(inside: sandbox.Connection, way: Way) -> None:
    assert inside.exec_command("cat", in_data=b"a\0b", sudoable=True)[:2] == (0, b"a\0b")
    inside.exec_command("true", sudoable=False)
    assert way.sudoable == [True, False]


def test_the_way_knows_address_and_become(inside: sandbox.Connection, way: Way) -> None:
    inside.become = become = object()
    inside.exec_command("true")
    assert way.become is become
    assert way.options["host"] == "lab12"


class Refusal(NamedTuple):
    answer: tuple[int, bytes, bytes]
    user: str
    reason: str | None


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal((125, b"", b"virt-sandbox: sandbox container1 is not running. Start it with"), "root", "is not running. Start it with"),
        Refusal((125, b"virt-sandbox: sandbox x is not running\r\n", b"Shared connection closed."), "root", "is not running"),
        Refusal((127, b"", f"sh: 1: {PLACE}: not found".encode()), "root", r"Run the role virt\.sandbox\.host"),
        Refusal((1, b"", f"sudo: {PLACE}: command not found".encode()), "alice", "installs it"),
        Refusal((1, b"", b"sudo: a password is required"), "alice", "ansible_sandbox_sudo"),
        Refusal((1, b"", b"sudo: a password is required"), "root", None),
        Refusal((125, b"", b"of the command itself"), "root", None),
        Refusal((127, b"", b"sh: 1: mysql: not found"), "root", None),
        Refusal((0, b"virt-sandbox: fine", b""), "root", None),
    ],
    ids=str,
)
def test_who_is_to_blame(way: Way, monkeypatch: pytest.MonkeyPatch, refusal: Refusal) -> None:
    way.answer = refusal.answer
    made = connection(way, monkeypatch, refusal.user)
    if refusal.reason is None:
        assert made.exec_command("true") == refusal.answer
        return
    with pytest.raises(AnsibleConnectionFailure, match=f"^sandbox container1 on lab12 cannot be entered: .*{refusal.reason}"):
        made.exec_command("true")


@pytest.mark.parametrize("size", [0, 1, 1024, 2048, 5000])
def test_files_go_in_and_come_out(inside: sandbox.Connection, way: Way, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int) -> None:
    monkeypatch.setattr(sandbox, "PUT_BLOCK", 1024)
    monkeypatch.setattr(sandbox, "FETCH_BLOCK", 512)
    source, within, back = tmp_path / "source", tmp_path / "it's inside", tmp_path / "back"
    source.write_bytes(os.urandom(size))
    within.write_bytes(b"old and longer" * 1000)
    inside.put_file(str(source), str(within))
    inside.fetch_file(str(within), str(back))
    assert within.read_bytes() == source.read_bytes()
    assert back.read_bytes() == source.read_bytes()
    assert not any(way.sudoable)  # a terminal would change bytes
    assert max(len(data) for data in way.inputs if data is not None) <= 1024 if size else not any(way.inputs)


def test_a_piece_that_is_sent_twice_does_no_harm(
    inside: sandbox.Connection, way: Way, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sandbox, "PUT_BLOCK", 1024)
    source, within = tmp_path / "source", tmp_path / "inside"
    source.write_bytes(os.urandom(3000))
    once = way.exec_command

    def twice(command: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        once(command, in_data, sudoable)
        return once(command, in_data, sudoable)

    monkeypatch.setattr(way, "exec_command", twice)
    inside.put_file(str(source), str(within))
    assert within.read_bytes() == source.read_bytes()


def test_files_that_are_not_there(inside: sandbox.Connection, tmp_path: Path) -> None:
    with pytest.raises(AnsibleFileNotFound, match="File /nonexistent does not exist"):
        inside.put_file("/nonexistent", "/tmp/x")
    with pytest.raises(AnsibleError, match=r"container1: fetching /nonexistent failed: .*No such file"):
        inside.fetch_file("/nonexistent", str(tmp_path / "x"))
    (tmp_path / "source").touch()
    with pytest.raises(AnsibleError, match=r"container1: copying .*/source to /nonexistent/x failed: .*(nonexistent|No such)"):
        inside.put_file(str(tmp_path / "source"), "/nonexistent/x")


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("container1", False), ("container1.example.com", False), ("lab12", False), ("127.0.0.1", False)],
)
def test_only_localhost_is_the_controller(way: Way, monkeypatch: pytest.MonkeyPatch, host: str, local: bool) -> None:
    """A host with the name of its sandbox is another machine, as any other is."""
    made = connection(way, monkeypatch, sandbox_host=host)
    assert (made._address(), made._is_local()) == (host, local)


@pytest.mark.parametrize("host", [None, ""])
def test_a_sandbox_without_a_host_is_not_looked_for_on_the_controller(way: Way, monkeypatch: pytest.MonkeyPatch, host: str | None) -> None:
    with pytest.raises(AnsibleError, match=r"^ansible_sandbox_host: expected the address of the sandbox's host"):
        connection(way, monkeypatch, sandbox_host=host).exec_command("true")
    assert not way.commands


# What ssh is asked, and then done here: the last argument is the command.
SSH = """#!{python}
import json, os, sys
with open(os.environ["ASKED"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
os.execv("/bin/sh", ["/bin/sh", "-c", sys.argv[-1]])
"""


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory from which Ansible runs, with hosts that are scripts."""
    here = {"ansible_sandbox_host": "localhost"}
    way = {"ansible_connection": "virt.sandbox.sandbox", "ansible_sandbox_executable": str(script(tmp_path / "virt-sandbox", FAKE))}
    remote = {
        "ansible_ssh_executable": str(script(tmp_path / "ssh", SSH.format(python=sys.executable))),
        "ansible_host": "lab12.example",
        "ansible_port": 2222,
        "ansible_ssh_common_args": "-o ProxyJump=gate",
        "ansible_user": "alice",
        "ansible_pipelining": True,
    }
    script(tmp_path / "sudo", SUDO)
    (tmp_path / "ansible.cfg").touch()
    hosts = {
        "local1": here,
        "local2": here,
        "container1.lab12": remote,
        # a sandbox with the name of its host
        "web": {**remote, "ansible_host": "web.example"},
        "nowhere": {},
        "other": {**remote, "ansible_sandbox_name": "container2", "ansible_pipelining": False, "ansible_user": "root"},
        "missing": here,
    }
    common = {**way, "ansible_python_interpreter": sys.executable, "ansible_remote_tmp": str(tmp_path / "tmp")}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"vars": common, "hosts": hosts}}))
    for name, value in {
        "PATH": f"{tmp_path}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "LOG": str(tmp_path / "log"),
        "ASKED": str(tmp_path / "asked"),
        "ANSIBLE_HOME": str(tmp_path / "home"),
        "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
        "ANSIBLE_INVENTORY": str(tmp_path / "hosts.json"),
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal",
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def test_ansible_reaches_sandboxes_here_and_through_ssh(control: Path) -> None:
    (control / "page").write_bytes(bytes(range(256)))
    done = run(
        "ansible", "all:!missing:!nowhere", "-m", "copy", "-a", f"src={control}/page dest={control}/{{{{ inventory_hostname }}}} mode=0600"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("local1", "local2", "container1.lab12", "web", "other"):
        assert (control / name).read_bytes() == bytes(range(256))
    local = "direct" if os.geteuid() == 0 else "sudo"
    entered = set((control / "log").read_text().splitlines())
    assert entered == {f"local1 {local}", f"local2 {local}", "container1 sudo", "web sudo", "container2 direct"}
    asked = [json.loads(line) for line in (control / "asked").read_text().splitlines()]
    assert {words[-2] for words in asked} == {"lab12.example", "web.example"}
    for words in asked:
        assert "Port=2222" in words
        assert "ProxyJump=gate" in words
        assert ('User="alice"' in words) is words[-1].startswith("sudo -n ")


def test_a_task_that_is_delegated_goes_to_the_other_sandbox(control: Path) -> None:
    tasks = [{"ping": {}, "delegate_to": name} for name in ("container1.lab12", "other", "local2", "web")]
    play = [{"hosts": "local1", "gather_facts": False, "tasks": tasks}]
    (control / "play.json").write_text(json.dumps(play))
    done = run("ansible-playbook", f"{control}/play.json")
    assert done.returncode == 0, done.stdout + done.stderr
    entered = {line.split()[0] for line in (control / "log").read_text().splitlines()}
    assert entered == {"container1", "container2", "local2", "web"}


def test_a_sandbox_without_a_host_is_never_entered(control: Path) -> None:
    play = [{"hosts": "local1", "gather_facts": False, "tasks": [{"ping": {}, "delegate_to": "nowhere"}]}]
    (control / "play.json").write_text(json.dumps(play))
    for done in (
        run("ansible", "nowhere", "-m", "ping"),
        run("ansible-playbook", f"{control}/play.json", "-e", "ansible_ssh_executable=/bin/false"),
    ):
        assert done.returncode != 0
    assert not (control / "log").exists()


def test_a_sandbox_that_does_not_run_is_unreachable(control: Path) -> None:
    done = run("ansible", "missing", "-m", "ping")
    assert done.returncode == 4
    assert "missing | UNREACHABLE!" in done.stdout
    assert "sandbox missing on localhost cannot be entered: sandbox missing is not running" in done.stdout
