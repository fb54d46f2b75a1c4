# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands run through an entry that leads nowhere: streams, codes, time limits and terminals need no sandbox."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host import enter

CONTEXT = "unconfined_u:unconfined_r:virt_sandbox_t:s0:c1,c2"


class Nowhere:
    """An entry that joins nothing."""

    labelled: list[tuple[str, str]]

    def __init__(self, name: str) -> None:
        self.name = name
        self.context = CONTEXT
        self.labelled = []
        self.closed = False
        self.refuses = False
        self.frozen = False
        self.thawed = 0

    def label(self, path: str, file_type: str) -> None:
        self.labelled.append((path, file_type))

    def go(self) -> None:
        while self.frozen:
            time.sleep(1)
        if self.refuses:
            raise OSError(1, "Operation not permitted", "setns")

    def thaw(self) -> None:
        self.thawed += 1

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Nowhere:
    (tmp_path / "container1").mkdir()
    entry = Nowhere("container1")
    monkeypatch.setattr(enter, "RUN", str(tmp_path))
    monkeypatch.setattr(enter, "Entry", lambda _name: entry)
    return entry


def shell(script: str, stdin: object = b"", timeout: float | None = 20) -> enter.Outcome:
    return enter.run("container1", ["/bin/sh", "-c", script], stdin, timeout=timeout)


class Ended(NamedTuple):
    script: str
    code: int
    output: bytes = b""
    errors: bytes = b""


@pytest.mark.parametrize(
    "case",
    [
        Ended("echo out; echo err >&2; exit 7", 7, b"out\n", b"err\n"),
        Ended("kill -9 $$", 137),
        Ended("kill $$", 143),
        Ended("printf '\\000\\377\\r\\n'", 0, b"\0\xff\r\n"),
        Ended("cat", 0, b""),
        Ended("pwd", 0, os.getcwd().encode() + b"\n"),
    ],
    ids=lambda case: case.script,
)
def test_a_command_ends(nowhere: Nowhere, case: Ended) -> None:
    assert shell(case.script) == (case.code, case.output, case.errors, CONTEXT)


def test_much_goes_in_and_comes_out(nowhere: Nowhere) -> None:
    data = os.urandom(3_000_000)
    assert shell("cat; echo end >&2", data) == (0, data, b"end\n", CONTEXT)


def test_input_is_read_from_a_file_and_output_passed_on(nowhere: Nowhere, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(500_000))
    sinks = io.BytesIO(), io.BytesIO()
    with source.open("rb") as file:
        outcome = enter.run("container1", ["/bin/sh", "-c", "cat; echo end >&2"], file, sinks=sinks)
    assert outcome == (0, b"", b"", CONTEXT)
    assert sinks[0].getvalue() == source.read_bytes()
    assert sinks[1].getvalue() == b"end\n"


def test_input_can_be_opened_again_and_late(nowhere: Nowhere) -> None:
    late = "sleep 0.5; cat /dev/stdin; echo end"
    assert shell(late, b"words\n").output == b"words\nend\n"
    reading, writing = os.pipe()
    os.write(writing, b"of a stream\n")
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        assert shell(late, stream).output == b"of a stream\nend\n"


def test_a_command_that_floods_its_caller_is_ended(nowhere: Nowhere) -> None:
    """What was read is kept, of output and errors together."""
    with pytest.raises(enter.EnterOverflow, match="wrote more than 1000 bytes and was killed") as caught:
        enter.run("container1", ["/bin/sh", "-c", "echo $$; echo err >&2; yes"], timeout=20, most=1000)
    assert len(caught.value.output) + len(caught.value.errors) == 1000
    assert ends(int(caught.value.output.split()[0]))
    exactly = enter.run("container1", ["/bin/sh", "-c", "printf 123456; printf 1234 >&2"], timeout=20, most=10)
    assert (exactly.output, exactly.errors) == (b"123456", b"1234")


def test_input_that_nobody_reads_is_dropped(nowhere: Nowhere) -> None:
    assert shell("exec <&-; sleep 0.2; echo done", b"x" * 1_000_000).output == b"done\n"


