# SPDX-License-Identifier: GPL-3.0-or-later
"""Who owns which level: decided here, without I/O, over a store of what was decided before.

A level is given away once. It is free if nobody owns it, if it does not rest in quarantine, and if it neither
dominates nor is dominated by a level that somebody else owns or that something on the host carries.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from .errors import ConflictError, OptionError
from .level_conflicts import in_the_way
from .level_request import Request, host_of
from .level_search import FROM_THE_START, Hint
from .mcs import POLICY_RANGE, CategoryRange, InUse, Level

DEFAULT_CATEGORIES = 2
MOST_AT_ONCE = 500  # levels that a store is asked about; SQLite takes 999 values in one statement


@dataclasses.dataclass(frozen=True)
class LevelStep:
    """One thing to do: ``allocate`` or ``assign`` a level, ``release`` it into quarantine, ``free`` it from there."""

    owner: str
    action: str
    before: Level | None
    after: Level | None


@dataclasses.dataclass
class Changes:
    """What a store is to write, all of it or nothing; a value of ``None`` removes the entry."""

    size: int | None = None
    owners: dict[str, Level | None] = dataclasses.field(default_factory=dict)
    quarantine: dict[Level, str | None] = dataclasses.field(default_factory=dict)
    hints: dict[int, Hint] = dataclasses.field(default_factory=dict)


class Store(Protocol):
    """What a registry remembers. All of it is read and written within ``transaction``."""

    def transaction(self, write: bool) -> AbstractContextManager[None]: ...
    def size(self) -> int | None: ...
    def level_of(self, owner: str) -> Level | None: ...
    def owned(self, levels: Collection[Level]) -> set[Level]: ...
    def owners(self, other_than: int | None = None) -> Iterable[tuple[str, Level]]: ...
    def quarantine(self) -> Iterable[tuple[Level, str]]: ...
    def hints(self) -> Mapping[int, Hint]: ...
    def write(self, changes: Changes) -> None: ...


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
            occupied = [level for _owner, level in self._store.owners()]
            occupied += [level for level, _owner in self._store.quarantine()]
        return math.comb(len(self.span), size) - sum(len(level) == size and level in self.span for level in occupied)

    def _size(self) -> int:
        recorded = self._store.size()
        if recorded and self._wanted_size and recorded != self._wanted_size:
            raise OptionError("category_count", self._wanted_size, f"{recorded}, the number of categories of the levels in this registry")
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
        return draft


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
        self.hints = dict(store.hints())
        self.assigned: set[Level] = set()
        self.odd = dict(store.owners(other_than=size))
        self.in_use = in_the_way(in_use)
        self.other_size = [use for use in self.in_use if len(use.level) != size]
        self.used: dict[Level, list[InUse]] = {}
        for use in self.in_use:
            self.used.setdefault(use.level, []).append(use)
        self._beside: set[Level] = set()
        self._candidates: Iterator[Level] | None = None
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
                    f"{owner}: level {level} is not separated from {other}'s {theirs}: {_why(level, theirs)}. "
                    "Choose another level, or leave it out to have one allocated."
                )
        for use in self.in_use:
            if use.level.conflicts(level) and not self._is_own(owner, use):
                raise ConflictError(
                    f"{owner}: level {level} is in use on this host by {use}: {_why(level, use.level)}. "
                    "Choose another level, or leave it out to have one allocated."
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
        for level, former in list(self.quarantine.items()):
            if former == owner and len(level) == self.size and not self._blocked(owner, level):
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
        for level in self._search():
            if level in self.assigned or level in self.quarantine:
                continue
            if self._is_used(owner, level):
                self._beside.add(level)
                continue
            self._give(owner, level)
            self._hint(self.span.low, self.hints[self.span.low].after(level, self._beside))
            return
        raise ConflictError(
            f"{owner}: no level of {self.size} categories is free in {self.span}: {math.comb(len(self.span), self.size)} of them are "
            f"owned, in quarantine ({len(self.quarantine)}) or in use on this host. Release some, or widen category_range."
        )

    def _refuse_hopeless(self) -> None:
        """Say at once what stands against every level of the range, before each of them is tried."""
        holders = [(use.level, str(use)) for use in self.other_size]
        holders += [(level, f"{owner}'s {level}") for owner, level in self.odd.items()]
        for level, holder in holders:
            if level.mask & self.span.mask == self.span.mask:
                raise ConflictError(f"no level of {self.span} is free: {holder} dominates all of them. Choose another category_range.")

    def _search(self) -> Iterator[Level]:
        """The levels that may be free, the smallest first; those of one run go on where the one before ended."""
        if self._candidates is None:
            self._refuse_hopeless()
            self._clear_quarantine()
            hint = self.hints.setdefault(self.span.low, FROM_THE_START)
            resting = [level for level in self.quarantine if len(level) != self.size]
            if not {*hint.beside} <= {*self.odd.values(), *resting, *self.used}:
                hint = self.hints[self.span.low] = FROM_THE_START
            holders = {*self.odd.values(), *resting, *(use.level for use in self.other_size)}
            self._beside = set(hint.beside)
            self._candidates = self._not_owned(hint.search(self.size, self.span, holders, self._beside))
        return self._candidates

    def _not_owned(self, levels: Iterator[Level]) -> Iterator[Level]:
        """Few are asked for at once to begin with: as a rule the first is free."""
        count = 2
        while batch := list(itertools.islice(levels, count)):
            owned = self.store.owned(batch)
            yield from (level for level in batch if level not in owned)
            count = min(2 * count, MOST_AT_ONCE)

    def _give(self, owner: str, level: Level) -> None:
        if self.quarantine.pop(level, None) is not None:
            self.changes.quarantine[level] = None
        self._own(owner, level)
        self.changes.size = self.size
        self.steps.append(LevelStep(owner, "allocate", None, level))

    def _blocked(self, owner: str, level: Level) -> bool:
        """Whether something on the host, or a level of another size, stands against this one."""
        others = [use.level for use in self.other_size if not self._is_own(owner, use)]
        others += [held for other, held in self.odd.items() if other != owner]
        others += [old for old, former in self.quarantine.items() if former != owner]
        return self._is_used(owner, level) or any(level.conflicts(other) for other in others)

    def _is_used(self, owner: str, level: Level) -> bool:
        """Whether something on the host that is not the owner's has the same level."""
        return any(not self._is_own(owner, use) for use in self.used.get(level, ()))

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
                        f"{owner}: level {level} conflicts with {former}'s released {old}{by}. "
                        f"Choose another level, or remove what is left of {former} first."
                    )
                self._free(old)

    def _free(self, level: Level) -> None:
        former = self.quarantine.pop(level)
        self.changes.quarantine[level] = None
        self.steps.append(LevelStep(former, "free", level, None))
        self._candidates = None
        for low, hint in self.hints.items():
            if len(level) == self.size and min(level) >= low:
                self._hint(low, hint.with_returned(level))

    def _hint(self, low: int, hint: Hint) -> None:
        if hint != self.hints[low]:
            self.hints[low] = self.changes.hints[low] = hint

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
            self._candidates = None
        if self._all is not None:
            self._all[owner] = level

    def _level_of(self, owner: str) -> Level | None:
        if owner in self.changes.owners:
            return self.changes.owners[owner]
        return self.store.level_of(owner)

    def _all_owners(self) -> dict[str, Level]:
        """Every owner's level; read once, and only for a run that asks for an exact level."""
        if self._all is None:
            owners = {**dict(self.store.owners()), **self.changes.owners}
            self._all = {owner: level for owner, level in owners.items() if level is not None}
        return self._all


def _why(level: Level, other: Level) -> str:
    if level == other:
        return "it is the same level"
    return f"{level} dominates {other}" if level >= other else f"{other} dominates {level}"
