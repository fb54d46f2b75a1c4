# SPDX-License-Identifier: GPL-3.0-or-later
"""A path is looked up a second time between check and use (libselinux 67bc978b, 3d578b7b)."""

from __future__ import annotations

import contextlib
import os
from typing import Callable

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import tree, tree_label

from .conftest import NEW, Scene, Stage

REPLACEMENTS: dict[str, Callable[[Scene], None]] = {
    "symlink": lambda scene: scene.victim.symlink_to(scene.host / "a/b/victim"),
    "hard link": lambda scene: os.link(scene.host / "a/b/victim", scene.victim),
    "symlink to a directory": lambda scene: scene.victim.symlink_to(scene.host / "a"),
    "fifo": lambda scene: os.mkfifo(scene.victim),
    "directory": lambda scene: scene.victim.mkdir(),
    "nothing": lambda scene: None,
}

ACTIONS: dict[str, Callable[[str], object]] = {
    "relabel": lambda top: tree.relabel(top, NEW),
    "write_file": lambda top: tree.write_file(top, "a/b/victim", b"inside", mode=0o666, uid=7, gid=7, context=NEW),
    "read_file": lambda top: tree.read_file(top, "a/b/victim", 100),
    "make_symlink": lambda top: tree.make_symlink(top, "a/b/victim", "elsewhere", context=NEW),
    "remove": lambda top: tree.remove(top, "a/b"),
}


def replace(scene: Scene, replacement: str) -> None:
    with contextlib.suppress(OSError):
        scene.victim.unlink()
        REPLACEMENTS[replacement](scene)


@pytest.mark.parametrize("replacement", REPLACEMENTS)
@pytest.mark.parametrize("action", ACTIONS)
def test_replaced_before_any_step(stage: Stage, action: str, replacement: str) -> None:
    top = str(stage.scene.top)
    assert stage.harmful(lambda: ACTIONS[action](top), lambda: replace(stage.scene, replacement)) == []


def test_without_the_defence_the_second_lookup_leads_out(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk that remembers where an entry was, and not the entry."""
    monkeypatch.setattr(tree_label, "proc_path", lambda fd: os.readlink(f"/proc/self/fd/{fd}"))
    monkeypatch.setattr(tree_label._Labelling, "_require_same", lambda *_arguments: None)
    top = str(stage.scene.top)
    harmful = stage.harmful(lambda: tree.relabel(top, NEW), lambda: replace(stage.scene, "symlink"))
    assert [where for where in harmful if where.endswith(": proc a/b/victim")]


def test_an_entry_that_moved_keeps_its_identity(scene: Scene, stage: Stage) -> None:
    """What is labelled is what was looked at, wherever it is by then."""

    def move(step: str, path: str) -> None:
        if (step, path) == ("write", "a/b/victim"):
            scene.victim.rename(scene.top / "elsewhere")
            os.link(scene.host / "a/b/victim", scene.victim)

    stage.at(move)
    report = tree.relabel(str(scene.top), NEW)
    assert "a/b/victim" in [entry.path for entry in report.mislabelled]
    assert os.getxattr(scene.top / "elsewhere", "security.selinux") == NEW.encode() + b"\0"
    assert not scene.host_is_harmed()
