# SPDX-License-Identifier: GPL-3.0-or-later
"""File contexts of a tree: one quick pass that reads by name, and a careful way for the few entries that differ.

A context is read and written as the raw attribute: what a translation daemon makes of a level does not count.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
import time
from typing import Callable, NamedTuple, Union

from .tree_fd import (
    LEFTOVER,
    READ_AT_ONCE,
    Identity,
    MountError,
    Top,
    Tree,
    TreeError,
    closing,
    identity,
    opened,
    proc_path,
    seam,
    system_error,
)
from .tree_walk import Directory, Walk

ATTRIBUTE = "security.selinux"

Expected = Union[str, Callable[[str, int], str]]
"""A context for every entry, or a function of an entry's path from the top and its mode."""

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}

# The change time of an inode is the kernel's coarse clock, which lags by up to a tick; twice that is on the safe side.
_COARSE_CLOCK = 5
_LAG_NS = int(2e9 * time.clock_getres(_COARSE_CLOCK))
_ATTEMPTS = 3


class LabelError(TreeError):
    """A context that cannot be read or written, or was not written although the system said so."""


class Mislabelled(NamedTuple):
    """An entry whose context differs from the expected one; the path is from the tree's top, which itself is ``""``."""

    path: str
    actual: str | None
    expected: str
    kind: str


@dataclasses.dataclass
class Report:
    """What a pass over a tree found.

    ``foreign_links``: entries with a link outside the tree, which are left alone. ``unsettled``: entries that changed
    under the pass, so that nothing is known about them: run again, or freeze the sandbox first. ``leftovers``: what an
    interrupted copy left.
    """

    entries: int = 0
    mislabelled: list[Mislabelled] = dataclasses.field(default_factory=list)
    foreign_links: list[str] = dataclasses.field(default_factory=list)
    mounts: list[str] = dataclasses.field(default_factory=list)
    unsettled: list[str] = dataclasses.field(default_factory=list)
    leftovers: list[str] = dataclasses.field(default_factory=list)


def kind_of(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "unknown")


def decoded(raw: bytes) -> str:
    return os.fsdecode(raw.rstrip(b"\0"))


def get_label(target: int | str, path: str) -> str | None:
    """The context of an opened entry (a descriptor, or its path in ``/proc``); none where it has none."""
    try:
        return decoded(os.getxattr(target, ATTRIBUTE))
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise _label_error(path, error, "read") from error


def set_label(target: int | str, context: str, path: str, relpath: str) -> None:
    """Write the context of an opened entry, and read it back: a write that went elsewhere is an error."""
    seam.at("write", relpath)
    try:
        os.setxattr(target, ATTRIBUTE, os.fsencode(context) + b"\0")
    except OSError as error:
        raise _label_error(path, error, "written", context) from error
    seam.at("verify", relpath)
    actual = get_label(target, path)
    if actual != context:
        raise LabelError(
            path,
            f"still has the context {actual!r} after {context!r} was written",
            "Something redirects or ignores label writes on this host. Find it before you trust any label.",
        )


def _label_error(path: str, error: OSError, done: str, context: str = "") -> LabelError:
    if error.errno == errno.ENOTSUP:
        return LabelError(
            path,
            f"its context cannot be {done}, because the filesystem keeps no labels or is mounted with a context of its own",
            "Use a filesystem with security attributes, mounted without the option context.",
        )
    if error.errno == errno.EINVAL:
        return LabelError(path, f"the loaded policy does not know the context {context!r}", "Install its policy module.")
    return LabelError(path, f"its context cannot be {done} ({error.strerror})", "Run as root, in a domain that may label files.")


def scan(top: Top, *, expected: Expected) -> Report:
    """What ``relabel`` would change, found without changing anything."""
    return _pass(top, expected, False, None)


def relabel(top: Top, expected: Expected, *, wanted: Callable[[Mislabelled], bool] | None = None) -> Report:
    """Give every entry its context, each directory after what is in it, the top last; what was changed is reported.

    ``wanted`` may decline an entry, which then keeps the context it has.
    """
    return _pass(top, expected, True, wanted)


