# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox's own /etc as far as its spec says what is in it: units, and what is written for them."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ..host import systemd
from ..model import layout, unit, unit_file
from ..model.observed import Host
from ..model.unit_file import UnitFile
from . import tree

_UNITS = "etc/systemd/system"
_OURS = re.compile(rf"etc/systemd/network/\d\d-eth\d+\.network|{_UNITS}/[a-z-]+\.target\.wants/.*")
_LIMIT = 65536


def observe(root: str, spec: Mapping[str, Any], facts: Host) -> dict[str, Any]:
    """The units that it has itself, what stands where the spec determines the files, and what is said of the units beside."""
    top = tree.open_top(root)
    try:
        own = _own_units(top, spec["units"])
        units = facts.systemd.with_own(own)
        brought = units.brought_by(spec["units"])
        missing = {one.name: path for one in brought for path in unit_file.programs(one) if not has_program(top, path, spec)}
        return {
            "own_units": own,
            "missing_programs": missing,
            "inside": _files(top, {file.path for file in unit.inside(spec, units, facts.networks)}),
            "drop_ins": {one.name: list(_drop_ins(top, one.name)) for one in brought},
        }
    finally:
        os.close(top)


def has_program(top: int, path: str, spec: Mapping[str, Any]) -> bool:
    """Whether a program is in the content or in the host's /usr; what is mounted may have it or not."""
    if any(path.startswith(f"{mount['target']}/") for mount in spec["mounts"]):
        return True
    if path.startswith(tuple(f"/{private}/" for private in layout.PRIVATE)):
        return tree.exists(top, path.lstrip("/"))
    shared = (*layout.SHARED, *(f"/{link}" for link in layout.LINKS))
    return path.startswith(tuple(f"{place}/" for place in shared)) and os.access(path, os.X_OK)


def _own_units(top: int, names: Iterable[str]) -> dict[str, UnitFile]:
    """The units that it has and the host's /usr has not, and what these bring along."""
    found: dict[str, UnitFile] = {}
    pending = [name for name in names if not systemd.shared_file(name)]
    while pending:
        name = pending.pop(0)
        own = _own_unit(top, name) if name not in found else None
        if own:
            found[name] = own
            shared = systemd.unit_files(one for one in unit_file.needed(own) if systemd.shared_file(one))
            found.update({one: file for one, file in shared.items() if not unit_file.is_administrators(file)})
            pending += [one for one in unit_file.needed(own) if one not in shared]
    return found


def _own_unit(top: int, name: str) -> UnitFile | None:
    for path in (f"{_UNITS}/{one}" for one in unit_file.spellings(name)):
        kind, content = value(top, path) or ("", "")
        if kind == "text":
            return unit_file.parse(name, f"/{path}", [content, *_drop_ins(top, name)])
        if (kind, content) == ("link", unit_file.NULL):
            return unit_file.parse(name, f"/{path}", [], masked=f"/{path}")
    return None


def _files(top: int, wanted: Collection[str]) -> dict[str, tuple[str, str]]:
    """What stands where the spec determines the files inside, and what an earlier spec left there."""
    there = {path for path in tree.names(top, "etc/systemd/network") if _OURS.match(path)}
    there |= {path for path in tree.names(top, f"{_UNITS}/multi-user.target.wants") if _OURS.match(path)}
    there |= {f"{path}/{unit.DROP_IN}" for path in tree.names(top, _UNITS) if path.endswith(".d")} | {unit.SYSUSERS}
    found = {path: value(top, path) for path in sorted({*wanted, *there})}
    return {path: seen for path, seen in found.items() if seen is not None}


def _drop_ins(top: int, name: str) -> Iterator[str]:
    """What others than this collection say there of a unit."""
    for one in unit_file.spellings(name)[::-1]:
        for path in tree.names(top, f"{_UNITS}/{one}.d"):
            kind, text = value(top, path) or ("", "")
            if kind == "text" and path.endswith(".conf") and not text.startswith(layout.MARK):
                yield text


def value(top: int, path: str) -> tuple[str, str] | None:
    """A file's text or a link's target, as (kind, value); anything else counts as something to replace."""
    status = tree.lstat(top, path)
    if status is None:
        return None
    kind = tree.kind_of(status.st_mode)
    if kind == "symlink":
        return "link", tree.read_link(top, path)
    if kind == "file" and status.st_size <= _LIMIT:
        data = tree.read_file(top, path, _LIMIT)
        return None if data is None else ("text", data.decode("utf-8", "replace"))
    return kind, ""
