# SPDX-License-Identifier: GPL-3.0-or-later
"""What still carries a level that was released: every entry of every content tree is asked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from ..model.mcs import InUse, Level, LevelError, LevelRange
from ..model.values import printable
from .tree_fd import Tree, TreeError, closing, opened
from .tree_label import ATTRIBUTE
from .tree_walk import Directory, Walk


def leftovers(levels: Iterable[Level], tops: Iterable[str]) -> list[InUse]:
    """For each level the first entry found that carries it.

    What cannot be searched is taken to carry all of them, for nobody knows that it does not.
    """
    search = _Search(levels)
    for top in tops:
        if search.sought and os.path.isfile(f"{top}.img") and not os.path.ismount(top):
            search.unseen(f"{top}.img", "an image that is not mounted")
        elif search.sought and _is_directory(top):
            search.tree(top)
    return search.in_use


def _is_directory(path: str) -> bool:
    """Any other entry is no tree; what it carries itself is observed with what is in use."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


class _Search:
    def __init__(self, levels: Iterable[Level]) -> None:
        self.sought = set(levels)
        self.in_use: list[InUse] = []
        self.known: dict[bytes, frozenset[Level]] = {}

    def tree(self, top: str) -> None:
        try:
            with opened(top) as tree, closing(os.open(".", os.O_PATH)) as working_directory:
                try:
                    self._walk(tree)
                finally:
                    os.fchdir(working_directory)
        except TreeError as error:
            self._take_all(top, error.reason)

    def unseen(self, path: str, reason: str) -> None:
        self._take_all(path, reason)

    def _walk(self, tree: Tree) -> None:
        walk = Walk(tree)
        for visit in walk:
            if visit.entering:
                for name, raw in self._labels(visit.directory):
                    self._meet(raw, tree.full(visit.directory.path_of(name) if name else visit.directory.relpath))
            if not self.sought:
                return
        for relpath in walk.lost:
            self._take_all(tree.full(relpath), "it moved during the search")
        for relpath in walk.mounts:
            self._take_all(tree.full(relpath), "another mount")

    def _labels(self, directory: Directory) -> Iterator[tuple[str, bytes]]:
        """The raw contexts of a directory and of what is in it; those of directories come when they are entered."""
        yield "", _raw(directory.fd)
        os.fchdir(directory.fd)
        with os.scandir(directory.fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directory.pending.append(entry.name)
                else:
                    yield entry.name, _raw(entry.name)

    def _meet(self, raw: bytes, path: str) -> None:
        if raw not in self.known:
            self.known[raw] = _levels(raw)
        for level in self.known[raw] & self.sought:
            self._take(level, printable(path))

    def _take_all(self, path: str, reason: str) -> None:
        for level in list(self.sought):
            self._take(level, f"{printable(path)} (not searched: {reason})")

    def _take(self, level: Level, holder: str) -> None:
        self.sought.discard(level)
        self.in_use.append(InUse(level, "file", holder))


def _raw(target: int | str) -> bytes:
    try:
        if isinstance(target, int):
            return os.getxattr(target, ATTRIBUTE)
        return os.getxattr(target, ATTRIBUTE, follow_symlinks=False)
    except OSError:
        # It is gone, or has no context.
        return b""


def _levels(raw: bytes) -> frozenset[Level]:
    try:
        level_range = LevelRange.of_context(os.fsdecode(raw.rstrip(b"\0")))
    except LevelError:
        return frozenset()
    return frozenset((level_range.low, level_range.high))
