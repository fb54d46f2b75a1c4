# SPDX-License-Identifier: GPL-3.0-or-later
"""How quick the tree engine is, as ratios to the ordinary tools in the same round: run as root, see ``--help``."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable

from ansible_collections.virt.sandbox.plugins.module_utils.engine import tree

CONTEXTS = [f"system_u:object_r:virt_sandbox_file_t:s0:c{n},c{n + 1}" for n in (1, 11, 21, 31)]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def populate(root: Path, entries: int) -> None:
    """Directories of 20 entries, four deep: small files, some larger, links of both sorts."""
    made = 0
    while made < entries:
        directory = root / f"{made // 8000}" / f"{made // 400 % 20}" / f"{made // 20 % 20}"
        directory.mkdir(parents=True, exist_ok=True)
        for number in range(16):
            size = 200_000 if number == 0 and made % 200 == 0 else 2_000
            (directory / f"file{number}").write_bytes(b"x" * size)
        (directory / "symlink").symlink_to("file1")
        if made % 200 == 0:
            os.link(directory / "file2", directory / "hardlink")
        os.mkfifo(directory / "fifo")
        made += 20
    with open(root / "sparse", "wb") as sparse:
        sparse.truncate(1 << 30)


def chcon(root: Path, context: str) -> float:
    return seconds(lambda: run("chcon", "-R", "-h", context, str(root)))


def relabel(root: Path, context: str) -> float:
    return seconds(lambda: tree.relabel(str(root), context))


def bench_relabel(root: Path, rounds: int) -> None:
    first, again = [], []
    for number in range(rounds):
        old, new = CONTEXTS[number % 2], CONTEXTS[2 + number % 2]
        by_chcon = chcon(root, old)
        time.sleep(0.1)
        first.append(relabel(root, new) / by_chcon)
        by_chcon = chcon(root, new)
        again.append(relabel(root, new) / by_chcon)
        assert not tree.scan(str(root), expected=new).mislabelled
    print(f"relabel, every entry differs:  {statistics.median(first):.2f} of chcon -R -h")
    print(f"relabel, nothing to change:    {statistics.median(again):.2f} of chcon -R -h")


COPIES: dict[str, Callable[[Path, Path, str], float]] = {
    "cp": lambda source, place, name: seconds(lambda: run("cp", "-a", "--reflink=auto", str(source), str(place / name))),
    "ours": lambda source, place, name: seconds(lambda: tree.copy_into(str(place), name, str(source), context=CONTEXTS[0])),
}


def bench_copy(source: Path, place: Path, rounds: int) -> None:
    """Copies go to new names and in turns: what is written right after much was removed takes several times as long."""
    ratios = []
    for number in range(rounds):
        taken: dict[str, float] = {}
        for tool in ("cp", "ours") if number % 2 else ("ours", "cp"):
            os.sync()
            taken[tool] = COPIES[tool](source, place, f"{tool}-{number}")
        ratios.append(taken["ours"] / taken["cp"])
    print(f"copy, labelled as it is made:  {statistics.median(ratios):.2f} of cp -a")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", default="/var/tmp")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-tree-", dir=options.directory) as place:
        root = Path(place, "source")
        root.mkdir()
        populate(root, options.entries)
        print(f"{options.entries} entries, {options.rounds} rounds, medians")
        bench_relabel(root, options.rounds)
        bench_copy(root, Path(place), options.rounds)


if __name__ == "__main__":
    main()
