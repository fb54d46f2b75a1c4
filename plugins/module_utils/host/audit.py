# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's audit log, as far as it tells of denials, and what of it is lost or left out."""

from __future__ import annotations

import collections
import itertools
import json
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from ..model.errors import SandboxError
from .command import lines, run

_AUSEARCH, _AUDITCTL = "/usr/sbin/ausearch", "/usr/sbin/auditctl"
# what the watch of the log, which role host installs, has left out
_WATCHED = "/run/virt-sandbox/audit.json"
# events of one level: more would be read by nobody, and each level has its own, so that none pushes out another's
_NEWEST = 1000
# records of one event: a denial for each of a thousand descriptors may be one
_RECORDS = 100
# what is said of it where nothing was found, or there is no log
_NOTHING = ("ended with code 1", "Error opening")

_EVENT = re.compile(r"(?:node=\S+ )?type=(?:AVC|PATH|SYSCALL) msg=(audit\([^)]*\))")
_SUBJECT = re.compile(r"(?:node=\S+ )?type=AVC .* scontext=[^ :]+:[^ :]+:([^ :]+):([^ ]+)")


class Denials(NamedTuple):
    """The records of each level's newest events, in the order of the log, and how many older events of each level were left out."""

    records: list[str]
    left_out: dict[str, int]


def denials(hours: float, types: Iterable[str], levels: Collection[str]) -> Denials:
    """What was denied to processes of these types at these levels in the last hours; nothing without an audit daemon."""
    denied = Denials([], collections.Counter())
    if os.path.exists(_AUSEARCH) and levels:
        # each by itself: others may have thousands, such as semodule under Debian 13's policy
        for process_type in sorted(types):
            _add(denied, process_type, hours, levels)
    return denied


def _add(denied: Denials, process_type: str, hours: float, levels: Collection[str]) -> None:
    newest: dict[str, collections.deque[list[str]]] = {}
    for event in _events(process_type, hours):
        level = _level(event, process_type)
        if level in levels:
            kept = newest.setdefault(level, collections.deque(maxlen=_NEWEST))
            denied.left_out[level] += len(kept) == _NEWEST
            kept.append(event)
    denied.records.extend(itertools.chain.from_iterable(event for kept in newest.values() for event in kept))


def _level(event: Iterable[str], process_type: str) -> str:
    subjects = (match.groups() for match in map(_SUBJECT.match, event) if match)
    return next((level for subject_type, level in subjects if subject_type == process_type), "")


def _events(process_type: str, hours: float) -> Iterator[list[str]]:
    """The records of each event that are of use; those of one event follow each other."""
    named = ((match.group(1), line) for line in _lines(process_type, hours) if (match := _EVENT.match(line)))
    for _event, records in itertools.groupby(named, key=lambda pair: pair[0]):
        yield [line for _event, line in itertools.islice(records, _RECORDS)]


def _lines(process_type: str, hours: float) -> Iterator[str]:
    since = time.localtime(time.time() - hours * 3600)
    # as the C locale writes a date, which is the one that ausearch is run with, whatever the caller's is
    begin = [time.strftime("%m/%d/%y", since), time.strftime("%H:%M:%S", since)]
    try:
        yield from lines([_AUSEARCH, "--input-logs", "--raw", "-m", "AVC", "--subject", f":{process_type}:", "--start", *begin])
    except SandboxError as error:
        if not any(said in str(error) for said in _NOTHING):
            raise


def lost() -> int | None:
    """How many records of any subject the kernel has lost since it counts; nothing without an audit system."""
    try:
        answer = run([_AUDITCTL, "-s"]) if os.path.exists(_AUDITCTL) else ""
    except SandboxError:
        return None
    count = re.search(r"^lost (\d+)$", answer, re.MULTILINE)
    return int(count.group(1)) if count else None


def left_out() -> dict[str, dict[str, Any]]:
    """How often, and for how many seconds, the records of each level were left out since the host has booted."""
    try:
        with open(_WATCHED, encoding="utf-8") as file:
            entries: dict[str, dict[str, Any]] = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SandboxError(f"{_WATCHED} cannot be read: {error}. Restart virt-sandbox-audit.service.") from error
    return entries