def read_label(top: Top, relpath: str) -> str | None:
    """The context of one entry; ``""`` is the top."""
    with opened(top) as tree, closing(tree.find(relpath)) as fd:
        return get_label(proc_path(fd), tree.full(relpath))


def _pass(top: Top, expected: Expected, write: bool, wanted: Callable[[Mislabelled], bool] | None) -> Report:
    with opened(top) as tree, closing(os.open(".", os.O_PATH)) as working_directory:
        labelling = _Labelling(tree, expected, write, wanted)
        try:
            labelling.run()
        finally:
            os.fchdir(working_directory)
        return labelling.report


def _quiet(changed_ns: int, since_ns: int) -> bool:
    """Whether an inode's change time proves that nothing was linked, unlinked or renamed since then.

    Each of these sets it to the present, and nobody can set it otherwise.
    """
    return not since_ns - _LAG_NS <= changed_ns <= time.time_ns() + _LAG_NS


_Place = tuple[Identity, str]


def _place(directory: Directory, name: str) -> _Place:
    """What tells one link from another: its directory's inode, which stays the same wherever that is moved."""
    return directory.identity, name


class _Labelling:
    """One pass over a tree."""

    def __init__(self, tree: Tree, expected: Expected, write: bool, wanted: Callable[[Mislabelled], bool] | None) -> None:
        self.tree = tree
        self.write = write
        self.wanted = wanted
        self.report = Report()
        self.constant = expected if isinstance(expected, str) else None
        self.function = expected if callable(expected) else lambda _path, _mode, context=expected: context
        self.deferred: dict[Identity, str] = {}

    def run(self) -> None:
        walk = Walk(self.tree)
        for visit in walk:
            if visit.entering:
                self._contents(visit.directory)
            elif visit.parent is not None:
                self._directory(visit.directory)
            elif visit.directory.relpath:
                walk.lost.append(visit.directory.relpath)
            else:
                self._settle()
                self._directory(visit.directory)
        self.report.mounts.extend(walk.mounts)
        self.report.unsettled.extend(walk.lost)

    # The quick part, a few microseconds an entry: it reads by name, in the directory itself.

    def _contents(self, directory: Directory) -> None:
        seam.at("scan", directory.relpath)
        os.fchdir(directory.fd)
        getxattr, attribute, report = os.getxattr, ATTRIBUTE, self.report
        constant = None if self.constant is None else os.fsencode(self.constant)
        with os.scandir(directory.fd) as entries:
            for entry in entries:
                name = entry.name
                report.entries += 1
                if name.startswith(LEFTOVER):
                    report.leftovers.append(directory.path_of(name))
                if entry.is_dir(follow_symlinks=False):
                    directory.pending.append(name)
                    continue
                try:
                    actual = getxattr(name, attribute, follow_symlinks=False).rstrip(b"\0")
                except OSError:
                    # Whatever it was, the careful way meets it again and names it.
                    actual = b""
                context = constant if constant is not None else os.fsencode(self._expected_by_type(directory, entry))
                if actual != context:
                    self._entry(directory, name)

    def _expected_by_type(self, directory: Directory, entry: os.DirEntry[str]) -> str:
        if entry.is_file(follow_symlinks=False):
            mode = stat.S_IFREG
        elif entry.is_symlink():
            mode = stat.S_IFLNK
        else:
            try:
                mode = stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
            except OSError:
                mode = 0
        return self.function(directory.path_of(entry.name), mode)

    # The careful part: what is decided about an entry is decided about the descriptor that holds it.

    def _entry(self, directory: Directory, name: str) -> None:
        relpath = directory.path_of(name)
        before_ns = time.time_ns()
        try:
            fd = self.tree.entry(name, directory.fd, relpath)
        except MountError:
            self.report.mounts.append(relpath)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            raise system_error(self.tree.full(relpath), error, "opening it") from error
        try:
            seam.at("stat", relpath)
            status = os.fstat(fd)
            if stat.S_ISDIR(status.st_mode):
                directory.pending.append(name)
            elif status.st_nlink == 1 and (not self.write or _quiet(status.st_ctime_ns, before_ns)):
                # Its only link was here before it was opened, and nothing was linked since.
                self._held(fd, status, relpath)
            elif status.st_nlink > 0:
                self.deferred.setdefault(identity(status), relpath)
        finally:
            os.close(fd)

    def _held(self, fd: int, status: os.stat_result, relpath: str) -> None:
        """Label what a descriptor holds, through its path in ``/proc``: no name is looked up again."""
        path = proc_path(fd)
        seam.at("proc", relpath)
        try:
            # A regular file: opening it disturbs nothing, and is quicker than its path three times.
            opened_fd = os.open(path, READ_AT_ONCE) if stat.S_ISREG(status.st_mode) else -1
        except BlockingIOError:
            opened_fd = -1  # somebody inside has a lease on it, which a label does not need broken
        if opened_fd < 0:
            self._require_same(os.stat(path), status, relpath)
            self._label(path, status.st_mode, relpath)
            return
        try:
            self._require_same(os.fstat(opened_fd), status, relpath)
            self._label(opened_fd, status.st_mode, relpath)
        finally:
            os.close(opened_fd)

    def _require_same(self, through: os.stat_result, held: os.stat_result, relpath: str) -> None:
        if identity(through) != identity(held):
            raise LabelError(self.tree.full(relpath), "its path in /proc leads elsewhere", "Mount the kernel's proc there.")

    def _directory(self, directory: Directory) -> None:
        self._label(directory.fd, stat.S_IFDIR, directory.relpath)

    def _label(self, target: int | str, mode: int, relpath: str) -> None:
        seam.at("read", relpath)
        full = self.tree.full(relpath)
        actual = get_label(target, full)
        expected = self.constant or self.function(relpath, stat.S_IFMT(mode))
        if actual == expected:
            return
        mislabelled = Mislabelled(relpath, actual, expected, kind_of(mode))
        if self.wanted is not None and not self.wanted(mislabelled):
            return
        if self.write:
            set_label(target, expected, full, relpath)
        self.report.mislabelled.append(mislabelled)

    # Multiply-linked entries, and those just made: labelled once all their links are known to be in the tree.

    def _settle(self) -> None:
        for _attempt in range(_ATTEMPTS):
            if not self.deferred:
                return
            if self.write:
                time.sleep(2 * _LAG_NS / 1e9)
            since_ns = time.time_ns()
            places = self._places({inode for _device, inode in self.deferred})
            for inode in list(self.deferred):
                # A filesystem whose directories tell other numbers than its inodes has no places to show.
                candidates = places.get(inode[1]) or {(inode, ""): self.deferred[inode]}
                if self._settled(inode, candidates, since_ns):
                    del self.deferred[inode]
        self.report.unsettled.extend(self.deferred.values())

    def _places(self, inodes: set[int]) -> dict[int, dict[_Place, str]]:
        """Where the tree has names for these inodes."""
        places: dict[int, dict[_Place, str]] = {}
        for visit in Walk(self.tree):
            if not visit.entering:
                continue
            directory = visit.directory
            seam.at("count", directory.relpath)
            with os.scandir(directory.fd) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        directory.pending.append(entry.name)
                    elif entry.inode() in inodes:
                        place = _place(directory, entry.name)
                        places.setdefault(entry.inode(), {})[place] = directory.path_of(entry.name)
        return places

    def _settled(self, inode: Identity, places: dict[_Place, str], since_ns: int) -> bool:
        """Decide about one inode; false if it changed under us."""
        links = 0
        first = ""
        fd = -1
        try:
            for relpath in sorted(places.values()):
                held = self._reopened(relpath)
                if held is None:
                    return False
                if identity(os.fstat(held)) != inode:
                    os.close(held)
                    continue
                links += 1
                if fd < 0:
                    fd, first = held, relpath
                else:
                    os.close(held)
            if fd < 0:
                return True
            seam.at("links", first)
            status = os.fstat(fd)
            if self.write and not _quiet(status.st_ctime_ns, since_ns):
                return False
            if status.st_nlink != links:
                self.report.foreign_links.append(first)
            else:
                self._held(fd, status, first)
            return True
        finally:
            if fd >= 0:
                os.close(fd)

    def _reopened(self, relpath: str) -> int | None:
        try:
            return self.tree.find(relpath)
        except (OSError, TreeError):
            return None
