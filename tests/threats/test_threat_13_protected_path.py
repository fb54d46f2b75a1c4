# SPDX-License-Identifier: GPL-3.0-or-later
"""``/``, ``/etc``, ``/usr``, ``/home`` asked for by mistake (opencontainers/selinux#30)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import tree, tree_fd

from .conftest import NEW, Scene

PROTECTED = [
    "/", "//", "/etc", "/etc/", "//etc", "/etc/ssh", "/usr", "/usr/local/lib/x", "/home", "/home/alice",
    "/root", "/var", "/var/lib", "/var/lib/mysql", "/var/log", "/var/lib/libvirt",
    "/var/lib/libvirt/filesystems", "/boot", "/proc", "/proc/self/root", "/sys/fs/cgroup", "/dev/shm/x",
    "/tmp", "/srv", "/opt", "/mnt", "/run", "/lib/modules", "/bin",
]  # fmt: skip

ENTRIES: dict[str, Callable[[str], object]] = {
    "open_top": tree.open_top,
    "scan": lambda top: tree.scan(top, expected=NEW),
    "relabel": lambda top: tree.relabel(top, NEW),
    "remove_tree": tree.remove_tree,
    "remove": lambda top: tree.remove(top, "no-such-entry"),
    "clean_leftovers": tree.clean_leftovers,
}


@pytest.mark.parametrize("path", PROTECTED)
def test_refused_by_name(path: str) -> None:
    with pytest.raises(tree.ProtectedPathError, match=r"belongs to the host\. Name a directory"):
        tree.open_top(path)


@pytest.mark.parametrize("entry", ENTRIES)
def test_whatever_is_asked_for(entry: str) -> None:
    with pytest.raises(tree.ProtectedPathError):
        ENTRIES[entry]("/etc")


@pytest.mark.parametrize("path", ["/home", "/etc", "/var/lib", "/usr/lib"])
def test_refused_under_another_name(scene: Scene, path: str) -> None:
    scene.bind(Path(path), scene.top / "a")
    below = scene.top / "a" if path != "/usr/lib" else scene.top / "a" / "x" / ".."
    with pytest.raises(tree.TreeError):
        tree.open_top(str(below))


def test_without_the_defence_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_fd, "_WHOLLY_PROTECTED", ())
    monkeypatch.setattr(tree_fd, "_PARENTS_OF_PROTECTED", ())
    os.close(tree.open_top("/etc"))


def test_the_usual_place_is_not_refused(scene: Scene) -> None:
    for path in ("/var/lib/libvirt/filesystems/web", "/srv/sandboxes/web"):
        tree_fd._refuse_protected_name(path)
    os.close(tree.open_top(str(scene.top)))
