# SPDX-License-Identifier: GPL-3.0-or-later
"""A private /etc beside the host's: what a package's update changed there since it was copied, and who else changed it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

UPDATE = ("report", "take", "keep")

# the host's file is another than was copied, and the sandbox has what was copied
NEWER, NEW, GONE = "newer on the host", "new on the host", "gone from the host"
# both are others than was copied
BOTH = "changed on the host and in the sandbox"

_ID = re.compile("[0-9]{1,10}")
# what a distribution gives to system accounts; above that are people
_SYSTEM_IDS = range(1, 1000)


@dataclasses.dataclass(frozen=True)
class Copied:
    """What was copied from the host: each file's signature by its path in the tree, and the accounts that there were."""

    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    users: Sequence[str] = ()
    groups: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Outdated:
    """A file of which the sandbox does not have what the host has, and why. ``inside``: the signature it has."""

    path: str
    state: str
    inside: str | None


def compare(copied: Mapping[str, str], host: Mapping[str, str], inside: Callable[[str], str | None]) -> list[Outdated]:
    """Three-way, by signatures; ``inside`` is asked only about what the host has otherwise than it was copied."""
    differing = []
    for path in sorted(copied.keys() | host.keys()):
        then, now = copied.get(path), host.get(path)
        if then == now:
            continue
        own = inside(path)
        if own == now:
            continue
        if own == then:
            differing.append(Outdated(path, NEW if then is None else GONE if now is None else NEWER, own))
        elif now is not None:
            differing.append(Outdated(path, BOTH, own))
    return differing


@dataclasses.dataclass(frozen=True)
class Accounts:
    """Lines of passwd and group that a sandbox lacks, members that its groups lack, and names that cannot be added."""

    users: Sequence[str] = ()
    groups: Sequence[str] = ()
    members: Sequence[tuple[str, str]] = ()  # (group, user)
    in_conflict: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.users or self.groups)


def new_accounts(copied: Copied, host: tuple[str, str], inside: tuple[str, str]) -> Accounts:
    """The system accounts that the host got since its were copied; each text is a passwd, a group."""
    users, users_in_conflict = _new(host[0], inside[0], copied.users)
    groups, groups_in_conflict = _new(host[1], inside[1], copied.groups)
    names = {line.split(":")[0] for line in users}
    added = {line.split(":")[0] for line in groups}
    members = [
        (group, user)
        for group, *rest in _entries(host[1])
        for user in (rest[-1].split(",") if rest else ())
        if user in names and group not in added
    ]
    return Accounts(users, groups, members, users_in_conflict + groups_in_conflict)


def system_names(text: str) -> list[str]:
    return sorted(entry[0] for entry in _entries(text) if _number(entry) in _SYSTEM_IDS)


def with_accounts(text: str, lines: Sequence[str], members: Sequence[tuple[str, str]] = ()) -> str:
    """A passwd or group with these lines at its end, and with these members in its groups."""
    result = []
    for line in _lines(text):
        entry = line.split(":")
        for group, user in members:
            if entry[0] == group and len(entry) == 4 and user not in entry[3].split(","):
                entry[3] = ",".join(filter(None, [entry[3], user]))
        result.append(":".join(entry))
    return "".join(line + "\n" for line in [*result, *lines])


def _new(host: str, inside: str, known: Sequence[str]) -> tuple[list[str], list[str]]:
    entries = _entries(inside)
    names, numbers = {entry[0] for entry in entries}, {_number(entry) for entry in entries}
    lines, in_conflict = [], []
    for entry in _entries(host):
        if entry[0] in names or entry[0] in known or _number(entry) not in _SYSTEM_IDS:
            continue
        if _number(entry) in numbers:
            in_conflict.append(entry[0])
        else:
            lines.append(":".join(entry))
    return lines, in_conflict


def _entries(text: str) -> list[list[str]]:
    return [line.split(":") for line in _lines(text) if line.count(":") >= 3]


def _lines(text: str) -> list[str]:
    """Only a newline ends a line: what else Python takes for an end may be in a name."""
    return text.split("\n")[: -1 if text.endswith("\n") or not text else None]


def _number(entry: Sequence[str]) -> int:
    return int(entry[2]) if _ID.fullmatch(entry[2]) else -1
