# SPDX-License-Identifier: GPL-3.0-or-later
"""MCS levels as values: a level is a set of categories, and one level dominates another that is a part of it."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping

CATEGORIES = 1024
"""How many categories the distributions' policies declare: c0 to c1023."""

_SENSITIVITY = re.compile(r"s(?:0|[1-9][0-9]*)", re.ASCII)
_CATEGORY = re.compile(r"c(0|[1-9][0-9]*)", re.ASCII)
_ALLOWED = "s0 alone, or s0 with categories, such as s0:c1,c2 or s0:c1.c3"


class LevelError(ValueError):
    """A text that is no level, or a level that no sandbox may have; the message completes "expected …"."""


@dataclasses.dataclass(frozen=True)
class CategoryRange:
    """The categories from ``low`` to ``high``, both of them included; written ``c0.c1023``."""

    low: int
    high: int

    @classmethod
    def parse(cls, text: str, categories: int = CATEGORIES) -> CategoryRange:
        first, dot, last = text.partition(".")
        if not dot:
            raise LevelError("two categories, such as c0.c1023")
        low, high = _run(first, last, categories)
        return cls(low, high)

    @property
    def mask(self) -> int:
        return _bits(self.low, self.high)

    def __len__(self) -> int:
        return self.high - self.low + 1

    def __contains__(self, level: object) -> bool:
        return isinstance(level, Level) and level.mask & ~self.mask == 0

    def __str__(self) -> str:
        return f"c{self.low}.c{self.high}"


POLICY_RANGE = CategoryRange(0, CATEGORIES - 1)


