# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox's own /etc as far as its spec says what is in it: units, and what is written for them."""

from __future__ import annotations

import functools
import os
import posixpath
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from ..model import layout, unit, unit_file, unit_fit
from ..model.observed import Host
from ..model.spec import ServiceSpec
from ..model.unit_file import UnitFile
from ..model.unit_tree import UnitTree
from . import tree

_UNITS = unit_file.ADMINISTRATORS.lstrip("/")
_OURS = re.compile(rf"etc/systemd/network/\d\d-eth\d+\.network|{_UNITS}/[a-z-]+\.target\.wants/.*")
_LIMIT = 65536
# of its own units, drop-ins, programs and directories what is looked at, and of the names beside its units: enough for any honest
# service, and an end for what root inside may think of
_MOST, _MOST_NAMES = 64, 1024


def observe(root: str, spec: ServiceSpec, facts: Host) -> dict[str, Any]:
    """The units that it has itself, what stands where the spec determines the files, and what is said of the units beside."""
    top = tree.open_top(root)
    try:
        own = unit_file.brought(spec.units, _at_most(facts.systemd.known.inside(OwnUnits(top))))
        units = facts.systemd.with_own(own)
        programs = {brought.name: unit_fit.programs(brought)[:_MOST] for brought in units.brought_by(spec.units)}
        return {
            "own_units": own,
            "missing_programs": {name: path for name, paths in programs.items() for path in paths if not has_program(top, path, spec)},
            "inside": _files(top, {file.path for file in unit.inside(spec, units, facts.networks)}),
        }
    finally:
        os.close(top)


def has_program(top: int, program: str, spec: ServiceSpec) -> bool:
    """Whether a program is in the content or in the host's /usr. What is mounted, or behind a link, may have it or not."""
    path = "/" + posixpath.normpath(program).lstrip("/")
    if any(f"{path}/".startswith(f"{mount.target}/") for mount in spec.mounts):
        return True
    shared = (*layout.SHARED, *layout.FOLLOWED, *(f"/{link}" for link in layout.LINKS))
    if path.startswith(tuple(f"{place}/" for place in shared)):
        return os.access(path, os.X_OK)
    if not path.startswith(tuple(f"/{private}/" for private in layout.PRIVATE)):
        return False
    parts = path.lstrip("/").split("/")
    parents = ["/".join(parts[:length]) for length in range(1, min(len(parts), _MOST))]
    return tree.exists(top, "/".join(parts)) or any(tree.kind(top, parent) == "symlink" for parent in parents)


class OwnUnits:
    """The units in a sandbox's own /etc; what this collection itself has adapted there says nothing."""

    path = unit_file.ADMINISTRATORS

    def __init__(self, top: tree.Top) -> None:
        self._top = top
        self.names = functools.cache(self._names)
        self._entry = functools.cache(lambda path: _entry(top, path))

    def _names(self, directory: str = "") -> Sequence[str]:
        paths = tree.names(self._top, posixpath.join(_UNITS, directory).rstrip("/"))
        return [path.rpartition("/")[2] for path in paths[: _MOST if directory else _MOST_NAMES]]

    def link(self, path: str) -> str:
        kind, target = self._entry(f"{_UNITS}/{path}") or ("", b"")
        if kind != "link":
            return ""
        parts = posixpath.normpath(posixpath.join(self.path, posixpath.dirname(path), os.fsdecode(target))).lstrip("/").split("/")
        return "/" + "/".join([layout.LINKS.get(parts[0], parts[0]), *parts[1:]])

    def empty(self, path: str) -> bool:
        return self.link(path) == unit_file.NULL or self._entry(f"{_UNITS}/{path}") == ("text", b"")

    def text(self, path: str) -> str | None:
        """A link may lead to a file in the content itself, and no further."""
        kind, data = self._entry(self.link(path).lstrip("/") or f"{_UNITS}/{path}") or ("", b"")
        text = data.decode("utf-8", "surrogateescape")
        return None if kind != "text" else "" if text.startswith(layout.MARK) else text


def has_unit(root: str, name: str) -> bool:
    """Whether a content tree has a unit itself, masked or not."""
    return UnitTree([OwnUnits(root)]).find(name) is not None


def _at_most(find: Callable[[str], UnitFile | None]) -> Callable[[str], UnitFile | None]:
    """The same, until so many of the sandbox's own units are found that they may be endless."""
    own: set[str] = set()

    def limited(name: str) -> UnitFile | None:
        unit = find(name) if len(own) < _MOST else None
        if unit and unit_file.is_administrators(unit):
            own.add(name)
        return unit

    return limited


def _files(top: int, wanted: Collection[str]) -> dict[str, tuple[str, str]]:
    """What stands where the spec determines the files inside, and what an earlier spec left there."""
    networks, wants, units = (_names(top, place) for place in ("etc/systemd/network", f"{_UNITS}/multi-user.target.wants", _UNITS))
    existing = {path for path in (*networks, *wants) if _OURS.match(path)}
    existing |= {f"{path}/{layout.DROP_IN}" for path in units if path.endswith(".d")} | {unit.SYSUSERS}
    entries = {path: value(top, path) for path in sorted({*wanted, *existing})}
    return {path: entry for path, entry in entries.items() if entry is not None}


def _names(top: int, place: str) -> Sequence[str]:
    return tree.names(top, place)[:_MOST_NAMES]


def value(top: tree.Top, path: str) -> tuple[str, str] | None:
    """A file's text or a link's target, as (kind, value); anything else, and what cannot be read, counts as something to replace."""
    entry = _entry(top, path)
    return entry and (entry[0], os.fsdecode(entry[1]) if entry[0] == "link" else entry[1].decode("utf-8", "replace"))


def _entry(top: tree.Top, path: str) -> tuple[str, bytes] | None:
    """The same as bytes."""
    status = tree.lstat(top, path)
    if status is None:
        return None
    kind = tree.kind_of(status.st_mode)
    if kind == "symlink":
        return "link", os.fsencode(tree.read_link(top, path))
    if kind == "file" and status.st_size <= _LIMIT:
        try:
            data = tree.read_file(top, path, _LIMIT)
        except tree.TreeError:
            return "unreadable", b""
        return None if data is None else ("text", data)
    return kind, b""
