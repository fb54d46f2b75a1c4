# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing from a tree, or the whole of it: by name in opened directories, and nothing where there is a mount."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator

from .tree_fd import (
    LEFTOVER,
    NOT_THERE,
    MountError,
    Top,
    Tree,
    TreeError,
    closing,
    identity,
    open_path,
    opened,
    seam,
    system_error,
)
from .tree_walk import Directory, Walk

_ATTEMPTS = 3


def remove(top: Top, relpath: str) -> bool:
    """Remove an entry and all that is in it; false if there is none. A mount in it is refused, not crossed."""
    with opened(top) as tree:
        if tree.status(relpath) is None:
            return False
        with tree.parent(relpath) as (dir_fd, name):
            _refuse_mounts(tree.full(relpath))
            return remove_entry(tree, dir_fd, name, relpath)


def remove_tree(path: str) -> bool:
    """Remove a whole tree, its top last; false if there is none."""
    if not os.path.lexists(path):
        return False
    parent, _slash, name = path.rstrip("/").rpartition("/")
    with opened(path) as tree, closing(open_path(parent)) as dir_fd:
        _refuse_mounts(tree.path)
        _empty_and_remove(tree, dir_fd, name)
    return True


def clean_leftovers(top: Top, paths: Iterable[str] | None = None) -> list[str]:
    """Remove what interrupted runs left, at the paths that a report names, or wherever it is in the tree."""
    with opened(top) as tree:
        leftovers = list(_leftovers(tree) if paths is None else paths)
        for relpath in leftovers:
            if not relpath.rpartition("/")[2].startswith(LEFTOVER):
                raise TreeError(tree.full(relpath), "is not the leftover of an interrupted run", "It was not removed.")
        return [relpath for relpath in leftovers if remove(tree.fd, relpath)]


def _leftovers(tree: Tree) -> Iterator[str]:
    for visit in Walk(tree):
        if visit.entering:
            with os.scandir(visit.directory.fd) as entries:
                for entry in entries:
                    if entry.name.startswith(LEFTOVER):
                        yield visit.directory.path_of(entry.name)
                    elif entry.is_dir(follow_symlinks=False):
                        visit.directory.pending.append(entry.name)


def remove_entry(tree: Tree, dir_fd: int, name: str, relpath: str) -> bool:
    """Remove an entry by its name in an opened directory; false if there is none."""
    seam.at("unlink", relpath)
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    except IsADirectoryError:
        try:
            fd = tree.directory(name, dir_fd, relpath)
        except OSError as error:
            raise system_error(tree.full(relpath), error, "opening it") from error
        with closing(fd):
            _empty_and_remove(Tree(fd, tree.full(relpath)), dir_fd, name)
    except OSError as error:
        raise system_error(tree.full(relpath), error, "removing it") from error
    return True


def _empty_and_remove(tree: Tree, dir_fd: int, name: str) -> None:
    for _attempt in range(_ATTEMPTS):
        _empty(tree)
        seam.at("rmdir", "")
        try:
            if identity(os.stat(name, dir_fd=dir_fd, follow_symlinks=False)) != identity(os.fstat(tree.fd)):
                raise TreeError(tree.path, "was exchanged while it was being removed", "Stop the sandbox and run again.")
            os.rmdir(name, dir_fd=dir_fd)
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise system_error(tree.path, error, "removing it") from error
    raise TreeError(tree.path, "fills up while it is being removed", "Stop the sandbox and run again.")


def _empty(tree: Tree) -> None:
    walk = Walk(tree)
    for visit in walk:
        where = tree.full(visit.directory.relpath)
        try:
            if visit.entering:
                _unlink_all(visit.directory)
            elif visit.parent is not None:
                seam.at("rmdir", visit.directory.relpath)
                os.rmdir(visit.directory.name, dir_fd=visit.parent.fd)
        except OSError as error:
            # Filled up again, or exchanged: the next attempt sees to it.
            if error.errno not in (errno.ENOTEMPTY, *NOT_THERE):
                raise system_error(where, error, "removing it") from error
    if walk.mounts:
        raise MountError(tree.full(walk.mounts[0]), "is another mount", "Unmount it before you remove what is around it.")


def _unlink_all(directory: Directory) -> None:
    with os.scandir(directory.fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                directory.pending.append(entry.name)
                continue
            seam.at("unlink", directory.path_of(entry.name))
            try:
                os.unlink(entry.name, dir_fd=directory.fd)
            except FileNotFoundError:
                pass
            except IsADirectoryError:
                directory.pending.append(entry.name)


def _refuse_mounts(path: str) -> None:
    """Before anything is removed: say which mounts are at or below it."""
    with open("/proc/self/mountinfo", "rb") as table:
        points = [line.split()[4] for line in table]
    wanted = os.fsencode(path)
    for escaped in points:
        point = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), escaped)
        if point == wanted or point.startswith(wanted + b"/"):
            raise MountError(os.fsdecode(point), "is a mount", "Unmount it before you remove what is around it.")