def test_the_environment_is_the_sandbox_s(nowhere: Nowhere, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_HOST", "secret")
    outcome = enter.run("container1", ["env"], environment={"HOME": "/srv", "ADDED": "a b"})
    found = dict(line.split("=", 1) for line in outcome.output.decode().splitlines())
    assert found == {**enter.ENVIRONMENT, "HOME": "/srv", "ADDED": "a b"}


def test_the_pipes_are_labelled_and_leave_nothing(nowhere: Nowhere, tmp_path: Path) -> None:
    shell("true")
    assert [kind for _path, kind in nowhere.labelled] == ["virt_sandbox_file_t"] * 3
    assert all(path.startswith(str(tmp_path / "container1")) for path, _kind in nowhere.labelled)
    assert not list((tmp_path / "container1").iterdir())
    assert nowhere.closed


def test_no_descriptor_is_left_over(nowhere: Nowhere) -> None:
    def numbers() -> list[str]:
        return os.listdir("/proc/self/fd")

    before = numbers()
    shell("true")
    with pytest.raises(enter.StartError):
        enter.run("container1", ["/nonexistent"])
    with pytest.raises(enter.EnterTimeout):
        shell("sleep 5", timeout=0.1)
    assert numbers() == before


def test_the_command_gets_its_three_streams_only(nowhere: Nowhere) -> None:
    with open(os.devnull, "rb") as inherited:
        os.set_inheritable(inherited.fileno(), True)
        outcome = enter.run("container1", ["ls", "/proc/self/fd"])
    assert outcome.output.split() == [b"0", b"1", b"2", b"3"]  # the last is the directory that ls reads


def test_what_stays_in_the_background_is_not_waited_for(nowhere: Nowhere) -> None:
    began = time.monotonic()
    outcome = shell("sleep 30 & echo $!")
    assert time.monotonic() - began < 10
    assert outcome.code == 0
    os.kill(int(outcome.output), 9)  # it runs: this would fail otherwise


def test_a_command_that_runs_too_long_is_killed_with_its_children(nowhere: Nowhere) -> None:
    with pytest.raises(enter.EnterTimeout, match=r"within 0\.5 seconds") as caught:
        shell("sleep 30 & echo $!; echo err >&2; wait", timeout=0.5)
    assert caught.value.errors == b"err\n"
    pid = int(caught.value.output)
    assert ends(pid)


def test_what_is_frozen_after_it_was_entered_holds_nobody_up(nowhere: Nowhere) -> None:
    """As root inside can do with the cgroup, in which is also what waits for the command."""
    began = time.monotonic()
    with pytest.raises(enter.EnterTimeout) as caught:
        shell("kill -STOP $PPID; echo $$; exec sleep 30", timeout=0.5)
    assert time.monotonic() - began < 10
    assert ends(int(caught.value.output))


def test_what_is_frozen_on_its_way_in_holds_nobody_up(nowhere: Nowhere, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "setsid", lambda: time.sleep(30))
    began = time.monotonic()
    with pytest.raises(enter.EnterStopped, match=r"container1 cannot be entered: it does not answer within 0\.3 seconds"):
        shell("true", timeout=0.3)
    assert time.monotonic() - began < 10


def ends(pid: int) -> bool:
    for _attempt in range(50):
        with contextlib.suppress(FileNotFoundError):
            if Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
                time.sleep(0.1)
                continue
        return True
    return False


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["nonexistent"], "No such file"),
        (["/nonexistent/program"], "No such file"),
        (["/etc/passwd"], "Permission denied"),
        (["true", "\0"], "null byte"),
    ],
)
def test_what_cannot_be_run_is_named(nowhere: Nowhere, command: list[str], reason: str) -> None:
    with pytest.raises(enter.StartError, match=reason) as caught:
        enter.run("container1", command)
    assert command[0] in str(caught.value)


def test_what_cannot_be_entered_is_no_failure_of_the_command(nowhere: Nowhere) -> None:
    nowhere.refuses = True
    with pytest.raises(enter.EnterError, match=r"container1 cannot be entered: .*Operation not permitted") as caught:
        shell("true")
    assert not isinstance(caught.value, enter.StartError)


def test_a_frozen_sandbox_holds_nobody_up(nowhere: Nowhere) -> None:
    nowhere.frozen = True
    with pytest.raises(enter.EnterStopped, match=r"container1 cannot be entered: it does not answer within 0\.3 seconds"):
        shell("true", timeout=0.3)


