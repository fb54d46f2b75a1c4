# SPDX-License-Identifier: GPL-3.0-or-later
"""A faithful copy of a part of the host into a tree, every entry with its context from the moment it is made."""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
from collections.abc import Iterator
from typing import Callable, NamedTuple

from ..model.errors import ConflictError
from ..model.values import printable
from .tree_edit import (
    ExchangedError,
    drop_inherited_acl,
    in_place,
    make_directory,
    make_other,
    make_regular,
)
from .tree_fd import (
    READ_AT_ONCE,
    Identity,
    Top,
    Tree,
    TreeError,
    closing,
    identity,
    open_path,
    opened,
    proc_path,
    seam,
    system_error,
)
from .tree_label import ATTRIBUTE, Expected, kind_of
from .tree_walk import Descent, Directory, Walk

# The label is the tree's own, and a signature over the host's attributes is the kernel's business.
_NOT_COPIED = (ATTRIBUTE, "security.evm")
_NO_RANGE_COPY = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.ETXTBSY)
_CHUNK = 1 << 20


class Skipped(NamedTuple):
    """A source path that was left out, and what it is."""

    path: str
    reason: str


@dataclasses.dataclass
class CopyReport:
    entries: int = 0
    skipped: list[Skipped] = dataclasses.field(default_factory=list)


def copy_into(
    top: Top, relpath: str, source: str, *, context: Expected, replace: bool = False, without: Callable[[str], bool] | None = None
) -> CopyReport:
    """Copy a path of the host, whatever it is, to a path of the tree.

    Owner, mode, times, access lists, attributes, hard links within it and holes are kept; device nodes, sockets and
    mounts inside it are left out and reported. What is there already is an error, unless it is not a directory and
    ``replace`` says so. It appears under its name when it is complete. ``without`` says of a path of the tree that it is
    to be left out.
    """
    with opened(top) as tree, tree.parent(relpath) as (dir_fd, name):
        status = tree.status(relpath)
        if status is not None and (not replace or stat.S_ISDIR(status.st_mode)):
            raise ConflictError(f"{printable(tree.full(relpath))}: exists already. Remove it first.")
        if f"{tree.path}/".startswith(f"{source.rstrip('/')}/"):
            raise TreeError(source, f"contains the tree {printable(tree.path)}", "Copy only what is beside the tree.")
        with closing(open_path(source)) as held:
            copy = _Copy(tree, relpath, source, context, without)
            kind = kind_of(os.fstat(held).st_mode)
            if kind in _UNCOPIED:
                return CopyReport(skipped=[Skipped(source, kind)])
            with in_place(tree, dir_fd, name, relpath) as temporary:
                copy.run(held, dir_fd, temporary)
        return copy.report


_UNCOPIED = ("device", "socket", "unknown")


