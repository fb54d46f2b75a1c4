# SPDX-License-Identifier: GPL-3.0-or-later
"""A run over sandboxes of which root inside some has made the content what it cannot be: that is theirs to bear alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import content_run
from ansible_collections.virt.sandbox.plugins.module_utils.engine.discover import NOTHING
from ansible_collections.virt.sandbox.plugins.module_utils.engine.tree import TreeError
from ansible_collections.virt.sandbox.plugins.module_utils.model.content_plan import Observed, manifest
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError
from ansible_collections.virt.sandbox.plugins.module_utils.model.plan import Plan

MakeSpec = Callable[..., dict[str, Any]]
Run = Callable[..., dict[str, Any]]

FILE = {"path": "/etc/x.conf", "content": "x\n", "mode": "0644"}
# what root inside may do, and what is said of it
LEASED = TreeError("/content/etc/x", "is held by a lease of a process inside", "stop the sandbox, or run again")
REASONS = {
    "leased": "observe: /content/etc/x: is held by a lease of a process inside; stop the sandbox, or run again",
    "directory": "check: files[0].path: '/etc/x.conf' is invalid: expected a path at which no directory stands inside",
    "gone": "check: private: ['/etc/y'] is invalid: expected paths that the host has; is the package installed?",
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, content: MakeSpec) -> Run:
    """A run over these sandboxes, each with content in the state that its name says."""

    def make(item: dict[str, Any]) -> dict[str, Any]:
        return content(name=item["name"], files=[FILE])

    def observe(spec: dict[str, Any], *_rest: Any) -> Observed:
        if spec["name"] == "leased":
            raise LEASED
        found = Observed(exists=spec["name"] != "new", manifest=None if spec["name"] == "new" else manifest(spec))
        changes = {"directory": {"directories": ["/etc/x.conf"]}, "gone": {"unknown": ["/etc/y"]}, "new": {"unknown": ["/etc/y"]}}
        return Observed(**{**vars(found), **changes.get(spec["name"], {})})

    monkeypatch.setattr(content_run, "require_root", lambda: None)
    monkeypatch.setattr(content_run, "content_spec", make)
    monkeypatch.setattr(content_run.listed, "items", lambda parameters: parameters["items"])
    monkeypatch.setattr(content_run, "_levels", lambda *_arguments: {})
    monkeypatch.setattr(content_run, "_running", set)
    monkeypatch.setattr(content_run, "_to_come", lambda _spec, _check_mode: False)
    monkeypatch.setattr(content_run, "_found", lambda *_arguments: NOTHING)
    monkeypatch.setattr(content_run, "_plan_rules", lambda _wanted: Plan())
    monkeypatch.setattr(content_run.content, "observe", observe)
    monkeypatch.setattr(content_run.content, "place", lambda spec, *_rest: Observed(exists=True, manifest=manifest(spec)))
    monkeypatch.setattr(content_run, "apply", lambda plan, _actions: [])

    def go(*names: str, check_mode: bool = False, **states: str) -> dict[str, Any]:
        items = [{"name": name, "state": states.get(name, "present")} for name in names]
        common = {"name": None, "registry": "", "require_enforcing": False, "foreign": "report", "update": "report"}
        return content_run.run({**common, "items": items}, check_mode)

    return go


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("name", REASONS)
def test_it_is_that_sandboxes_failure_and_no_other_ones(run: Run, name: str, check_mode: bool) -> None:
    result = run(name, "good", check_mode=check_mode)
    assert result["failed"]
    assert [f"{one['step']}: {one['reason'].replace(f'{name}: ', '')}" for one in result["failures"]] == [REASONS[name]]
    assert result["steps"] == {"good": ["write files"]}


@pytest.mark.parametrize("name", REASONS)
def test_what_goes_is_not_looked_into(run: Run, name: str) -> None:
    result = run(name, "good", **{name: "absent"})
    assert not result.get("failed")
    assert "remove the content" in result["steps"][name]


def test_what_a_play_names_wrongly_ends_the_run(run: Run) -> None:
    with pytest.raises(OptionError, match="new: private:"):
        run("new", "good")
