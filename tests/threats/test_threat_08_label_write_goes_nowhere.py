# SPDX-License-Identifier: GPL-3.0-or-later
"""``/proc`` is redirected, or a label write does nothing (CVE-2019-19921, CVE-2025-52881)."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Callable

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import tree, tree_fd, tree_label

from .conftest import NEW, OLD, Scene, label_of

ACTIONS: dict[str, Callable[[str], object]] = {
    "relabel": lambda top: tree.relabel(top, NEW),
    "write_file": lambda top: tree.write_file(top, "new", b"x", mode=0o600, uid=0, gid=0, context=NEW),
    "make_dir": lambda top: tree.make_dir(top, "new", mode=0o700, uid=0, gid=0, context=NEW),
    "make_symlink": lambda top: tree.make_symlink(top, "new", "x", context=NEW),
    "copy_into": lambda top: tree.copy_into(top, "new", "/etc/hostname", context=NEW),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_a_write_without_effect_is_an_error(scene: Scene, action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "setxattr", lambda *_arguments, **_keywords: None)
        with pytest.raises(tree.LabelError, match=r"after .* was written"):
            ACTIONS[action](str(scene.top))
    assert os.listdir(scene.top) == ["a"]


def test_a_write_of_another_label_is_an_error(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.setxattr
    monkeypatch.setattr(os, "setxattr", lambda target, name, _value: write(target, name, b"other\\0"))
    with pytest.raises(tree.LabelError, match="still has the context 'other"):
        tree.relabel(str(scene.top), NEW)


def test_without_the_defence_a_write_without_effect_passes_for_done(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "setxattr", lambda *_arguments: None)
    monkeypatch.setattr(
        tree_label, "set_label", lambda target, context, _path, _relpath: os.setxattr(target, "security.selinux", context.encode())
    )
    report = tree.relabel(str(scene.top), NEW)
    assert "a/b/victim" in [entry.path for entry in report.mislabelled]
    assert label_of(scene.victim) == OLD


IN_A_NAMESPACE = """
import sys
from ansible_collections.virt.sandbox.plugins.module_utils.engine import tree
try:
    tree.relabel(sys.argv[1], sys.argv[2])
except tree.TreeError as error:
    print(error)
"""

PROCS = {
    "another filesystem": "mount -t tmpfs none /proc && mkdir -p /proc/self/fd",
    "nothing": "umount -l /proc",
    "something over its descriptors": "mount -t tmpfs none /proc/$$/fd",
}


@pytest.mark.parametrize("proc", PROCS)
def test_another_proc_is_refused(scene: Scene, proc: str) -> None:
    """In a mount namespace of its own, with the shell's place taken by the test's process."""
    script = f'{PROCS[proc]} && exec "$@"'
    command = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
        sys.executable,
        "-c",
        IN_A_NAMESPACE,
        str(scene.top),
        NEW,
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("/proc: is not ")
    assert label_of(scene.victim) == OLD


def test_without_the_defence_a_redirected_descriptor_is_labelled(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_label, "proc_path", lambda fd: str(scene.host / "a/b/victim"))
    with pytest.raises(tree.LabelError, match="leads elsewhere"):
        tree.relabel(str(scene.top), NEW)
    assert not scene.host_is_harmed()
    monkeypatch.setattr(tree_label._Labelling, "_require_same", lambda *_arguments: None)
    tree.relabel(str(scene.top), NEW)
    assert scene.host_is_harmed()


def test_proc_is_looked_at_before_anything_is_changed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_fd, "_PROC", str(scene.host))
    for action in ACTIONS.values():
        with pytest.raises(tree.TreeError, match="host: is not usable"):
            action(str(scene.top))
    assert label_of(scene.victim) == OLD
