# SPDX-License-Identifier: GPL-3.0-or-later
"""Who owns which level: decided here, without I/O, over a store of what was decided before.

A level is given away once. It is free if nobody owns it, if it does not rest in quarantine, and if it neither
dominates nor is dominated by a level that somebody else owns or that something on the host carries.
"""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Callable, Protocol

from .errors import ConflictError, OptionError
from .mcs import POLICY_RANGE, CategoryRange, InUse, Level
from .options import Option, normalise
from .spec import REGISTRY
from .spec import name as sandbox_name

DEFAULT_CATEGORIES = 2
# of more levels of one size than a database numbers, those beyond are not given away
MOST_NUMBERS = (1 << 63) - 1
MOST_CATEGORIES = 8


def _levels(values: list[str]) -> list[Level]:
    return [Level.for_sandbox(value) for value in values]


def _size(value: int) -> int:
    if not 1 <= value <= MOST_CATEGORIES:
        raise ValueError(f"a level has 1 to {MOST_CATEGORIES} categories")
    return value


OWNER_OPTIONS = (
    Option("name", required=True, normalise=sandbox_name),
    Option("state", default="present", choices=("present", "absent")),
    Option("level", normalise=Level.for_sandbox),
)
REGISTRY_OPTIONS = (
    Option("categories", type="int", normalise=_size),
    Option("range", default=str(POLICY_RANGE), normalise=CategoryRange.parse),
    Option("registry", default=REGISTRY),
)
INFO_OPTIONS = (*REGISTRY_OPTIONS[1:], Option("search", type="list", elements="str", default=[], normalise=_levels))


@dataclasses.dataclass(frozen=True)
class Request:
    """What is wanted for one owner: a level of its own, that one level exactly, or none."""

    owner: str
    present: bool = True
    level: Level | None = None


def host_of(owner: str) -> str:
    """The host of an owner in a registry that hosts share, ``HOST/NAME``; nothing in a host's own."""
    return owner.rpartition("/")[0]


def requests_of(parameters: Mapping[str, Any]) -> list[Request]:
    """The requests of a module's parameters, in the form ``name`` or ``sandboxes``."""
    if parameters.get("name") is not None:
        items = [normalise(OWNER_OPTIONS, parameters)]
    elif parameters.get("level") is not None:
        raise OptionError("level", parameters["level"], "with sandboxes, each of them has a level of its own")
    else:
        entries = parameters.get("sandboxes") or []
        items = [normalise(OWNER_OPTIONS, item, f"sandboxes[{n}].") for n, item in enumerate(entries)]
    names: set[str] = set()
    for item in items:
        if item["name"] in names:
            raise OptionError("sandboxes", item["name"], "each name is given once")
        names.add(item["name"])
    return [Request(item["name"], item["state"] == "present", item["level"]) for item in items]


@dataclasses.dataclass(frozen=True)
class LevelStep:
    """One thing to do: ``allocate`` or ``assign`` a level, ``release`` it into quarantine, ``free`` it from there."""

    owner: str
    action: str
    before: Level | None
    after: Level | None


@dataclasses.dataclass(frozen=True)
class Conflict:
    """A level that its owner holds, and something on the host that contradicts it."""

    owner: str
    level: Level
    other: InUse

    def __str__(self) -> str:
        if self.other.belongs_to(self.owner):
            return f"{self.owner} owns {self.level}, but its {self.other.kind} says {self.other.level}"
        return f"{self.owner} ({self.level}) is not separated from {self.other}"


@dataclasses.dataclass
class Changes:
    """What a store is to write, all of it or nothing; a value of ``None`` removes the entry."""

    size: int | None = None
    owners: dict[str, Level | None] = dataclasses.field(default_factory=dict)
    quarantine: dict[Level, str | None] = dataclasses.field(default_factory=dict)
    pools: dict[int, int] = dataclasses.field(default_factory=dict)
    free: dict[tuple[int, int], bool] = dataclasses.field(default_factory=dict)
    passed: dict[tuple[int, Level], int | None] = dataclasses.field(default_factory=dict)


