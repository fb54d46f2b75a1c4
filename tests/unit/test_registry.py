# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets which level: allocation, conflicts, quarantine, and a registry that is fought over and killed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import label_run
from ansible_collections.virt.sandbox.plugins.module_utils.engine.label_run import requests_of
from ansible_collections.virt.sandbox.plugins.module_utils.engine.leftovers import leftovers
from ansible_collections.virt.sandbox.plugins.module_utils.host import level_sql, level_store, levels_in_use, libvirt
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import ConflictError, OptionError, SandboxError
from ansible_collections.virt.sandbox.plugins.module_utils.model.level_conflicts import conflicts
from ansible_collections.virt.sandbox.plugins.module_utils.model.level_request import Request
from ansible_collections.virt.sandbox.plugins.module_utils.model.level_search import separate_levels
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import CategoryRange, InUse, Level
from ansible_collections.virt.sandbox.plugins.module_utils.model.registry import Changes, LevelStep, Registry
from ansible_collections.virt.sandbox.tests.fight import fight
from hypothesis import given, settings
from hypothesis import strategies as st

Work = Callable[[Registry, Callable[[], object]], int]
Opener = Callable[..., contextlib.AbstractContextManager[Registry]]


def level(text: str) -> Level:
    return Level.parse(text)


def use(text: str, kind: str = "process", holder: str = "qemu (PID 1)") -> InUse:
    return InUse(level(text), kind, holder)


def wants(*owners: str, **exact: str) -> list[Request]:
    return [Request(owner) for owner in owners] + [Request(owner, True, level(text)) for owner, text in exact.items()]


def gone(*owners: str) -> list[Request]:
    return [Request(owner, False) for owner in owners]


@contextlib.contextmanager
def opened(url: str, size: int | None = None, span: str = "c0.c1023", create: bool = True) -> Iterator[Registry]:
    with level_store.open_store(url, create=create) as store:
        yield Registry(store, size, CategoryRange.parse(span))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/registry/labels.db"


@pytest.fixture(params=["sqlite", "yaml"])
def url(request: pytest.FixtureRequest, tmp_path: Path, sqlite_url: str) -> str:
    """A registry of each kind that needs no server."""
    return sqlite_url if request.param == "sqlite" else f"yaml:///{tmp_path}/levels.lock.yml"


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    with opened(url) as it:
        yield it


def levels(registry: Registry) -> dict[str, str]:
    return {owner: str(held) for owner, held in registry.owners().items()}


# Allocation


def test_the_smallest_free_levels_in_the_order_asked_for(registry: Registry) -> None:
    registry.apply(wants("b", "a", "c"), [])
    assert levels(registry) == {"b": "s0:c0,c1", "a": "s0:c0,c2", "c": "s0:c1,c2"}


def test_the_same_owner_has_the_same_level_always(registry: Registry) -> None:
    registry.apply(wants("a"), [])
    assert registry.apply(wants("a"), [use("s0:c0,c1")]) == []
    assert levels(registry) == {"a": "s0:c0,c1"}


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        ("s0:c0,c1", "s0:c0,c2"),
        ("s0:c0", "s0:c1,c2"),
        ("s0:c0.c5", "s0:c0,c6"),
        ("s0:c7,c8", "s0:c0,c1"),
        ("s0", "s0:c0,c1"),
        ("s0:c0.c1023", "s0:c0,c1"),
    ],
)
def test_what_is_in_use_on_the_host_is_kept_clear_of_by_dominance(registry: Registry, used: str, expected: str) -> None:
    registry.apply(wants("a"), [use(used)])
    assert levels(registry) == {"a": expected}


def test_a_level_passed_over_is_given_once_it_is_free(registry: Registry) -> None:
    registry.apply(wants("a"), [use("s0:c0.c2")])
    assert levels(registry) == {"a": "s0:c0,c3"}
    registry.apply(wants("b"), [])
    assert levels(registry)["b"] == "s0:c0,c1"


# as the collection made it when it numbered levels
NUMBERED = """
    CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE owner (name TEXT PRIMARY KEY, level TEXT NOT NULL UNIQUE, categories INTEGER NOT NULL);
    CREATE INDEX owner_categories ON owner (categories);
    CREATE TABLE quarantine (level TEXT PRIMARY KEY, owner TEXT NOT NULL);
    CREATE TABLE pool (low INTEGER PRIMARY KEY, watermark BIGINT NOT NULL);
    CREATE TABLE free (low INTEGER, number BIGINT, PRIMARY KEY (low, number));
    INSERT INTO setting VALUES ('categories', '2'), ('passed c0 s0:c0,c3.c4', '3');
    INSERT INTO owner VALUES ('a', 's0:c0,c1', 2), ('b', 's0:c1,c2', 2), ('c', 's0:c2,c4', 2);
    INSERT INTO quarantine VALUES ('s0:c2,c3', 'd');
    INSERT INTO pool VALUES (0, 9);
    INSERT INTO free VALUES (0, 1);
    PRAGMA user_version = 1;
"""


def test_a_registry_of_a_version_that_numbered_levels_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(NUMBERED)
    with opened(f"sqlite:///{path}", span="c0.c4") as registry:
        assert levels(registry) == {"a": "s0:c0,c1", "b": "s0:c1,c2", "c": "s0:c2,c4"}
        registry.apply(wants("e", "f"), [use("s0:c0,c3.c4")])
        registry.apply(wants("g", "h", "i"), [], [level("s0:c2,c3")])
        assert {name: text for name, text in levels(registry).items() if name in "efghi"} == {
            "e": "s0:c0,c2",
            "f": "s0:c1,c3",
            "g": "s0:c0,c3",
            "h": "s0:c2,c3",
            "i": "s0:c0,c4",
        }


def test_levels_of_a_host_that_was_deleted_by_hand_as_the_guide_says_are_found(sqlite_url: str) -> None:
    with opened(sqlite_url, span="c0.c2") as registry:
        registry.apply(wants("web1/a", "web1/b", "web2/a"), [])
        registry.apply(gone("web1/b"), [])
        for table, column, pattern in (("owner", "name", "web1/%"), ("quarantine", "owner", "web1/%"), ("setting", "name", "next %")):
            registry._store._database.execute(f"DELETE FROM {table} WHERE {column} LIKE '{pattern}'")  # type: ignore[attr-defined]
        assert registry.free_count() == 2
        registry.apply(wants("web2/b"), [])
        registry.apply(wants("web2/c"), [])
        assert levels(registry) == {"web2/a": "s0:c1,c2", "web2/b": "s0:c0,c1", "web2/c": "s0:c0,c2"}
        with pytest.raises(ConflictError, match="no level of 2 categories is free"):
            registry.apply(wants("web2/d"), [])


