# SPDX-License-Identifier: GPL-3.0-or-later
"""``sandbox_exec`` with this machine in the place of the sandbox."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.virt.sandbox.plugins.module_utils.engine import exec_run
from ansible_collections.virt.sandbox.plugins.module_utils.host import enter
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import StepError
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import build

CONTEXT = "unconfined_u:unconfined_r:virt_sandbox_t:s0:c1,c2"
Result = dict[str, Any]


class Here:
    """Runs as the caller what was meant for a sandbox, and remembers it."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.most: list[int] = []
        self.problem: Exception | None = None
        self.users = {"alice": "alice:x:1000:1001::/home/alice:/bin/sh"}

    def run(
        self, name: str, command: list[str], stdin: bytes, environment: dict[str, str] | None, timeout: float | None, most: int
    ) -> enter.Outcome:
        if self.problem is not None:
            raise self.problem  # pylint: disable=raising-bad-type
        self.calls.append(command)
        self.most.append(most)
        script = command[2] if command[:2] == ["/bin/sh", "-c"] else ""
        words = list(command)
        if script == exec_run.LOOK:
            entry = self.users.get(command[-1], "")
            words[2] = f"getent() {{ printf '%s\\n' '{entry}'; }}\n{script}"
        variables = {**enter.ENVIRONMENT, **(environment or {})}
        done = subprocess.run(words, input=stdin, env=variables, capture_output=True, check=False)
        if len(done.stdout) > most:
            raise enter.EnterOverflow(most, done.stdout[:most], done.stderr)
        return enter.Outcome(done.returncode, done.stdout, done.stderr, CONTEXT)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    made = Here()
    monkeypatch.setattr(enter, "run", made.run)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return made


def call(capsys: pytest.CaptureFixture[str], check: bool = False, **parameters: Any) -> Result:
    arguments = {"name": "container1", "_ansible_check_mode": check, **parameters}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        exec_run.run_module()
    result: Result = json.loads(capsys.readouterr().out)
    return result


def test_a_command_runs(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, cmd="cat; echo $A; echo bad >&2; printf '\\n\\n'", stdin="given ", env={"A": 1}, _ansible_tmpdir=None)
    assert result["changed"] is True
    assert (result["rc"], result["stdout"], result["stderr"]) == (0, "given 1", "bad")
    assert result["context"] == CONTEXT
    assert result["start"] <= result["end"]
    assert result["cmd"].startswith("cat;")
    assert len(here.calls) == 1  # without a condition, nobody looks around first