class Store(Protocol):
    """What a registry remembers. All of it is read and written within ``transaction``.

    A *pool* numbers the levels of a registry's size from the category ``low`` upwards. Numbers from its watermark on
    were never looked at; below it, those that may be given away again are its free numbers. Not among these are numbers
    that were passed over because a level of another size stood against them: of such a level is known from which number
    on there may be some, and they are looked for once it is gone.
    """

    def transaction(self, write: bool) -> AbstractContextManager[None]: ...
    def size(self) -> int | None: ...
    def level_of(self, owner: str) -> Level | None: ...
    def owner_of(self, level: Level) -> str | None: ...
    def owners(self, other_than: int | None = None) -> Iterable[tuple[str, Level]]: ...
    def quarantine(self) -> Iterable[tuple[Level, str]]: ...
    def pools(self) -> Mapping[int, int]: ...
    def free(self, low: int) -> Iterator[int]: ...
    def passed(self, low: int) -> Mapping[Level, int]: ...
    def write(self, changes: Changes) -> None: ...


def level_number(level: Level, low: int) -> int:
    """The number of a level among those of its size from category ``low`` on, in the order of their highest categories.

    A number does not depend on where the range ends, so that a range can be widened.
    """
    return sum(math.comb(category - low, n) for n, category in enumerate(level, 1))


def numbered_level(number: int, size: int, low: int) -> Level:
    categories = []
    for n in range(size, 0, -1):
        category = _highest(number, n)
        number -= math.comb(category, n)
        categories.append(low + category)
    return Level.of(categories)


def _highest(number: int, size: int) -> int:
    """The highest category of the level of this number, counted from the lowest of the range."""
    below, above = size - 1, size
    while math.comb(above, size) <= number:
        below, above = above, above * 2
    while above - below > 1:
        middle = (below + above) // 2
        if math.comb(middle, size) <= number:
            below = middle
        else:
            above = middle
    return below


class _Numbers:
    """The numbers of the levels of one size that no holder's level stands against; whole blocks of others are skipped unseen.

    A block is the levels that have their highest categories in common. ``passed`` is told of each holder for which
    some were skipped, and from which number on.
    """

    def __init__(self, size: int, span: CategoryRange, holders: Collection[Level], passed: Callable[[Level, int], None]) -> None:
        self._size = size
        self._low, self._above = span.low, span.high + 1
        self._holders = holders
        self._passed = passed

    def __call__(self, start: int, end: int, only: Level | None = None) -> Iterator[int]:
        """Those from ``start`` to before ``end``, the smallest first; ``only`` those that conflict with this level."""
        return self._block(0, self._above, self._size, 0, start, end, only)

    def _block(self, chosen: int, above: int, left: int, base: int, start: int, end: int, only: Level | None) -> Iterator[int]:
        """Those that have the categories ``chosen``, which come first in the order, and ``left`` more below ``above``."""
        first = self._low + _highest(max(start - base, 0), left)
        categories = (1 << above) - (1 << first) if above > first else 0
        if only is not None:
            categories &= self._within(only, chosen, left)
        for holder in self._holders:
            closed = categories & self._closed(holder.mask, chosen, left)
            if closed:
                self._passed(holder, max(start, base + math.comb(min(Level(closed)) - self._low, left)))
                categories &= ~closed
        for category in Level(categories):
            number = base + math.comb(category - self._low, left)
            if number >= end:
                return
            if left == 1:
                yield number
            else:
                yield from self._block(chosen | 1 << category, category, left - 1, number, start, end, only)

    def _closed(self, holder: int, chosen: int, left: int) -> int:
        """The categories that, together with those chosen, only levels have which conflict with the holder's."""
        missing = holder & ~chosen
        closed = missing if missing & (missing - 1) == 0 else 0
        if chosen & ~holder == 0:
            run = holder >> self._low
            closed |= holder if left == 1 else (run & ~(run + 1)) << self._low
        return closed

    def _within(self, only: Level, chosen: int, left: int) -> int:
        """The categories that, together with those chosen, levels have which conflict with this one."""
        if len(only) >= self._size:
            return only.mask
        missing = Level(only.mask & ~chosen)
        highest = 1 << max(missing, default=0)
        return highest if len(missing) == left else -highest