@pytest.mark.parametrize("text", ["s0:c0,c1", "s0:c1", "s0:c0.c2"])
def test_levels_passed_over_for_something_on_the_host_are_given_once_that_is_gone(registry: Registry, text: str) -> None:
    """Whether it has as many categories or not; while it is there the search does not begin anew."""
    registry.apply(wants("a", "b"), [use(text)])
    first = [one for one in pairs(5) if not one.conflicts(level(text))][:4]
    registry.apply(wants("c", "d"), [use(text)])
    assert list(registry.owners().values()) == first
    registry.apply(wants("e"), [use("s0:c5,c6")])
    assert registry.owners()["e"] == next(one for one in pairs(5) if one not in first)


def test_exact_levels_of_a_run_come_before_allocation(registry: Registry) -> None:
    registry.apply(wants("a", b="s0:c1,c0", c="s0:c0,c2,c5"), [])
    assert levels(registry) == {"a": "s0:c1,c2", "b": "s0:c0,c1", "c": "s0:c0,c2,c5"}


def test_an_exact_level_in_the_way_of_later_allocation(registry: Registry) -> None:
    registry.apply(wants(a="s0:c1,c2", big="s0:c0.c1,c9"), [])
    registry.apply(wants("b"), [])
    assert levels(registry)["b"] == "s0:c0,c2"


def test_a_full_range_is_a_clear_error_that_changes_nothing(url: str) -> None:
    with opened(url, span="c0.c3") as registry:
        registry.apply(wants(*"abcdef"), [])
        assert registry.free_count() == 0
        with pytest.raises(ConflictError, match=r"g: no level of 2 categories is free in c0.c3"):
            registry.apply([*wants("g"), *gone("a")], [])
        assert len(levels(registry)) == 6
    with opened(url, span="c0.c4") as registry:
        registry.apply(wants("g"), [])
        assert levels(registry)["g"] == "s0:c0,c4"


def test_a_range_that_something_dominates_is_refused_at_once(registry: Registry) -> None:
    registry.span = CategoryRange(0, 1022)
    with pytest.raises(ConflictError, match=r"process qemu \(PID 1\) \(s0:c0.c1022\) dominates all"):
        registry.apply(wants("a"), [use("s0:c0.c1022")])


def test_another_range_later(url: str) -> None:
    with opened(url, span="c100.c199") as registry:
        registry.apply(wants("a", "b"), [])
        assert levels(registry) == {"a": "s0:c100,c101", "b": "s0:c100,c102"}
    with opened(url, span="c101.c199") as registry:
        registry.apply(wants("c"), [])
        registry.apply(gone("b"), [])
        registry.apply(wants("d"), [], [level("s0:c100,c102")])
        assert (levels(registry)["c"], levels(registry)["d"]) == ("s0:c101,c102", "s0:c101,c103")
    with opened(url, span="c100.c199") as registry:
        registry.apply(wants("e", "f"), [])
        assert (levels(registry)["e"], levels(registry)["f"]) == ("s0:c100,c102", "s0:c100,c103")


def test_one_size_a_registry(url: str) -> None:
    with opened(url, size=3) as registry:
        registry.apply(wants("a"), [])
        assert levels(registry) == {"a": "s0:c0.c2"}
    with opened(url) as registry:
        registry.apply(wants("b"), [])
        assert levels(registry)["b"] == "s0:c0,c1,c3"
    with opened(url, size=2) as registry, pytest.raises(OptionError, match=r"category_count: 2 is invalid: expected 3"):
        registry.apply(wants("c"), [])


# Exact levels


@pytest.mark.parametrize("text", ["s0:c1,c2", "s0:c1", "s0:c1.c3", "s0:c2"])
def test_an_exact_level_in_conflict_with_an_owner_names_both(registry: Registry, text: str) -> None:
    registry.apply(wants(first="s0:c2,c1"), [])
    with pytest.raises(ConflictError, match=rf"second: level {text} is not separated from first's s0:c1,c2"):
        registry.apply(wants(second=text), [])
    assert levels(registry) == {"first": "s0:c1,c2"}


def test_an_exact_level_in_conflict_within_the_run(registry: Registry) -> None:
    with pytest.raises(ConflictError, match="b: level s0:c1 is not separated from a's"):
        registry.apply(wants(a="s0:c1,c2", b="s0:c1"), [])
    assert levels(registry) == {}


@pytest.mark.parametrize("kind", ["process", "domain", "machine", "container", "content", "spec"])
def test_an_exact_level_in_use_by_something_else(registry: Registry, kind: str) -> None:
    with pytest.raises(ConflictError, match=rf"a: level s0:c1,c2 is in use on this host by {kind} other \(s0:c1\)"):
        registry.apply(wants(a="s0:c1,c2"), [use("s0:c1", kind, "other")])


@pytest.mark.parametrize(
    ("kind", "own"),
    [("process", True), ("domain", True), ("content", True), ("spec", True), ("machine", False), ("container", False)],
)
def test_only_what_is_a_sandboxes_own_does_not_stand_in_its_way(registry: Registry, kind: str, own: bool) -> None:
    in_use = [use("s0:c1,c2", kind, "a")]
    with contextlib.nullcontext() if own else pytest.raises(ConflictError):
        registry.apply(wants(a="s0:c1,c2"), in_use)
    with pytest.raises(ConflictError):
        registry.apply(wants(b="s0:c1,c2"), in_use)


def test_changing_an_exact_level_sends_the_old_one_into_quarantine(registry: Registry) -> None:
    registry.apply(wants(a="s0:c1,c2"), [])
    (step,) = registry.apply(wants(a="s0:c3,c4"), [])
    assert (step.action, str(step.before), str(step.after)) == ("assign", "s0:c1,c2", "s0:c3,c4")
    assert registry.quarantine() == {level("s0:c1,c2"): "a"}
    assert registry.apply(wants(a="s0:c3,c4"), []) == []


def test_two_owners_cannot_trade_levels_in_one_run(registry: Registry) -> None:
    registry.apply(wants(a="s0:c1,c2", b="s0:c3,c4"), [])
    with pytest.raises(ConflictError):
        registry.apply(wants(a="s0:c3,c4", b="s0:c1,c2"), [])
    assert levels(registry) == {"a": "s0:c1,c2", "b": "s0:c3,c4"}


def test_the_level_that_the_spec_on_the_host_declares_is_taken_up_again(registry: Registry) -> None:
    spec = use("s0:c8,c9", "spec", "a")
    registry.apply(wants("b", "a"), [spec])
    assert levels(registry) == {"a": "s0:c8,c9", "b": "s0:c0,c1"}


