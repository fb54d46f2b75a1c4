# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of the label modules: observe the host, decide in the registry, report.

The registry may be the host's own, which the module reaches there, or one that hosts have between them, which the controller
reaches. Then the action plugins decide here, with what the host was asked, and have the host record what was decided.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from ..host import level_store, levels_in_use
from ..model.errors import SandboxError
from ..model.level_conflicts import conflicts
from ..model.level_request import InfoOptions, RegistryOptions, Request, host_of, request_of
from ..model.mcs import InUse, Level
from ..model.options import build
from ..model.registry import LevelStep, Registry
from . import listed
from .apply import require_root
from .leftovers import leftovers

# levels to look for in all content -> what carries any level on the host
Observe = Callable[[Collection[Level]], list[InUse]]


@dataclasses.dataclass(frozen=True)
class Decided:
    """What a registry decided, or would; the levels of all owners afterwards."""

    steps: list[LevelStep]
    levels: Mapping[str, Level | None]
    in_use: list[InUse]


def decide(options: RegistryOptions, requests: list[Request], observe: Observe, check_mode: bool, host: str = "") -> Decided:
    """Plan, and unless in check mode write, what the requests ask of a registry; ``host``: the one that is observed."""
    with level_store.open_store(options.registry, create=False) as store:
        registry = Registry(store, options.category_count, options.category_range)
        to_search = registry.to_search(requests, host)
        in_use = observe(to_search)
        steps = registry.plan(requests, in_use, to_search)
        owners = registry.owners()
    if steps and not check_mode:
        with level_store.open_store(options.registry, create=True) as store:
            registry = Registry(store, options.category_count, options.category_range)
            steps = registry.apply(requests, in_use, to_search)
            owners = registry.owners()
    levels = {**owners, **{step.owner: step.after for step in steps if step.action != "free"}}
    for request in requests:
        if request.present and levels.get(request.owner) is None:
            raise SandboxError(f"{request.owner}: another run released its level at the same time. Run again.")
    return Decided(steps, levels, in_use)


def observe(search: Iterable[Level]) -> list[InUse]:
    """What carries a level on this host, and of those to search for what is left of them in content."""
    return levels_in_use.observe() + leftovers(search, levels_in_use.content_roots().values())


def requests_of(parameters: Mapping[str, Any]) -> list[Request]:
    """The requests of a module's parameters, in the form ``name`` or ``sandboxes``."""
    return [listed.about(item["name"], parameters, request_of, item) for item in listed.items(parameters)]


def run_label(parameters: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """What ``mcs_label`` returns."""
    require_root()
    options = build(RegistryOptions, parameters)
    requests = requests_of(parameters)
    decided = decide(options, requests, observe, check_mode)
    wanted = {name: decided.levels[name] for name in (request.owner for request in requests if request.present)}
    result: dict[str, Any] = {
        "changed": bool(decided.steps),
        "levels": _texts(wanted),
        "steps": actions(decided.steps),
        "diff": diff(decided.steps),
        # A spec or domain that still has the old level is what the next task of the play is about to mend.
        "warnings": [
            str(conflict)
            for conflict in conflicts(wanted, _beside_leftovers(decided.in_use))
            if not conflict.other.belongs_to(conflict.owner)
        ],
    }
    if parameters.get("name") in wanted:
        result["level"] = result["levels"][parameters["name"]]
    return result


def run_label_info(parameters: Mapping[str, Any], _check_mode: bool) -> dict[str, Any]:
    """What ``mcs_label_info`` returns."""
    require_root()
    options = build(InfoOptions, parameters)
    in_use = observe({*resting(options), *options.search})
    here = levels_in_use.declared() | {use.holder for use in in_use if use.kind == "domain"}
    return {**info(options, in_use, here), "in_use": [shown(use) for use in in_use], "here": sorted(here)}


def shown(use: InUse) -> dict[str, str]:
    """What carries a level, as ``mcs_label_info`` returns it."""
    return {"level": str(use.level), "kind": use.kind, "holder": use.holder}


def owned(options: RegistryOptions) -> dict[str, Level]:
    """The levels that a registry has given."""
    with level_store.open_store(options.registry, create=False) as store:
        return Registry(store).owners()


def resting(options: InfoOptions, host: str = "") -> list[Level]:
    """The levels in a registry's quarantine, of the owners on this host."""
    with level_store.open_store(options.registry, create=False) as store:
        return [level for level, owner in Registry(store).quarantine().items() if host_of(owner) == host]


def info(options: InfoOptions, in_use: list[InUse], here: Collection[str], host: str = "") -> dict[str, Any]:
    """What a registry says beside what was observed on one of its hosts."""
    with level_store.open_store(options.registry, create=False) as store:
        registry = Registry(store, None, options.category_range)
        owners, quarantine, free = registry.owners(), registry.quarantine(), registry.free_count()
    ours = {owner: level for owner, level in owners.items() if host_of(owner) == host}
    return {
        "changed": False,
        "levels": _texts(owners),
        "conflicts": [
            {
                "owner": conflict.owner,
                "level": str(conflict.level),
                "kind": conflict.other.kind,
                "holder": conflict.other.holder,
                "other_level": str(conflict.other.level),
                "message": str(conflict),
            }
            for conflict in conflicts(ours, _beside_leftovers(in_use))
        ],
        "quarantine": [
            {
                "level": str(level),
                "owner": owner,
                # of another host's nobody here knows
                "carried_by": [f"{use.kind} {use.holder}" for use in in_use if use.level == level] if host_of(owner) == host else None,
            }
            for level, owner in quarantine.items()
        ],
        "stale": sorted(owner for owner in ours if owner not in here),
        "free": free,
    }


def _beside_leftovers(in_use: Iterable[InUse]) -> list[InUse]:
    """What is left of a released level in content stands in nobody's way but that of who is to have it next."""
    return [use for use in in_use if use.kind != "file"]


def _texts(levels: Mapping[str, Level | None]) -> dict[str, str]:
    return {owner: str(level) for owner, level in levels.items() if level is not None}


def actions(steps: Iterable[LevelStep]) -> dict[str, list[str]]:
    """What is done for each owner."""
    by_owner: dict[str, list[str]] = {}
    for step in steps:
        by_owner.setdefault(step.owner, []).append(step.action)
    return by_owner


def diff(steps: Iterable[LevelStep]) -> dict[str, Any]:
    """The levels of the owners that change, and of the quarantine what comes and goes."""
    before: dict[str, Any] = {"levels": {}, "quarantine": {}}
    after: dict[str, Any] = {"levels": {}, "quarantine": {}}
    for step in steps:
        if step.action == "free":
            before["quarantine"][str(step.before)] = step.owner
            continue
        for side, level in ((before, step.before), (after, step.after)):
            if level is not None:
                side["levels"][step.owner] = str(level)
        if step.before is not None:
            after["quarantine"][str(step.before)] = step.owner
    return {"before": before, "after": after}
