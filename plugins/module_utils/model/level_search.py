# SPDX-License-Identifier: GPL-3.0-or-later
"""The levels of a range that are separate from others: the search for one to give away."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator

from .mcs import CategoryRange, Level


@dataclasses.dataclass(frozen=True)
class Hint:
    """Where the free levels of a range are: from ``first`` to ``last``, where some were returned, or from ``next`` on.

    Smaller is the level whose mask is. None is elsewhere while each of ``beside`` is still held or in use: for these, others
    were passed over. A range is known by its lowest category, so that it can be widened.
    """

    first: Level
    last: Level
    next: Level
    beside: Collection[Level]

    def search(self, size: int, span: CategoryRange, holders: Collection[Level], beside: set[Level]) -> Iterator[Level]:
        """The levels that may be free, the smallest first; see ``separate_levels``."""
        if self.first != self.next:
            up_to_last = CategoryRange(span.low, min(span.high, self.last.mask.bit_length() - 1))
            returned = separate_levels(size, up_to_last, holders, self.first, beside)
            yield from itertools.takewhile(lambda level: level.mask <= self.last.mask, returned)
        yield from separate_levels(size, span, holders, self.next, beside)

    def after(self, level: Level, beside: Collection[Level]) -> Hint:
        """The hint once this level, the smallest that was free, is given."""
        if level.mask < self.next.mask:
            return Hint(level, self.last, self.next, beside)
        return Hint(level, level, level, beside)

    def with_returned(self, level: Level) -> Hint:
        """The hint once this level is free again."""
        if level.mask >= self.next.mask:
            return self
        if self.first == self.next:
            return Hint(level, level, self.next, self.beside)
        first, last = (
            choose(level, other, key=lambda candidate: candidate.mask) for choose, other in ((min, self.first), (max, self.last))
        )
        return Hint(first, last, self.next, self.beside)


FROM_THE_START = Hint(Level(), Level(), Level(), ())


def separate_levels(
    size: int, span: CategoryRange, holders: Collection[Level], start: Level, beside: set[Level], chosen: int = 0
) -> Iterator[Level]:
    """Those of ``size`` categories in the order of their masks, that is of their highest categories, from ``start`` on.

    ``holders``: the levels that none of them may conflict with; ``beside`` is given each that ruled out some.
    ``chosen``: the highest categories, once these are fixed. A branch in which every level conflicts is left out unseen.
    """
    first = max(start.mask.bit_length() - 1, span.low)
    candidates = CategoryRange(first, span.high).mask if first <= span.high else 0
    for holder in holders:
        closed = candidates & _closed(holder.mask, chosen, size, span.low)
        if closed:
            beside.add(holder)
            candidates &= ~closed
    for category in Level(candidates):
        fixed = chosen | 1 << category
        if size == 1:
            yield Level(fixed)
        else:
            rest = Level(start.mask & ~(1 << category)) if category == first else Level()
            yield from separate_levels(size - 1, CategoryRange(span.low, category - 1), holders, rest, beside, fixed)


def _closed(holder: int, chosen: int, size: int, low: int) -> int:
    """The categories that give, as the next highest beside those chosen, only levels in conflict with the holder's."""
    missing = holder & ~chosen
    closed = missing if missing & (missing - 1) == 0 else 0  # the level would dominate the holder's
    if chosen & ~holder == 0:  # the holder's would dominate the level
        from_low = holder >> low
        closed |= holder if size == 1 else (from_low & ~(from_low + 1)) << low
    return closed