class Registry:
    """The levels of one store. What ``plan`` predicts is what ``apply`` does, unless another run came between."""

    def __init__(self, store: Store, size: int | None = None, span: CategoryRange = POLICY_RANGE) -> None:
        self._store = store
        self._wanted_size = size
        self.span = span

    def plan(self, requests: Iterable[Request], in_use: Iterable[InUse], searched: Iterable[Level] = ()) -> list[LevelStep]:
        """What is to be done.

        ``searched``: levels that were looked for in all content, so that whatever carries them is in ``in_use``.
        Only these can leave quarantine.
        """
        with self._store.transaction(write=False):
            return self._decide(requests, in_use, searched).steps

    def apply(self, requests: Iterable[Request], in_use: Iterable[InUse], searched: Iterable[Level] = ()) -> list[LevelStep]:
        """Decide and write, in one transaction."""
        with self._store.transaction(write=True):
            draft = self._decide(requests, in_use, searched)
            if draft.steps:
                self._store.write(draft.changes)
            return draft.steps

    def to_search(self, requests: Iterable[Request], host: str = "") -> set[Level]:
        """The levels in quarantine, if one of the requests asks for a level that its owner does not have yet.

        Content can be searched on one host, so of the owners only those of this one.
        """
        with self._store.transaction(write=False):
            for request in requests:
                held = self._store.level_of(request.owner)
                if request.present and (held is None or request.level not in (None, held)):
                    return {level for level, owner in self._store.quarantine() if host_of(owner) == host}
            return set()

    def owners(self) -> dict[str, Level]:
        with self._store.transaction(write=False):
            return dict(self._store.owners())

    def quarantine(self) -> dict[Level, str]:
        """The levels that were released and not given away since, with who had them."""
        with self._store.transaction(write=False):
            return dict(self._store.quarantine())

    def free_count(self) -> int:
        """How many levels of the range nobody owns and none rests in quarantine."""
        with self._store.transaction(write=False):
            size = self._size()
            taken = [level for _owner, level in self._store.owners()]
            taken += [level for level, _owner in self._store.quarantine()]
        return math.comb(len(self.span), size) - sum(len(level) == size and level in self.span for level in taken)

    def _size(self) -> int:
        recorded = self._store.size()
        if recorded and self._wanted_size and recorded != self._wanted_size:
            raise OptionError("categories", self._wanted_size, f"this registry allocates levels of {recorded}, and of one size only")
        return recorded or self._wanted_size or DEFAULT_CATEGORIES

    def _decide(self, requests: Iterable[Request], in_use: Iterable[InUse], searched: Iterable[Level]) -> _Draft:
        draft = _Draft(self._store, self._size(), self.span, in_use, searched)
        wanted = list(requests)
        for request in wanted:
            if not request.present:
                draft.release(request.owner)
        # Exact levels first, so that none of them is allocated to somebody else of the same run.
        for request in wanted:
            if request.present and request.level is not None:
                draft.assign(request.owner, request.level)
        for request in wanted:
            if request.present and request.level is None:
                draft.allocate(request.owner)
        draft.forget_what_was_not_reached()
        return draft


def conflicts(owners: Mapping[str, Level | None], in_use: Iterable[InUse]) -> list[Conflict]:
    """Where what the host carries contradicts the levels of these owners."""
    found = []
    for use in in_use:
        for owner, level in owners.items():
            if level is None:
                continue
            if use.belongs_to(owner):
                contradicts = use.kind in ("spec", "domain") and use.level != level
            else:
                contradicts = use.level.conflicts(level)
            if contradicts:
                found.append(Conflict(owner, level, use))
    return found


def in_the_way(in_use: Iterable[InUse]) -> list[InUse]:
    """No level could stand beside one that has no category, or all: a conflict to report, no reason to stop."""
    return [use for use in in_use if use.level and use.level.mask != POLICY_RANGE.mask]


