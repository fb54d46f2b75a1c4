# SPDX-License-Identifier: GPL-3.0-or-later
"""The last component of a path is a link to something of the host's (CVE-2018-1063)."""

from __future__ import annotations

import contextlib
import os
from typing import Callable

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import tree
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError

from .conftest import NEW, SECRET, Scene, label_of

ACTIONS: dict[str, Callable[[str], object]] = {
    "relabel": lambda top: tree.relabel(top, NEW),
    "write_file": lambda top: tree.write_file(top, "evil", b"x", mode=0o666, uid=7, gid=7, context=NEW),
    "make_dir": lambda top: tree.make_dir(top, "evil", mode=0o777, uid=7, gid=7, context=NEW),
    "make_dir below": lambda top: tree.make_dir(top, "evil/d", mode=0o777, uid=7, gid=7, context=NEW),
    "make_symlink": lambda top: tree.make_symlink(top, "evil", "elsewhere", context=NEW),
    "copy_into": lambda top: tree.copy_into(top, "evil", "/etc/hostname", context=NEW, replace=True),
    "copy_into below": lambda top: tree.copy_into(top, "evil/victim", "/etc/hostname", context=NEW, replace=True),
    "remove": lambda top: tree.remove(top, "evil"),
    "remove below": lambda top: tree.remove(top, "evil/victim"),
    "remove_tree": tree.remove_tree,
}


@pytest.mark.parametrize("target", ["../host/a/b", "../host/a/b/victim"])
@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_is_done_through_a_link(scene: Scene, action: str, target: str) -> None:
    (scene.top / "evil").symlink_to(target)
    with contextlib.suppress(SandboxError):
        ACTIONS[action](str(scene.top))
    assert not scene.host_is_harmed()


def test_the_link_itself_is_labelled(scene: Scene) -> None:
    (scene.top / "evil").symlink_to("../host/a/b/victim")
    tree.relabel(str(scene.top), NEW)
    assert label_of(scene.top / "evil") == NEW


def test_without_the_defence_the_host_is_relabelled(scene: Scene, no_nofollow: None) -> None:
    (scene.top / "evil").symlink_to("../host/a/b/victim")
    tree.relabel(str(scene.top), NEW)
    assert label_of(scene.host / "a/b/victim") == NEW


def test_nothing_is_read_through_a_link(scene: Scene) -> None:
    (scene.top / "evil").symlink_to("../host/a/b/victim")
    with pytest.raises(tree.TreeError, match="not a regular file"):
        tree.read_file(str(scene.top), "evil", 100)
    assert tree.read_file(str(scene.top), "evil/victim", 100) is None


def test_without_the_defence_the_host_is_read(scene: Scene, no_nofollow: None) -> None:
    (scene.top / "evil").symlink_to("../host/a/b/victim")
    assert tree.read_file(str(scene.top), "evil", 100) == SECRET


@pytest.mark.parametrize("path", ["evil", "evil/b"])
def test_a_top_at_or_below_a_link_is_refused(scene: Scene, path: str) -> None:
    (scene.place / "evil").symlink_to("host/a")
    with pytest.raises(tree.TreeError, match="symbolic link"):
        tree.relabel(str(scene.place / path), NEW)
    assert not scene.host_is_harmed()


@pytest.mark.parametrize("relpath", ["../host/a", "a/../../host/a", "/etc", "a//b", "./a", "a/b\0"])
def test_a_path_that_leaves_the_tree_is_refused(scene: Scene, relpath: str) -> None:
    with pytest.raises(tree.TreeError, match="not a plain path"):
        tree.remove(str(scene.top), relpath)
    assert not scene.host_is_harmed()


def test_a_device_or_fifo_is_not_opened_for_reading(scene: Scene) -> None:
    os.mkfifo(scene.top / "fifo")
    with pytest.raises(tree.TreeError, match="not a regular file"):
        tree.read_file(str(scene.top), "fifo", 100)


def test_an_endless_file_is_not_read(scene: Scene) -> None:
    with open(scene.top / "big", "wb") as big:
        big.truncate(1 << 40)
    with pytest.raises(tree.TreeError, match="larger than 100 bytes"):
        tree.read_file(str(scene.top), "big", 100)
