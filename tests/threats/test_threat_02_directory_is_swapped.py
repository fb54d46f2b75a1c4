# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory on the way is swapped for a link in the middle of a walk (CVE-2018-6954, CVE-2018-21269)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Callable

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import tree

from .conftest import NEW, OLD, Scene, Stage

SOAK = float(os.environ.get("SOAK", "3"))
"""Seconds that each real race lasts."""

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
import ctypes, os, sys
rename = ctypes.CDLL(None).renameat2
a, evil = (os.fsencode(path) for path in sys.argv[1:])
print("racing", flush=True)
while True:
    rename(-100, a, -100, evil, 2)
"""


@contextlib.contextmanager
def exchanging(scene: Scene) -> Iterator[None]:
    """Another process exchanges ``a`` with a link to the host's as fast as it can."""
    (scene.top / "evil").symlink_to(scene.host / "a")
    arguments = [sys.executable, "-c", RACER, str(scene.top / "a"), str(scene.top / "evil")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as racer:
        assert racer.stdout is not None
        racer.stdout.readline()
        try:
            yield
        finally:
            racer.kill()


def race(scene: Scene, seconds: float) -> int:
    """How many passes it took to harm the host, or, negative, how many did not."""
    end = time.monotonic() + seconds
    passes = 0
    while time.monotonic() < end:
        passes += 1
        with contextlib.suppress(tree.TreeError):
            tree.relabel(str(scene.top), (OLD, NEW)[passes % 2])
        if scene.host_is_harmed():
            return passes
    return -passes


def test_a_real_race_is_lost(scene: Scene) -> None:
    with exchanging(scene):
        passes = -race(scene, SOAK)
    print(f"{passes} passes in {SOAK:g} s")
    assert passes > 5


def test_without_the_defence_a_real_race_is_won(scene: Scene, no_nofollow: None) -> None:
    with exchanging(scene):
        assert race(scene, 20) > 0