@pytest.mark.parametrize(("text", "expected"), [("s0:c8,c9", "s0:c8,c9"), ("s0:c5,c6", "s0:c0,c1"), ("s0:c7", "s0:c0,c1")])
def test_the_level_of_its_own_content_is_taken_up_unless_it_is_in_anothers_way(registry: Registry, text: str, expected: str) -> None:
    """As where another registry gave it, which nobody asks any more, and no spec says so yet."""
    registry.apply(wants(other="s0:c5,c6"), [])
    in_use = [use(text, "content", "a"), use("s0:c7,c9", "machine", "vm")]
    registry.apply(wants("a"), in_use)
    assert levels(registry)["a"] == expected


# Quarantine


def test_threat_15_a_released_level_rests_until_nothing_carries_it(registry: Registry) -> None:
    first = level("s0:c0,c1")
    registry.apply(wants("a"), [])
    registry.apply(gone("a"), [])
    assert registry.quarantine() == {first: "a"}
    registry.apply(wants("not-searched"), [])
    registry.apply(wants("carried"), [use("s0:c0,c1", "file", "/srv/x")], [first])
    assert registry.quarantine() == {first: "a"}
    steps = registry.apply(wants("b"), [], [first])
    assert [(step.owner, step.action) for step in steps] == [("a", "free"), ("b", "allocate")]
    assert levels(registry) == {"not-searched": "s0:c0,c2", "carried": "s0:c1,c2", "b": "s0:c0,c1"}
    assert registry.quarantine() == {}


def test_a_run_that_changes_nothing_frees_nothing(registry: Registry) -> None:
    registry.apply(wants("a", "b"), [])
    registry.apply(gone("a"), [])
    assert registry.to_search(wants("b")) == set()
    assert registry.to_search(wants("c")) == {level("s0:c0,c1")}
    assert registry.apply(wants("b"), [], [level("s0:c0,c1")]) == []
    assert registry.apply(gone("a"), []) == []


def test_what_is_released_in_a_run_is_not_given_away_in_it(registry: Registry) -> None:
    registry.apply(wants("a"), [])
    registry.apply([*gone("a"), *wants("b")], [], [level("s0:c0,c1")])
    assert levels(registry) == {"b": "s0:c0,c2"}
    with pytest.raises(ConflictError, match=r"conflicts with b's released s0:c0,c2"):
        registry.apply([*gone("b"), *wants(c="s0:c0,c2")], [], [level("s0:c0,c2")])


def test_an_owner_has_its_released_level_back(registry: Registry) -> None:
    registry.apply(wants("a", "b"), [])
    registry.apply(gone("a", "b"), [])
    registry.apply(wants("b"), [use("s0:c0,c2", "file", "/srv/left")])
    assert levels(registry) == {"b": "s0:c0,c2"}
    registry.apply(wants("a"), [use("s0:c0,c1", "machine", "vm")])
    assert levels(registry)["a"] == "s0:c1,c2"


@pytest.mark.parametrize("text", ["s0:c0,c1", "s0:c0", "s0:c0.c4"])
def test_an_exact_level_waits_for_quarantine_too(registry: Registry, text: str) -> None:
    old = level("s0:c0,c1")
    registry.apply(wants("a"), [])
    registry.apply(gone("a"), [])
    with pytest.raises(ConflictError, match=r"conflicts with a's released s0:c0,c1"):
        registry.apply(wants(b=text), [])
    # What is left is the other's own, and yet not b's to have.
    with pytest.raises(ConflictError, match=r"s0:c0,c1"):
        registry.apply(wants(b=text), [use("s0:c0,c1", "content", "a")], [old])
    registry.apply(wants(b=text), [], [old])
    assert levels(registry) == {"b": text}


def test_an_allocated_level_keeps_clear_of_quarantined_ones_of_other_sizes(registry: Registry) -> None:
    registry.apply(wants(a="s0:c0.c5"), [])
    registry.apply(gone("a"), [])
    registry.apply(wants("b"), [])
    assert levels(registry) == {"b": "s0:c0,c6"}


# Check mode


EVENTS = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"),
        st.one_of(
            st.none(),
            st.just("absent"),
            st.frozensets(st.integers(0, 5), min_size=1, max_size=3).map(lambda c: str(Level.of(c))),
        ),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda event: event[0],
)
USES = st.lists(
    st.tuples(
        st.frozensets(st.integers(0, 6), min_size=1, max_size=6).map(Level.of),
        st.sampled_from(["process", "machine", "content", "spec"]),
        st.sampled_from("abxy"),
    ).map(lambda fields: InUse(*fields)),
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(EVENTS, USES, st.booleans()), max_size=6))
def test_whatever_happens_levels_are_an_antichain_and_check_mode_foresees_it(
    runs: list[tuple[list[tuple[str, str | None]], list[InUse], bool]],
) -> None:
    with level_store.open_store("sqlite:////nowhere", create=False) as store:
        keep = contextlib.nullcontext()
        store.transaction = lambda write: keep  # type: ignore[method-assign]
        store._database.execute("BEGIN")  # type: ignore[attr-defined]
        store._check_schema()  # type: ignore[attr-defined]
        registry = Registry(store, 2, CategoryRange(0, 5))
        for events, in_use, search in runs:
            requests = [Request(owner, what != "absent", level(what) if what not in (None, "absent") else None) for owner, what in events]
            searched = registry.to_search(requests) if search else set()
            before = registry.owners(), registry.quarantine()
            foreseen = outcome(registry.plan, requests, in_use, searched)
            assert outcome(registry.apply, requests, in_use, searched) == foreseen
            if isinstance(foreseen, str):
                assert (registry.owners(), registry.quarantine()) == before
                continue
            check(registry, requests, before[0], in_use)
            assert registry.plan(requests, in_use, searched) == []
        check_none_is_lost(registry)


def outcome(decide: Callable[..., list[LevelStep]], *arguments: object) -> list[LevelStep] | str:
    try:
        return decide(*arguments)
    except ConflictError as error:
        return str(error)


def check(registry: Registry, requests: list[Request], before: dict[str, Level], in_use: list[InUse]) -> None:
    owners = registry.owners()
    held = sorted(owners.items())
    for n, (owner, mine) in enumerate(held):
        assert not any(mine.conflicts(theirs) for _other, theirs in held[n + 1 :])
        if before.get(owner) != mine:
            assert not any(u.level.conflicts(mine) and not u.belongs_to(owner) for u in in_use)
            assert not any(old.conflicts(mine) for old, former in registry.quarantine().items() if former != owner)
    for request in requests:
        assert (request.owner in owners) == request.present
        if request.level is not None and request.present:
            assert owners[request.owner] == request.level
    assert not set(registry.quarantine()) & set(owners.values())


def check_none_is_lost(registry: Registry) -> None:
    """Whatever was in the way is gone: then all that is separate from what is owned and what rests can be given away."""
    taken = [*registry.owners().values(), *registry.quarantine()]
    free = [pair for pair in pairs(5) if not any(pair.conflicts(one) for one in taken)]
    for part in (free[::2], free[1::2]):
        registry.apply(wants(*(f"rest{pair}" for pair in part)), [])
    assert set(registry.owners().values()) >= set(free)
    with pytest.raises(ConflictError):
        registry.apply(wants("one-more"), [])