def test_without_a_run_directory_nothing_is_entered(nowhere: Nowhere, tmp_path: Path) -> None:
    (tmp_path / "container1").rmdir()
    with pytest.raises(enter.EnterError, match="cannot be entered"):
        shell("true")


def test_root_inside_names_the_cgroup_of_the_first_process(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, cgroups = open, host / "cgroups"
    group = os.fsencode(cgroups / "a") + b"\xff\x85b"
    os.makedirs(group)
    (host / "cgroup").write_bytes(b"0::/a\xff\x85b\n")
    monkeypatch.setattr(enter, "CGROUPS", str(cgroups))
    monkeypatch.setattr(enter, "leader", lambda _name: os.getpid())
    monkeypatch.setattr(enter, "NAMESPACES", ())
    monkeypatch.setattr(enter, "_confiner", lambda: lambda: None)
    monkeypatch.setattr(os, "chdir", lambda _path: None)

    def open_file(path: Any, *arguments: Any, **keywords: Any) -> Any:
        return real(host / "cgroup" if path == f"/proc/{os.getpid()}/cgroup" else path, *arguments, **keywords)

    monkeypatch.setattr(builtins, "open", open_file)
    with contextlib.closing(enter.Entry("container1")) as entry:
        entry.context = ""
        entry._drop = lambda _kept: None
        entry.go()
    assert Path(os.fsdecode(group + b"/cgroup.procs")).read_text() == "0"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directories of a host, with nothing in them."""
    for name in ("CONTROLLERS", "UNITS", "RUN"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(enter, name, str(tmp_path / name))
    return tmp_path


@contextlib.contextmanager
def controller(host: Path, arguments: list[str]) -> Iterator[None]:
    """A process that libvirt's pid file for container1 names."""
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()  # its arguments are to be seen only once it runs
        (host / "CONTROLLERS" / "container1.pid").write_text(str(process.pid))
        try:
            yield
        finally:
            process.kill()


def test_a_sandbox_that_does_not_run(host: Path) -> None:
    with pytest.raises(enter.EnterError, match=r"has no container1_sandbox\.service. Check"):
        enter.leader("container1")
    (host / "UNITS" / "container1_sandbox.service").touch()
    with pytest.raises(enter.EnterError, match=r"Start it with: systemctl start container1_sandbox\.service$"):
        enter.leader("container1")


@pytest.mark.parametrize("arguments", [[], ["--name", "container12"], ["--console", "3", "--name", "other"]])
def test_a_number_that_is_another_s_by_now(host: Path, arguments: list[str]) -> None:
    with controller(host, arguments), pytest.raises(enter.EnterError, match="is not running"):
        enter.leader("container1")


def test_a_sandbox_that_is_starting(host: Path) -> None:
    with controller(host, ["--name", "container1"]), pytest.raises(enter.EnterError, match="starting or stopping"):
        enter.leader("container1")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "/", "nul\0"])
def test_names_that_are_paths(host: Path, name: str) -> None:
    with pytest.raises(enter.EnterError):
        enter.leader(name)


@pytest.mark.parametrize(
    ("own", "target", "context"),
    [
        ("unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023", "system_u:system_r:virt_sandbox_t:s0:c1,c2", CONTEXT),
        ("system_u:system_r:init_t:s0", "system_u:system_r:my_t:s0:c5,c9", "system_u:system_r:my_t:s0:c5,c9"),
        ("", "", ""),
        ("kernel", "kernel", ""),
    ],
)
def test_whose_context_a_command_gets(monkeypatch: pytest.MonkeyPatch, own: str, target: str, context: str) -> None:
    monkeypatch.setattr(enter, "context_of", lambda pid: own if pid == os.getpid() else target)
    assert enter.entry_context(1) == context


@pytest.mark.parametrize(
    ("context", "written"),
    [
        (CONTEXT, [("/x", "security.selinux", b"system_u:object_r:virt_sandbox_file_t:s0:c1,c2")]),
        ("", []),
    ],
)
def test_what_is_handed_in_carries_the_level(monkeypatch: pytest.MonkeyPatch, context: str, written: list[tuple[str, str, bytes]]) -> None:
    found: list[tuple[str, str, bytes]] = []
    monkeypatch.setattr(os, "setxattr", lambda *arguments: found.append(arguments))
    entry = object.__new__(enter.Entry)
    entry.context = context
    entry.label("/x", "virt_sandbox_file_t")
    assert found == written


