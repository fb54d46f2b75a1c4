# SPDX-License-Identifier: GPL-3.0-or-later
"""The closing line of ``make test``: no failure may get lost on the way to it."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "tools" / "run_stages.py"


@pytest.fixture(scope="module")
def run_stages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_stages", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_stages"] = module
    spec.loader.exec_module(module)
    return module


class Case(NamedTuple):
    name: str
    makefile: str
    closing: str


def reports(tests: int, failures: int = 0, errors: int = 0, skipped: int = 0, status: int = 0) -> str:
    suite = f'<testsuite tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}"/>'
    return f"@echo '{suite}' > $${{PYTEST_ADDOPTS#--junitxml=}}; exit {status}"


CASES = [
    Case("tests are summed", f"unit: ; {reports(3)}\nhosts-debian12: ; {reports(2)}", "5 passed, 0 failed"),
    Case("skipped tests did not pass", f"unit: ; {reports(3, skipped=1)}", "2 passed, 0 failed, 1 skipped"),
    Case("failures and errors", f"unit: ; {reports(5, failures=1, errors=1, status=1)}", "3 passed, 2 failed"),
    Case("a failed stage that has no tests", "lint: ; @exit 1", "0 passed, 1 failed"),
    Case("a crash after its tests passed", f"threats: ; {reports(4, status=3)}", "4 passed, 1 failed"),
    Case("each host's tests are summed", f"hosts-debian12: ; {reports(3)}\nhosts-debian13: ; {reports(4)}", "7 passed, 0 failed"),
    Case("no hosts to test on", f"lab-tests: ; @exit 2\nhosts-debian13: ; {reports(9)}", "0 passed, 4 failed"),
    Case("what goes on running holds nothing up", "lab-tests: ; @sleep 5 & echo started", "0 passed, 0 failed"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_closing_line(
    case: Case,
    run_stages: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "Makefile").write_text(case.makefile + "\n%: ; @:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run_stages", "--logs", str(tmp_path / "logs")])
    start = time.monotonic()
    status = run_stages.main()
    assert time.monotonic() - start < 5
    assert capsys.readouterr().out.splitlines()[-1] == case.closing
    assert status == (0 if ", 0 failed" in case.closing else 1)


def test_what_failed_is_named_above_the_closing_line(
    run_stages: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = '<testcase classname="tests.a" name="b[1]"><failure message="assert 1 == 2&#10;more"/></testcase>'
    suite = f'<testsuite tests="1" failures="1">{case}</testsuite>'
    (tmp_path / "Makefile").write_text(f"unit: ; @echo '{suite}' > $${{PYTEST_ADDOPTS#--junitxml=}}; exit 1\n%: ; @:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run_stages", "--logs", str(tmp_path / "logs")])
    assert run_stages.main() == 1
    assert "       tests.a.b[1]: assert 1 == 2" in capsys.readouterr().out.splitlines()


def test_a_stage_that_never_ends_is_stopped(
    run_stages: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Makefile").write_text("unit: ; @sleep 60\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_stages, "LIMIT", 0.2)
    result = run_stages.Runner(tmp_path).run("unit")
    assert (result.passed, result.failed) == (0, 1)
    assert "stopped after" in capsys.readouterr().out


def test_a_line_is_shown_when_it_is_whole(
    run_stages: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Makefile").write_text("unit: ; @printf 'one, '; sleep 0.3; echo two; printf 'no end'\n")
    monkeypatch.chdir(tmp_path)
    run_stages.Runner(tmp_path).run("unit")
    assert capsys.readouterr().out.splitlines()[:2] == ["          unit | one, two", "          unit | no end"]


def test_hosts_are_tested_as_soon_as_the_lab_runs_each_at_its_own_pace(
    run_stages: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = "@echo $@ began >> log; "
    slow = f"hosts-debian12: ; {note}until grep -q 'molecule-one began' log; do sleep 0.1; done; echo $@ ended >> log"
    checks = f"sanity: ; {note}until grep -q 'hosts-debian12 ended' log; do sleep 0.1; done; echo $@ ended >> log"
    (tmp_path / "Makefile").write_text(f"{slow}\n{checks}\n%: ; {note}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_stages, "LIMIT", 10)
    monkeypatch.setattr(sys, "argv", ["run_stages", "--logs", str(tmp_path / "logs")])
    assert run_stages.main() == 0
    log = (tmp_path / "log").read_text().splitlines()
    assert log.index("lab-tests began") < log.index("hosts-debian13 began") < log.index("molecule-one began")
    assert log[-3:] == ["hosts-debian12 ended", "sanity ended", "lab-down began"]


@pytest.mark.parametrize(("only", "stages"), [("hosts", {"hosts-debian12", "hosts-debian13"}), ("check", {"lint", "sanity", "unit"})])
def test_some_stages_alone(run_stages: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only: str, stages: set[str]) -> None:
    (tmp_path / "Makefile").write_text("%: ; @echo $@ >> log\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run_stages", "--logs", str(tmp_path / "logs"), "--only", only])
    assert run_stages.main() == 0
    assert set((tmp_path / "log").read_text().split()) == stages
