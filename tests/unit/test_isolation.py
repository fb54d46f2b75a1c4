# SPDX-License-Identifier: GPL-3.0-or-later
"""What a policy's answers mean; the policy here is a rule of its own: access where the one level dominates the other, or equals it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model import isolation
from ansible_collections.virt.sandbox.plugins.module_utils.model.isolation import Subject
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import Level

Rule = Callable[[Level, Level], bool]


def level_of(context: str) -> Level:
    return Level.parse(context.split(":", 3)[3])


def judge_by(rule: Rule, but: Sequence[str] = (), types: Sequence[str] = ("virt_sandbox",)) -> isolation.Judge:
    """Grants everything on the sandboxes' own types where the rule holds, and everything in some classes."""

    def judge(source: str, target: str, tclass: str, permissions: Sequence[str]) -> Sequence[str]:
        ours = any(target.split(":")[2].startswith(one) for one in types)
        return permissions if ours and (tclass in but or rule(level_of(source), level_of(target))) else ()

    return judge


def same(one: Level, other: Level) -> bool:
    return one == other


def dominates(one: Level, other: Level) -> bool:
    return one >= other


def subject(name: str, level: str) -> Subject:
    return Subject(name, level, "virt_sandbox_t", "virt_sandbox_file_t")


WEB, DB, PART = subject("web", "s0:c1,c2"), subject("db", "s0:c3,c4"), subject("part", "s0:c1")


def test_levels_that_are_apart_are_separate() -> None:
    for rule in (same, dominates):
        assert list(isolation.between(WEB, DB, judge_by(rule))) == []


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        (WEB, PART, "dominance: s0:c1,c2 dominates s0:c1"),
        (WEB, subject("twin", "s0:c1,c2"), "dominance: s0:c1,c2 is s0:c1,c2"),
    ],
)
def test_levels_that_are_not_apart_leak(source: Subject, target: Subject, why: str) -> None:
    leaks = list(isolation.between(source, target, judge_by(dominates)))
    assert {leak.why for leak in leaks} == {why}
    assert {leak.tclass for leak in leaks} >= {"file", "dir", "process", "key", "msgq", "fd"}
    assert list(isolation.between(PART, WEB, judge_by(dominates))) == []


def test_a_class_that_is_held_to_no_level_leaks_whatever_the_levels() -> None:
    (leak,) = isolation.between(WEB, DB, judge_by(same, but=["key"]))
    assert leak.shown() == {
        "from": "web",
        "to": "db",
        "context": "system_u:system_r:virt_sandbox_t:s0:c3,c4",
        "class": "key",
        "permissions": ["view", "read", "write", "search", "link", "setattr"],
        "why": "unconstrained: the policy holds virt_sandbox_t to no level in class key",
    }


def test_what_is_the_hosts_alone() -> None:
    shadow = judge_by(lambda _one, _other: True, types=["shadow_t"])
    (leak,) = isolation.against_host(WEB, shadow, lambda _context: True)
    assert (leak.target, leak.tclass, leak.label) == ("host", "file", "system_u:object_r:shadow_t:s0")
    assert leak.why == "type: virt_sandbox_t is granted it on shadow_t"
    assert list(isolation.against_host(WEB, shadow, lambda context: "shadow" not in context)) == []


def test_a_type_that_is_held_to_its_level() -> None:
    assert isolation.held(WEB, judge_by(same))
    assert not isolation.held(WEB, judge_by(lambda _one, _other: True))
    # nor is it one that cannot do anything
    assert not isolation.held(WEB, judge_by(lambda _one, _other: False))


def test_the_matrix_counts_what_each_may_do_with_each() -> None:
    pairs = list(itertools.permutations([WEB, DB, PART], 2))
    leaks = [leak for one, other in pairs for leak in isolation.between(one, other, judge_by(dominates))]
    table = isolation.matrix(["web"], pairs, leaks)
    assert table["web"]["db"] == table["db"]["web"] == table["part"]["web"] == 0
    assert table["web"]["part"] > 50
    assert isolation.questions(6, 3) > 100


def test_the_matrix_is_silent_about_pairs_that_nobody_asked_about() -> None:
    assert isolation.matrix(["web"], [(WEB, DB), (DB, WEB), (PART, WEB)], []) == {"web": {"db": 0}, "db": {"web": 0}, "part": {"web": 0}}
    assert isolation.matrix(["web"], [], []) == {"web": {}}


def test_a_host_process_and_the_content() -> None:
    assert isolation.content_for("system_u:system_r:httpd_t:s0:c1,c2", WEB, judge_by(same)) == [
        "file read",
        "file write",
        "dir search",
        "dir add_name",
    ]
    assert isolation.content_for("system_u:system_r:httpd_t:s0", WEB, judge_by(same)) == []


@pytest.mark.parametrize(
    ("expressions", "why"),
    [
        (["a", "a && !b"], "boolean: it is granted while a and a && !b; setsebool changes that"),
        (["a", ""], "type: web_t"),
        ([], "type: web_t"),
    ],
)
def test_booleans_are_the_reason_where_everything_hangs_on_them(expressions: list[str], why: str) -> None:
    leak = isolation.Leak("web", "host", "system_u:object_r:shadow_t:s0", "file", ("read", "write"), "type: web_t")
    assert leak.while_booleans(expressions).why == why
    assert leak.grants("web_t") == [("web_t", "shadow_t", "file", "read"), ("web_t", "shadow_t", "file", "write")]
