# SPDX-License-Identifier: GPL-3.0-or-later
"""Files vanish or appear in the middle of the walk (opencontainers/selinux#199)."""

from __future__ import annotations

import contextlib
import shutil
from typing import Callable

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import tree, tree_fd

from .conftest import NEW, OLD, Scene, Stage, everything, label, label_of


def appear(scene: Scene) -> None:
    made = scene.top / "a" / "appeared"
    made.mkdir(exist_ok=True)
    (made / "file").write_bytes(b"")
    for path in (made, made / "file"):
        label(path, OLD)


def move(scene: Scene) -> None:
    with contextlib.suppress(OSError):
        (scene.top / "a/b").rename(scene.top / "b")


CHANGES: dict[str, Callable[[Scene], None]] = {
    "a file vanishes": lambda scene: scene.victim.unlink(missing_ok=True),
    "a directory vanishes": lambda scene: shutil.rmtree(scene.top / "a/b", ignore_errors=True),
    "all vanishes": lambda scene: shutil.rmtree(scene.top / "a", ignore_errors=True),
    "a directory appears": appear,
    "a directory moves": move,
}


@pytest.mark.parametrize("change", CHANGES)
def test_relabel_goes_on_and_a_second_run_completes_it(stage: Stage, change: str) -> None:
    scene = stage.scene
    completed = 0

    def action() -> None:
        nonlocal completed
        tree.relabel(str(scene.top), NEW)
        completed += 1

    def attack() -> None:
        with contextlib.suppress(FileNotFoundError):
            CHANGES[change](scene)

    runs = 0
    for _where in stage.attacked(action, attack):
        runs += 1
        tree.relabel(str(scene.top), NEW)
        assert {label_of(path) for path in everything(scene.top)} == {NEW}
    assert completed == runs + 1


def test_without_the_defence_what_vanishes_ends_the_run(scene: Scene, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = tree_fd.Tree.entry

    def strict(held: tree_fd.Tree, name: str, dir_fd: int, relpath: str) -> int:
        try:
            return entry(held, name, dir_fd, relpath)
        except FileNotFoundError as error:
            raise tree.TreeError(relpath, "has vanished", "run again") from error

    def vanish(step: str, path: str) -> None:
        if (step, path) == ("open", "a/b/victim"):
            scene.victim.unlink()

    monkeypatch.setattr(tree_fd.Tree, "entry", strict)
    stage.at(vanish)
    with pytest.raises(tree.TreeError, match="has vanished"):
        tree.relabel(str(scene.top), NEW)
    assert label_of(scene.top) == OLD


@pytest.mark.parametrize("change", CHANGES)
def test_remove_tree_goes_on(stage: Stage, change: str) -> None:
    scene = stage.scene

    def attack() -> None:
        with contextlib.suppress(FileNotFoundError):
            CHANGES[change](scene)

    for where in stage.attacked(lambda: tree.remove_tree(str(scene.top)), attack):
        tree.remove_tree(str(scene.top))
        assert not scene.top.exists(), where