def pairs(highest: int) -> list[Level]:
    return [Level.of([low, high]) for high in range(highest + 1) for low in range(high)]


SETS = st.frozensets(st.integers(1, 8), min_size=1, max_size=8).map(Level.of)


@given(st.integers(1, 4), st.integers(0, 3), st.lists(SETS, max_size=4), st.integers(0, 60))
def test_the_search_leaves_out_what_conflicts_and_nothing_else(size: int, low: int, holders: list[Level], skipped: int) -> None:
    span, beside = CategoryRange(low, 7), set[Level]()
    every = sorted((Level.of(one) for one in itertools.combinations(range(low, 8), size)), key=lambda one: one.mask)[skipped:]
    start = every[0] if skipped and every else Level()
    found = list(separate_levels(size, span, holders, start, beside)) if every else []
    assert found == [one for one in every if not any(one.conflicts(holder) for holder in holders)]
    # each of those left out will be looked for again when what it was left out for is gone
    for one in set(every) - set(found):
        assert any(one.conflicts(holder) for holder in beside)
    assert beside <= set(holders)


def test_check_mode_creates_nothing(tmp_path: Path, url: str) -> None:
    with opened(url, create=False) as registry:
        (step,) = registry.plan(wants("a"), [])
        assert str(step.after) == "s0:c0,c1"
        assert registry.owners() == {}
    assert list(tmp_path.iterdir()) == []


def test_check_mode_leaves_the_file_as_it_is(tmp_path: Path, sqlite_url: str) -> None:
    with opened(sqlite_url) as registry:
        registry.apply(wants("a"), [])
    file = tmp_path / "registry/labels.db"
    before = file.read_bytes(), file.stat().st_mtime_ns
    with opened(sqlite_url, create=False) as registry:
        assert [str(step.after) for step in registry.plan(wants("b"), [])] == ["s0:c0,c2"]
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before
    assert [path.name for path in file.parent.iterdir()] == ["labels.db"]


# The store


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:////var/lib/virt-sandbox/labels.db", "/var/lib/virt-sandbox/labels.db"),
        ("sqlite:///var/lib/labels.db", "/var/lib/labels.db"),
    ],
)
def test_the_path_of_a_url(text: str, path: str) -> None:
    assert level_store.store_path(text) == path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("postgresql://levels:secret@db.example.org/levels", "without a password"),
        ("postgresql://db.example.org/levels?password=secret", "without a password"),
        ("yaml://host/levels.lock.yml", "expected the URL of a file"),
        ("yaml:////nowhere/at/all/levels.lock.yml", "a directory that exists"),
        ("/var/lib/labels.db", "expected the URL of a file"),
        ("sqlite://host/path", "expected the URL of a file"),
        ("sqlite:///", "expected the URL of a file"),
        ("sqlite:///x?mode=ro", "expected the URL of a file"),
        ("", "expected the URL of a file"),
        ("sqlite:////nowhere/at/all/labels.db", "a file that can be opened"),
    ],
)
def test_a_url_that_is_no_registry(text: str, says: str) -> None:
    with pytest.raises(OptionError, match=rf"registry: .*{says}"), level_store.open_store(text, create=True):
        pass


@pytest.mark.parametrize("url", ["sqlite:///{}/link/labels.db", "sqlite:///{}/file/labels.db", "yaml:///{}/link/labels.yml"])
def test_a_directory_that_cannot_be_is_an_error(tmp_path: Path, url: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match=r"registry: .*(a file that can be opened|a directory that exists)"), opened(url.format(tmp_path)):
        pass


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(("place", "mode"), [("", 0o777), ("", 0o1777), ("labels.db", 0o666)])
def test_a_file_that_others_can_change_or_replace_is_refused(tmp_path: Path, sqlite_url: str, place: str, mode: int, create: bool) -> None:
    with opened(sqlite_url) as registry:
        registry.apply(wants("a"), [])
    (tmp_path / "link").symlink_to("registry")
    (tmp_path / "registry" / place).chmod(mode)
    for url in (sqlite_url, f"sqlite:///{tmp_path}/link/labels.db"):
        with pytest.raises(OptionError, match="a file that only root may change or replace"), opened(url, create=create):
            pass


def test_a_file_of_another_user_is_refused(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(sqlite_url) as registry:
        registry.apply(wants("a"), [])
    # as it is to root where the file is another's; root's own is never another's
    path, user = level_store.store_path(sqlite_url), os.geteuid()
    if user == 0:
        os.chown(path, 1000, 1000)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(OptionError, match="Correct the owner or the permissions"), opened(sqlite_url):
        pass


@pytest.mark.parametrize("size", [0, 1, 50, 100, 4096, 10000])
def test_a_file_that_was_truncated_is_refused_and_its_log_kept(sqlite_url: str, size: int) -> None:
    path = Path(level_store.store_path(sqlite_url))
    with opened(sqlite_url) as registry:
        registry.apply(wants("a"), [])
        log = path.with_name("labels.db-wal").read_bytes()
    os.truncate(path, size)
    path.with_name("labels.db-wal").write_bytes(log if size == 0 else b"")
    for create in (False, True):
        with pytest.raises(SandboxError, match=r"It was truncated|malformed"), opened(sqlite_url, create=create) as registry:
            registry.apply(wants("b"), [])
    assert size > 0 or path.with_name("labels.db-wal").read_bytes() == log


def test_what_a_killed_run_had_committed_is_there(sqlite_url: str) -> None:
    with opened(sqlite_url) as registry:
        registry.apply(wants("a"), [])
    pid = os.fork()
    if pid == 0:
        with opened(sqlite_url) as registry:
            registry.apply(wants("b"), [])
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    with opened(sqlite_url, create=False) as registry:
        assert levels(registry) == {"a": "s0:c0,c1", "b": "s0:c0,c2"}


def test_an_owner_that_cannot_be_shown_is_refused(registry: Registry) -> None:
    with pytest.raises(SandboxError, match=r"'a\\x1b\[2J' is not an? (?:owner|text)"):
        registry.apply([Request("a\x1b[2J")], [])
    assert registry.owners() == {}


def test_the_file_is_for_root_alone(tmp_path: Path, sqlite_url: str) -> None:
    old = os.umask(0)
    try:
        with opened(sqlite_url) as registry:
            registry.apply(wants("a"), [])
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in [tmp_path / "registry", *tmp_path.glob("*/*")]}
    finally:
        os.umask(old)
    assert modes.pop("registry") == 0o711
    assert set(modes.values()) == {0o600}