@pytest.mark.parametrize(
    ("arguments", "parsed"),
    [
        (["exec", "c1", "--", "id", "-u"], ("exec", "c1", ["id", "-u"])),
        (["exec", "c1", "id", "-u"], ("exec", "c1", ["id", "-u"])),
        (["exec", "c1", "--", "sh", "--", "x"], ("exec", "c1", ["sh", "--", "x"])),
        (["exec", "c1", "--", "--", "x"], ("exec", "c1", ["--", "x"])),
        (["connect", "c1"], ("connect", "c1", [])),
        (["connect", "c1", "--", "top"], ("connect", "c1", ["top"])),
        (["exec", "c1"], None),
        (["exec", "c1", "--"], None),
        (["exec", "--", "c1"], None),
        (["exec", "-n", "c1"], None),
        (["connect"], None),
        (["destroy", "c1"], None),
        ([], None),
    ],
)
def test_the_words_of_the_command_line(arguments: list[str], parsed: tuple[str, str, list[str]] | None) -> None:
    assert enter._parse(arguments) == parsed


def test_the_command_line_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert enter.main(["exec"]) == 2
    assert "virt-sandbox exec NAME -- COMMAND" in capsys.readouterr().err


def test_only_root_enters(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert enter.main(["exec", "c1", "--", "id"]) == enter.CANNOT_ENTER
    assert capsys.readouterr().err == "virt-sandbox: only root enters a sandbox; use sudo\n"


def test_the_command_line_says_why_not(host: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(enter.signal, "signal", lambda *_ignored: None)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.FileIO(os.devnull)))
    assert enter.main(["exec", "container1", "--", "id"]) == enter.CANNOT_ENTER
    assert capsys.readouterr().err.startswith("virt-sandbox: sandbox container1 is not running")


class Person:
    """Somebody at a keyboard, and what the screen shows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        reading, self._keyboard = os.pipe()
        self._stdin = os.fdopen(reading)
        self._screen = capfd
        monkeypatch.setattr(sys, "stdin", self._stdin)

    def types(self, text: bytes) -> None:
        os.write(self._keyboard, text)

    def leaves_the_keyboard(self) -> None:
        os.close(self._keyboard)
        self._keyboard = -1

    def sees(self) -> str:
        return self._screen.readouterr().out

    def close(self) -> None:
        self._stdin.close()
        if self._keyboard >= 0:
            self.leaves_the_keyboard()


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Person]:
    with contextlib.closing(Person(monkeypatch, capfd)) as made:
        yield made


def test_a_shell_has_a_labelled_terminal(nowhere: Nowhere, person: Person) -> None:
    person.types(b"hello\n")
    code = enter.connect("container1", ["/bin/sh", "-c", "test -t 0 && test -t 2 && read line && echo got $line; exit 3"])
    assert code == 3
    assert "got hello" in person.sees()
    assert nowhere.labelled[0][0].startswith("/dev/pts/")
    assert nowhere.labelled[0][1] == "virt_sandbox_devpts_t"


def test_the_escape_leaves_and_hangs_up(nowhere: Nowhere, person: Person) -> None:
    person.types(b"\x1d")
    began = time.monotonic()
    assert enter.connect("container1", ["/bin/sh", "-c", "sleep 30"]) == 0
    assert time.monotonic() - began < 10


def test_an_interrupt_reaches_the_command(nowhere: Nowhere, person: Person) -> None:
    person.types(b"\x03")
    script = "trap 'echo caught; exit 4' INT; while :; do sleep 0.1; done"
    assert enter.connect("container1", ["/bin/sh", "-c", script]) in (4, 130)


def test_the_end_of_the_keyboard_is_the_end_of_the_input(nowhere: Nowhere, person: Person) -> None:
    person.types(b"echo $((6 * 7))\n")
    person.leaves_the_keyboard()
    assert enter.connect("container1", ["/bin/sh"]) == 0
    assert "42" in person.sees()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_the_sandbox_lost_a_command_does_not_get() -> None:
    own = enter.bounding_set(os.getpid())
    chown, kill = 0, 5
    assert own >> chown & 1
    assert own >> kill & 1
    script = "import os; from ansible_collections.virt.sandbox.plugins.module_utils.host import enter"
    script += f"; enter._dropper()({own & ~(1 << kill)}); os.execvp('grep', ['grep', '^Cap[BPE]', '/proc/self/status'])"
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": ":".join(sys.path)}
    ).stdout
    sets = {line.split(":")[0]: int(line.split()[1], 16) for line in shown.splitlines()}
    assert sets["CapBnd"] == own & ~(1 << kill)
    assert {name for name, mask in sets.items() if mask >> kill & 1} == set()
    assert {name for name, mask in sets.items() if mask >> chown & 1} == {"CapBnd", "CapPrm", "CapEff"}


def test_what_root_inside_has_frozen_is_thawed_and_what_the_host_has_is_not(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [
        "machine.slice",
        "machine.slice/machine-a.slice",
        "machine.slice/machine-a.slice/a.scope",
        "machine.slice/machine-a.slice/a.scope/x.slice",
    ]
    for group in groups:
        (host / "cgroups" / group).mkdir(parents=True)
        (host / "cgroups" / group / "cgroup.freeze").write_bytes(b"1\n")
    monkeypatch.setattr(enter, "CGROUPS", str(host / "cgroups"))
    entry = object.__new__(enter.Entry)
    entry._cgroup = f"/{groups[-1]}/gone"
    entry.thaw()
    assert [(host / "cgroups" / group / "cgroup.freeze").read_bytes()[:1] for group in groups] == [b"1", b"1", b"0", b"0"]


def test_limits_are_lowered_to_those_of_the_sandbox_and_never_raised() -> None:
    """In a process of its own, for they cannot be raised again."""
    script = f"""
