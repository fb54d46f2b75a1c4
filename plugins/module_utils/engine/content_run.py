# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of ``sandbox_content``: observe, plan, build, report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..host import file_contexts, selinux, systemd
from ..host.libvirt_lxc import Lxc
from ..model import content_plan, layout, unit_file
from ..model.content_plan import Observed, Source
from ..model.errors import ContentError, OptionError, StepError
from ..model.plan import Plan
from ..model.spec import PROCESS_TYPE, content_spec
from ..model.values import printable
from . import content, inside, listed
from .apply import apply, report_failures, require_root
from .declared import declared_specs
from .discover import NOTHING, Discovered, discover
from .tree import TreeError

# a spec, and the state that it is to be in
Wanted = tuple[dict[str, Any], str]


def run(parameters: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """What ``sandbox_content`` returns."""
    require_root()
    wanted = [(listed.about(item["name"], parameters, content_spec, item), item["state"]) for item in listed.items(parameters)]
    owners = _levels(wanted, parameters["registry"], check_mode)
    if parameters["require_enforcing"]:
        for spec, state in wanted:
            if state == "present":
                selinux.require(PROCESS_TYPE, spec["file_type"], spec["level"])
    not_yet: list[str] = []  # what a run that is only predicted cannot know
    seen, lost = _observe(wanted, parameters, owners, check_mode, not_yet)
    wanted = [(spec, state) for spec, state in wanted if spec["name"] in seen]
    plan, refused = _plan(wanted, parameters, seen, check_mode, not_yet)
    failures = lost + refused + ([] if check_mode else apply(plan, content.actions(_running)))
    result = {"changed": plan.changed, "diff": plan.diff(), "steps": plan.summary()}
    result.update(_report([spec for spec, _state in wanted], parameters, seen, owners, not_yet))
    return report_failures(result, failures)


def _observe(
    wanted: Sequence[Wanted], parameters: Mapping[str, Any], owners: Mapping[str, str], check_mode: bool, not_yet: list[str]
) -> tuple[dict[str, Observed], list[StepError]]:
    """Each sandbox's content as it is, by name, with what is found for it on the host; what root inside has made unreadable fails alone."""
    running = _running()
    # In check mode a task before this one has not stopped what is to be absent, and would have.
    stopped = {spec["name"] for spec, state in wanted if check_mode and state == "absent"}
    made: dict[str, layout.Layout] = {}
    seen, lost = {}, []
    for spec, state in wanted:
        name, runs = spec["name"], spec["name"] in running - stopped
        if state == "absent":
            seen[name] = content.place(spec, runs, owners)
            continue
        try:
            source = _source(spec, running, owners, made)
            found = _found(spec, source, parameters, check_mode, not_yet)
            seen[name] = content.observe(spec, runs, owners, source, found)
            made[name] = layout.of(spec)
        except TreeError as error:
            lost.append(StepError(name, "observe", str(error)))
    return seen, lost


def _found(spec: dict[str, Any], source: Source | None, parameters: Mapping[str, Any], check_mode: bool, not_yet: list[str]) -> Discovered:
    try:
        return listed.about(spec["name"], parameters, _discover, spec, source)
    except OptionError as error:
        if not _to_come(spec, check_mode):
            raise
        not_yet.append(str(error))
        return NOTHING


def _plan(
    wanted: Sequence[Wanted], parameters: Mapping[str, Any], seen: dict[str, Observed], check_mode: bool, not_yet: list[str]
) -> tuple[Plan, list[StepError]]:
    """The steps, and the sandboxes that get none because of what root inside has made of their content."""
    plan, refused = _plan_rules(wanted), []
    for spec, state in wanted:
        one = seen[spec["name"]]
        if state == "present":
            if one.unknown and _to_come(spec, check_mode):
                not_yet.append(f"{spec['name']}: private: {', '.join(one.unknown)} not on the host")
                one = seen[spec["name"]] = dataclasses.replace(one, unknown=())
            try:
                listed.about(spec["name"], parameters, content_plan.check, spec, one, parameters["foreign"])
            except ContentError as error:
                refused.append(StepError(spec["name"], "check", str(error)))
                continue
        plan.extend(content_plan.plan_content(spec, state, one, parameters["foreign"], parameters["update"]))
    return plan, refused


def _plan_rules(wanted: Sequence[Wanted]) -> Plan:
    """Rules by which a relabel of the host leaves content alone that is not in the usual place, for all of a run at once."""
    if selinux.mode() == "disabled":
        return Plan()
    there = {layout.of(spec).root: spec["name"] for spec, state in wanted if state == "present"}
    going = {layout.of(spec).root: spec["name"] for spec, state in wanted if state == "absent"}
    ours = file_contexts.local_rules() if going else []
    return content_plan.plan_rules(
        add={root: there[root] for root in file_contexts.labelled(there)},
        remove={root: name for root, name in going.items() if file_contexts.rule(root) in ours},
    )


def _report(
    specs: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
    seen: Mapping[str, Observed],
    owners: Mapping[str, str],
    not_yet: Sequence[str],
) -> dict[str, Any]:
    """What is to be known of the content beside what was done."""
    mode, update = parameters["foreign"], parameters["update"]
    strangers = {}
    for spec in specs:
        one = seen[spec["name"]]
        strangers[spec["name"]] = content_plan.foreign(spec, one.mislabelled, owners, one.top_context)
    report: dict[str, Any] = {
        "foreign": {name: entries for name, entries in strangers.items() if entries},
        "foreign_links": {name: [printable(path) for path in one.foreign_links] for name, one in seen.items() if one.foreign_links},
        "outdated": {name: left for name, one in seen.items() if (left := content_plan.reported(one.outdated, one.accounts, update))},
        "private": {spec["name"]: list(spec["private"]) for spec in specs},
        "left_out": {name: list(one.left_out) for name, one in seen.items() if one.left_out},
        "paths": {spec["name"]: layout.of(spec).root for spec in specs},
    }
    warnings = [listed.not_yet(reason) for reason in not_yet]
    warnings += [_outdated(name, entries) for name, entries in report["outdated"].items()]
    warnings += [_missed(name, path) for name, one in seen.items() for path in one.missed]
    if mode == "report":
        warnings += [_warning(name, entry) for name, entries in report["foreign"].items() for entry in entries[:5]]
    return {**report, "warnings": warnings}


def _to_come(spec: Mapping[str, Any], check_mode: bool) -> bool:
    """Whether a task before may only have announced the package from which the content is to be built."""
    return check_mode and not os.path.lexists(layout.of(spec).root)


def _discover(spec: dict[str, Any], source: Source | None) -> Discovered:
    """What the units of a sandbox add to its private paths."""
    declared = tuple((file["path"], file["content"]) for file in spec["files"])
    found = discover(tuple(spec["units"]), tuple(spec["private"]), declared, _own_units(spec, source))
    spec["private"] = sorted({*spec["private"], *found.paths})
    return found


def _own_units(spec: Mapping[str, Any], source: Source | None) -> tuple[str, ...]:
    """The units that the content has, or had before root inside took them away: then sandbox_service says so."""
    elsewhere = [name for name in spec["units"] if not systemd.units().find(name)]
    if not elsewhere:
        return ()
    paths = layout.of(spec)
    going = content_plan.no_longer_declared(spec, content.record(paths))
    root = source.root if source and source.root else paths.root
    declared = declared_specs()
    before = {name for one in (spec["name"], spec["clone_of"]) if one in declared for name in declared[one]["units"]}
    # what is to be cloned may be made by this run
    to_come = source is not None and source.root is not None and not os.path.isdir(root)
    has = [name for name in elsewhere if to_come or name in before or (os.path.isdir(root) and inside.has_unit(root, name))]
    return tuple(name for name in has if not {*going} & {*unit_file.administrators(name)})


def _missed(name: str, path: str) -> str:
    return f"{name}: {path} stays outside: not everybody may read it, and no package brought it as it is; name it in private to copy it"


def _levels(wanted: Sequence[Wanted], registry: str, check_mode: bool) -> dict[str, str]:
    for spec, state in wanted:
        if state == "absent" and spec["level"] is None:
            spec["level"] = "s0"  # nothing is labelled any more
    return listed.with_levels([spec for spec, state in wanted if state != "absent"], registry, check_mode)


def _source(spec: Mapping[str, Any], running: set[str], owners: Mapping[str, str], made: Mapping[str, layout.Layout]) -> Source | None:
    """What is to be cloned, if anything; it may be what the same run makes first."""
    origin = spec["clone_of"]
    if origin is None or os.path.lexists(layout.of(spec).root):
        return None
    source = content.observe_source(origin, origin in running, owners)
    return Source(made[origin].root, made[origin].copied) if source.root is None and origin in made else source


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