class _Draft:
    """What a run would change, on top of what the store says."""

    def __init__(self, store: Store, size: int, span: CategoryRange, in_use: Iterable[InUse], searched: Iterable[Level]) -> None:
        self.store = store
        self.size = size
        self.span = span
        self.steps: list[LevelStep] = []
        self.changes = Changes()
        self.searched = set(searched)
        self.quarantine = dict(store.quarantine())
        self.pools = dict(store.pools())
        self.assigned: set[Level] = set()
        self.odd = dict(store.owners(other_than=size))
        self.in_use = in_the_way(in_use)
        self.same_size: dict[Level, list[InUse]] = {}
        self.other_size: list[InUse] = []
        for use in self.in_use:
            if len(use.level) == size:
                self.same_size.setdefault(use.level, []).append(use)
            else:
                self.other_size.append(use)
        self.holders: list[Level] = []
        self.passed: dict[Level, int] = {}
        self._numbers: Iterator[int] | None = None
        self._all: dict[str, Level] | None = None

    def release(self, owner: str) -> None:
        held = self._level_of(owner)
        if held is not None:
            self._own(owner, None)
            self._rest(held, owner)
            self.steps.append(LevelStep(owner, "release", held, None))

    def assign(self, owner: str, level: Level) -> None:
        """Exactly this level, or an error that names who is in the way."""
        held = self._level_of(owner)
        if held == level:
            return
        for other, theirs in self._all_owners().items():
            if other != owner and theirs.conflicts(level):
                raise ConflictError(
                    f"{owner}: level {level} is not separated from {other}'s {theirs}: {_why(level, theirs)}; "
                    "choose another, or name none to be given one"
                )
        for use in self.in_use:
            if use.level.conflicts(level) and not self._is_own(owner, use):
                raise ConflictError(
                    f"{owner}: level {level} is in use on this host by {use}: {_why(level, use.level)}; "
                    "choose another, or name none to be given one"
                )
        self._leave_quarantine(owner, level)
        if held is not None:
            self._rest(held, owner)
        self._own(owner, level)
        self.steps.append(LevelStep(owner, "assign", held, level))

    def allocate(self, owner: str) -> None:
        """The level that the owner has; else the one it had, or its spec or content says; else the smallest that is free."""
        if self._level_of(owner) is not None:
            return
        for level in [level for level, former in self.quarantine.items() if former == owner]:
            if len(level) == self.size and not self._blocked(owner, level):
                self._give(owner, level)
                return
        for use in self.in_use:
            if use.kind == "spec" and use.holder == owner:
                self.assign(owner, use.level)
                return
        for use in self.in_use:
            if use.kind == "content" and use.holder == owner:
                with contextlib.suppress(ConflictError):
                    self.assign(owner, use.level)
                    return
        if self._numbers is None:
            self._refuse_hopeless()
            self._clear_quarantine()
            self._numbers = self._candidates()
        for number in self._numbers:
            level = numbered_level(number, self.size, self.span.low)
            if level in self.assigned or level in self.quarantine or self.store.owner_of(level) is not None:
                continue
            if not self._met(owner, level):
                self._give(owner, level)
                return
            self.changes.free[self.span.low, number] = True
        raise ConflictError(
            f"{owner}: no level of {self.size} categories is free in {self.span}: {self._count()} of them are "
            f"owned, in quarantine ({len(self.quarantine)}) or in use on this host; release some, or widen the range"
        )

    def _refuse_hopeless(self) -> None:
        """Say at once what stands against every level of the range, before each of them is tried."""
        holders = [(use.level, str(use)) for use in self.other_size]
        holders += [(level, f"{owner}'s {level}") for owner, level in self.odd.items()]
        for level, holder in holders:
            if level.mask & self.span.mask == self.span.mask:
                raise ConflictError(f"no level of {self.span} is free: {holder} dominates all; choose another range")

    def _count(self) -> int:
        return math.comb(len(self.span), self.size)

    def _candidates(self) -> Iterator[int]:
        """The numbers that may be free, the smallest first; the watermark follows."""
        low, end = self.span.low, min(self._count(), MOST_NUMBERS)
        watermark = self.pools.setdefault(low, 0)
        self.passed = dict(self.store.passed(low))
        holders = {use.level for use in self.other_size} | {*self.odd.values()} | {old for old in self.quarantine if len(old) != self.size}
        self.holders = [holder for holder in holders if self._matters(holder)]
        numbers = _Numbers(self.size, self.span, self.holders, self._pass)
        gone = [self._given_up(numbers, holder, min(watermark, end)) for holder in self.passed if holder not in self.holders]
        last = -1
        for number in heapq.merge(self._returned(end), *gone):
            if number > last:
                last = number
                yield number
        for number in numbers(watermark, end):
            self.pools[low] = self.changes.pools[low] = number + 1
            yield number

    def _matters(self, holder: Level) -> bool:
        """Whether it can stand against a level of the range at all."""
        return len(Level(holder.mask & self.span.mask)) >= self.size or holder in self.span

    def _returned(self, end: int) -> Iterator[int]:
        """The free numbers before ``end``, but for those that a level of another size stands against by now: these are passed over."""
        low = self.span.low
        returned = sorted(number for (pool, number), free in self.changes.free.items() if free and pool == low)
        for number in heapq.merge(self.store.free(low), returned):
            if number >= end:
                return
            level = numbered_level(number, self.size, low)
            holder = next((holder for holder in self.holders if holder.conflicts(level)), None)
            if holder is None:
                yield number
            else:
                self._pass(holder, number)
                self.changes.free[low, number] = False

    def _pass(self, holder: Level, number: int) -> None:
        if number < self.passed.get(holder, number + 1):
            self.passed[holder] = self.changes.passed[self.span.low, holder] = number

    def forget_what_was_not_reached(self) -> None:
        """Numbers from the watermark on will be looked at anyway."""
        passed = self.changes.passed
        self.changes.passed = {key: number for key, number in passed.items() if number is None or number < self.pools[key[0]]}

    def _given_up(self, numbers: _Numbers, holder: Level, end: int) -> Iterator[int]:
        """What was passed over for a holder that is gone."""
        key, first = (self.span.low, holder), self.passed[holder]
        for number in numbers(first, end, holder):
            self.changes.passed[key] = number
            yield number
        self.changes.passed[key] = None if end == self.pools[self.span.low] else max(first, end)

    def _give(self, owner: str, level: Level) -> None:
        if self.quarantine.pop(level, None) is not None:
            self.changes.quarantine[level] = None
        self._own(owner, level)
        self.changes.size = self.size
        self.steps.append(LevelStep(owner, "allocate", None, level))

    def _blocked(self, owner: str, level: Level) -> bool:
        """Whether something on the host, or a level of another size, stands against this one."""
        if self._met(owner, level) or any(use.level.conflicts(level) and not self._is_own(owner, use) for use in self.other_size):
            return True
        return any(level.conflicts(old) for old, former in self.quarantine.items() if former != owner)

    def _met(self, owner: str, level: Level) -> bool:
        """Whether it stands against a level that was not skipped with its block, or what came in between."""
        if any(not self._is_own(owner, use) for use in self.same_size.get(level, ())):
            return True
        return any(level.conflicts(held) for other, held in self.odd.items() if other != owner)

    def _is_own(self, owner: str, use: InUse) -> bool:
        """Whether it is the owner's, or what the owner left behind."""
        return use.belongs_to(owner) or (use.kind == "file" and self.quarantine.get(use.level) == owner)

    # Quarantine: where a level rests until nothing carries it any more.

    def _rest(self, level: Level, owner: str) -> None:
        self.quarantine[level] = self.changes.quarantine[level] = owner

    def _clear_quarantine(self) -> None:
        carried = {use.level for use in self.in_use}
        for level in list(self.quarantine):
            if level in self.searched and level not in carried and level not in self.changes.quarantine:
                self._free(level)

    def _leave_quarantine(self, owner: str, level: Level) -> None:
        """An owner may have back what was its own; another's only if nothing carries it."""
        for old, former in list(self.quarantine.items()):
            if former == owner:
                if old == level:
                    del self.quarantine[old]
                    self.changes.quarantine[old] = None
            elif old.conflicts(level):
                carriers = [use for use in self.in_use if use.level == old]
                if carriers or old not in self.searched or old in self.changes.quarantine:
                    by = f", which {carriers[0]} still carries" if carriers else ""
                    raise ConflictError(
                        f"{owner}: level {level} conflicts with {former}'s released {old}{by}; "
                        "choose another, or remove what is left of the other first"
                    )
                self._free(old)

    def _free(self, level: Level) -> None:
        former = self.quarantine.pop(level)
        self.changes.quarantine[level] = None
        self.steps.append(LevelStep(former, "free", level, None))
        self._mark(level, True)

    def _mark(self, level: Level, free: bool) -> None:
        """Note in each pool that has come past this level whether it may be given away."""
        if len(level) != self.size:
            return
        for low, watermark in self.pools.items():
            if min(level) >= low:
                number = level_number(level, low)
                if number < watermark:
                    self.changes.free[low, number] = free

    # Owners, as they will be.

    def _own(self, owner: str, level: Level | None) -> None:
        self.odd.pop(owner, None)
        self.changes.owners[owner] = level
        if self._all is not None:
            self._all.pop(owner, None)
        if level is None:
            return
        self.assigned.add(level)
        if len(level) != self.size:
            self.odd[owner] = level
        if self._all is not None:
            self._all[owner] = level
        self._mark(level, False)

    def _level_of(self, owner: str) -> Level | None:
        if owner in self.changes.owners:
            return self.changes.owners[owner]
        return self.store.level_of(owner)

    def _all_owners(self) -> dict[str, Level]:
        """Every owner's level; read once, and only for a run that asks for an exact level."""
        if self._all is None:
            stored = dict(self.store.owners())
            stored.update({owner: level for owner, level in self.changes.owners.items() if level is not None})
            self._all = {name: level for name, level in stored.items() if self._level_of(name) is not None}
        return self._all


def _why(level: Level, other: Level) -> str:
    if level == other:
        return "it is the same level"
    return f"{level} dominates {other}" if level >= other else f"{other} dominates {level}"
