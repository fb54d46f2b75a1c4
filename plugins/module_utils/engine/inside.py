# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox's own /etc as far as its spec says what is in it: units, and what is written for them."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from ..host import systemd
from ..model import layout, unit, unit_file
from ..model.observed import Host
from ..model.spec import ServiceSpec
from ..model.unit_file import UnitFile
from . import tree

_UNITS = unit_file.ADMINISTRATORS.lstrip("/")
_OURS = re.compile(rf"etc/systemd/network/\d\d-eth\d+\.network|{_UNITS}/[a-z-]+\.target\.wants/.*")
_LIMIT = 65536
# of its own units, drop-ins, programs and directories what is looked at: enough for any honest service, and an end for what
# root inside may think of
_MOST = 64


def observe(root: str, spec: ServiceSpec, facts: Host) -> dict[str, Any]:
    """The units that it has itself, what stands where the spec determines the files, and what is said of the units beside."""
    top = tree.open_top(root)
    try:
        own = _own_units(top, _looked_for(spec.units, facts.systemd))
        units = facts.systemd.with_own(own)
        brought = units.brought_by(spec.units)
        drop_ins = {one.name: list(_drop_ins(top, one.name)) for one in brought}
        programs = {one.name: unit_file.programs(unit_file.with_drop_ins(one, drop_ins[one.name]))[:_MOST] for one in brought}
        return {
            "own_units": own,
            "missing_programs": {name: path for name, paths in programs.items() for path in paths if not has_program(top, path, spec)},
            "inside": _files(top, {file.path for file in unit.inside(spec, units, facts.networks)}),
            "drop_ins": drop_ins,
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


def own_unit(top: tree.Top, name: str) -> UnitFile | None:
    """A unit as the sandbox has it in its own /etc; nothing where it has none."""
    for path in unit_file.administrators(name):
        kind, content = value(top, path.lstrip("/")) or ("", "")
        if kind == "text":
            return unit_file.parse(name, path, [content, *_drop_ins(top, name)], _wanted_beside(top, name))
        if (kind, content) == ("link", unit_file.NULL):
            return unit_file.parse(name, path, [], masked=path)
    return None


def _looked_for(names: Sequence[str], systemd_: unit.HostSystemd) -> list[str]:
    """What of the declared units, and of what they bring along, is not in the host's /usr."""
    brought = [other for one in systemd_.brought_by(names) for other in unit_file.needed(one)]
    return [name for name in dict.fromkeys([*names, *brought]) if not systemd.shared_file(name)]


def _own_units(top: int, names: Iterable[str]) -> dict[str, UnitFile]:
    """These units as the sandbox has them, and what they bring along."""
    found: dict[str, UnitFile] = {}
    pending = list(names)
    while pending and len(found) < _MOST:
        name = pending.pop(0)
        own = own_unit(top, name) if name not in found else None
        if own:
            found[name] = own
            needed = unit_file.needed(own)[:_MOST]
            shared = systemd.unit_files(one for one in needed if systemd.shared_file(one))
            found.update({one: file for one, file in shared.items() if not unit_file.is_administrators(file)})
            pending += [one for one in needed if one not in shared]
    return found


def _wanted_beside(top: tree.Top, name: str) -> list[str]:
    places = [f"{_UNITS}/{one}.{suffix}" for one in unit_file.spellings(name) for suffix in ("wants", "requires")]
    return [path.rpartition("/")[2] for place in places for path in tree.names(top, place)]


def _files(top: int, wanted: Collection[str]) -> dict[str, tuple[str, str]]:
    """What stands where the spec determines the files inside, and what an earlier spec left there."""
    there = {path for path in tree.names(top, "etc/systemd/network") if _OURS.match(path)}
    there |= {path for path in tree.names(top, f"{_UNITS}/multi-user.target.wants") if _OURS.match(path)}
    there |= {f"{path}/{layout.DROP_IN}" for path in tree.names(top, _UNITS) if path.endswith(".d")} | {unit.SYSUSERS}
    found = {path: value(top, path) for path in sorted({*wanted, *there})}
    return {path: seen for path, seen in found.items() if seen is not None}


def _drop_ins(top: tree.Top, name: str) -> Iterator[str]:
    """What others than this collection say there of a unit."""
    for one in unit_file.spellings(name)[::-1]:
        for path in tree.names(top, f"{_UNITS}/{one}.d")[:_MOST]:
            kind, text = value(top, path) or ("", "")
            if kind == "text" and path.endswith(".conf") and not text.startswith(layout.MARK):
                yield text


def value(top: tree.Top, path: str) -> tuple[str, str] | None:
    """A file's text or a link's target, as (kind, value); anything else, and what cannot be read, counts as something to replace."""
    status = tree.lstat(top, path)
    if status is None:
        return None
    kind = tree.kind_of(status.st_mode)
    if kind == "symlink":
        return "link", tree.read_link(top, path)
    if kind == "file" and status.st_size <= _LIMIT:
        try:
            data = tree.read_file(top, path, _LIMIT)
        except tree.TreeError:
            return "unreadable", ""
        return None if data is None else ("text", data.decode("utf-8", "replace"))
    return kind, ""
