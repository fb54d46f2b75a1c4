# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy is what its source is, but for its context; what is made is what was asked for."""

from __future__ import annotations

import os
import socket
import stat
import struct
from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import tree, tree_copy
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import ConflictError

from .conftest import HOST, NEW, OLD, Scene, everything, label, label_of

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
NOBODY = 0xFFFFFFFF


def acl(user: int) -> bytes:
    """An access list that lets one more user read: tag, permissions and id of each entry."""
    entries = [(0x01, 6, NOBODY), (0x02, 4, user), (0x04, 4, NOBODY), (0x10, 4, NOBODY), (0x20, 0, NOBODY)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.fixture
def source(scene: Scene) -> Path:
    """One of everything that a copy keeps, and of what it leaves out."""
    root = scene.place / "source"
    (root / "directory" / "empty").mkdir(parents=True)
    (root / "directory" / "file").write_bytes(b"content" * 1000)
    (root / "name\nwith \udcff").write_bytes(b"")
    os.link(root / "directory/file", root / "hard link")
    (root / "link").symlink_to("nowhere")
    os.link(root / "link", root / "linked link", follow_symlinks=False)
    os.mkfifo(root / "fifo")
    with open(root / "sparse", "wb") as sparse:
        sparse.seek(10 << 20)
        sparse.write(b"in the middle")
        sparse.truncate(1 << 26)
    os.setxattr(root / "directory/file", "user.note", b"kept")
    os.setxattr(root / "directory/file", ACCESS, acl(1234))
    os.setxattr(root / "directory", DEFAULT, acl(1234))
    os.setxattr(root / "sparse", "security.capability", struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0))
    os.mknod(root / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(root / "socket"))
    for number, path in enumerate(everything(root)):
        os.chown(path, 1000 + number, 2000 + number, follow_symlinks=False)
        if path.is_file() and not path.is_symlink():
            path.chmod(0o4750 + number % 8 if path.name != "sparse" else 0o755)
        os.utime(path, ns=(10**18 + number, 10**18 + 2 * number + 1), follow_symlinks=False)
        label(path, HOST)
    os.setxattr(root / "sparse", "security.capability", struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0))
    return root


