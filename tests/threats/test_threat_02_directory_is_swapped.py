# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory on the way is swapped for a link in the middle of a walk (CVE-2018-6954, CVE-2018-21269)."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Callable

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import tree

from .conftest import NEW, OLD, Scene, Stage

SOAK = int(os.environ.get("SOAK", "100"))
"""Attempts that each real race makes at least."""

ACTIONS: dict[str, Callable[[str], object]] = {
    "relabel": lambda top: tree.relabel(top, NEW),
    "copy_into": lambda top: tree.copy_into(top, "a/new", "/etc/default", context=NEW),
    "write_file": lambda top: tree.write_file(top, "a/b/victim", b"x", mode=0o666, uid=7, gid=7, context=NEW),
    "make_dir": lambda top: tree.make_dir(top, "a/b", mode=0o777, uid=7, gid=7, context=NEW),
    "remove": lambda top: tree.remove(top, "a"),
    "remove_tree": tree.remove_tree,
}


def swap(scene: Scene, name: str) -> None:
    """Put a link to the host's directory of the same name where the tree's was."""
    inside = scene.top / name
    with contextlib.suppress(OSError):
        inside.rename(scene.top / "moved")
        inside.symlink_to(scene.host / name)


@pytest.mark.parametrize("swapped", ["a", "a/b"])
@pytest.mark.parametrize("action", ACTIONS)
def test_swapped_before_any_step(stage: Stage, action: str, swapped: str) -> None:
    top = str(stage.scene.top)
    assert stage.harmful(lambda: ACTIONS[action](top), lambda: swap(stage.scene, swapped)) == []


@pytest.mark.parametrize("action", ["relabel", "write_file", "make_dir"])
def test_without_the_defence_a_swap_leads_out(stage: Stage, no_nofollow: None, action: str) -> None:
    top = str(stage.scene.top)
    assert stage.harmful(lambda: ACTIONS[action](top), lambda: swap(stage.scene, "a")) != []


RACER = """
import ctypes, mmap, os, struct, sys
rename = ctypes.CDLL(None).renameat2
a, evil, counter = (os.fsencode(path) for path in sys.argv[1:])
with open(counter, "r+b") as file:
    shared = mmap.mmap(file.fileno(), 8)
print("racing", flush=True)
count = 0
while True:
    count += rename(-100, a, -100, evil, 2) == 0
    struct.pack_into("q", shared, 0, count)
"""


@contextlib.contextmanager
def exchanging(scene: Scene) -> Iterator[Callable[[], int]]:
    """Another process exchanges ``a`` with a link to the host's as fast as it can; yields how often it has."""
    (scene.top / "evil").symlink_to(scene.host / "a")
    counter = scene.place / "counter"
    counter.write_bytes(bytes(8))
    arguments = [sys.executable, "-c", RACER, str(scene.top / "a"), str(scene.top / "evil"), str(counter)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as racer:
        assert racer.stdout is not None
        racer.stdout.readline()
        try:
            yield lambda: int.from_bytes(counter.read_bytes(), sys.byteorder)
        finally:
            racer.kill()


def put(top: str) -> None:
    tree.write_file(top, "a/b/victim", b"x", mode=0o666, uid=7, gid=7, context=NEW)


def take(top: str) -> None:
    tree.remove(top, "a/b/victim")


RACES: dict[str, tuple[Callable[[str], object], ...]] = {
    "relabel": (lambda top: tree.relabel(top, OLD), lambda top: tree.relabel(top, NEW)),
    "write_file": (put,),
    "remove": (take, put),
    "copy_into": (lambda top: tree.copy_into(top, "a/b/victim", "/etc/hostname", context=NEW, replace=True),),
    "make_dir": (
        lambda top: tree.make_dir(top, "a/b", mode=0o777, uid=7, gid=7, context=NEW),
        lambda top: tree.make_dir(top, "a/b", mode=0o755, uid=0, gid=0, context=OLD),
    ),
}


def race(scene: Scene, action: str, most: int, seconds: float = math.inf) -> tuple[int, bool]:
    """How many attempts were made, and whether they did harm to the host."""
    end = time.monotonic() + seconds
    top, attempts, harmed = str(scene.top), 0, False
    while not harmed and attempts < most and time.monotonic() < end:
        for _time in range(20):
            for act in RACES[action]:
                attempts += 1
                with contextlib.suppress(tree.TreeError, OSError):
                    act(top)
        harmed = scene.host_is_harmed()
    return attempts, harmed


@pytest.mark.parametrize("action", RACES)
def test_a_real_race_is_lost(scene: Scene, action: str) -> None:
    with exchanging(scene) as exchanges:
        attempts, harmed = race(scene, action, SOAK)
        exchanged = exchanges()
    print(f"{action}: {attempts} attempts, {exchanged} exchanges meanwhile")
    assert not harmed
    assert min(attempts, exchanged) >= SOAK


@pytest.mark.parametrize("action", RACES)
def test_without_the_defence_a_real_race_is_won(scene: Scene, no_nofollow: None, action: str) -> None:
    with exchanging(scene):
        assert race(scene, action, 1_000_000, seconds=20)[1]
