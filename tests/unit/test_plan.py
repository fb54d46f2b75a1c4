# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan is the prediction, the diff and the work order."""

from __future__ import annotations

from ansible_collections.virt.sandbox.plugins.module_utils.model.plan import Phase, Plan
from ansible_collections.virt.sandbox.plugins.module_utils.model.steps import (
    ClosePorts,
    DisableUnit,
    EnableUnit,
    ReloadSystemd,
    RestartSandbox,
    StartSandbox,
    StopSandbox,
    WriteFile,
)


def write(sandbox: str, what: str = "the unit") -> WriteFile:
    return WriteFile(sandbox, what, "/x", "text")


def test_an_empty_plan_changes_nothing() -> None:
    plan = Plan()
    assert (plan.changed, len(plan), plan.summary(), plan.diff()) == (False, 0, {}, {"before": {}, "after": {}})


def test_a_plan_tells_its_steps_by_sandbox_and_in_order() -> None:
    plan = Plan()
    plan.add(write("b"))
    plan.extend(Plan([StartSandbox("a", "a.service"), StartSandbox("b", "b.service")]))
    assert plan.changed
    assert [(step.sandbox, step.title) for step in plan] == [("b", "write the unit"), ("a", "start"), ("b", "start")]
    assert plan.of("b") == [write("b"), StartSandbox("b", "b.service")]
    assert plan.summary() == {"b": ["write the unit", "start"], "a": ["start"]}
    assert plan.diff() == {
        "before": {"b": {"write the unit": None, "start": "stopped"}, "a": {"start": "stopped"}},
        "after": {"b": {"write the unit": "text", "start": "running"}, "a": {"start": "running"}},
    }


def test_a_text_that_is_not_to_be_shown_is_not_in_the_diff() -> None:
    step = WriteFile("a", "the record", "/x", "text", before={"a": 1}, shown={"a": 2})
    assert Plan([step]).diff() == {"before": {"a": {"write the record": {"a": 1}}}, "after": {"a": {"write the record": {"a": 2}}}}


def test_every_sandboxs_steps_of_one_phase_come_before_any_of_the_next() -> None:
    steps = [step for name in "ab" for step in (write(name), ReloadSystemd(name), EnableUnit(name, name), StartSandbox(name, name))]
    plan = Plan([*steps, StopSandbox("c", "c"), write("c"), RestartSandbox("c", "c", "running")]).in_phases()
    assert [step.phase for step in plan] == sorted(step.phase for step in plan)
    assert [(step.sandbox, type(step)) for step in plan if step.phase is Phase.WRITE] == [(name, WriteFile) for name in "abc"]
    assert [type(step) for step in plan.of("c")] == [StopSandbox, WriteFile, RestartSandbox]


def test_steps_that_are_carried_out_together_stand_side_by_side() -> None:
    """Each sandbox has its own order, which stays as it is."""
    gone = [step for name in "abc" for step in (StopSandbox(name, name), DisableUnit(name, name), write(name, "1"), write(name, "2"))]
    plan = Plan(gone).in_phases()
    assert [type(step) for step in plan] == [StopSandbox] * 3 + [DisableUnit] * 3 + [WriteFile] * 6
    assert [step.sandbox for step in plan] == [*"abcabcaabbcc"]
    assert [step.title for step in plan.of("b")] == ["stop", "disable the unit", "write 1", "write 2"]
    mixed = Plan([StartSandbox("a", "a"), RestartSandbox("b", "b", "running"), StartSandbox("c", "c")]).in_phases()
    assert [step.sandbox for step in mixed] == ["a", "c", "b"]
    # what is each sandbox's own comes first
    own = Plan([step for name in "ab" for step in (ClosePorts(name, [name]), DisableUnit(name, name))]).in_phases()
    assert [type(step) for step in own] == [ClosePorts] * 2 + [DisableUnit] * 2
    # but one that has to do something else together with others is not waited for
    late = Plan([DisableUnit("a", "a"), StopSandbox("b", "b"), DisableUnit("b", "b"), DisableUnit("c", "c")]).in_phases()
    assert [(step.sandbox, type(step)) for step in late] == [
        ("a", DisableUnit), ("c", DisableUnit), ("b", StopSandbox), ("b", DisableUnit),
    ]  # fmt: skip
