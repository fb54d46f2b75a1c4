# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox that runs one command: what it is declared as, and its first process, which is run here for real."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host.libvirt_domain import from_xml, to_xml
from ansible_collections.virt.sandbox.plugins.module_utils.model import command, layout, unit
from ansible_collections.virt.sandbox.plugins.module_utils.model.definition import define
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host
from ansible_collections.virt.sandbox.plugins.module_utils.model.service_plan import check, plan_service, wanted_definition

from .conftest import Declared, MakeSpec

INIT = Path(__file__).resolve().parents[2] / "roles" / "host" / "files" / "virt-sandbox-init"
SLEEP: dict[str, Any] = {"units": [], "command": ["/usr/bin/sleep", "1"], "network": []}


class Sandbox:
    """The first process of a sandbox, its output and its exit code in files of this machine."""

    def __init__(self, directory: Path, *words: str, user: str = "root", group: str = "-", home: str = "-") -> None:
        self.output, self.code = directory / "output", directory / "code"
        os.mkfifo(self.output)
        script = directory / "init"
        script.write_text(INIT.read_text().replace(command.OUTPUT, str(self.output)).replace(command.EXIT, str(self.code)))
        # a shell cannot trap what was ignored when it began, as nohup has it
        self.process = subprocess.Popen(
            ["sh", script, user, group, home, *words],
            cwd="/",
            env={"PATH": command.PATH},
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # type: ignore[arg-type, return-value]
        )
        self.text = ""
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        with open(self.output, encoding="utf-8") as file:
            for line in file:
                self.text += line

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 10
        while text not in self.text:
            assert time.monotonic() < deadline, self.text
            time.sleep(0.01)

    def ended(self) -> tuple[int, str]:
        code = self.process.wait(timeout=10)
        self.reader.join(timeout=10)
        assert self.code.read_text() == f"{code}\n"
        return code, self.text

    def alive(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def end(self) -> None:
        """Leave neither a process nor the thread, whatever the test left of them: pytest would wait for the thread."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        while self.reader.is_alive():
            with contextlib.suppress(OSError):  # what reads it may wait for somebody to open it
                os.close(os.open(self.output, os.O_WRONLY | os.O_NONBLOCK))
            self.reader.join(timeout=0.05)


Start = Callable[..., Sandbox]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the first process of a sandbox; what it leaves ends with the test."""
    with contextlib.ExitStack() as stack:

        def begin(*words: str, **identity: str) -> Sandbox:
            sandbox = Sandbox(tmp_path, *words, **identity)
            stack.callback(sandbox.end)
            return sandbox

        yield begin


@pytest.mark.parametrize("code", [0, 7])
def test_it_ends_as_the_command_does(start: Start, code: int) -> None:
    assert start("/bin/sh", "-c", f"echo out; echo err >&2; exit {code}").ended() == (code, "out\nerr\n")


def test_a_command_that_is_not_there_says_so(start: Start) -> None:
    code, text = start("/nosuch/program").ended()
    assert code == 127
    assert "'/nosuch/program': No such file or directory" in text


def test_its_variables_are_the_commands_and_change_nothing_of_the_shells(start: Start) -> None:
    given = ["A=a <b> & 'c' \"d\" $e", "EMPTY=", "IFS=x", "child=1", "user=nobody", "PATH=/nowhere"]
    code, text = start(*given, "/usr/bin/env").ended()
    assert code == 0
    assert set(given) <= set(text.splitlines())


@pytest.mark.parametrize(("number", "said"), [(signal.SIGTERM, "TERM"), (signal.SIGHUP, "HUP")])
def test_it_passes_signals_on_and_waits_for_what_the_command_makes_of_them(start: Start, number: signal.Signals, said: str) -> None:
    script = "trap 'echo HUP; sleep 0.3; exit 3' HUP; trap 'echo TERM; sleep 0.3; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    sandbox = start("/bin/sh", "-c", script)
    sandbox.wait_for("ready")
    for _try in range(2):  # the unit says it again and again
        sandbox.process.send_signal(number)
        time.sleep(0.1)
    code, text = sandbox.ended()
    assert code == 3
    assert text.count("TERM") <= 1
    assert said in text


def test_it_hears_a_signal_that_whoever_runs_the_tests_ignores(start: Start) -> None:
    """As under nohup, with which a child would ignore it as well."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        sandbox = start("/bin/sh", "-c", "trap 'exit 4' HUP; echo ready; while :; do sleep 0.1; done")
    finally:
        signal.signal(signal.SIGHUP, before)
    sandbox.wait_for("ready")
    sandbox.process.send_signal(signal.SIGHUP)
    assert sandbox.ended()[0] == 4


@pytest.mark.parametrize("opened", [True, False])
def test_nothing_is_left_of_one_that_does_not_end(start: Start, opened: bool) -> None:
    sandbox = start("/bin/sh", "-c", "trap '' TERM HUP; echo $$; exec sleep 600")
    if opened:
        sandbox.wait_for("\n")
    sandbox.end()
    assert not sandbox.reader.is_alive()
    deadline = time.monotonic() + 10
    while sandbox.alive():  # until who adopted the command has heard of its end
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_command_without_a_handler_ends_by_the_signal(start: Start) -> None:
    sandbox = start("/bin/sh", "-c", "echo ready; exec sleep 60")
    sandbox.wait_for("ready")
    sandbox.process.send_signal(signal.SIGTERM)
    assert sandbox.ended()[0] == 128 + signal.SIGTERM


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(
    ("identity", "shown"),
    [
        ({}, "0 0 0 /root root /root"),
        ({"user": "nobody", "home": "/tmp"}, "65534 65534 65534 /tmp nobody /tmp"),
        ({"user": "nobody", "group": "games", "home": "/usr"}, "65534 60 60 /usr nobody /usr"),
        ({"user": "54321"}, "54321 54321 54321 / 54321 /"),
        ({"user": "54321", "group": "54322"}, "54321 54322 54322 / 54321 /"),
    ],
)
def test_it_runs_as_whom_it_is_told(start: Start, tmp_path: Path, identity: dict[str, str], shown: str) -> None:
    tmp_path.chmod(0o755)
    script = 'echo "$(id -u) $(id -g) $(id -G | cut -d" " -f1) $HOME $USER $(pwd)"'
    code, text = start("/bin/sh", "-c", script, **identity).ended()
    assert (code, text) == (0, shown + "\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"command": ["/bin/x"]}, "command: ['/bin/x'] is invalid: expected no value together with units. A sandbox runs either"),
        ({"user": "www-data"}, "user: only valid together with command. Units name their own user."),
        ({"home": "/srv"}, "home: only valid together with command. Units name their own home."),
        ({"units": [], "command": []}, "units: expected at least one systemd unit, or set command"),
        ({**SLEEP, "command": ["sleep"]}, "command: ['sleep'] is invalid: expected an absolute path"),
        ({**SLEEP, "command": ["/bin/x", ""]}, "command: ['/bin/x', ''] is invalid: expected words that are not empty"),
        ({**SLEEP, "command": ["/bin/x", "\x1b"]}, "command: ['/bin/x', '\\x1b'] is invalid: expected words that are not empty"),
        ({**SLEEP, "user": "a:b"}, "user: 'a:b' is invalid: expected the name of a user or group, or a number from 0 to 4294967294"),
        ({**SLEEP, "user": "4294967295"}, "user: '4294967295' is invalid: expected the name of a user or group, or a number from 0"),
        ({**SLEEP, "group": "99999999999999"}, "group: '99999999999999' is invalid: expected the name of a user or group, or a number"),
        ({**SLEEP, "group": "-g"}, "group: '-g' is invalid: expected the name of a user or group"),
        ({**SLEEP, "home": "srv"}, "home: 'srv' is invalid: expected an absolute path"),
        ({**SLEEP, "network": [{}]}, "network[0].type: 'dhcp' is invalid: expected managed or static, because no DHCP client runs"),
        ({"env": {"A B": "x"}}, "env: {'A B': 'x'} is invalid: expected names of letters, digits and '_'"),
        ({"env": {"1A": "x"}}, "env: {'1A': 'x'} is invalid: expected names of letters"),
        ({"env": {"A": "x\ny"}}, "env: {'A': 'x\\ny'} is invalid: expected a text of one line"),
        (
            {"env": {"A": True}},
            "env: {'A': True} is invalid: expected a text of one line without control characters for A (quote",
        ),
        ({"env": {"A": ["x"]}}, "env: {'A': ['x']} is invalid: expected a text of one line"),
    ],
)
def test_refusals(service: MakeSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        service(**options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "seen", "message"),
    [
        ({"user": "dave"}, {}, "user: 'dave' is invalid: expected a number, or a name in the sandbox's own /etc/passwd"),
        ({"group": "daves"}, {}, "group: 'daves' is invalid: expected a number, or a name in the sandbox's own /etc/group"),
        ({}, {"program": False}, "command: '/usr/bin/sleep' is invalid: expected a program in the host's /usr or in the content"),
    ],
)
def test_what_the_sandbox_does_not_have_is_refused(
    service: MakeSpec, host: Host, declared: Declared, options: dict[str, Any], seen: dict[str, Any], message: str
) -> None:
    spec = service(**SLEEP, **options)
    with pytest.raises(OptionError) as caught:
        check(spec, declared(spec, **seen), host)
    assert str(caught.value).startswith(message)
    check(spec, declared(spec, users={"dave": "7"}, groups={"daves": "7"}), host)


def test_the_runtime_runs_it(service: MakeSpec, host: Host) -> None:
    network = [{"type": "static", "addresses": ["10.0.0.2/24", "fd00::2/64"], "gateway": "10.0.0.1"}]
    spec = service(**{**SLEEP, "network": network}, user="nobody", env={"B": "1 <&'\"%$", "A": 5})
    definition = define(spec, host.followed)
    assert definition.init == (
        "/usr/bin/sh",
        layout.INIT,
        "nobody",
        "-",
        "-",
        "A=5",
        "B=1 <&'\"%$",
        "/usr/bin/sleep",
        "1",
    )
    # libvirt writes what is here as it is, also what XML must not have
    assert definition.env == {"PATH": command.PATH}
    assert definition.devices[0].addresses == ("10.0.0.2/24", "fd00::2/64")
    assert definition.devices[0].routes == (("0.0.0.0/0", "10.0.0.1"),)
    assert from_xml(to_xml(definition)) == definition
    inside = {file.path for file in unit.inside(spec, host.systemd, host.networks)}
    assert inside == {"etc/hostname", "etc/hosts", "etc/machine-id", "etc/resolv.conf"}


def old_form(xml: str, text: str) -> str:
    """A domain as virt.sandbox 0.1.0 defined it: the shell gets the script's text and a name for it instead of its path."""
    root = ElementTree.fromstring(xml)
    system = root.find("os")
    assert system is not None
    before = list(system).index(next(system.iterfind("initarg")))
    for number, word in enumerate(("-c", text, "sh")):
        element = ElementTree.Element("initarg")
        element.text = word
        system.insert(before + number, element)
    system.remove(system[before + 3])
    return ElementTree.tostring(root, encoding="unicode")


def test_a_domain_of_the_first_version_is_not_defined_again(service: MakeSpec, host: Host, declared: Declared) -> None:
    spec, host = service(**SLEEP), dataclasses.replace(host, filtered=[])
    xml = old_form(to_xml(wanted_definition(spec, host)), "user=$1\n")
    words = [element.text for element in ElementTree.fromstring(xml).iterfind("os/initarg")]
    assert words == ["-c", "user=$1\n", "sh", "root", "-", "-", "/usr/bin/sleep", "1"]
    seen = declared(spec, defined=from_xml(xml), active=from_xml(xml))
    assert plan_service(spec, "started", seen, host).steps == []
    other = service(**{**SLEEP, "command": ["/usr/bin/sleep", "2"]})
    assert "define the sandbox" in [step.title for step in plan_service(other, "started", seen, host).steps]


def test_services_get_the_environment_from_their_systemd(service: MakeSpec) -> None:
    spec = service(env={"B": 'a "b" \\ %n $x', "A": "1"})
    assert command.manager_environment(spec) == ('[Manager]\nDefaultEnvironment="A=1"\nDefaultEnvironment="B=a \\"b\\" \\\\ %%n $x"\n')
