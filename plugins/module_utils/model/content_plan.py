# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a sandbox's content is to be and what was seen of it to the steps between the two."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from . import layout
from .errors import ConflictError, OptionError
from .mcs import Level, LevelError, LevelRange
from .plan import Plan

FOREIGN = ("report", "fix", "fail", "keep")


@dataclasses.dataclass(frozen=True)
class Labelled:
    """An entry of a tree whose context is not the expected one."""

    path: str
    actual: str | None
    expected: str


@dataclasses.dataclass(frozen=True)
class Observed:
    """A content tree as its host has it."""

    manifest: Mapping[str, Any] | None = None
    exists: bool = False
    half_made: bool = False
    top_context: str | None = None
    running: bool = False
    missing: Sequence[str] = ()  # paths of the host that are private and not in the tree
    unmounted: Sequence[str] = ()  # paths of the host that it follows and has no place for
    unknown: Sequence[str] = ()  # private paths that the host does not have
    mislabelled: Sequence[Labelled] = ()
    foreign_links: Sequence[str] = ()
    owners: Mapping[str, str] = dataclasses.field(default_factory=dict)  # level -> who has it


def manifest(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What is recorded of a tree: that it is ours, and where."""
    return {"format": 1, "name": spec["name"], "path": layout.of(spec).root}


def foreign(
    spec: Mapping[str, Any], entries: Sequence[Labelled], owners: Mapping[str, str], top_context: str | None = None
) -> list[dict[str, Any]]:
    """The entries that carry categories which are not the sandbox's, with the owner of their level.

    ``top_context``: that of the tree, whose level is the sandbox's too, from before it was given another.
    """
    own = (Level.parse(spec["level"]), level_of(top_context))
    found = []
    for entry in entries:
        level = level_of(entry.actual)
        if level and level not in own:
            found.append(
                {
                    "path": f"/{entry.path}",
                    "context": entry.actual,
                    "level": str(level),
                    "owner": owners.get(str(level)),
                }
            )
    return found


def level_of(context: str | None) -> Level | None:
    """The level of a context that a file carries; nothing where it is none."""
    try:
        return LevelRange.of_context(context).high if context else None
    except LevelError:
        return None


def check(spec: Mapping[str, Any], seen: Observed, foreign_mode: str) -> None:
    """Refuse, before anything changes, what is not ours or cannot be made."""
    root = layout.of(spec).root
    _check_ours(spec, seen)
    if seen.unknown:
        raise OptionError("private", list(seen.unknown), "paths that the host has; is the package installed?")
    relabelled = seen.top_context not in (None, layout.object_context(layout.ROOT_TYPE, spec["level"]))
    if seen.exists and relabelled and seen.running and level_of(seen.top_context):
        raise OptionError(
            "level",
            spec["level"],
            f"the level it runs at, {level_of(seen.top_context)}, while it runs; stop the sandbox first",
        )
    strangers = foreign(spec, seen.mislabelled, seen.owners, seen.top_context)
    if strangers and foreign_mode == "fail":
        first = strangers[0]
        owner = f", which is {first['owner']}'s" if first["owner"] else ""
        raise ConflictError(f"foreign: {len(strangers)} entries of {root} are at another level: {first['path']} at {first['level']}{owner}")


def _check_ours(spec: Mapping[str, Any], seen: Observed) -> None:
    name, root = spec["name"], layout.of(spec).root
    if seen.manifest is not None and seen.manifest["path"] != root:
        raise ConflictError(
            f"path: the content of {name} is in {seen.manifest['path']}, not in {root}; name that path, or remove it there first"
        )
    if seen.exists and seen.manifest is None:
        raise ConflictError(
            f"path: {root} exists, and it is not a tree that this collection made; choose another name or path, or move it away"
        )


def plan_content(spec: Mapping[str, Any], state: str, seen: Observed, foreign_mode: str) -> Plan:
    """The steps that make a content tree what ``spec`` and ``state`` say."""
    if state == "absent":
        return _plan_absent(spec, seen)
    plan = Plan()
    name, paths = spec["name"], layout.of(spec)
    record = manifest(spec)
    if seen.manifest != record:
        text = json.dumps(record, sort_keys=True) + "\n"
        plan.add(
            name,
            "record the content as ours",
            "write",
            path=paths.manifest,
            text=text,
            mode=0o600,
            before=seen.manifest,
            after=record,
        )
    common = {"file_type": spec["file_type"], "level": spec["level"]}
    if not seen.exists:
        plan.add(
            name, "build the content", "build", building=paths.building, root=paths.root, private=list(spec["private"]),
            before="started by an interrupted run" if seen.half_made else None,
            after={"path": paths.root, "level": spec["level"], "file_type": spec["file_type"], "private": list(spec["private"])},
            **common,
        )  # fmt: skip
        return plan
    for path in seen.missing:
        plan.add(name, f"copy {path}", "copy", root=paths.root, source=path, after=path, **common)
    for path in seen.unmounted:
        plan.add(name, f"make a place for {path}", "mount_point", root=paths.root, source=path, after=path, **common)
    _plan_labels(plan, spec, seen, foreign_mode)
    return plan


def _plan_labels(plan: Plan, spec: Mapping[str, Any], seen: Observed, foreign_mode: str) -> None:
    strangers = {entry["path"] for entry in foreign(spec, seen.mislabelled, seen.owners, seen.top_context)}
    wrong = [entry for entry in seen.mislabelled if foreign_mode == "fix" or f"/{entry.path}" not in strangers]
    if wrong:
        plan.add(
            spec["name"], "relabel", "relabel", root=layout.of(spec).root, file_type=spec["file_type"], level=spec["level"],
            paths=sorted(entry.path for entry in wrong),
            before={f"/{entry.path}": entry.actual for entry in wrong}, after={f"/{entry.path}": entry.expected for entry in wrong},
        )  # fmt: skip


def _plan_absent(spec: Mapping[str, Any], seen: Observed) -> Plan:
    plan = Plan()
    name, paths = spec["name"], layout.of(spec)
    _check_ours(spec, seen)
    if seen.running:
        raise ConflictError(f"name: {name} is running; stop it before its content is removed")
    if seen.exists or seen.half_made:
        plan.add(name, "remove the content", "remove", paths=[paths.building, paths.root], before=paths.root)
    if seen.manifest is not None:
        plan.add(name, "forget the content", "unlink", path=paths.manifest, before=dict(seen.manifest))
    return plan