import resource, sys
sys.path.insert(0, {str(Path(enter.__file__).parent)!r})
import enter
infinity = resource.RLIM_INFINITY
resource.setrlimit(resource.RLIMIT_NOFILE, (512, 2048))
resource.setrlimit(resource.RLIMIT_SIGPENDING, (3000, 3000))
enter.lower_limits({{resource.RLIMIT_NOFILE: (1024, 256), resource.RLIMIT_SIGPENDING: (infinity, infinity), resource.RLIMIT_CORE: (0, 0)}})
print([resource.getrlimit(kind) for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_SIGPENDING, resource.RLIMIT_CORE)])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[(256, 256), (3000, 3000), (0, 0)]"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a priority above the ordinary")
def test_a_command_has_the_priority_of_an_ordinary_process(tmp_path: Path) -> None:
    spared = tmp_path / "oom_score_adj"
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(enter.__file__).parent)!r})
import enter
os.setpriority(os.PRIO_PROCESS, 0, -5)
open({str(spared)!r}, "w").write("-500")
enter.SPARED = {str(spared)!r}
enter.be_ordinary()
print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), open({str(spared)!r}).read())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "0", "0"]


def test_every_limit_of_a_process_is_known() -> None:
    known = enter.limits_of(os.getpid())
    assert len(known) == 16
    assert known[resource.RLIMIT_NOFILE] == resource.getrlimit(resource.RLIMIT_NOFILE)


def test_a_sandbox_that_is_full_is_entered_all_the_same(nowhere: Nowhere, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the command is handed is in the host's memory then, and gone when it is open."""
    mkfifo, open_file = os.mkfifo, os.open

    def full(act: Any) -> Any:
        def tried(path: Any, *arguments: Any, **keywords: Any) -> Any:
            if str(path).startswith(f"{tmp_path}/container1/"):
                raise OSError(errno.ENOSPC, "No space left on device", path)
            return act(path, *arguments, **keywords)

        return tried

    monkeypatch.setattr(os, "mkfifo", full(mkfifo))
    monkeypatch.setattr(os, "open", full(open_file))
    assert enter.run("container1", ["cat"], stdin=b"words").output == b"words"
    assert [path for path, _type in nowhere.labelled if not path.startswith(f"{tmp_path}/.stream-")] == []
    assert sorted(os.listdir(tmp_path)) == ["container1"]


def test_another_error_of_a_pipe_is_said(nowhere: Nowhere, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: str, mode: int) -> None:
        raise OSError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "mkfifo", refused)
    with pytest.raises(enter.EnterError, match=r"cannot be entered: .*Permission denied"):
        enter.run(nowhere.name, ["true"])
