# SPDX-License-Identifier: GPL-3.0-or-later
"""An entry of the tree is a hard link to a file of the host's (CVE-2017-18078)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import tree, tree_label

from .conftest import HOST, NEW, OLD, Scene, Stage, age, label, label_of


@pytest.fixture
def foreign(scene: Scene) -> Path:
    """The host's file that the tree has a link to."""
    link(scene)
    age()
    return scene.host / "a/other"


def link(scene: Scene) -> None:
    os.link(scene.host / "a/other", scene.top / "a/evil")


def test_it_is_reported_and_left(scene: Scene, foreign: Path) -> None:
    report = tree.relabel(str(scene.top), NEW)
    assert report.foreign_links == ["a/evil"]
    assert "a/evil" not in [entry.path for entry in report.mislabelled]
    assert label_of(foreign) == HOST
    assert label_of(scene.victim) == NEW


def test_check_mode_says_the_same(scene: Scene, foreign: Path) -> None:
    predicted, done = tree.scan(str(scene.top), expected=NEW), tree.relabel(str(scene.top), NEW)
    assert predicted == done


def test_a_file_all_of_whose_links_are_inside_is_labelled_once(scene: Scene) -> None:
    os.link(scene.victim, scene.top / "again")
    age()
    report = tree.relabel(str(scene.top), NEW)
    assert report.foreign_links == []
    assert [entry.path for entry in report.mislabelled].count("a/b/victim") == 1
    assert label_of(scene.top / "again") == NEW
    assert tree.scan(str(scene.top), expected=NEW).mislabelled == []


def test_two_links_inside_and_one_outside(scene: Scene, foreign: Path) -> None:
    os.link(foreign, scene.top / "evil2")
    age()
    assert tree.relabel(str(scene.top), NEW).foreign_links == ["a/evil"]
    assert label_of(foreign) == HOST


def test_unlinked_before_any_step(stage: Stage) -> None:
    """With the link gone its number of links is one: that one is the host's."""
    scene = stage.scene

    def action() -> None:
        link(scene)
        age()
        tree.relabel(str(scene.top), NEW)

    assert stage.harmful(action, lambda: (scene.top / "a/evil").unlink(missing_ok=True)) == []


def test_without_the_defence_an_unlink_in_time_is_enough(
    scene: Scene, stage: Stage, foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_label, "_quiet", lambda changed, since: True)

    def unlink(step: str, path: str) -> None:
        if (step, path) == ("stat", "a/evil"):
            (scene.top / path).unlink()

    stage.at(unlink)
    tree.relabel(str(scene.top), NEW)
    assert label_of(foreign) == NEW


class Shuttle:
    """One link inside that shows itself in two directories, by being renamed in time."""

    def __init__(self, scene: Scene) -> None:
        self.places = {"a": scene.top / "a/evil", "a/b": scene.top / "a/b/evil"}

    def __call__(self, step: str, path: str) -> None:
        directory = path if step == "count" else path.rpartition("/")[0] if path.endswith("/evil") else None
        wanted = self.places.get(directory or "")
        if wanted is not None and not wanted.exists():
            for other in self.places.values():
                if other.exists():
                    other.rename(wanted)


def test_one_link_renamed_to_be_counted_twice(scene: Scene, stage: Stage, foreign: Path) -> None:
    stage.at(Shuttle(scene))
    report = tree.relabel(str(scene.top), NEW)
    assert report.unsettled == ["a/evil"]
    assert label_of(foreign) == HOST


def test_without_the_defence_one_link_counts_twice(scene: Scene, stage: Stage, foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_label, "_quiet", lambda changed, since: True)
    stage.at(Shuttle(scene))
    tree.relabel(str(scene.top), NEW)
    assert label_of(foreign) == NEW


class DirectoryShuttle:
    """A link that stays in its directory, which is renamed in time to be met in two places of the walk."""

    def __init__(self, scene: Scene) -> None:
        self.top = scene.top
        self.met: list[str] = []
        for directory in ("p", "q"):
            (scene.top / directory).mkdir()
        (scene.top / "p/inner").mkdir()
        os.link(scene.host / "a/b/victim", scene.top / "p/inner/evil")
        for path in (scene.top / "p", scene.top / "q", scene.top / "p/inner"):
            label(path, OLD)
        age()

    def __call__(self, step: str, path: str) -> None:
        if (step, path) in (("count", "p"), ("count", "q")):
            self.move_to(path)
        elif step == "open-directory" and path in ("p/inner", "q/inner"):
            self.move_to(path[0])
        elif step == "count" and path.endswith("inner"):
            self.met.append(path)

    def move_to(self, directory: str) -> None:
        for other in {"p", "q"} - {directory}:
            if (self.top / other / "inner").exists():
                (self.top / other / "inner").rename(self.top / directory / "inner")


def test_a_directory_renamed_to_be_counted_twice(scene: Scene, stage: Stage) -> None:
    shuttle = DirectoryShuttle(scene)
    stage.at(shuttle)
    report = tree.relabel(str(scene.top), NEW)
    assert sorted(shuttle.met[:2]) == ["p/inner", "q/inner"]
    assert [path.partition("/")[2] for path in report.foreign_links] == ["inner/evil"]
    assert label_of(scene.host / "a/b/victim") == HOST


def test_without_the_defence_a_renamed_directory_counts_twice(scene: Scene, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_label, "_place", lambda directory, name: ((0, 0), directory.path_of(name)))
    stage.at(DirectoryShuttle(scene))
    tree.relabel(str(scene.top), NEW)
    assert label_of(scene.host / "a/b/victim") == NEW


def test_without_the_defence_the_host_is_written(scene: Scene, foreign: Path) -> None:
    """As a tool does that opens what is there, and so does one that does not follow links."""
    with open(os.open(scene.top / "a/evil", os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW), "wb") as file:
        file.write(b"new")
    assert scene.host_is_harmed()


def test_writing_does_not_write_through_a_hard_link(scene: Scene, foreign: Path) -> None:
    tree.write_file(str(scene.top), "a/evil", b"new", mode=0o666, uid=7, gid=7, context=NEW)
    assert not scene.host_is_harmed()
    assert (scene.top / "a/evil").read_bytes() == b"new"
