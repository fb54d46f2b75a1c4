# SPDX-License-Identifier: GPL-3.0-or-later
"""A source path is replaced by a link before it is used (CVE-2021-25741)."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import tree

from .conftest import NEW, SECRET, Scene, Stage, everything

REPLACED: dict[str, tuple[str, str]] = {
    "the source": ("source", ""),
    "a directory in it": ("source/b", "b"),
    "a file in it": ("source/b/victim", "b/victim"),
    "its parent": (".", ""),
}


def source_of(scene: Scene) -> Path:
    """Something of the host's that somebody else can write: it looks like the host's ``a``, and has no secret in it."""
    shared = scene.place / "shared"
    if shared.is_symlink():
        shared.unlink()
    shutil.rmtree(shared, ignore_errors=True)
    source = shared / "source"
    (source / "b").mkdir(parents=True)
    for name in ("other", "b/victim"):
        (source / name).write_bytes(b"public")
    return source


def secrets_in(scene: Scene) -> list[Path]:
    files = [path for path in everything(scene.top) if path.is_file() and not path.is_symlink()]
    return [path for path in files if path.read_bytes() == SECRET]


def attack(scene: Scene, replaced: str) -> None:
    path, of_host = REPLACED[replaced]
    target = scene.host / "a" / of_host
    where = scene.place / "shared" / path
    with contextlib.suppress(OSError):
        where.rename(scene.place / f"moved-{len(os.listdir(scene.place))}")
        where.symlink_to(target if path != "." else scene.place / "decoy")


def copies_of_a_secret(stage: Stage, replaced: str) -> list[str]:
    scene = stage.scene
    (scene.place / "decoy").mkdir()
    (scene.place / "decoy" / "source").symlink_to(scene.host / "a")

    def action() -> None:
        source = source_of(scene)
        tree.copy_into(str(scene.top), "copy", str(source), context=NEW)

    return [where for where in stage.attacked(action, lambda: attack(scene, replaced)) if secrets_in(scene)]


@pytest.mark.parametrize("replaced", REPLACED)
def test_replaced_before_any_step(stage: Stage, replaced: str) -> None:
    assert copies_of_a_secret(stage, replaced) == []


@pytest.mark.parametrize("replaced", ["the source", "a directory in it", "a file in it"])
def test_without_the_defence_a_secret_is_copied(stage: Stage, no_nofollow: None, replaced: str) -> None:
    assert copies_of_a_secret(stage, replaced) != []


SOURCES: dict[str, Callable[[Scene], str]] = {
    "a component is a link": lambda scene: str(scene.place / "way" / "b"),
    "a relative path": lambda scene: "host/a",
    "a path with dots": lambda scene: f"{scene.host}/../host/a",
}


@pytest.mark.parametrize("source", SOURCES)
def test_an_unclear_source_is_refused(scene: Scene, source: str) -> None:
    (scene.place / "way").symlink_to(scene.host / "a")
    with pytest.raises(tree.TreeError):
        tree.copy_into(str(scene.top), "copy", SOURCES[source](scene), context=NEW)
    assert os.listdir(scene.top) == ["a"]


def test_a_source_that_is_a_link_is_copied_as_one(scene: Scene) -> None:
    (scene.place / "way").symlink_to(scene.host / "a/b/victim")
    tree.copy_into(str(scene.top), "copy", str(scene.place / "way"), context=NEW)
    assert os.readlink(scene.top / "copy") == str(scene.host / "a/b/victim")