def described(root: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in everything(root):
        status = path.lstat()
        if path.name in ("device", "socket"):
            continue
        attributes = {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
            if name != "security.selinux"
        }
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        size = (status.st_size, status.st_blocks) if stat.S_ISREG(status.st_mode) else None
        found[str(path.relative_to(root))] = (
            status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, size, content, attributes,
            status.st_nlink if not stat.S_ISDIR(status.st_mode) else None,
        )  # fmt: skip
    return found


@pytest.mark.parametrize("by_range", [True, False], ids=["copy_file_range", "read and write"])
def test_faithful(scene: Scene, source: Path, by_range: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not by_range:
        monkeypatch.setattr(os, "copy_file_range", lambda *_arguments: 0)
    report = tree.copy_into(str(scene.top), "a/copy", str(source), context=NEW)
    assert described(scene.top / "a/copy") == described(source)
    assert {label_of(path) for path in everything(scene.top / "a/copy")} == {NEW}
    assert report.entries == len(described(source))
    assert sorted(report.skipped) == [(str(source / "device"), "device"), (str(source / "socket"), "socket")]
    assert os.path.samefile(scene.top / "a/copy/hard link", scene.top / "a/copy/directory/file")


def test_contexts_by_path_and_type(scene: Scene, source: Path) -> None:
    def context(path: str, mode: int) -> str:
        return OLD if stat.S_ISDIR(mode) or path == "copy/fifo" else NEW

    tree.copy_into(str(scene.top), "copy", str(source), context=context)
    assert label_of(scene.top / "copy/directory/empty") == label_of(scene.top / "copy/fifo") == OLD
    assert label_of(scene.top / "copy/directory/file") == NEW


@pytest.mark.parametrize("name", ["directory/file", "link", "fifo", "sparse", "directory/empty"])
def test_a_single_entry(scene: Scene, source: Path, name: str) -> None:
    os.setxattr(scene.top, DEFAULT, acl(4321))
    tree.copy_into(str(scene.top), "copy", str(source / name), context=NEW)
    made, expected = described(scene.top / "copy")["."], described(source / name)["."]
    assert made[:-1] == expected[:-1]


@pytest.mark.parametrize("name", ["device", "socket"])
def test_what_is_not_copied_is_reported(scene: Scene, source: Path, name: str) -> None:
    report = tree.copy_into(str(scene.top), "copy", str(source / name), context=NEW)
    assert (report.entries, report.skipped) == (0, [(str(source / name), name)])
    assert not tree.exists(str(scene.top), "copy")


def test_what_is_there_is_not_replaced_unasked(scene: Scene, source: Path) -> None:
    file = str(source / "directory/file")
    with pytest.raises(ConflictError, match="a/other: exists already"):
        tree.copy_into(str(scene.top), "a/other", file, context=NEW)
    with pytest.raises(ConflictError, match="a: exists already"):
        tree.copy_into(str(scene.top), "a", str(source), context=NEW, replace=True)
    tree.copy_into(str(scene.top), "a/other", file, context=NEW, replace=True)
    assert (scene.top / "a/other").read_bytes() == (source / "directory/file").read_bytes()


def test_the_tree_is_not_copied_into_itself(scene: Scene) -> None:
    with pytest.raises(tree.TreeError, match=r"contains the tree .*"):
        tree.copy_into(str(scene.top), "copy", str(scene.place), context=NEW)


def test_a_missing_parent_is_named(scene: Scene, source: Path) -> None:
    with pytest.raises(tree.TreeError, match=r"tree/no/such: does not exist\. Create this directory first"):
        tree.copy_into(str(scene.top), "no/such/copy", str(source), context=NEW)


def test_a_full_filesystem_leaves_nothing(scene: Scene, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(tree_copy, "_copy_content", full)
    with pytest.raises(tree.TreeError, match=r"copy: making it failed \(No space left on device\)"):
        tree.copy_into(str(scene.top), "copy", str(source), context=NEW)
    assert os.listdir(scene.top) == ["a"]


def test_write_file_says_whether_it_changed_anything(scene: Scene) -> None:
    def write(data: bytes = b"data", mode: int = 0o640, uid: int = 5, gid: int = 6, context: str = NEW) -> bool:
        return tree.write_file(str(scene.top), "a/new", data, mode=mode, uid=uid, gid=gid, context=context)

    assert write()
    status = (scene.top / "a/new").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 5, 6)
    assert (tree.read_file(str(scene.top), "a/new", 4), tree.read_label(str(scene.top), "a/new")) == (b"data", NEW)
    assert not write()
    for change in ({"data": b"atad"}, {"data": b""}, {"mode": 0o600}, {"uid": 0}, {"gid": 0}, {"context": OLD}):
        assert write(**change), change
        assert write(), change


def test_make_dir_says_whether_it_changed_anything(scene: Scene) -> None:
    def make(mode: int = 0o750, uid: int = 5, context: str = NEW, parents: bool = True) -> bool:
        return tree.make_dir(str(scene.top), "a/x/y", mode=mode, uid=uid, gid=6, context=context, parents=parents)

    with pytest.raises(tree.TreeError, match="a/x: does not exist"):
        make(parents=False)
    assert make()
    assert not make()
    above, made = (scene.top / "a/x").stat(), (scene.top / "a/x/y").stat()
    assert (stat.S_IMODE(above.st_mode), above.st_uid) == (0o755, 0)
    assert (stat.S_IMODE(made.st_mode), made.st_uid, made.st_gid) == (0o750, 5, 6)
    assert label_of(scene.top / "a/x") == label_of(scene.top / "a/x/y") == NEW
    for change in ({"mode": 0o700}, {"uid": 0}, {"context": OLD}):
        assert make(**change), change
        assert make(), change


def test_make_symlink_and_remove_say_whether_they_changed_anything(scene: Scene) -> None:
    top = str(scene.top)
    assert tree.make_symlink(top, "link", "a", context=NEW)
    assert not tree.make_symlink(top, "link", "a", context=NEW)
    assert tree.make_symlink(top, "link", "b", context=NEW)
    assert os.readlink(scene.top / "link") == "b"
    assert tree.remove(top, "link")
    assert not tree.remove(top, "link")
    assert not tree.remove(top, "no/such")
    assert tree.remove_tree(top)
    assert not tree.remove_tree(top)


def test_what_is_declined_keeps_its_context(scene: Scene) -> None:
    label(scene.victim, HOST)
    report = tree.relabel(str(scene.top), NEW, wanted=lambda found: found.actual != HOST)
    assert "a/b/victim" not in [found.path for found in report.mislabelled]
    assert [(found.path, found.actual) for found in tree.scan(str(scene.top), expected=NEW).mislabelled] == [("a/b/victim", HOST)]


def test_an_entry_without_a_context_gets_one(scene: Scene) -> None:
    os.removexattr(scene.victim, "security.selinux")
    found = {entry.path: entry for entry in tree.relabel(str(scene.top), NEW).mislabelled}
    assert found["a/b/victim"] == tree.Mislabelled("a/b/victim", None, NEW, "file")
    assert {found[path].kind for path in ("", "a/b/link")} == {"directory", "symlink"}


def test_a_hostile_name_does_not_reach_the_terminal(scene: Scene) -> None:
    with pytest.raises(tree.TreeError) as caught:
        tree.read_file(str(scene.top), "a\x1b[2J", 1) or tree.write_file(
            str(scene.top), "a\x1b[2J/x", b"", mode=0, uid=0, gid=0, context=NEW
        )
    assert "\x1b" not in str(caught.value)