class _Copy:
    """One copy: the source is walked, and the target follows directory by directory."""

    def __init__(self, tree: Tree, relpath: str, source: str, context: Expected, without: Callable[[str], bool] | None) -> None:
        self.tree = tree
        self.without = without or (lambda _path: False)
        self.relpath = relpath
        self.source = source
        self.report = CopyReport()
        self.context = context if callable(context) else lambda _path, _mode: context
        self.links: dict[Identity, tuple[str, Identity]] = {}
        self.creator = os.geteuid(), os.getegid()
        where = relpath.rpartition("/")[0]
        self.place = f"{where}/" if where else ""
        self.within = ""

    def run(self, held: int, dir_fd: int, temporary: str) -> None:
        self.within = self.place + temporary
        status = os.fstat(held)
        if not stat.S_ISDIR(status.st_mode):
            self._held(held, status, dir_fd, temporary, "")
            return
        seam.at("source", "")
        with closing(os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=held)) as top:
            self._directories(Tree(top, self.source), dir_fd, temporary)

    def _directories(self, source: Tree, dir_fd: int, temporary: str) -> None:
        fd = self._make_directory(dir_fd, temporary, "")
        target = Descent(self.tree, fd, self.within)
        walk = Walk(source)
        try:
            drop_inherited_acl(fd)
            for visit in walk:
                if not visit.entering:
                    self._finish(visit.directory, target)
                    continue
                if visit.parent is not None:
                    name = visit.directory.name
                    target.adopt(self._make_directory(target.here.fd, name, visit.directory.relpath), name)
                self._contents(visit.directory, target.here.fd)
        finally:
            target.close()
        if walk.lost:
            raise TreeError(source.full(walk.lost[0]), "was moved while it was being copied", "Run again.")
        self.report.skipped.extend(Skipped(source.full(path), "mount") for path in walk.mounts)

    def _make_directory(self, dir_fd: int, name: str, path: str) -> int:
        self.report.entries += 1
        return make_directory(self.tree, dir_fd, name, self._final(path), self._context(path, stat.S_IFDIR))

    def _finish(self, source: Directory, target: Descent) -> None:
        """A directory's own attributes come when its contents are there, or its time would be wrong."""
        _copy_attributes(source.fd, target.here.fd, os.fstat(source.fd), self._owner_differs)
        if len(target.chain) > 1 and target.reopen_parent() is None:
            raise ExchangedError(
                self.tree.full(target.here.relpath),
                "was moved while it was being filled",
                "Stop the sandbox and run again.",
            )
        target.leave()

    def _contents(self, directory: Directory, dir_fd: int) -> None:
        with os.scandir(directory.fd) as entries:
            for entry in entries:
                if self.without(self._final(directory.path_of(entry.name))):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    directory.pending.append(entry.name)
                else:
                    self._entry(entry, directory, dir_fd)

    def _entry(self, entry: os.DirEntry[str], directory: Directory, dir_fd: int) -> None:
        path = directory.path_of(entry.name)
        plain = entry.is_file(follow_symlinks=False)
        seam.at("source", path)
        flags = READ_AT_ONCE if plain else os.O_PATH
        try:
            fd = os.open(entry.name, flags | os.O_NOFOLLOW, dir_fd=directory.fd)
        except FileNotFoundError:
            return
        except OSError as error:
            raise system_error(f"{self.source}/{path}", error, "opening it") from error
        with closing(fd):
            status = os.fstat(fd)
            if plain and stat.S_ISREG(status.st_mode):
                self._file(fd, status, dir_fd, entry.name, path)
            else:
                self._held(fd, status, dir_fd, entry.name, path)

    def _held(self, fd: int, status: os.stat_result, dir_fd: int, name: str, path: str) -> None:
        """Copy what a descriptor merely holds."""
        kind = kind_of(status.st_mode)
        if kind in ("file", "directory"):
            with closing(os.open(proc_path(fd), READ_AT_ONCE)) as content:
                self._file(content, status, dir_fd, name, path)
            return
        if kind in _UNCOPIED:
            self.report.skipped.append(Skipped(f"{self.source}/{path}", kind))
            return
        if self._linked(status, dir_fd, name):
            return
        target = os.readlink("", dir_fd=fd) if kind == "symlink" else None
        context = self._context(path, status.st_mode)
        with closing(make_other(self.tree, dir_fd, name, self._final(path), context, target)) as made:
            if not path and target is None:
                drop_inherited_acl(proc_path(made))
            _copy_attributes(proc_path(fd), proc_path(made), status, self._owner_differs)
            self._made(status, made, path)

    def _file(self, fd: int, status: os.stat_result, dir_fd: int, name: str, path: str) -> None:
        if self._linked(status, dir_fd, name):
            return
        context = self._context(path, stat.S_IFREG)
        with closing(make_regular(self.tree, dir_fd, name, self._final(path), context)) as made:
            if not path:
                drop_inherited_acl(made)
            if status.st_size:
                _copy_content(fd, made, status)
            _copy_attributes(fd, made, status, self._owner_differs)
            self._made(status, made, path)

    def _made(self, status: os.stat_result, made: int, path: str) -> None:
        self.report.entries += 1
        if status.st_nlink > 1:
            self.links[identity(status)] = path, identity(os.fstat(made))

    def _linked(self, status: os.stat_result, dir_fd: int, name: str) -> bool:
        """Link what was copied already under another name; false if it was not, or is not to be found again."""
        known = self.links.get(identity(status)) if status.st_nlink > 1 else None
        if known is None:
            return False
        relpath = f"{self.within}/{known[0]}"
        try:
            with closing(self.tree.find(relpath)) as held:
                if identity(os.fstat(held)) != known[1]:
                    return False
                os.link(proc_path(held), name, dst_dir_fd=dir_fd, follow_symlinks=True)
        except (OSError, TreeError):
            return False
        self.report.entries += 1
        return True

    def _final(self, path: str) -> str:
        return f"{self.relpath}/{path}" if path else self.relpath

    def _context(self, path: str, mode: int) -> str:
        return self.context(self._final(path), stat.S_IFMT(mode))

    def _owner_differs(self, status: os.stat_result) -> bool:
        return (status.st_uid, status.st_gid) != self.creator


def _copy_attributes(source: int | str, made: int | str, status: os.stat_result, owner_differs: Callable[[os.stat_result], bool]) -> None:
    """Owner first, which takes set-id bits and capabilities away; then what it would have taken; the times last."""
    if owner_differs(status):
        os.chown(made, status.st_uid, status.st_gid)
    for name in os.listxattr(source):
        if name not in _NOT_COPIED:
            os.setxattr(made, name, os.getxattr(source, name))
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(made, stat.S_IMODE(status.st_mode))
    os.utime(made, ns=(status.st_atime_ns, status.st_mtime_ns))


def _copy_content(source: int, made: int, status: os.stat_result) -> None:
    if status.st_blocks * 512 >= status.st_size:
        _copy_range(source, made, 0, status.st_size)
        return
    for start, end in _data(source, status.st_size):
        _copy_range(source, made, start, end)
    os.ftruncate(made, status.st_size)


def _data(source: int, size: int) -> Iterator[tuple[int, int]]:
    """The stretches of a file that are not holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return
        end = os.lseek(source, start, os.SEEK_HOLE)
        yield start, end


def _copy_range(source: int, made: int, start: int, end: int) -> None:
    while start < end:
        try:
            copied = os.copy_file_range(source, made, end - start, start, start)
        except OSError as error:
            if error.errno not in _NO_RANGE_COPY:
                raise
            copied = 0
        if not copied:
            copied = os.pwrite(made, os.pread(source, min(end - start, _CHUNK), start), start)
        if not copied:
            return
        start += copied
