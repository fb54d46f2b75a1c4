# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time on a host, and one run's declaration of a sandbox at a time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import host
from ansible_collections.virt.sandbox.plugins.module_utils.engine.service_run import ServiceRun
from ansible_collections.virt.sandbox.plugins.module_utils.engine.wanted import Wanted
from ansible_collections.virt.sandbox.plugins.module_utils.host import declarations, lock
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Observed
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ServiceRequest
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import name as valid_name

from .conftest import MakeSpec

HOLD = """
import sys
sys.path[:] = {path!r}
from ansible_collections.virt.sandbox.plugins.module_utils.host import lock
with lock.held({file!r}):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "run" / "lock")


@pytest.fixture
def holder(file: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its input ends."""
    script = HOLD.format(path=sys.path, file=file)
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_nobody_is_waited_for_where_nobody_holds_it(file: str) -> None:
    for _time in range(2):
        with lock.held(file) as waited:
            assert waited < 0.1
    assert os.stat(file).st_mode & 0o777 == 0o600


def test_the_second_process_waits_for_the_first(file: str, holder: subprocess.Popen[str]) -> None:
    timer = threading.Timer(0.5, lambda: holder.stdin and holder.stdin.close())
    began = time.monotonic()
    timer.start()
    with lock.held(file, patience=30) as waited:
        assert time.monotonic() - began >= 0.5
        assert 0.3 <= waited <= 20
    timer.join()


def test_a_holder_that_is_killed_holds_it_no_more(file: str, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(SandboxError), lock.held(file, patience=0):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock.held(file, patience=0):
        pass


@pytest.mark.usefixtures("holder")
def test_patience_ends_in_a_clear_error(file: str) -> None:
    with pytest.raises(SandboxError) as caught, lock.held(file, patience=0.2):
        pass
    assert str(caught.value) == f"Another run has held {file} for 0.2 s. Wait for it to end, or end it."


def test_no_child_keeps_it(file: str) -> None:
    """Root inside can keep one from ending that has entered his sandbox."""
    child = 0
    try:
        with lock.held(file):
            child = os.fork()
            if not child:
                time.sleep(60)
                os._exit(0)
        script = HOLD.format(path=sys.path, file=file)
        done = subprocess.run([sys.executable, "-c", script], input="", capture_output=True, text=True, timeout=20, check=True)
        assert done.stdout == "held\n"
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def test_its_file_is_no_place_of_a_sandbox() -> None:
    with pytest.raises(ValueError, match="lower-case"):
        valid_name(os.path.basename(lock.PATH))


def test_a_run_that_fails_gives_it_up(file: str) -> None:
    with pytest.raises(KeyError), lock.held(file):
        raise KeyError
    with lock.held(file, patience=0):
        pass


def test_only_a_run_that_changes_something_takes_it(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    held = lock.held

    @contextlib.contextmanager
    def noted() -> Iterator[float]:
        taken.append(file)
        with held(file, patience=0) as waited:
            yield waited

    monkeypatch.setattr(lock, "held", noted)
    with host.opened("", locked=False) as looking:
        assert looking.waited == 0
    assert taken == []
    with host.opened("") as first:
        assert first.waited < 0.1
    assert taken == [file]


@pytest.mark.parametrize(("waited", "said"), [(0.4, []), (7.2, ["Waited 7 s for another run of this collection on this host."])])
def test_a_run_that_has_waited_says_so(monkeypatch: pytest.MonkeyPatch, waited: float, said: list[str]) -> None:
    monkeypatch.setattr(host.SandboxHost, "declared", host.Declared({}))
    assert host.SandboxHost("", waited).warnings() == said


# Which run has declared a sandbox last


@pytest.mark.parametrize(
    ("recorded", "own", "changed"),
    [
        pytest.param("mine", "mine", False, id="the same run"),
        pytest.param("theirs", "mine", True, id="another run"),
        pytest.param(None, "mine", False, id="none has recorded"),
        pytest.param("theirs", None, False, id="this one has none"),
    ],
)
def test_a_service_is_told_of_another_run(tmp_path: Path, recorded: str | None, own: str | None, changed: bool) -> None:
    run = str(tmp_path / "run")
    declarations.record("web", recorded, run)
    declarations.record("db", "somebody's", run)
    message = "web was changed by another run since this one began. Run it again."
    assert declarations.changed("web", own, run) == (message if changed else "")


def test_the_last_run_counts(tmp_path: Path) -> None:
    for declaration in ("a much longer one", "last"):
        declarations.record("web", declaration, str(tmp_path))
    assert declarations.changed("web", "last", str(tmp_path)) == ""
    assert declarations.changed("web", "a much longer one", str(tmp_path)) != ""


@pytest.mark.parametrize("check_mode", [True, False])
def test_only_the_sandbox_that_another_run_declared_fails(
    service: MakeSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, check_mode: bool
) -> None:
    """A run of ``sandbox_service`` over two of which another run has declared one since."""
    monkeypatch.setattr(declarations.changed, "__defaults__", (str(tmp_path),))
    for name in ("web", "db"):
        declarations.record(name, "mine" if name == "db" else "theirs", str(tmp_path))
    checked: list[str] = []
    run = object.__new__(ServiceRun)
    run.overtaken = set()
    run.check_mode, run.failures, run.observed = check_mode, [], {"web": Observed(), "db": Observed(), "old": Observed()}
    run.wanted = [
        Wanted(service(name=name), ServiceRequest(state, declaration="mine"))
        for name, state in (("web", "started"), ("db", "started"), ("old", "absent"))
    ]
    monkeypatch.setattr(ServiceRun, "_check_one", lambda _run, spec, _seen: checked.append(spec.name))
    run._check()
    failures = ["web: check: web was changed by another run since this one began. Run it again."]
    # a run that is only predicted has recorded nothing
    assert [str(failure) for failure in run.failures] == ([] if check_mode else failures)
    assert checked == (["web", "db"] if check_mode else ["db"])