def test_what_is_no_registry_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE mine (x)")
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"not a database, and long enough to be told from one" * 100)
    newer = tmp_path / "newer.db"
    with opened(f"sqlite:///{newer}") as registry:
        registry.apply(wants("a"), [])
    with contextlib.closing(sqlite3.connect(newer)) as database:
        database.execute("PRAGMA user_version = 99")
    for path, says in ((other, "format 0"), (garbage, "not a database"), (newer, "format 99")):
        with pytest.raises(SandboxError, match=says), opened(f"sqlite:///{path}") as registry:
            registry.apply(wants("b"), [])


def test_an_empty_file_from_a_killed_run_is_an_empty_registry(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
    before = path.read_bytes()
    with opened(f"sqlite:///{path}", create=False) as registry:
        assert registry.owners() == {}
    assert path.read_bytes() == before != b""
    for create in (False, True):
        with opened(f"sqlite:///{path}", create=create) as registry:
            assert len(registry.plan(wants("a"), [])) == 1


def test_the_database_refuses_two_owners_of_one_level(sqlite_url: str) -> None:
    with opened(sqlite_url) as registry:
        registry.apply(wants("a"), [])
        store = registry._store
        with pytest.raises(sqlite3.IntegrityError), store.transaction(write=True):
            store.write(Changes(owners={"b": level("s0:c0,c1")}))
        assert levels(registry) == {"a": "s0:c0,c1"}


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE setting SET value = 'x'", "the setting categories has 'x' for a number"),
        ("UPDATE setting SET value = '0'", "the setting categories has '0'"),
        ("UPDATE setting SET value = '99'", "the setting categories has '99'"),
        ("UPDATE setting SET value = x'02'", r"the setting categories has b'\\x02'"),
        ("UPDATE setting SET value = 's0:c1,c0' WHERE name = 'next c0'", "the setting next c0 has 's0:c1,c0' for a level"),
        ("UPDATE setting SET value = 's0:c0,c1 ' WHERE name = 'next c0'", "the setting next c0 has '' for a level"),
        ("UPDATE setting SET value = 's0:c0,c1 s0:c0,c1' WHERE name = 'next c0'", "the setting next c0 has .* for three levels or more"),
        ("UPDATE setting SET value = x'00' WHERE name = 'next c0'", "the setting next c0 has"),
        ("INSERT INTO setting VALUES ('next c1024', 's0:c1')", "the setting next c1024 has '1024' for a number"),
        ("INSERT INTO setting VALUES ('next cx', 's0:c1')", "the setting next cx has 'x' for a number"),
        ("INSERT INTO owner VALUES ('b', 's0:c2,c1', 2)", "b has 's0:c2,c1' for a level, which is written s0:c1,c2"),
        ("INSERT INTO owner VALUES ('b', 's0:c1', 2)", "the owner b has 2 for the number of categories of s0:c1"),
        ("INSERT INTO owner VALUES ('b', 's0', 0)", "b has 's0' for a level: expected"),
        ("INSERT INTO owner VALUES ('b', x'7330', 2)", "b has b's0' for a level"),
        ("INSERT INTO owner VALUES ('b', 's0:c1,c1024', 2)", "categories of the policy"),
        ("INSERT INTO owner VALUES (x'00', 's0:c1,c2', 2)", r"b'\\x00' is not an owner"),
        ("INSERT INTO owner VALUES (char(27) || '[2J', 's0:c1,c2', 2)", r"'\\x1b\[2J' is not an owner"),
        ("INSERT INTO quarantine VALUES ('s0:c2,c1', 'b')", "b in quarantine has 's0:c2,c1' for a level, which is written s0:c1,c2"),
        ("INSERT INTO quarantine VALUES ('s0:c1,c2', x'00')", "is not an owner"),
        ("DROP TABLE owner", "no such table"),
    ],
)
def test_a_row_that_says_what_cannot_be_is_named_and_nothing_is_decided(
    sqlite_url: str, statement: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_run, "require_root", lambda: None)
    monkeypatch.setattr(label_run, "observe", lambda search: [])
    parameters = {"registry": sqlite_url, "category_range": "c0.c9"}
    label_run.run_label({**parameters, "name": "a"}, False)
    with contextlib.closing(sqlite3.connect(level_store.store_path(sqlite_url))) as database:
        database.execute(statement)
        database.commit()
        before = list(database.iterdump())
    exact = [{"name": "c", "level": "s0:c1,c2"}] if "INTO owner" in statement else []
    for wanted in [{"name": "c"}, *exact]:
        with pytest.raises(SandboxError, match=f"registry .*labels.db: .*{says}"):
            label_run.run_label({**parameters, **wanted}, False)
    with contextlib.closing(sqlite3.connect(level_store.store_path(sqlite_url))) as database:
        assert list(database.iterdump()) == before