def test_words_are_not_read_by_a_shell(here: Here, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    result = call(capsys, argv=["printf", "%s|", "a b", "$HOME", "; exit 3"], chdir=str(tmp_path))
    assert result["stdout"] == "a b|$HOME|; exit 3|"
    assert result["cmd"] == ["printf", "%s|", "a b", "$HOME", "; exit 3"]


def test_a_directory(here: Here, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    place = tmp_path / "a b"
    place.mkdir()
    assert call(capsys, argv=["pwd"], chdir=str(place))["stdout"] == str(place)


def test_a_command_that_writes_too_much_fails_with_what_it_wrote(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, cmd="printf 12345; echo bad >&2", max_output="4")
    assert (result["failed"], result["step"], result["truncated"], result["changed"]) == (True, "run", True, True)
    assert result["reason"] == "the command wrote more than 4 bytes and was killed. Raise max_output to let it write more."
    assert (result["stdout"], result["stderr"]) == ("1234", "bad")
    assert call(capsys, cmd="printf 12345", max_output="5")["truncated"] is False
    assert call(capsys, argv=["true"])["rc"] == 0
    assert here.most == [4, 5, 16 << 20]


def test_what_looking_around_finds_is_bounded(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    here.users["alice"] = "x" * 70000
    result = call(capsys, argv=["true"], user="alice", max_output="1G")
    assert (result["failed"], result["step"]) == (True, "enter")
    assert result["reason"] == "the checks before the command failed: the command wrote more than 65536 bytes and was killed"
    assert len(here.calls) == 1


class Condition(NamedTuple):
    option: str
    pattern: str
    runs: bool


@pytest.mark.parametrize(
    "condition",
    [
        Condition("creates", "{place}/there", False),
        Condition("creates", "{place}/th*", False),
        Condition("creates", "{place}/dangling", False),
        Condition("creates", "there", False),
        Condition("creates", "{place}/with space", False),
        Condition("creates", "{place}/not", True),
        Condition("creates", "{place}/no*", True),
        Condition("creates", "{place}/$(touch {place}/not)", True),
        Condition("removes", "{place}/there", True),
        Condition("removes", "{place}/dangling", True),
        Condition("removes", "{place}/not", False),
        Condition("removes", "not", False),
    ],
    ids=lambda condition: f"{condition.option} {condition.pattern}",
)
@pytest.mark.parametrize("check", [False, True])
def test_conditions(here: Here, capsys: pytest.CaptureFixture[str], tmp_path: Path, condition: Condition, check: bool) -> None:
    for name in ("there", "with space"):
        (tmp_path / name).touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    ran = tmp_path / "ran"
    option = {condition.option: condition.pattern.format(place=tmp_path)}
    result = call(capsys, check, argv=["touch", str(ran)], chdir=str(tmp_path), **option)
    assert result["changed"] is condition.runs
    assert result["rc"] == 0
    assert ran.exists() is (condition.runs and not check)
    assert not (tmp_path / "not").exists()


def test_check_mode_without_a_condition_skips(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, True, argv=["true"], user="alice", chdir="/nonexistent")
    assert result["skipped"] is True
    assert result["changed"] is False
    assert not here.calls


def test_check_mode_before_the_sandbox_runs(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    here.problem = enter.EnterError("sandbox container1 is not running")
    result = call(capsys, True, argv=["true"], creates="/x")
    assert result["skipped"] is True
    assert "not running" in result["msg"]


class User(NamedTuple):
    user: str
    words: list[str]
    variables: dict[str, str]


@pytest.mark.parametrize(
    "user",
    [
        User("root", [], {}),
        User(
            "alice",
            ["setpriv", "--reuid", "1000", "--regid", "1001", "--init-groups", "--"],
            {"USER": "alice", "LOGNAME": "alice", "HOME": "/home/alice"},
        ),
        User(
            "4711",
            ["setpriv", "--reuid", "4711", "--regid", "4711", "--clear-groups", "--"],
            {"USER": "4711", "LOGNAME": "4711", "HOME": "/"},
        ),
    ],
    ids=lambda user: user.user,
)
def test_a_user(here: Here, user: User) -> None:
    parameters = {"name": "container1", "argv": ["id", "-u"], "user": user.user}
    run = exec_run.Run(build(exec_run.Asked, parameters))
    assert run.look() == ""
    assert run.words == [*user.words, "id", "-u"]
    assert run.variables == user.variables


@pytest.mark.parametrize("number", ["4294967295", "99999999999", "root", "-1"])
@pytest.mark.parametrize("entry", ["mallory:x:{}:1000::/:/bin/sh", "mallory:x:1000:{}::/:/bin/sh"])
def test_a_number_from_inside_with_which_the_command_would_stay_root_is_none(here: Here, number: str, entry: str) -> None:
    here.users["mallory"] = entry.format(number)
    run = exec_run.Run(build(exec_run.Asked, {"name": "container1", "argv": ["id", "-u"], "user": "mallory"}))
    with pytest.raises(StepError, match="user mallory does not exist inside"):
        run.look()


class Bad(NamedTuple):
    parameters: dict[str, Any]
    step: str
    reason: str


@pytest.mark.parametrize(
    "bad",
    [
        Bad({"name": "../x"}, "options", "name: '../x' is invalid: expected 1 to 50"),
        Bad({"argv": []}, "options", "argv: expected at least the name"),
        Bad({"cmd": " "}, "options", "cmd: ' ' is invalid: expected a command"),
        Bad({"chdir": "srv"}, "options", "chdir: 'srv' is invalid: expected an absolute path"),
        Bad({"user": "-f"}, "options", "user: '-f' is invalid: expected the name of a user inside the sandbox, or a number"),
        Bad(
            {"user": "4294967295"}, "options", "user: '4294967295' is invalid: expected the name of a user inside the sandbox, or a number"
        ),
        Bad({"argv": ["a\0b"]}, "options", "words without a NUL character"),
        Bad({"user": "a\nb"}, "options", "user: "),
        Bad({"timeout": 0}, "options", "timeout: 0.0 is invalid: expected a number of seconds above 0"),
        Bad({"max_output": "much"}, "options", "max_output: 'much' is invalid: expected a size"),
        Bad({"env": {"A=B": "x"}}, "options", "names without '='"),
        Bad({"env": {"A": ["x"]}}, "options", "and texts"),
        Bad({"user": "nobody-there"}, "user", "user nobody-there does not exist inside"),
        Bad({"chdir": "/nonexistent"}, "chdir", "directory /nonexistent does not exist inside"),
        Bad({"argv": ["false"]}, "run", "the command ended with code 1"),
    ],
    ids=lambda bad: str(bad.parameters),
)
def test_failures_say_what_and_where(here: Here, capsys: pytest.CaptureFixture[str], bad: Bad) -> None:
    given = {} if "cmd" in bad.parameters else {"argv": ["true"]}
    result = call(capsys, **{**given, **bad.parameters})
    assert result["failed"] is True
    assert result["step"] == bad.step
    assert bad.reason in result["reason"]
    assert result["sandbox"] == bad.parameters.get("name", "container1")


@pytest.mark.parametrize(
    ("problem", "step"),
    [
        (enter.EnterError("sandbox container1 is not running; start it: systemctl start x"), "enter"),
        (enter.StartError("nonexistent cannot be run inside"), "run"),
        (enter.EnterTimeout(1.5, b"so far\n", b"bad\n"), "run"),
    ],
)
def test_what_entering_reports(here: Here, capsys: pytest.CaptureFixture[str], problem: Exception, step: str) -> None:
    here.problem = problem
    result = call(capsys, argv=["nonexistent"], timeout=1.5)
    assert (result["failed"], result["step"], result["reason"]) == (True, step, str(problem))
    assert result["msg"] == f"container1: {step}: {problem}"
    if isinstance(problem, enter.EnterTimeout):
        assert (result["stdout"], result["stderr"], result["changed"]) == ("so far", "bad", True)


def test_only_root(here: Here, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = call(capsys, argv=["true"])
    assert (result["failed"], result["step"]) == (True, "enter")
    assert "become: true" in result["msg"]
    assert not here.calls
