# SPDX-License-Identifier: GPL-3.0-or-later
"""Many processes at once on one registry, some of them killed in mid-transaction: what every kind of registry withstands."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from ansible_collections.virt.sandbox.plugins.module_utils.host.level_store import open_store
from ansible_collections.virt.sandbox.plugins.module_utils.model.level_request import Request
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import CategoryRange, conflicting
from ansible_collections.virt.sandbox.plugins.module_utils.model.registry import Registry

AT_ONCE, EACH = 64, 3
# where in its last transaction a victim dies: before it writes, when some is written, and when all is but nothing is committed
STAGES = ("begun", "half", "written")
# of this many categories
CATEGORIES = 64
PAIRS = CATEGORIES * (CATEGORIES - 1) // 2


@contextlib.contextmanager
def opened(url: str, first: int) -> Iterator[Registry]:
    with open_store(url, create=True) as store:
        yield Registry(store, 2, CategoryRange.parse(f"c{first}.c{first + CATEGORIES - 1}"))


def fight(url: str, first: int = 0) -> None:
    """Every fourth is killed; asserts that no level is given twice and that none is lost. Leaves nothing owned."""
    context = multiprocessing.get_context("fork")
    started = time.monotonic() + 1.0  # when all are there
    stages = {number: STAGES[number // 4 % len(STAGES)] for number in range(0, AT_ONCE, 4)}
    processes = [context.Process(target=_allocate, args=(url, first, number, started, stages.get(number))) for number in range(AT_ONCE)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    ended = [-signal.SIGKILL if number in stages else 0 for number in range(AT_ONCE)]
    assert [process.exitcode for process in processes] == ended
    with opened(url, first) as registry:
        _check(registry, stages)
        registry.apply([Request(owner, False) for owner in registry.owners() if owner.startswith(("w", "rest"))], [])


def _owners(number: int) -> list[str]:
    return [f"w{number}/{count}" for count in range(EACH)]


def _allocate(url: str, first: int, number: int, started: float, stage: str | None) -> None:
    time.sleep(max(0.0, started - time.monotonic()))
    *kept, last = _owners(number)
    for owner in kept:
        with opened(url, first) as registry:
            registry.apply([Request(owner)], [])
    with opened(url, first) as registry:
        if stage:
            _die_at(stage, registry._store)
        registry.apply([Request(last)], [])
        registry.apply([Request(last, False)], [])


def _die(*_ignored: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at(stage: str, store: Any) -> None:
    write: Callable[[Any], None] = store.write
    if stage == "begun":
        store.write = _die
    elif stage == "written":
        store.write = lambda changes: (write(changes), _die())
    elif hasattr(store, "_many"):
        store._many = _dies_the_second_time(store._many)
    else:
        os.replace = _die


def _dies_the_second_time(function: Callable[..., None]) -> Callable[..., None]:
    left = [function]

    def call(*arguments: Any) -> None:
        (left.pop() if left else _die)(*arguments)

    return call


def _check(registry: Registry, stages: dict[int, str]) -> None:
    owners = {owner: level for owner, level in registry.owners().items() if owner.startswith("w")}
    assert set(owners) == {owner for number in range(AT_ONCE) for owner in _owners(number)[:-1]}
    assert conflicting(owners) == []
    resting = registry.quarantine()
    assert set(resting.values()) <= {_owners(number)[-1] for number in range(AT_ONCE) if number not in stages}
    assert not {*registry.owners().values()} & {*resting}
    # none is lost: all the rest can still be given away
    free = registry.free_count()
    registry.apply([Request(f"rest{number}") for number in range(free)], [])
    given = {owner: level for owner, level in registry.owners().items() if owner.startswith(("w", "rest"))}
    assert len({*given.values()}) == len(given) == PAIRS - len(resting)
