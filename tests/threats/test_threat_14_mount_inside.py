# SPDX-License-Identifier: GPL-3.0-or-later
"""A mount inside the tree is crossed; a filesystem without labels, or with one for all, answers ENOTSUP."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import tree, tree_fd, tree_remove

from .conftest import HOST, NEW, OLD, Action, Scene, label, label_of


@pytest.fixture
def mounted(scene: Scene) -> Path:
    """A bind mount of the host's directory, on the same filesystem; only its mount tells it from the tree."""
    (scene.top / "a/mnt").mkdir()
    scene.bind(scene.host / "a", scene.top / "a/mnt")
    return scene.top / "a/mnt"


@pytest.fixture
def mounted_file(scene: Scene) -> Path:
    scene.bind(scene.host / "a/other", scene.top / "a/other")
    return scene.top / "a/other"


def test_a_bind_mount_is_reported_and_left(scene: Scene, mounted: Path) -> None:
    assert tree.scan(str(scene.top), expected=NEW).mounts == ["a/mnt"]
    assert tree.relabel(str(scene.top), NEW).mounts == ["a/mnt"]
    assert not scene.host_is_harmed()


def test_a_mounted_file_is_reported_and_left(scene: Scene, mounted_file: Path) -> None:
    predicted, done = tree.scan(str(scene.top), expected=NEW), tree.relabel(str(scene.top), NEW)
    assert predicted.mounts == done.mounts == ["a/other"]
    assert "a/other" not in [entry.path for entry in done.mislabelled]
    assert not scene.host_is_harmed()


def test_another_filesystem_is_reported_and_left(scene: Scene) -> None:
    (scene.top / "a/mnt").mkdir()
    scene.mount("tmpfs", scene.top / "a/mnt")
    (scene.top / "a/mnt/file").write_bytes(b"")
    for path in (scene.top / "a/mnt", scene.top / "a/mnt/file"):
        label(path, OLD)
    assert tree.relabel(str(scene.top), NEW).mounts == ["a/mnt"]
    assert label_of(scene.top / "a/mnt/file") == OLD


@pytest.mark.parametrize("kind", ["mounted", "mounted_file"])
def test_without_the_defence_the_host_is_relabelled(
    scene: Scene, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    request.getfixturevalue(kind)
    monkeypatch.setattr(tree_fd.Tree, "require_inside", lambda *_arguments: None)
    tree.relabel(str(scene.top), NEW)
    assert scene.host_is_harmed()


def test_nothing_is_written_or_read_across(scene: Scene, mounted: Path) -> None:
    top = str(scene.top)
    actions: list[Action] = [
        lambda: tree.write_file(top, "a/mnt/b/victim", b"x", mode=0o600, uid=0, gid=0, context=NEW),
        lambda: tree.make_dir(top, "a/mnt", mode=0o700, uid=7, gid=7, context=NEW),
        lambda: tree.read_file(top, "a/mnt/other", 100),
        lambda: tree.copy_into(top, "a/mnt/new", "/etc/hostname", context=NEW),
    ]
    for action in actions:
        with pytest.raises(tree.MountError, match="a/mnt: is another mount"):
            action()
    assert not scene.host_is_harmed()


@pytest.mark.parametrize("kind", ["mounted", "mounted_file"])
def test_nothing_is_removed_where_there_is_a_mount(scene: Scene, kind: str, request: pytest.FixtureRequest) -> None:
    point = request.getfixturevalue(kind)
    actions: list[Action] = [lambda: tree.remove(str(scene.top), "a"), lambda: tree.remove_tree(str(scene.top))]
    for action in actions:
        with pytest.raises(tree.MountError, match=f"{point}: is a mount. Unmount it"):
            action()
    assert not scene.host_is_harmed()
    assert scene.victim.read_bytes() == b"inside"


def test_a_top_that_is_a_mount_is_not_emptied(scene: Scene) -> None:
    scene.bind(scene.host, scene.top)
    with pytest.raises(tree.MountError, match="Unmount it"):
        tree.remove_tree(str(scene.top))
    assert not scene.host_is_harmed()


def test_a_mount_that_appears_while_removing_is_not_crossed(scene: Scene, mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_remove, "_refuse_mounts", lambda path: None)
    with pytest.raises(tree.TreeError):
        tree.remove_tree(str(scene.top))
    assert not scene.host_is_harmed()


def test_a_filesystem_without_labels_is_named(scene: Scene) -> None:
    scene.mount("ramfs", scene.top / "a")
    with pytest.raises(tree.LabelError, match="keeps no labels or is mounted with a context of its own"):
        tree.relabel(str(scene.top / "a"), NEW)
    with pytest.raises(tree.LabelError, match="Use a filesystem with security attributes"):
        tree.write_file(str(scene.top / "a"), "file", b"", mode=0o600, uid=0, gid=0, context=NEW)
    assert os.listdir(scene.top / "a") == []


def test_a_mount_in_the_source_is_left_out_and_reported(scene: Scene) -> None:
    source = scene.place / "source"
    (source / "mnt").mkdir(parents=True)
    scene.bind(scene.host, source / "mnt")
    report = tree.copy_into(str(scene.top), "copy", str(source), context=NEW)
    assert report.skipped == [tree.Skipped(str(source / "mnt"), "mount")]
    assert os.listdir(scene.top / "copy") == []
    assert HOST not in {label_of(scene.top / "copy")}
