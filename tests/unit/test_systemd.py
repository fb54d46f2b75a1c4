# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's systemd: what is asked of it and what is understood of its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host import systemd
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError
from ansible_collections.virt.sandbox.plugins.module_utils.model.unit import HostSystemd

ANSWER = """\
Id=web_sandbox.service
LoadState=loaded
ActiveState=active
StatusText=a=b

Id=db_sandbox.service
LoadState=not-found
ActiveState=inactive
StatusText=

"""


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that were run; each is answered alike."""
    done: list[list[str]] = []

    def run(arguments: Sequence[str], **_keywords: object) -> str:
        done.append(list(arguments))
        return ANSWER

    monkeypatch.setattr(systemd, "run", run)
    return done


def test_the_state_of_many_units_is_one_question(commands: list[list[str]]) -> None:
    assert systemd.show(["web_sandbox.service", "db_sandbox.service"]) == {
        "web_sandbox.service": {"Id": "web_sandbox.service", "LoadState": "loaded", "ActiveState": "active", "StatusText": "a=b"},
        "db_sandbox.service": {"Id": "db_sandbox.service", "LoadState": "not-found", "ActiveState": "inactive", "StatusText": ""},
    }
    assert len(commands) == 1
    assert {"ActiveState", "UnitFileState", "NeedDaemonReload", "Result"} <= set(commands[0][3].partition("=")[2].split(","))


def test_no_unit_no_question(commands: list[list[str]]) -> None:
    assert systemd.show([]) == {}
    assert commands == []


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(systemd.daemon_reload, [["systemctl", "daemon-reload"]], id="daemon_reload"),
        pytest.param(
            lambda: systemd.start(["a", "b"]),
            [["systemctl", "reset-failed", "--", "a", "b"], ["systemctl", "start", "--no-block", "--", "a", "b"]],
            id="start",
        ),
        pytest.param(lambda: systemd.stop(["a"]), [["systemctl", "stop", "--", "a"]], id="stop"),
        pytest.param(lambda: systemd.reload("a"), [["systemctl", "reload", "--", "a"]], id="reload"),
        pytest.param(lambda: systemd.enable("a"), [["systemctl", "enable", "--quiet", "--", "a"]], id="enable"),
        pytest.param(lambda: systemd.disable("a"), [["systemctl", "disable", "--quiet", "--", "a"]], id="disable"),
    ],
)
def test_names_never_become_options(commands: list[list[str]], call: Callable[[], None], expected: list[list[str]]) -> None:
    call()
    assert commands == expected


@pytest.fixture
def units(tmp_path: Path) -> Path:
    for name in ("httpd.service", "getty@.service", "getty@tty9.service", "worker@.socket"):
        (tmp_path / name).write_text("[Unit]\n")
    return tmp_path


def seen(shared: Sequence[Path], *names: str) -> HostSystemd:
    return systemd.host_systemd(names, systemd.units_in([str(path) for path in shared], "/nowhere", "/nowhere"))


@pytest.mark.parametrize(
    ("unit", "file"),
    [
        ("httpd.service", "httpd.service"),
        ("getty@tty1.service", "getty@.service"),
        ("getty@tty9.service", "getty@tty9.service"),
        ("getty@a.b@c.service", "getty@.service"),
        ("worker@x.socket", "worker@.socket"),
        ("worker@x.service", ""),
        ("gone.service", ""),
    ],
)
def test_the_file_of_a_unit(units: Path, unit: str, file: str) -> None:
    assert seen([Path("/nowhere"), units], unit).unit_paths == {unit: str(units / file) if file else ""}


def test_the_first_directory_that_has_the_unit_counts(units: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    (first / "httpd.service").write_text("[Unit]\n")
    assert seen([first, units], "httpd.service").unit_paths == {"httpd.service": str(first / "httpd.service")}


def test_what_a_host_would_start(tmp_path: Path) -> None:
    for name in ("sysinit.target.wants/b.service", "sysinit.target.wants/a.service", "unheard-of.target.wants/c.service"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = seen([tmp_path], "gone.service")
    assert found.wants == {"sysinit.target": ["a.service", "b.service"]}
    assert found.unit_paths == {"gone.service": ""}


def test_a_directory_of_units_is_read_once(units: Path) -> None:
    known = systemd.units_in([str(units)], "/nowhere", "/nowhere")
    assert known.find("httpd.service")
    for name in ("httpd.service", "getty@.service"):
        (units / name).unlink()
    assert known.find("httpd.service")


def test_a_file_that_is_not_there_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("text")
    assert systemd.read(str(tmp_path / "there")) == "text"
    assert systemd.read(str(tmp_path / "gone")) is None


def test_a_file_of_the_host_may_have_any_bytes(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_bytes(b"caf\xe9\n")
    text = systemd.read(str(tmp_path / "passwd"))
    assert text.encode("utf-8", "surrogateescape") == b"caf\xe9\n"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda path: systemd.read(str(path)), "{} cannot be read: Is a directory", id="a directory"),
        pytest.param(lambda path: systemd.read(f"{path}/file/x"), "{}/file/x cannot be read: Not a directory", id="below a file"),
        pytest.param(
            lambda path: systemd.names(str(path / ("x" * 300))), f"{{}}/{'x' * 300} cannot be read: File name too long", id="names"
        ),
        pytest.param(lambda path: systemd.read_record(str(path / "file")), "{}/file is damaged: ", id="no JSON"),
        pytest.param(lambda path: systemd.read_record(str(path / "list")), "{}/list is damaged: expected an object", id="another JSON"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, call: Callable[[Path], object], message: str) -> None:
    (tmp_path / "file").write_bytes(b'{"a": \xff')
    (tmp_path / "list").write_text("[]")
    with pytest.raises(SandboxError) as caught:
        call(tmp_path)
    assert str(caught.value).startswith(message.format(tmp_path))


def test_a_record_that_is_not_there_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "record").write_text('{"a": 1}')
    assert systemd.read_record(str(tmp_path / "record")) == {"a": 1}
    assert systemd.read_record(str(tmp_path / "none")) is None


def test_an_answer_about_other_units_is_not_taken(commands: list[list[str]]) -> None:
    with pytest.raises(SandboxError, match="expected the state of 1 units, got 2"):
        systemd.show(["web_sandbox.service"])
    assert len(commands) == 1
