# SPDX-License-Identifier: GPL-3.0-or-later
"""Where what a host carries contradicts what a registry says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from .mcs import POLICY_RANGE, InUse, Level


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


def conflicts(owners: Mapping[str, Level | None], in_use: Iterable[InUse]) -> list[Conflict]:
    """Where what the host carries contradicts the levels of these owners."""
    contradictions = []
    for use in in_use:
        for owner, level in owners.items():
            if level is None:
                continue
            if use.belongs_to(owner):
                contradicts = use.kind in ("spec", "domain") and use.level != level
            else:
                contradicts = use.level.conflicts(level)
            if contradicts:
                contradictions.append(Conflict(owner, level, use))
    return contradictions


def in_the_way(in_use: Iterable[InUse]) -> list[InUse]:
    """No level could stand beside one that has no category, or all: a conflict to report, no reason to stop."""
    return [use for use in in_use if use.level and use.level.mask != POLICY_RANGE.mask]
