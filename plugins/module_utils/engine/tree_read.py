# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks into a content tree that change nothing: names in a directory, targets of links."""

from __future__ import annotations

import os

from .tree_fd import NOT_THERE, Top, closing, opened


def names(top: Top, relpath: str) -> list[str]:
    """The paths of what is in a directory of the tree; none where there is no directory."""
    with opened(top) as tree:
        try:
            held = tree.directory_at(relpath)
        except OSError as error:
            if error.errno in NOT_THERE:
                return []
            raise
        with closing(held) as fd:
            return sorted(f"{relpath}/{name}" for name in os.listdir(fd))


def read_link(top: Top, relpath: str) -> str:
    """The target of a link, which is never followed."""
    with opened(top) as tree, closing(tree.find(relpath)) as fd:
        return os.readlink("", dir_fd=fd)
