# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan is the prediction, the diff and the work order."""

from __future__ import annotations

from ansible_collections.virt.sandbox.plugins.module_utils.model.plan import Plan, Step


def test_an_empty_plan_changes_nothing() -> None:
    plan = Plan()
    assert (plan.changed, len(plan), plan.summary(), plan.diff()) == (False, 0, {}, {"before": {}, "after": {}})


def test_a_plan_tells_its_steps_by_sandbox_and_in_order() -> None:
    plan = Plan()
    plan.add("b", "write", "write", before=None, after="text", path="/x")
    other = Plan()
    other.add("a", "start", "start", before="stopped", after="running")
    other.add("b", "start", "start", unit="b.service")
    plan.extend(other)
    assert plan.changed
    assert [(step.sandbox, step.name) for step in plan] == [("b", "write"), ("a", "start"), ("b", "start")]
    assert plan.of("b") == [Step("b", "write", "write", {"path": "/x"}, None, "text"), Step("b", "start", "start", {"unit": "b.service"})]
    assert plan.summary() == {"b": ["write", "start"], "a": ["start"]}
    assert plan.diff() == {
        "before": {"b": {"write": None, "start": None}, "a": {"start": "stopped"}},
        "after": {"b": {"write": "text", "start": None}, "a": {"start": "running"}},
    }
