# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory cycle by a bind mount, and nesting thousands deep (CVE-2021-3997)."""

from __future__ import annotations

import os
import resource
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import tree, tree_fd, tree_label, tree_walk

from .conftest import NEW, OLD, Scene, Stage, label_of

DEPTH = 4000


def test_a_cycle_is_not_entered(scene: Scene) -> None:
    (scene.top / "a/loop").mkdir()
    before = tree.scan(str(scene.top), expected=NEW).entries
    scene.bind(scene.top, scene.top / "a/loop")
    report = tree.relabel(str(scene.top), NEW)
    assert report.entries == before
    assert report.mounts == ["a/loop"]


def test_without_the_defence_it_is_entered(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    (scene.top / "a/loop").mkdir()
    before = tree.scan(str(scene.top), expected=NEW).entries
    scene.bind(scene.top, scene.top / "a/loop")
    monkeypatch.setattr(tree_fd.Tree, "require_inside", lambda *_arguments: None)
    assert tree.scan(str(scene.top), expected=NEW).entries > before


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def dig(top: Path, depth: int, name: str = "d") -> None:
    """Directories in each other, with a file in the last, far beyond the longest path that the system takes."""
    held = os.open(top, os.O_RDONLY)
    for _level in range(depth):
        os.mkdir(name, dir_fd=held)
        inner = os.open(name, os.O_RDONLY, dir_fd=held)
        os.setxattr(inner, tree_label.ATTRIBUTE, OLD.encode())
        os.close(held)
        held = inner
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=held))
    os.close(held)


def test_depth(scene: Scene, few_descriptors: None) -> None:
    assert sys.getrecursionlimit() < DEPTH
    dig(scene.top, DEPTH)
    working_directory = os.getcwd()
    report = tree.relabel(str(scene.top), NEW)
    assert len(report.mislabelled) > DEPTH
    assert report.unsettled == report.mounts == []
    assert tree.scan(str(scene.top), expected=NEW).mislabelled == []
    assert os.getcwd() == working_directory
    copied = tree.copy_into(str(scene.top), "copy", str(scene.top / "d"), context=OLD)
    assert copied.entries == DEPTH + 1
    assert tree.remove(str(scene.top), "d")
    assert tree.remove_tree(str(scene.top))
    assert not scene.top.exists()


@pytest.fixture
def deep(scene: Scene) -> Iterator[Callable[[], int]]:
    """The memory, in MiB, that a pass takes over a tree of the longest names, where every path would have its own."""
    dig(scene.top, 1000, "d" * 255)

    def measured() -> int:
        tracemalloc.start()
        try:
            report = tree.scan(str(scene.top), expected=OLD)
            assert len(report.mislabelled) == 1  # the file
            return tracemalloc.get_traced_memory()[1] >> 20
        finally:
            tracemalloc.stop()

    yield measured
    tree.remove_tree(str(scene.top))


def test_depth_takes_little_memory(deep: Callable[[], int]) -> None:
    assert deep() < 40


def test_without_the_defence_paths_fill_the_memory(deep: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    class Kept(tree_walk.Directory):
        def close(self) -> None:
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1

    monkeypatch.setattr(tree_walk, "Directory", Kept)
    assert deep() > 100


def test_without_the_defence_depth_exhausts_descriptors(scene: Scene, few_descriptors: None, monkeypatch: pytest.MonkeyPatch) -> None:
    dig(scene.top, 200)
    monkeypatch.setattr(tree_walk, "_KEPT_OPEN", DEPTH)
    with pytest.raises(tree.TreeError, match="Too many open files"):
        tree.relabel(str(scene.top), NEW)
    monkeypatch.undo()
    tree.remove_tree(str(scene.top))


def test_the_way_back_up_cannot_be_led_elsewhere(scene: Scene, stage: Stage) -> None:
    """A deep directory is moved up while the walk is in it: ``..`` is then another directory than before."""
    depth = 60
    dig(scene.top, depth)
    deepest = "/".join(["d"] * depth)

    def move(step: str, path: str) -> None:
        if (step, path) == ("scan", deepest):
            (scene.top / "/".join(["d"] * 20)).rename(scene.top / "moved")

    stage.at(move)
    report = tree.relabel(str(scene.top), NEW)
    assert not scene.host_is_harmed()
    assert label_of(scene.victim) == NEW
    assert report.unsettled == []
    assert tree.scan(str(scene.top), expected=NEW).mislabelled == []
