# SPDX-License-Identifier: GPL-3.0-or-later
"""Levels as values: spelling, dominance, and what no sandbox may have."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.virt.sandbox.plugins.filter.mcs import FilterModule
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import (
    CategoryRange,
    Level,
    LevelError,
    LevelRange,
)
from ansible_collections.virt.sandbox.plugins.test import mcs as mcs_tests
from hypothesis import given
from hypothesis import strategies as st

categories = st.frozensets(st.integers(0, 1023), max_size=40)
levels = categories.map(Level.of)


@pytest.mark.parametrize(
    ("text", "canonical", "members"),
    [
        ("s0", "s0", []),
        ("s0:c0", "s0:c0", [0]),
        ("s0:c1,c2", "s0:c1,c2", [1, 2]),
        ("s0:c2,c1", "s0:c1,c2", [1, 2]),
        ("s0:c1.c2", "s0:c1,c2", [1, 2]),
        ("s0:c1,c1", "s0:c1", [1]),
        ("s0:c1,c2,c3", "s0:c1.c3", [1, 2, 3]),
        ("s0:c0.c3,c7", "s0:c0.c3,c7", [0, 1, 2, 3, 7]),
        ("s0:c7,c2.c3,c0.c1", "s0:c0.c3,c7", [0, 1, 2, 3, 7]),
        ("s0:c5,c1.c3,c2", "s0:c1.c3,c5", [1, 2, 3, 5]),
        ("s0:c1023,c0", "s0:c0,c1023", [0, 1023]),
    ],
)
def test_every_spelling_is_one_value(text: str, canonical: str, members: list[int]) -> None:
    level = Level.parse(text)
    assert str(level) == canonical
    assert list(level) == members
    assert level == Level.of(members)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "^s0 alone, or s0 with categories"),
        ("s0:", "not the category"),
        ("s0:c1,", "not the category"),
        ("s0:,c1", "not the category"),
        ("s0:c1:c2", "not the category"),
        ("s0:c01", "not the category"),
        ("s0:C1", "not the category"),
        ("s0:1", "not the category"),
        ("s0: c1", "not the category"),
        ("s0:c1,c2\n", "not the category"),
        ("s0:c1 ,c2", "not the category"),
        ("s0:c\u0661", "not the category"),
        ("s0:c3.c1", "from the lower to the higher"),
        ("s0:c1.c1", "from the lower to the higher"),
        ("s0:c1.c2.c3", "not the category"),
        ("s0:c1024", "c0 to c1023"),
        ("s0:c" + "9" * 5000, "c0 to c1023"),
        ("s1:c1,c2", "sensitivity s0"),
        ("s00:c1", "^s0 alone, or s0 with categories"),
        ("S0:c1", "^s0 alone, or s0 with categories"),
        ("c1,c2", "^s0 alone, or s0 with categories"),
        ("SystemHigh", "^s0 alone, or s0 with categories"),
        ("s0-s0:c1,c2", "not a range of two"),
        ("s0:c1-s0:c1,c2", "not a range of two"),
    ],
)
def test_what_the_kernel_refuses_is_refused(text: str, says: str) -> None:
    with pytest.raises(LevelError, match=says):
        Level.parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("s0", "every level dominates s0"),
        ("s0:c0.c1023", "all categories"),
        ("s0:c0.c500,c501.c1023", "all categories"),
        ("s0:c1,c1", "different categories"),
        ("s0:c7,c7,c7", "different categories"),
        ("s0:c1,c1024", "c0 to c1023"),
        ("s0-s0:c1,c2", "not a range of two"),
    ],
)
def test_threat_11_levels_that_do_not_separate_are_refused(text: str, says: str) -> None:
    with pytest.raises(LevelError, match=says):
        Level.for_sandbox(text)


def test_a_policy_with_fewer_categories() -> None:
    policy = CategoryRange(0, 255)
    assert str(Level.for_sandbox("s0:c254,c255", policy)) == "s0:c254,c255"
    with pytest.raises(LevelError, match=r"c0 to c255"):
        Level.for_sandbox("s0:c256,c1", policy)
    with pytest.raises(LevelError, match="all categories"):
        Level.for_sandbox("s0:c0.c255", policy)
    with pytest.raises(LevelError, match=r"c5\.c9"):
        Level.for_sandbox("s0:c1,c6", CategoryRange(5, 9))


def test_one_category_that_was_meant_is_a_level() -> None:
    assert str(Level.for_sandbox("s0:c5")) == "s0:c5"


@pytest.mark.parametrize(
    ("one", "other", "ge", "le", "conflicts", "disjoint"),
    [
        ("s0:c1,c2", "s0:c2,c1", True, True, True, False),
        ("s0:c1,c2", "s0:c1", True, False, True, False),
        ("s0:c1,c2", "s0", True, False, True, True),
        ("s0:c1", "s0:c0.c5", False, True, True, False),
        ("s0:c1,c2", "s0:c1,c3", False, False, False, False),
        ("s0:c1,c2", "s0:c3,c4", False, False, False, True),
    ],
)
def test_dominance(one: str, other: str, ge: bool, le: bool, conflicts: bool, disjoint: bool) -> None:
    a, b = Level.parse(one), Level.parse(other)
    assert (a >= b, a <= b, a.conflicts(b), a.disjoint(b)) == (ge, le, conflicts, disjoint)
    assert (a > b, a < b) == (ge and not le, le and not ge)


@given(levels)
def test_the_canonical_spelling_reads_back(level: Level) -> None:
    assert Level.parse(str(level)) == level
    assert str(Level.parse(str(level))) == str(level)


@given(st.lists(st.integers(0, 1023), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(members: list[int], random: object) -> None:
    shuffled = list(members)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    text = "s0:" + ",".join(f"c{n}" for n in shuffled + members[:1])
    assert Level.parse(text) == Level.of(members)


@given(categories, categories)
def test_dominance_is_inclusion_of_sets(a: frozenset[int], b: frozenset[int]) -> None:
    one, other = Level.of(a), Level.of(b)
    assert (one >= other) == (a >= b)
    assert (one < other) == (a < b)
    assert one.conflicts(other) == (a >= b or b >= a) == other.conflicts(one)
    assert one.disjoint(other) == a.isdisjoint(b)
    assert (one == other) == (hash(one) == hash(other) and a == b)


@pytest.mark.parametrize(
    ("context", "low", "high"),
    [
        ("system_u:system_r:init_t:s0", "s0", "s0"),
        ("unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023", "s0", "s0:c0.c1023"),
        ("system_u:system_r:svirt_t:s0:c1,c2", "s0:c1,c2", "s0:c1,c2"),
        ("user_u:user_r:user_t:s0:c1-s0:c2,c1", "s0:c1", "s0:c1,c2"),
        ("system_u:system_r:svirt_t:s3:c1,c2000", "s0:c1,c2000", "s0:c1,c2000"),
    ],
)
def test_the_range_of_an_observed_context(context: str, low: str, high: str) -> None:
    found = LevelRange.of_context(context)
    assert (found.low, found.high) == (Level.parse(low, 2001), Level.parse(high, 2001))


@pytest.mark.parametrize("context", ["", "unconfined", "a:b:c", "docker-default (enforce)"])
def test_what_has_no_level_has_none(context: str) -> None:
    with pytest.raises(LevelError):
        LevelRange.of_context(context)


@pytest.mark.parametrize("text", ["c0", "c5.c5", "c9.c1", "c0.c1024", "0.5", "c0.c5,c7", "s0:c0.c5", ""])
def test_a_range_that_is_none(text: str) -> None:
    with pytest.raises(LevelError):
        CategoryRange.parse(text)


def test_a_range() -> None:
    span = CategoryRange.parse("c100.c199")
    assert (len(span), str(span)) == (100, "c100.c199")
    assert Level.parse("s0:c100,c199") in span
    assert Level.parse("s0:c99,c199") not in span


def test_filters() -> None:
    filters = FilterModule().filters()
    assert filters["mcs_canonical"]("s0:c3,c2,c1") == "s0:c1.c3"
    assert filters["mcs_categories"]("s0:c5,c1") == [1, 5]
    fleet = {"a": "s0:c1,c2", "b": "s0:c1", "c": "s0:c3,c4", "d": "s0:c4,c3"}
    assert filters["mcs_conflicts"](fleet) == [["a", "b"], ["c", "d"]]
    with pytest.raises(AnsibleFilterError, match=r"mcs_canonical: 's9' is invalid"):
        filters["mcs_canonical"]("s9")
    with pytest.raises(AnsibleFilterError, match="a dictionary of owners"):
        filters["mcs_conflicts"](["s0:c1"])


@pytest.mark.parametrize(
    ("test", "arguments", "answer"),
    [
        ("mcs_equal", ("s0:c1,c2", "s0:c2,c1"), True),
        ("mcs_equal", ("s0:c1,c2", "s0:c1"), False),
        ("mcs_dominates", ("s0:c1,c2", "s0:c1"), True),
        ("mcs_dominates", ("s0:c1", "s0:c1,c2"), False),
        ("mcs_conflicts", ("s0:c1", "s0:c1,c2"), True),
        ("mcs_conflicts", ("s0:c1,c3", "s0:c1,c2"), False),
        ("mcs_disjoint", ("s0:c1,c3", "s0:c1,c2"), False),
        ("mcs_disjoint", ("s0:c3,c4", "s0:c1,c2"), True),
        ("mcs_sandbox_level", ("s0:c1,c2",), True),
        ("mcs_sandbox_level", ("s0:c1,c1",), False),
        ("mcs_sandbox_level", ("nonsense",), False),
    ],
)
def test_tests(test: str, arguments: tuple[str, ...], answer: bool) -> None:
    assert mcs_tests.TestModule().tests()[test](*arguments) is answer


def test_a_test_names_what_is_no_level() -> None:
    with pytest.raises(AnsibleFilterError, match=r"mcs_equal: 'c1' is invalid"):
        mcs_tests.TestModule().tests()["mcs_equal"]("s0:c1", "c1")
