# SPDX-License-Identifier: GPL-3.0-or-later
"""A walk through a tree of any depth, with few descriptors and no recursion, that cannot be led out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from .tree_fd import NOT_THERE, MountError, Tree, identity, system_error

_KEPT_OPEN = 32


class Directory:
    """A directory that the walk is in. ``pending``: names of directories in it that are still to be entered."""

    __slots__ = ("_parent", "_relpath", "fd", "identity", "name", "pending")

    def __init__(self, fd: int, name: str, parent: Directory | None = None, relpath: str = "") -> None:
        self.fd = fd
        self.name = name
        self.identity = identity(os.fstat(fd))
        self.pending: list[str] = []
        self._parent = parent
        self._relpath = None if parent else relpath

    @property
    def relpath(self) -> str:
        """Its path from the top, which is kept only as long as it is open: paths of all depths would fill the memory."""
        if self._relpath is None:
            names = []
            above: Directory | None = self
            while above and above._relpath is None:
                names.append(above.name)
                above = above._parent
            base = above._relpath if above else ""
            self._relpath = "/".join([*([base] if base else []), *reversed(names)])
        return self._relpath

    def path_from(self, child: Directory) -> None:
        """Take the path from that of what is in it, where that is known: less work than from the top."""
        if self._relpath is None and child._relpath is not None:
            self._relpath = child._relpath[: -len(child.name)].rstrip("/")

    def path_of(self, name: str) -> str:
        return f"{self.relpath}/{name}" if self.relpath else name

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self._parent:
            self._relpath = None


class Descent:
    """The chain of directories from a tree's top to where one is; only the deepest are kept open.

    On the way back an ancestor is reopened through ``..`` and must be the same inode: whoever moves directories
    about in the middle of it can make the way back impossible, but not lead it elsewhere.
    """

    def __init__(self, tree: Tree, fd: int, relpath: str = "") -> None:
        self.tree = tree
        self.chain = [Directory(fd, "", relpath=relpath)]

    @property
    def here(self) -> Directory:
        return self.chain[-1]

    def enter(self, name: str) -> Directory:
        return self.adopt(self.tree.directory(name, self.here.fd, self.here.path_of(name)), name)

    def adopt(self, fd: int, name: str) -> Directory:
        """Go down into a directory that is open already; it is closed on leaving it."""
        self.chain.append(Directory(fd, name, self.here))
        if len(self.chain) > _KEPT_OPEN + 1:
            self.chain[-_KEPT_OPEN - 1].close()
        return self.here

    def reopen_parent(self) -> Directory | None:
        """The parent of where one is, opened; none at the top, or where it is no longer to be found."""
        if len(self.chain) == 1:
            return None
        parent = self.chain[-2]
        if parent.fd < 0:
            parent.path_from(self.here)
            parent.fd = self._find(parent)
        return parent if parent.fd >= 0 else None

    def _find(self, directory: Directory) -> int:
        for upwards in (True, False):
            if upwards and self.here.fd < 0:
                continue
            try:
                if upwards:
                    fd = self.tree.directory("..", self.here.fd, directory.relpath)
                else:
                    fd = self.tree.directory_at(directory.relpath)
            except (OSError, MountError):
                continue
            if identity(os.fstat(fd)) == directory.identity:
                return fd
            os.close(fd)
        return -1

    def leave(self) -> None:
        self.chain.pop().close()

    def close(self) -> None:
        while self.chain:
            self.leave()


class Visit(NamedTuple):
    """One stop of a walk: on entering a directory (fill its ``pending``), or on leaving it, its contents done."""

    directory: Directory
    entering: bool
    parent: Directory | None


class Walk:
    """Every directory of a tree, entered before and left after what is in it, the top last."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.mounts: list[str] = []
        self.lost: list[str] = []

    def __iter__(self) -> Iterator[Visit]:
        descent = Descent(self.tree, os.dup(self.tree.fd))
        try:
            yield Visit(descent.here, True, None)
            while descent.chain:
                here = descent.here
                if here.pending:
                    if self._enter(descent, here.pending.pop()):
                        yield Visit(descent.here, True, here)
                    continue
                parent = descent.reopen_parent()
                if here.fd >= 0:
                    yield Visit(here, False, parent)
                if parent is None and len(descent.chain) > 1:
                    self._lose(descent.chain[-2])
                descent.leave()
        finally:
            descent.close()

    def _lose(self, directory: Directory) -> None:
        """The way back to a directory is gone: what was still to be done in it is left, and said."""
        self.lost.append(directory.relpath)
        directory.pending.clear()

    def _enter(self, descent: Descent, name: str) -> bool:
        relpath = descent.here.path_of(name)
        try:
            descent.enter(name)
        except MountError:
            self.mounts.append(relpath)
        except OSError as error:
            # Gone, or no longer a directory: whoever owns the tree may do that at any time.
            if error.errno not in NOT_THERE:
                raise system_error(self.tree.full(relpath), error, "opening it") from error
        else:
            return True
        return False
