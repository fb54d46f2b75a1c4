# SPDX-License-Identifier: GPL-3.0-or-later
"""A run over sandboxes of which root inside some has made the content what it cannot be: that is theirs to bear alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import apply, content_run
from ansible_collections.virt.sandbox.plugins.module_utils.engine.content_run import ContentRun, Run
from ansible_collections.virt.sandbox.plugins.module_utils.engine.declared import Declared
from ansible_collections.virt.sandbox.plugins.module_utils.engine.discover import NOTHING
from ansible_collections.virt.sandbox.plugins.module_utils.engine.host import SandboxHost
from ansible_collections.virt.sandbox.plugins.module_utils.engine.levels import Levels
from ansible_collections.virt.sandbox.plugins.module_utils.engine.tree import TreeError
from ansible_collections.virt.sandbox.plugins.module_utils.engine.wanted import Wanted
from ansible_collections.virt.sandbox.plugins.module_utils.model.backend import Stored
from ansible_collections.virt.sandbox.plugins.module_utils.model.content_plan import Observed, manifest
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError
from ansible_collections.virt.sandbox.plugins.module_utils.model.plan import Plan
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ContentRequest, ContentSpec

from .conftest import MakeContent

Go = Callable[..., dict[str, Any]]

FILE = {"path": "/etc/x.conf", "content": "x\n", "mode": "0644"}
# what root inside may do, or what may go wrong, and what is said of it
LEASED = TreeError("/content/etc/x", "is held by a lease of a process inside", "Stop the sandbox, or run again.")
ERRORS = {"leased": LEASED, "unreadable": OSError(5, "Input/output error"), "unforeseen": KeyError("unit")}
CHANGES: dict[str, dict[str, Any]] = {
    "directory": {"directories": ["/etc/x.conf"]},
    "gone": {"unknown": ["/etc/y"]},
    "ownerless": {"users": {}},
    "new": {"unknown": ["/etc/y"], "stored": Stored(), "manifest": None},
}
OWNER = "a number, or a name in the sandbox's own /etc/passwd"
REASONS = {
    "leased": "observe: /content/etc/x: is held by a lease of a process inside. Stop the sandbox, or run again.",
    "unreadable": "observe: [Errno 5] Input/output error",
    "unforeseen": "observe: unexpected error, please report it: KeyError: 'unit'",
    "directory": "check: files[0].path: '/etc/x.conf' is invalid: expected a path that is not a directory inside the sandbox.",
    "gone": "check: private: ['/etc/y'] is invalid: expected paths that exist on the host. Check that the package is installed.",
    "ownerless": f"check: files[0].owner: 'www' is invalid: expected {OWNER}.",
}


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """The declarations that a run records."""
    found: list[tuple[str, str | None]] = []
    monkeypatch.setattr(content_run.declarations, "record", lambda name, declaration: found.append((name, declaration)))
    return found


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch, content: MakeContent, recorded: list[tuple[str, str | None]]) -> Go:
    """A run over these sandboxes, each with content in the state that its name says."""

    def observe(spec: ContentSpec, *_rest: Any) -> Observed:
        if spec.name in ERRORS:
            raise ERRORS[spec.name]
        whole = Observed(stored=Stored(exists=True), manifest=manifest(spec), users={"www": "33"})
        return dataclasses.replace(whole, **CHANGES.get(spec.name, {}))

    monkeypatch.setattr(content_run.content, "observe", observe)
    monkeypatch.setattr(content_run.content, "place", lambda spec, *_rest: Observed(stored=Stored(exists=True), manifest=manifest(spec)))
    monkeypatch.setattr(content_run, "_to_come", lambda _spec, _check_mode: False)
    monkeypatch.setattr(ContentRun, "_discovered", lambda *_arguments: NOTHING)
    monkeypatch.setattr(ContentRun, "_plan_rules", lambda _run: Plan())
    monkeypatch.setattr(content_run, "apply", lambda plan, _hands: [])
    for name, value in (("known", {}), ("declared", Declared({})), ("levels", Levels())):
        monkeypatch.setattr(SandboxHost, name, value)

    def make(*names: str, check_mode: bool = False, **states: str) -> dict[str, Any]:
        wanted = [
            Wanted(content(name=name, files=[{**FILE, "owner": "www"}]), ContentRequest(states.get(name, "present"), f"by {name}"))
            for name in names
        ]
        return ContentRun(SandboxHost(""), wanted, {"name": None}, Run(), check_mode).carried_out()

    return make


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("name", REASONS)
def test_it_is_that_sandboxes_failure_and_no_other_ones(go: Go, name: str, check_mode: bool) -> None:
    result = go(name, "good", check_mode=check_mode)
    assert result["failed"]
    assert [f"{one['step']}: {one['reason'].replace(f'{name}: ', '')}" for one in result["failures"]] == [REASONS[name]]
    assert result["steps"] == {"good": ["write files"]}


@pytest.mark.parametrize("name", REASONS)
def test_what_goes_is_not_looked_into(go: Go, name: str) -> None:
    result = go(name, "good", **{name: "absent"})
    assert not result.get("failed")
    assert "remove the content" in result["steps"][name]


def test_what_a_play_names_wrongly_ends_the_run(go: Go) -> None:
    with pytest.raises(OptionError, match="new: private:"):
        go("new", "good")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), TypeError("x")])
def test_a_step_that_fails_is_that_sandboxes_failure(go: Go, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    written: list[str] = []

    def write_files(_hands: Any, spec: ContentSpec, _files: Any) -> None:
        if spec.name == "bad":
            raise error
        written.append(spec.name)

    monkeypatch.setattr(content_run, "apply", apply.apply)
    monkeypatch.setattr(content_run.ContentHands, "write_files", write_files)
    result = go("bad", "good")
    assert written == ["good"]
    assert [(one["sandbox"], one["step"]) for one in result["failures"]] == [("bad", "write files")]


def test_who_declares_a_sandbox_is_recorded_unless_it_is_only_predicted(go: Go, recorded: list[tuple[str, str | None]]) -> None:
    go("good", "better", check_mode=True)
    assert recorded == []
    go("good", "better")
    assert recorded == [("good", "by good"), ("better", "by better")]