@dataclasses.dataclass(frozen=True)
class Level:
    """Sensitivity s0 and a set of categories, as a bit mask. ``a >= b``: a dominates b, an order that is partial."""

    mask: int = 0

    @classmethod
    def of(cls, categories: Iterable[int]) -> Level:
        mask = 0
        for category in categories:
            mask |= 1 << category
        return cls(mask)

    @classmethod
    def parse(cls, text: str, categories: int = CATEGORIES) -> Level:
        """The level that any spelling which the kernel takes stands for."""
        if "-" in text:
            raise LevelError("one level such as s0:c1,c2, not a range of two")
        sensitivity, mask = _parse(text, categories)
        if sensitivity != "s0":
            raise LevelError("a level of sensitivity s0, such as s0:c1,c2")
        return cls(mask)

    @classmethod
    def for_sandbox(cls, text: str, policy: CategoryRange = POLICY_RANGE) -> Level:
        """The level, if it can separate a sandbox from the others."""
        level = cls.parse(text, policy.high + 1)
        if not level.mask:
            raise LevelError("a level with categories, such as s0:c1,c2, because every level dominates s0 alone")
        if level not in policy:
            raise LevelError(f"categories from {policy}")
        if level.mask == policy.mask:
            raise LevelError(f"not all categories of {policy}, which would dominate every other sandbox")
        if len(level) == 1 and len(text.split(",")) > 1:
            # CVE-2021-3631: a pair of equal categories is one category, which other pairs dominate.
            raise LevelError(f"different categories, not one category twice, which is {level}")
        return level

    def __hash__(self) -> int:
        # Python's own hash of a number is the same for categories that are 61 apart.
        return hash(self.mask.to_bytes(self.mask.bit_length() // 8 + 1, "little"))

    def __len__(self) -> int:
        """The number of categories."""
        return bin(self.mask).count("1")

    def __bool__(self) -> bool:
        return self.mask != 0

    def __iter__(self) -> Iterator[int]:
        """The categories, the smallest first."""
        mask = self.mask
        while mask:
            lowest = mask & -mask
            yield lowest.bit_length() - 1
            mask ^= lowest

    def __ge__(self, other: Level) -> bool:
        return other.mask & ~self.mask == 0

    def __le__(self, other: Level) -> bool:
        return other >= self

    def __gt__(self, other: Level) -> bool:
        return self >= other and self != other

    def __lt__(self, other: Level) -> bool:
        return other > self

    def conflicts(self, other: Level) -> bool:
        """Whether one of the two may use what is the other's."""
        return self >= other or other >= self

    def disjoint(self, other: Level) -> bool:
        """Whether the two have no category in common."""
        return self.mask & other.mask == 0

    def __str__(self) -> str:
        """The one canonical spelling, which is also the kernel's: a run of three or more is written ``c1.c3``."""
        runs: list[list[int]] = []
        for category in self:
            if runs and runs[-1][-1] == category - 1:
                runs[-1].append(category)
            else:
                runs.append([category])
        names = (f"c{run[0]}.c{run[-1]}" if len(run) > 2 else ",".join(f"c{c}" for c in run) for run in runs)
        return ":".join(["s0", *filter(None, [",".join(names)])])


def conflicting(levels: Mapping[str, Level]) -> list[tuple[str, str]]:
    """The pairs of owners whose levels are not separate. Levels of one size conflict only where they are the same."""
    owners: dict[Level, list[str]] = {}
    for owner, level in levels.items():
        owners.setdefault(level, []).append(owner)
    in_conflict = [pair for same in owners.values() for pair in itertools.combinations(same, 2)]
    for level, other in itertools.combinations(owners, 2) if len({len(level) for level in owners}) > 1 else ():
        if level.conflicts(other):
            in_conflict += itertools.product(owners[level], owners[other])
    place = {owner: number for number, owner in enumerate(levels)}
    pairs = [(owner, other) if place[owner] < place[other] else (other, owner) for owner, other in in_conflict]
    return sorted(pairs, key=lambda pair: [place[owner] for owner in pair])


def disturbing(levels: Mapping[str, Level], resting: Mapping[Level, str]) -> list[tuple[str, str]]:
    """Owners whose levels are not separate from one that rests for another, each with a text that says which and for whom."""
    return [
        (owner, f"{rest}, which rests until nothing of {former} carries it any more,")
        for owner, level in levels.items()
        for rest, former in resting.items()
        if owner != former and level.conflicts(rest)
    ]


@dataclasses.dataclass(frozen=True)
class LevelRange:
    """The low and the high level of a context: what a process is at, and what it is cleared for."""

    low: Level
    high: Level

    @classmethod
    def parse(cls, text: str) -> LevelRange:
        """The range as observed, at whatever sensitivity: a higher one dominates no less."""
        low, dash, high = text.partition("-")
        lower = Level(_parse(low, None)[1])
        return cls(lower, Level(_parse(high, None)[1]) if dash else lower)

    @classmethod
    def of_context(cls, context: str) -> LevelRange:
        """The range of a full context, ``user:role:type:range``."""
        fields = context.split(":", 3)
        if len(fields) < 4:
            raise LevelError("a context user:role:type:level")
        return cls.parse(fields[3])

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


@dataclasses.dataclass(frozen=True)
class InUse:
    """A level that something on the host carries, and what.

    ``kind`` is one of ``process``, ``domain``, ``machine`` (a virtual machine), ``container``, ``content``, ``spec``
    and ``file``. ``holder`` names it: of the kinds that a sandbox has, its name.
    """

    level: Level
    kind: str
    holder: str

    def belongs_to(self, owner: str) -> bool:
        return self.holder == owner and self.kind in ("process", "domain", "content", "spec")

    def __str__(self) -> str:
        return f"{self.kind} {self.holder} ({self.level})"


def _parse(text: str, categories: int | None) -> tuple[str, int]:
    sensitivity, colon, names = text.partition(":")
    if not _SENSITIVITY.fullmatch(sensitivity):
        raise LevelError(_ALLOWED)
    mask = 0
    for item in names.split(",") if colon else ():
        first, dot, last = item.partition(".")
        low, high = _run(first, last, categories) if dot else (_category(first, categories),) * 2
        mask |= _bits(low, high)
    return sensitivity, mask


def _run(first: str, last: str, categories: int | None) -> tuple[int, int]:
    low, high = _category(first, categories), _category(last, categories)
    if low >= high:
        raise LevelError(f"a range of categories from the lower to the higher, such as c1.c3, not {first}.{last}")
    return low, high


# No policy can declare as many; a text must not make a number of it that takes all memory.
_MOST_DIGITS = 6


def _category(name: str, categories: int | None) -> int:
    match = _CATEGORY.fullmatch(name)
    if not match:
        raise LevelError(f"{_ALLOWED}, not the category {name!r}")
    digits = match.group(1)
    if len(digits) > _MOST_DIGITS or (categories is not None and int(digits) >= categories):
        raise LevelError(f"categories of the policy, c0 to c{(categories or CATEGORIES) - 1}, which has no {name}")
    return int(digits)


def _bits(low: int, high: int) -> int:
    return (1 << (high + 1)) - (1 << low)
