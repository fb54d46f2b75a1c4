# SPDX-License-Identifier: GPL-3.0-or-later
"""The top directory is handed over before what is in it is done (systemd#7736)."""

from __future__ import annotations

import os

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import tree, tree_label
from ansible_collections.virt.sandbox.plugins.module_utils.engine.tree_walk import Directory

from .conftest import NEW, OLD, Scene, Stage, everything, label_of


class InterruptError(Exception):
    pass


def test_a_directory_is_done_after_what_is_in_it(scene: Scene) -> None:
    order = [entry.path for entry in tree.relabel(str(scene.top), NEW).mislabelled]
    assert order[-1] == ""
    for number, path in enumerate(order):
        assert not [later for later in order[number:] if later != path and later.startswith(f"{path}/")]


def test_at_every_step_the_top_is_old_until_all_else_is_new(scene: Scene, stage: Stage) -> None:
    checked = []

    def check(step: str, path: str) -> None:
        inside = {label_of(entry) for entry in everything(scene.top)[1:]}
        if label_of(scene.top) != OLD:
            checked.append(path)
            assert inside == {NEW}

    stage.at(check)
    tree.relabel(str(scene.top), NEW)
    assert checked


def test_interrupted_at_any_step_the_top_stays_old_and_the_next_run_mends(stage: Stage) -> None:
    top = stage.scene.top

    def interrupt() -> None:
        raise InterruptError

    def action() -> None:
        try:
            tree.relabel(str(top), NEW)
        except InterruptError:
            if {label_of(entry) for entry in everything(top)[1:]} != {NEW}:
                assert label_of(top) == OLD

    runs = 0
    for _where in stage.attacked(action, interrupt):
        runs += 1
        tree.relabel(str(top), NEW)
        assert {label_of(entry) for entry in everything(top)} == {NEW}
    assert runs > 30


def test_without_the_defence_an_interrupted_run_leaves_a_top_that_is_done_too_soon(
    scene: Scene, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = tree_label._Labelling._contents

    def directory_first(labelling: tree_label._Labelling, directory: Directory) -> None:
        labelling._directory(directory)
        contents(labelling, directory)

    def interrupt(step: str, path: str) -> None:
        if (step, path) == ("write", "a/b/victim"):
            raise InterruptError

    monkeypatch.setattr(tree_label._Labelling, "_contents", directory_first)
    stage.at(interrupt)
    with pytest.raises(InterruptError):
        tree.relabel(str(scene.top), NEW)
    assert (label_of(scene.top), label_of(scene.victim)) == (NEW, OLD)


def test_a_copy_has_its_name_only_when_it_is_complete(scene: Scene, stage: Stage) -> None:
    names = set()

    def look(step: str, path: str) -> None:
        names.update(os.listdir(scene.top))

    stage.at(look)
    tree.copy_into(str(scene.top), "copy", str(scene.host / "a"), context=NEW)
    assert "copy" not in names
    assert [name for name in names if name.startswith(tree.LEFTOVER)]
    assert sorted(os.listdir(scene.top)) == ["a", "copy"]


def test_nobody_can_open_a_file_before_it_has_its_context(scene: Scene, stage: Stage) -> None:
    seen = []

    def look(step: str, path: str) -> None:
        for entry in scene.top.rglob("*/victim" if step else "*"):
            if tree.LEFTOVER in str(entry) and label_of_or_none(entry) != NEW:
                seen.append(step)
                assert entry.stat().st_size == 0
                assert entry.stat().st_mode & 0o777 == 0

    stage.at(look)
    tree.copy_into(str(scene.top), "copy", str(scene.host / "a"), context=NEW)
    assert "write" in seen


def label_of_or_none(path: os.PathLike[str]) -> str | None:
    try:
        return os.fsdecode(os.getxattr(path, "security.selinux", follow_symlinks=False).rstrip(b"\0"))
    except OSError:
        return None


def _copy_until(scene: Scene, step: str) -> None:
    def at(current: str, _path: str) -> None:
        if current == step:
            os._exit(9)

    try:
        setattr(tree.seam, "at", at)  # noqa: B010  (a child's own; it ends here)
        tree.copy_into(str(scene.top), "a/copy", str(scene.host / "a"), context=NEW)
    finally:
        os._exit(0)


@pytest.mark.parametrize("step", ["make", "write", "verify", "rename"])
def test_a_killed_copy_leaves_a_leftover_that_is_found_and_removed(scene: Scene, step: str) -> None:
    pid = os.fork()
    if pid == 0:
        _copy_until(scene, step)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    left = [name for name in os.listdir(scene.top / "a") if name not in ("b", "other")]
    assert tree.scan(str(scene.top), expected=OLD).leftovers == [f"a/{name}" for name in left]
    assert tree.clean_leftovers(str(scene.top)) == [f"a/{name}" for name in left]
    assert sorted(os.listdir(scene.top / "a")) == ["b", "other"]


def test_only_leftovers_are_cleaned(scene: Scene) -> None:
    with pytest.raises(tree.TreeError, match="not the leftover"):
        tree.clean_leftovers(str(scene.top), ["a"])
    assert scene.victim.exists()