def test_a_registry_held_by_another_says_so(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(level_sql, "BUSY_SECONDS", 0.05)
    says = pytest.raises(SandboxError, match=r"locked\. Another run held it")
    with opened(sqlite_url) as holder, holder._store.transaction(write=True), says, opened(sqlite_url) as registry:
        registry.apply(wants("a"), [])


@pytest.fixture
def work() -> Iterator[Work]:
    """How much a call does, in SQLite's statements and calls of functions: that does not depend on how busy the machine is."""

    def measured(registry: Registry, call: Callable[[], object]) -> int:
        done = 0

        def count(*_event: object) -> int:
            nonlocal done
            done += 1
            return 0

        registry._store._database.set_progress_handler(count, 10)  # type: ignore[attr-defined]
        sys.setprofile(count)
        try:
            call()
        finally:
            sys.setprofile(None)
        return done

    yield measured
    sys.setprofile(None)


HOLDERS = {
    "none": [],
    "all but one category": ["s0:c0.c198"],
    "half of them": ["s0:c0.c99"],
    "all but some": ["s0:c0.c9,c11.c150,c152.c198", "s0:c3,c5.c180"],
    "every other": ["s0:" + ",".join(f"c{n}" for n in range(0, 200, 2))],
    "single ones": [f"s0:c{n}" for n in range(0, 200, 20)],
}


@pytest.mark.parametrize("holders", HOLDERS.values(), ids=HOLDERS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_the_time_of_an_allocation_does_not_grow(tmp_path: Path, work: Work, share: float, holders: list[str]) -> None:
    in_use = [use(text, "container", text) for text in holders]
    with opened(f"sqlite:///{tmp_path}/labels.db", span="c0.c199") as registry:
        free = [pair for pair in pairs(199) if not any(pair.conflicts(one.level) for one in in_use)]
        registry.apply([Request(f"o{n}") for n in range(min(int(share * len(free)), len(free) - 2))], in_use)
        assert work(registry, lambda: registry.plan(wants("planned"), in_use)) < 10000
        for name in ("one-more", "and-another"):
            assert work(registry, lambda name=name: registry.apply(wants(name), in_use)) < 10000  # type: ignore[misc]
        for name in ("later", "after-that"):
            assert work(registry, lambda name=name: registry.apply(wants(name), [])) < 10000  # type: ignore[misc]
        assert set(registry.owners().values()) <= set(pairs(199))


@pytest.mark.parametrize("returned", [["o30"], ["o30", "o2000", "o19800"], ["o19898"]])
def test_what_comes_after_returned_levels_is_found_at_once(tmp_path: Path, work: Work, returned: list[str]) -> None:
    with opened(f"sqlite:///{tmp_path}/labels.db", span="c0.c199") as registry:
        registry.apply([Request(f"o{n}") for n in range(19899)], [])
        back = [registry.owners()[owner] for owner in returned]
        registry.apply(gone(*returned), [])
        registry.apply(wants("more"), [], back)
        assert registry.owners()["more"] == back[0]
        for count, expected in enumerate([*back[1:], level("s0:c198,c199")]):
            assert len(back) > 1 or work(registry, lambda count=count: registry.apply(wants(f"x{count}"), [])) < 10000  # type: ignore[misc]
            registry.apply(wants(f"x{count}"), [])
            assert registry.owners()[f"x{count}"] == expected


# Many at once, some of them killed


def test_sixty_four_processes_at_once_some_killed_in_mid_transaction(tmp_path: Path, url: str) -> None:
    fight(url)
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(tmp_path / "registry/labels.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    else:
        assert os.listdir(tmp_path) == ["levels.lock.yml"], "a run that was killed has left its new file, and no other removed it"


# Requests


def test_requests_of_both_forms() -> None:
    assert requests_of({"name": "a", "state": "present", "level": "s0:c2,c1"}) == [Request("a", True, level("s0:c1,c2"))]
    many = {"sandboxes": [{"name": "a", "level": None}, {"name": "b", "state": "absent"}]}
    assert requests_of(many) == [Request("a"), Request("b", False)]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"name": "../x"}, "name: '../x' is invalid: expected 1 to 50 lower-case"),
        ({"name": "-f"}, "name: '-f' is invalid"),
        ({"name": "a\n"}, "name: .* is invalid"),
        ({"name": "a", "level": "s0:c1,c1"}, "level: 's0:c1,c1' is invalid: expected different categories"),
        ({"sandboxes": [{"name": "a"}, {"name": "b", "level": "s9"}]}, "b: level: 's9' is invalid"),
        ({"sandboxes": [{"name": "a"}], "level": "s0:c1"}, "level: 's0:c1' is invalid: expected no level beside sandboxes. Set it"),
        ({"sandboxes": [{"name": "a"}, {"name": "a"}]}, "sandboxes: sandbox a is listed more than once"),
    ],
)
def test_a_request_that_is_refused(parameters: dict[str, object], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        requests_of(parameters)


# What is in use on the host


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host's files with one user of a level of each kind."""
    root = tmp_path / "host"

    def file(path: str, text: str) -> None:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def process(pid: int, context: str, comm: str, cgroup: str = "/system.slice/x.service") -> None:
        file(f"proc/{pid}/attr/current", context + "\0")
        file(f"proc/{pid}/comm", comm + "\n")
        file(f"proc/{pid}/cgroup", f"0::{cgroup}\n")

    process(1, "system_u:system_r:init_t:s0", "systemd")
    process(2, "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023", "bash")
    process(3, "system_u:system_r:svirt_t:s0:c2,c1", "qemu\n\x1b[2J")
    process(4, "user_u:user_r:user_t:s0-s0:c3,c4", "sh")
    lxc = "/machine.slice/machine-web\\x2d1.slice/machine-lxc\\x2d5\\x2dweb\\x2d1.scope"
    podman = "/machine.slice/libpod-1.scope"
    process(5, "system_u:system_r:virt_sandbox_t:s0:c5,c6", "apache2", f"{lxc}{podman}{lxc}/x")
    process(6, "system_u:system_r:container_t:s0:c7,c8", "nginx", podman + lxc)
    today = "/machine.slice/machine-virt_sandbox.slice/machine-virt_sandbox-db\\x2d1.slice/machine-lxc\\x2d6\\x2ddb\\x2d1.scope"
    process(9, "system_u:system_r:virt_sandbox_t:s0:c24,c25", "mariadbd", today)
    process(7, "unconfined", "dash")
    (root / "proc/8").mkdir()
    (root / "proc/self").mkdir()
    storage = "var/lib/containers/storage/overlay-containers"
    oci = {"linux": {"mountLabel": "system_u:object_r:container_file_t:s0:c11,c12"}, "process": {"selinuxLabel": ""}}
    file(f"{storage}/abc/userdata/config.json", json.dumps(oci))
    stored = [{"id": "abc", "names": ["pod"], "flags": {"ProcessLabel": "system_u:system_r:container_t:s0:c13,c14"}}]
    file(f"{storage}/containers.json", json.dumps(stored))
    docker = {"MountLabel": "a_u:b_r:c_t:s0:c15,c16", "ProcessLabel": "a_u:b_r:c_t:s0:c15,c16"}
    file("var/lib/docker/containers/def/config.v2.json", json.dumps(docker))
    file("var/lib/lxc/old/config", "lxc.selinux.context = system_u:system_r:lxc_t:s0:c17.c19\n")
    incus = "container:\n  config:\n    raw.lxc: lxc.selinux.context = system_u:system_r:container_t:s0:c22,c23\n"
    file("var/lib/incus/storage-pools/default/containers/box/backup.yaml", incus)
    file("etc/libvirt-sandbox/services/declared.sandbox", json.dumps({"format": 1, "sandbox": {"level": "s0:c20,c21"}}))
    file("var/lib/virt-sandbox/content/elsewhere.json", json.dumps({"path": "/srv/elsewhere"}))
    # it names no level, so it keeps nobody from having one
    file("var/lib/virt-sandbox/content/elsewhere.copied.json", "[1, 2")
    for name in ("var/lib/libvirt/filesystems/web-1", "var/lib/libvirt/filesystems/.new-one.new", "srv/elsewhere"):
        (root / name).mkdir(parents=True)
    return root


def test_all_that_carries_a_level_is_observed(host: Path) -> None:
    contexts = {
        "web-1": "system_u:object_r:virt_sandbox_file_t:s0:c30,c31",
        "elsewhere": "a:b:c:s0:c32,c33",
        ".new-one.new": "a:b:c:s0:c34",
    }
    domains = {
        "lxc:///system": {"web-1": {"system_u:system_r:virt_sandbox_t:s0:c5,c6"}},
        "qemu:///system": {"vm": {"system_u:system_r:svirt_t:s0:c40,c41", "+0:+0"}},
    }
    found = levels_in_use.observe(str(host), domains.__getitem__, lambda path: contexts.get(Path(path).name))
    assert {(str(u.level), u.kind, u.holder) for u in found} == {
        ("s0:c1,c2", "process", r"qemu\n\x1b[2J (PID 3)"),
        ("s0:c3,c4", "process", "sh (PID 4)"),
        ("s0:c5,c6", "process", "web-1"),
        ("s0:c7,c8", "process", "nginx (PID 6)"),
        ("s0:c24,c25", "process", "db-1"),
        ("s0:c11,c12", "container", "abc"),
        ("s0:c13,c14", "container", "pod"),
        ("s0:c15,c16", "container", "def"),
        ("s0:c17.c19", "container", "old"),
        ("s0:c22,c23", "container", "box"),
        ("s0:c20,c21", "spec", "declared"),
        ("s0:c30,c31", "content", "web-1"),
        ("s0:c32,c33", "content", "elsewhere"),
        ("s0:c34", "content", "new-one"),
        ("s0:c5,c6", "domain", "web-1"),
        ("s0:c40,c41", "machine", "vm"),
    }
    assert levels_in_use.declared(str(host)) == {"declared", "elsewhere", "web-1", "new-one"}


CONTEXT = "system_u:system_r:container_t:"
TEXT = f"HINT={CONTEXT}s0:c0.c1022"
IMAGE = {"Config": {"Env": [TEXT], "Labels": {"x": TEXT}, "SecurityOpt": [f"label=level:{TEXT}"]}, "Args": [TEXT]}
CONFIGURATIONS = {
    "podman": (
        "var/lib/containers/storage/overlay-containers/volatile-containers.json",
        json.dumps([{"id": "x", "metadata": TEXT, "flags": {"MountLabel": f"{CONTEXT}s0:c1,c2"}}, {"id": "y", "flags": None}]),
    ),
    "oci": (
        "var/lib/containers/storage/overlay-containers/x/userdata/config.json",
        json.dumps({"process": {"env": [TEXT], "selinuxLabel": f"{CONTEXT}s0:c1,c2"}, "linux": None, "annotations": {"a": TEXT}}),
    ),
    "docker": ("var/lib/docker/containers/x/config.v2.json", json.dumps({**IMAGE, "ProcessLabel": f"{CONTEXT}s0:c1,c2"})),
    "docker, before its start": (
        "var/lib/docker/containers/x/hostconfig.json",
        json.dumps({"Binds": [TEXT], "SecurityOpt": ["seccomp=unconfined", "label=type:t", "label=level:s0:c1,c2"]}),
    ),
    "incus": (
        "var/lib/incus/storage-pools/default/containers/x/backup.yaml",
        json.dumps(
            {
                "container": {
                    "config": {
                        "image.description": f"x\nlxc.selinux.context = {TEXT}",
                        "raw.lxc": f"lxc.cap.drop =\nlxc.selinux.context = {CONTEXT}s0:c1,c2\n",
                    }
                }
            }
        ),
    ),
    "lxc": ("var/lib/lxc/x/config", f"lxc.environment = {TEXT}\n#lxc.selinux.context = {TEXT}\nlxc.selinux.context={CONTEXT}s0:c1,c2\n"),
}


def of_containers(root: Path, path: str, text: str) -> list[tuple[str, str]]:
    (root / path).parent.mkdir(parents=True)
    (root / path).write_text(text)
    return [(str(found.level), found.holder) for found in levels_in_use.observe(str(root), lambda uri: {}, lambda path: None)]


@pytest.mark.parametrize(("path", "text"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_only_the_fields_that_are_labels_count_of_a_containers_configuration(tmp_path: Path, path: str, text: str) -> None:
    assert of_containers(tmp_path, path, text) == [("s0:c1,c2", "x")]


@pytest.mark.parametrize("path", [path for path, _text in CONFIGURATIONS.values() if not path.startswith("var/lib/lxc")])
@pytest.mark.parametrize("text", ["[{", "[" * 3000, "[5, "])
def test_of_a_configuration_in_another_form_every_context_counts(tmp_path: Path, path: str, text: str) -> None:
    assert [level for level, _holder in of_containers(tmp_path, path, f"{text} '{CONTEXT}s0:c1,c2'")] == ["s0:c1,c2"]


def test_of_a_configuration_in_yaml_every_context_counts_where_nothing_reads_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert {level for level, _holder in of_containers(tmp_path, *CONFIGURATIONS["incus"])} == {"s0:c1,c2", "s0:c0.c1022"}


@pytest.mark.parametrize(
    ("label", "levels"),
    [
        ("s0:c0.c1023", {"s0:c0.c1023"}),
        ("s0-s0:c0.c1023", {"s0:c0.c1023"}),
        ("s0:c1-s0:c1,c5", {"s0:c1", "s0:c1,c5"}),
        ("s0:c1024", set()),
        ("s0:c0.c999999", set()),
        ("SystemHigh", set()),
    ],
)
def test_the_levels_of_a_label_of_a_container(tmp_path: Path, label: str, levels: set[str]) -> None:
    configuration = json.dumps({"ProcessLabel": CONTEXT + label})
    assert {level for level, _holder in of_containers(tmp_path, "var/lib/docker/containers/x/config.v2.json", configuration)} == levels


def test_a_container_at_all_categories_is_named_and_keeps_nobody_from_a_level(run: Callable[..., dict[str, object]]) -> None:
    result = run([use("s0:c0.c1023", "container", "x")], name="a")
    assert (result["level"], result["warnings"]) == ("s0:c0,c1", ["a (s0:c0,c1) is not separated from container x (s0:c0.c1023)"])


def test_a_spec_that_cannot_be_read_is_an_error(host: Path) -> None:
    (host / "etc/libvirt-sandbox/services/broken.sandbox").write_text("{")
    with pytest.raises(SandboxError, match=r"broken.sandbox: cannot be read"):
        levels_in_use.observe(str(host), lambda uri: {}, lambda path: None)


def test_an_empty_host_uses_nothing(tmp_path: Path) -> None:
    assert levels_in_use.observe(str(tmp_path), lambda uri: {}) == []


def test_the_labels_in_the_xml_of_a_domain() -> None:
    xml = """<domain type='kvm'>
      <devices><disk><source><seclabel model='selinux'><label>a:b:c:s0:c1</label></seclabel></source></disk></devices>
      <seclabel type='dynamic' model='selinux'><label>a:b:c:s0:c2,c3</label>
      <imagelabel>a:b:d:s0:c2,c3</imagelabel></seclabel>
      <seclabel type='dynamic' model='dac'><label>+64055:+64055</label></seclabel></domain>"""
    assert libvirt.labels_of(xml) == {"a:b:c:s0:c1", "a:b:c:s0:c2,c3", "a:b:d:s0:c2,c3"}


@pytest.mark.parametrize(
    ("installed", "uri", "answer"),
    [
        ([], "lxc:///system", False),
        (["libvirtd"], "lxc:///system", True),
        (["virtlxcd"], "lxc:///system", True),
        (["virtlxcd"], "qemu:///system", False),
    ],
)
def test_which_daemon_serves(tmp_path: Path, installed: list[str], uri: str, answer: bool) -> None:
    for name in installed:
        (tmp_path / name).touch()
    assert libvirt.serves(uri, str(tmp_path)) is answer


def test_libvirt_without_its_binding_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    monkeypatch.setattr(libvirt, "serves", lambda uri: True)
    with pytest.raises(SandboxError, match="No Python on this host has the module libvirt"):
        libvirt.domain_labels("lxc:///system")


# What a released level left behind


@pytest.fixture
def labelled(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Contexts by the name of the entry, in place of the attribute that only root can set."""
    contexts: dict[str, str] = {}

    def getxattr(target: int | str, attribute: str, *, follow_symlinks: bool = True) -> bytes:
        name = Path(os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else target).name
        if name not in contexts:
            raise OSError
        return contexts[name].encode() + b"\0"

    monkeypatch.setattr(os, "getxattr", getxattr)
    return contexts


def test_an_entry_deep_in_a_tree_that_still_carries_a_level(tmp_path: Path, labelled: dict[str, str]) -> None:
    deep = tmp_path / "top/a/b"
    deep.mkdir(parents=True)
    (deep / "left").symlink_to("/etc/passwd")
    (tmp_path / "top/plain").touch()
    labelled.update({"left": "u:object_r:t:s0:c1,c2", "b": "u:object_r:t:s0:c3", "plain": "u:object_r:t:s0"})
    sought = [level("s0:c1,c2"), level("s0:c3"), level("s0:c4,c5")]
    before = os.getcwd()
    found = leftovers(sought, [str(tmp_path / "top"), str(tmp_path / "gone"), str(tmp_path / "top/plain")])
    assert {(str(u.level), u.kind, u.holder) for u in found} == {
        ("s0:c1,c2", "file", f"{deep}/left"),
        ("s0:c3", "file", str(deep)),
    }
    assert os.getcwd() == before


def test_a_tree_that_cannot_be_searched_counts_as_carrying_all(tmp_path: Path, labelled: dict[str, str]) -> None:
    (tmp_path / "real/top").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (found,) = leftovers([level("s0:c1,c2")], [str(tmp_path / "link/top")])
    assert "not searched" in found.holder


# The run as a whole


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, object]]:
    """``mcs_label`` on a host that uses the levels given."""

    def call(in_use: list[InUse], check_mode: bool = False, **parameters: object) -> dict[str, object]:
        monkeypatch.setattr(label_run, "observe", lambda search: in_use)
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        return label_run.run_label({"registry": url, **parameters}, check_mode)

    return call


def test_create_repeat_change_repeat_remove_repeat(run: Callable[..., dict[str, object]]) -> None:
    for parameters, labels, changed in (
        ({"name": "a"}, {"a": "s0:c0,c1"}, True),
        ({"name": "a"}, {"a": "s0:c0,c1"}, False),
        ({"name": "a", "level": "s0:c9,c8"}, {"a": "s0:c8,c9"}, True),
        ({"name": "a", "level": "s0:c8,c9"}, {"a": "s0:c8,c9"}, False),
        ({"name": "a"}, {"a": "s0:c8,c9"}, False),
        ({"name": "a", "state": "absent"}, {}, True),
        ({"name": "a", "state": "absent"}, {}, False),
    ):
        foreseen = run([], True, **parameters)
        done = run([], False, **parameters)
        assert foreseen == done
        assert (done["levels"], done["changed"]) == (labels, changed)
        assert done.get("level") == labels.get("a")


def test_the_diff_shows_owners_and_quarantine(run: Callable[..., dict[str, object]]) -> None:
    run([], sandboxes=[{"name": "a"}, {"name": "b"}])
    result = run([], sandboxes=[{"name": "a", "state": "absent"}, {"name": "b", "level": "s0:c5"}, {"name": "c"}])
    assert result["diff"] == {
        "before": {"levels": {"a": "s0:c0,c1", "b": "s0:c0,c2"}, "quarantine": {}},
        "after": {"levels": {"b": "s0:c5", "c": "s0:c1,c2"}, "quarantine": {"s0:c0,c1": "a", "s0:c0,c2": "b"}},
    }
    assert run([], name="d")["diff"]["before"]["quarantine"] == {"s0:c0,c1": "a", "s0:c0,c2": "b"}  # type: ignore[index]


def test_a_machine_that_took_an_owners_level_is_warned_of(run: Callable[..., dict[str, object]]) -> None:
    run([], name="a")
    result = run([use("s0:c0,c1", "machine", "vm"), use("s0:c9", "spec", "a")], name="a")
    assert result["warnings"] == ["a (s0:c0,c1) is not separated from machine vm (s0:c0,c1)"]
    assert result["changed"] is False


def test_releasing_what_nobody_owns_creates_no_registry(tmp_path: Path, run: Callable[..., dict[str, object]]) -> None:
    assert run([], name="a", state="absent")["changed"] is False
    assert list(tmp_path.iterdir()) == []


def test_info(url: str, run: Callable[..., dict[str, object]], monkeypatch: pytest.MonkeyPatch) -> None:
    run([], sandboxes=[{"name": name} for name in ("a", "b", "c")])
    run([], name="b", state="absent")
    in_use = [use("s0:c0", "machine", "vm"), use("s0:c7,c8", "spec", "c"), use("s0:c0,c2", "content", "b")]
    monkeypatch.setattr(label_run, "observe", lambda search: in_use)
    monkeypatch.setattr(levels_in_use, "declared", lambda: {"c"})
    result = label_run.run_label_info({"registry": url, "category_range": "c0.c9"}, False)
    assert result["levels"] == {"a": "s0:c0,c1", "c": "s0:c1,c2"}
    assert [found["message"] for found in result["conflicts"]] == [
        "a (s0:c0,c1) is not separated from machine vm (s0:c0)",
        "c owns s0:c1,c2, but its spec says s0:c7,c8",
    ]
    assert result["quarantine"] == [{"level": "s0:c0,c2", "owner": "b", "carried_by": ["content b"]}]
    assert result["stale"] == ["a"]
    assert result["free"] == 45 - 3


def test_a_full_level_on_the_host_is_a_conflict_to_report() -> None:
    everything = use("s0:c0.c1023", "container", "x")
    (found,) = conflicts({"a": level("s0:c1,c2")}, [everything])
    assert found.other is everything


def test_only_root_sees_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SandboxError, match="Set become: true"):
        label_run.run_label({"name": "a"}, True)
