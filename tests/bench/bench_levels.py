# SPDX-License-Identifier: GPL-3.0-or-later
"""How the time of an allocation depends on how much of the range is given away, beside drawing pairs at random until one is free.

Drawing is how others do it, and is here at its best: in memory, with nothing to write, no host to look at and no level but pairs.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Callable

from ansible_collections.virt.sandbox.plugins.module_utils.host import level_store
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import ConflictError
from ansible_collections.virt.sandbox.plugins.module_utils.model.level_request import Request
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import CategoryRange
from ansible_collections.virt.sandbox.plugins.module_utils.model.registry import Registry

FULLNESS = (0, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999)


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def drawn(taken: set[tuple[int, int]], categories: int) -> tuple[int, int]:
    while True:
        one, other = random.sample(range(categories), 2)
        pair = (min(one, other), max(one, other))
        if pair not in taken:
            return pair


def refused(registry: Registry) -> None:
    try:
        registry.apply([Request("one-more")], [])
    except ConflictError:
        return
    raise AssertionError("a level was given away twice")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--categories", type=int, default=1024, help="of the range; 1024 are 523776 pairs")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    pairs = math.comb(arguments.categories, 2)
    span = CategoryRange.parse(f"c0.c{arguments.categories - 1}")
    every = [(low, high) for high in range(arguments.categories) for low in range(high)]
    random.shuffle(every)
    print(f"{pairs} pairs of {arguments.categories} categories; milliseconds, median of {arguments.rounds}")
    print(f"{'given away':>10} {'allocate':>9} {'draw':>9} {'ratio':>7}")
    with tempfile.TemporaryDirectory() as place, level_store.open_store(f"sqlite:///{Path(place, 'levels.db')}", create=True) as store:
        registry, given = Registry(store, None, span), 0
        for fullness in FULLNESS:
            more = int(fullness * pairs) - given
            registry.apply([Request(f"a{given + number}x") for number in range(max(more, 0))], [])
            given += max(more, 0)
            taken = set(every[:given])
            allocate, draw = [], []
            for _round in range(min(arguments.rounds, pairs - given)):
                allocate.append(milliseconds(lambda given=given: registry.apply([Request(f"a{given}x")], [])))
                given += 1
                draw.append(milliseconds(lambda taken=taken: drawn(taken, arguments.categories)))
                taken.add(every[given - 1])
            one, other = statistics.median(allocate), statistics.median(draw)
            print(f"{fullness:>10.1%} {one:>9.3f} {other:>9.3f} {one / other:>7.1f}", flush=True)
        registry.apply([Request(f"b{number}x") for number in range(pairs - given)], [])
        print(f"{'full':>10} {milliseconds(lambda: refused(registry)):>9.3f}  to say so")


if __name__ == "__main__":
    main()
