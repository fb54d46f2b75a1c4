# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that a play declares never take away what is inside: not a directory, whatever the play or root inside made of the path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import content
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import ConflictError

from .conftest import NEW, SECRET, Scene

FILE = {"path": "/var/lib/data", "content": "declared", "mode": "0644"}
LABELS = {"file_type": "virt_sandbox_file_t", "level": "s0:c1,c2"}


@pytest.fixture
def data(scene: Scene) -> Path:
    """Something precious in a directory of the tree."""
    directory = scene.top / "var" / "lib" / "data"
    directory.mkdir(parents=True)
    (directory / "precious").write_bytes(SECRET)
    return directory


def test_a_directory_in_the_place_of_a_file_stays(scene: Scene, data: Path) -> None:
    with pytest.raises(ConflictError, match="is a directory; remove it, or name another file"):
        content.write_files(str(scene.top), [FILE], **LABELS)
    content.remove_files(str(scene.top), [FILE["path"]])
    assert (data / "precious").read_bytes() == SECRET


@pytest.mark.parametrize("kind", ["link", "pipe", "file"])
def test_anything_else_is_replaced_and_removed(scene: Scene, data: Path, kind: str) -> None:
    path = data / "x"
    {"link": lambda: path.symlink_to(data / "precious"), "pipe": lambda: os.mkfifo(path), "file": lambda: path.write_text("old")}[kind]()
    declared = {**FILE, "path": "/var/lib/data/x"}
    content.write_files(str(scene.top), [declared], **LABELS)
    assert path.read_text() == "declared"
    assert os.getxattr(path, "security.selinux").rstrip(b"\0").decode() == NEW
    content.remove_files(str(scene.top), [declared["path"]])
    assert os.listdir(data) == ["precious"]
    assert (data / "precious").read_bytes() == SECRET
