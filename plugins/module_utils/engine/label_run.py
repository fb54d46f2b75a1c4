# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of the label modules: observe the host, decide in the registry, report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..host import level_store, levels_in_use
from ..model.mcs import InUse, Level
from ..model.options import normalise
from .apply import require_root
from .leftovers import leftovers
from .registry import INFO_OPTIONS, REGISTRY_OPTIONS, LevelStep, Registry, conflicts, requests_of


def run_label(parameters: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """What ``mcs_label`` returns."""
    require_root()
    options = normalise(REGISTRY_OPTIONS, parameters)
    requests = requests_of(parameters)
    in_use = levels_in_use.observe()
    with level_store.open_store(options["registry"], create=False) as store:
        registry = Registry(store, options["categories"], options["range"])
        to_search = registry.to_search(requests)
        uses = in_use + _left_behind(to_search)
        steps = registry.plan(requests, uses, to_search)
        owners = registry.owners()
    if steps and not check_mode:
        with level_store.open_store(options["registry"], create=True) as store:
            registry = Registry(store, options["categories"], options["range"])
            steps = registry.apply(requests, uses, to_search)
            owners = registry.owners()
    levels = {**owners, **{step.owner: step.after for step in steps if step.action != "free"}}
    wanted = {name: levels[name] for name in (request.owner for request in requests if request.present)}
    result: dict[str, Any] = {
        "changed": bool(steps),
        "labels": _texts(wanted),
        "steps": _actions(steps),
        "diff": _diff(steps),
        # A spec or domain that still has the old level is what the next task of the play is about to mend.
        "warnings": [str(found) for found in conflicts(wanted, in_use) if not found.other.belongs_to(found.owner)],
    }
    if parameters.get("name") in wanted:
        result["level"] = result["labels"][parameters["name"]]
    return result


def run_label_info(parameters: Mapping[str, Any], _check_mode: bool) -> dict[str, Any]:
    """What ``mcs_label_info`` returns."""
    require_root()
    options = normalise(INFO_OPTIONS, parameters)
    in_use = levels_in_use.observe()
    with level_store.open_store(options["registry"], create=False) as store:
        registry = Registry(store, None, options["range"])
        owners, quarantine, free = registry.owners(), registry.quarantine(), registry.free_count()
    carriers = in_use + _left_behind(quarantine)
    here = levels_in_use.declared() | {use.holder for use in in_use if use.kind == "domain"}
    return {
        "changed": False,
        "owners": _texts(owners),
        "conflicts": [
            {
                "owner": found.owner,
                "level": str(found.level),
                "kind": found.other.kind,
                "holder": found.other.holder,
                "other_level": str(found.other.level),
                "message": str(found),
            }
            for found in conflicts(owners, in_use)
        ],
        "quarantine": [
            {
                "level": str(level),
                "owner": owner,
                "carried_by": [f"{use.kind} {use.holder}" for use in carriers if use.level == level],
            }
            for level, owner in quarantine.items()
        ],
        "stale": sorted(owner for owner in owners if owner not in here),
        "free": free,
    }


def _left_behind(levels: Iterable[Level]) -> list[InUse]:
    return leftovers(levels, levels_in_use.content_roots().values())


def _texts(levels: Mapping[str, Level | None]) -> dict[str, str]:
    return {owner: str(level) for owner, level in levels.items() if level is not None}


def _actions(steps: Iterable[LevelStep]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for step in steps:
        found.setdefault(step.owner, []).append(step.action)
    return found


def _diff(steps: Iterable[LevelStep]) -> dict[str, Any]:
    """The levels of the owners that change, and of the quarantine what comes and goes."""
    before: dict[str, Any] = {"labels": {}, "quarantine": {}}
    after: dict[str, Any] = {"labels": {}, "quarantine": {}}
    for step in steps:
        if step.action == "free":
            before["quarantine"][str(step.before)] = step.owner
            continue
        for side, level in ((before, step.before), (after, step.after)):
            if level is not None:
                side["labels"][step.owner] = str(level)
        if step.before is not None:
            after["quarantine"][str(step.before)] = step.owner
    return {"before": before, "after": after}
