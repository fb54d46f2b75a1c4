# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of ``sandbox_content``: observe, plan, build, report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from ..host import selinux
from ..host.libvirt_lxc import Lxc
from ..model import content_plan, layout
from ..model.content_plan import Source
from ..model.errors import OptionError
from ..model.plan import Plan
from ..model.spec import PROCESS_TYPE, content_spec
from . import content, listed
from .apply import apply, report_failures, require_root
from .discover import NOTHING, Discovered, discover


def run(parameters: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """What ``sandbox_content`` returns."""
    require_root()
    wanted = [(listed.about(item["name"], parameters, content_spec, item), item["state"]) for item in listed.items(parameters)]
    specs = [spec for spec, _state in wanted]
    owners = _levels(wanted, parameters["registry"], check_mode)
    if parameters["require_enforcing"]:
        for spec, state in wanted:
            if state == "present":
                selinux.require(PROCESS_TYPE, spec["file_type"], spec["level"])
    running = _running()
    # In check mode a task before this one has not stopped what is to be absent, and would have.
    stopped = {spec["name"] for spec, state in wanted if check_mode and state == "absent"}
    sources = _sources(wanted, running, owners)
    discovered = {}
    not_yet = []  # what a run that is only predicted cannot know
    for spec, state in wanted:
        discovered[spec["name"]] = NOTHING
        if state == "present":
            try:
                discovered[spec["name"]] = listed.about(spec["name"], parameters, _discover, spec)
            except OptionError as error:
                if not _to_come(spec, check_mode):
                    raise
                not_yet.append(str(error))
    seen = {
        name: content.observe(spec, name in running - stopped, owners, sources.get(name), discovered[name])
        for name, spec in ((spec["name"], spec) for spec in specs)
    }
    mode, update = parameters["foreign"], parameters["update"]
    plan = Plan()
    for spec, state in wanted:
        if state == "present":
            if seen[spec["name"]].unknown and _to_come(spec, check_mode):
                not_yet.append(f"{spec['name']}: private: {', '.join(seen[spec['name']].unknown)} not on the host")
                seen[spec["name"]] = dataclasses.replace(seen[spec["name"]], unknown=())
            listed.about(spec["name"], parameters, content_plan.check, spec, seen[spec["name"]], mode)
        plan.extend(content_plan.plan_content(spec, state, seen[spec["name"]], mode, update))
    failures = [] if check_mode else apply(plan, content.actions(_running))
    strangers = {
        name: content_plan.foreign(spec, seen[name].mislabelled, owners, seen[name].top_context)
        for name, spec in ((spec["name"], spec) for spec in specs)
    }
    result: dict[str, Any] = {
        "changed": plan.changed,
        "diff": plan.diff(),
        "steps": plan.summary(),
        "foreign": {name: entries for name, entries in strangers.items() if entries},
        "foreign_links": {name: list(one.foreign_links) for name, one in seen.items() if one.foreign_links},
        "outdated": {name: left for name, one in seen.items() if (left := content_plan.reported(one.outdated, one.accounts, update))},
        "private": {spec["name"]: list(spec["private"]) for spec in specs},
        "left_out": {name: list(one.left_out) for name, one in seen.items() if one.left_out},
        "paths": {spec["name"]: layout.of(spec).root for spec in specs},
    }
    result["warnings"] = [f"this would fail, unless a task before it brings what is missing: {reason}" for reason in not_yet]
    result["warnings"] += [_outdated(name, entries) for name, entries in result["outdated"].items()]
    result["warnings"] += [_changed(name, path) for name, one in seen.items() for path in one.changed]
    if mode == "report":
        result["warnings"] += [_warning(name, entry) for name, entries in result["foreign"].items() for entry in entries[:5]]
    return report_failures(result, failures)


def _to_come(spec: Mapping[str, Any], check_mode: bool) -> bool:
    """Whether a task before may only have announced the package from which the content is to be built."""
    return check_mode and not os.path.lexists(layout.of(spec).root)


def _discover(spec: dict[str, Any]) -> Discovered:
    """What the units of a sandbox add to its private paths."""
    declared = tuple((file["path"], file["content"]) for file in spec["files"])
    found = discover(tuple(spec["units"]), tuple(spec["private"]), declared)
    spec["private"] = sorted({*spec["private"], *found.paths})
    return found


def _changed(name: str, path: str) -> str:
    return f"{name}: {path} stays outside: it was changed on this host and not everybody may read it; name it in private to copy it"


def _levels(wanted: list[tuple[dict[str, Any], str]], registry: str, check_mode: bool) -> dict[str, str]:
    for spec, state in wanted:
        if state == "absent" and spec["level"] is None:
            spec["level"] = "s0"  # nothing is labelled any more
    return listed.with_levels([spec for spec, state in wanted if state != "absent"], registry, check_mode)


def _sources(wanted: list[tuple[dict[str, Any], str]], running: set[str], owners: Mapping[str, str]) -> dict[str, Source]:
    """What is to be cloned, by the name of the clone; it may be what the same run makes first."""
    found: dict[str, Source] = {}
    made: dict[str, layout.Layout] = {}
    for spec, state in wanted:
        origin = spec["clone_of"]
        if origin is not None and state == "present" and not os.path.lexists(layout.of(spec).root):
            source = content.observe_source(origin, origin in running, owners)
            if source.root is None and origin in made:
                source = Source(made[origin].root, made[origin].copied)
            found[spec["name"]] = source
        if state == "present":
            made[spec["name"]] = layout.of(spec)
    return found


def _running() -> set[str]:
    lxc = Lxc()
    try:
        return {name for name, domain in lxc.domains().items() if domain.active}
    finally:
        lxc.close()


def _warning(name: str, entry: Mapping[str, Any]) -> str:
    owner = f" ({entry['owner']}'s)" if entry["owner"] else ""
    return f"{name}: {entry['path']} is at another level, {entry['level']}{owner}: the sandbox cannot use it; foreign: fix relabels it"


def _outdated(name: str, entries: list[dict[str, str]]) -> str:
    first = entries[0]
    return f"{name}: {len(entries)} of its files are not as on the host ({first['path']}: {first['state']}); see the option update"
