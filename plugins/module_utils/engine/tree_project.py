# SPDX-License-Identifier: GPL-3.0-or-later
"""Have a whole tree belong to a project of the file system, by which its disk space is counted."""

from __future__ import annotations

import os

from ..host import quota
from .tree_fd import NOT_THERE, READ_AT_ONCE, Top, closing, opened, system_error
from .tree_walk import Directory, Walk


def give_project(top: Top, project: int) -> None:
    """Every directory and file, the top last: a tree whose top has a project is counted as a whole.

    What is made in a directory from then on belongs to it too. Links and sockets take no space, and are left.
    """
    with opened(top) as tree:
        for visit in Walk(tree):
            if visit.entering:
                _files(visit.directory, project, tree.full(visit.directory.relpath))
            if visit.entering == bool(visit.parent):
                quota.assign(visit.directory.fd, project)


def _files(directory: Directory, project: int, path: str) -> None:
    with os.scandir(directory.fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                directory.pending.append(entry.name)
            elif entry.is_file(follow_symlinks=False):
                _file(directory.fd, entry.name, project, f"{path}/{entry.name}")


def _file(dir_fd: int, name: str, project: int, path: str) -> None:
    try:
        fd = os.open(name, READ_AT_ONCE | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in NOT_THERE:
            return
        raise system_error(path, error, "opening it") from error
    with closing(fd):
        quota.assign(fd, project)
