# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of ``sandbox_info``: everything that is known of the sandboxes of a host."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from ..host import audit, cgroup, policy_rules, processes
from ..host.libvirt_lxc import Lxc
from ..host.policy_file import PolicyFile
from ..model import denial, layout
from ..model.addresses import resolve
from ..model.errors import SandboxError
from ..model.observed import Host, Observed
from ..model.options import Option, normalise
from ..model.service_plan import plan_service
from ..model.spec import REGISTRY
from . import listed, observe
from .apply import require_root
from .declared import declared_specs

_STATES = {
    "active": "running",
    "reloading": "running",
    "activating": "starting",
    "deactivating": "stopping",
    "failed": "failed",
}
# the audit log's dates have two digits for the year
_MOST_HOURS = 10 * 365 * 24


def _hours(value: float) -> float:
    # of not-a-number neither is true
    if not 0 <= value <= _MOST_HOURS:
        raise ValueError(f"a number of hours from 0 to {_MOST_HOURS}, which is ten years")
    return value


OPTIONS = (Option("name"), Option("denials", type="float", default=24, normalise=_hours), Option("registry", default=REGISTRY))


def run(parameters: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """What ``sandbox_info`` returns."""
    del check_mode
    require_root()
    options = normalise(OPTIONS, parameters)
    every = declared_specs()
    specs = _specs(every, options["name"])
    lxc = Lxc()
    try:
        facts = _with_addresses(observe.host(specs.values(), lxc), every)
        seen = observe.sandboxes(list(specs.values()), lxc.domains(), facts, every)
    finally:
        lxc.close()
    shown = {name: _one(spec, seen[name], facts) for name, spec in specs.items()}
    denied, left_out = _denials(every, specs, options)
    for name, one in shown.items():
        one["denials"] = [dataclasses.asdict(explained) for explained in denied if explained.sandbox == name]
        one["denials_left_out"] = left_out.get(specs[name]["level"], 0)
    return {"changed": False, "sandboxes": shown}


def _specs(known: dict[str, dict[str, Any]], only: str | None) -> dict[str, dict[str, Any]]:
    """The declared specs by name; a name that is not declared is an error."""
    return {name: known[name] for name in listed.chosen(only, known)}


def _denials(
    every: Mapping[str, Mapping[str, Any]], shown: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any]
) -> tuple[list[denial.Explained], Mapping[str, int]]:
    """What SELinux denied to the sandboxes that are shown, explained, and how many events of each level were left out."""
    if not options["denials"]:
        return [], {}
    owners = listed.level_owners(every, options["registry"])
    types = {spec["process_type"] for spec in every.values()}
    found = audit.denials(options["denials"], types, {spec["level"] for spec in shown.values()})
    return denial.explain(denial.parse(found.records), owners, types, _booleans), found.left_out


def _booleans(source: str, target: str, tclass: str, permissions: Sequence[str]) -> Sequence[str]:
    policy = _policy()
    return policy.booleans(source, target, tclass, permissions) if policy else ()


@functools.cache
def _policy() -> PolicyFile | None:
    """The policy that is loaded, read for the first question; none where it can't be, for denials are known without it."""
    try:
        return PolicyFile(policy_rules.LOADED)
    except SandboxError:
        return None


def _with_addresses(facts: Host, specs: Mapping[str, Mapping[str, Any]]) -> Host:
    """With the addresses of all sandboxes; without, where two are declared at one."""
    try:
        return dataclasses.replace(facts, resolved=resolve(list(specs.values()), [], facts.networks))
    except SandboxError:
        return facts


def _one(spec: Mapping[str, Any], seen: Observed, facts: Host) -> dict[str, Any]:
    name, paths = spec["name"], layout.of(spec)
    running = seen.active is not None
    return {
        "spec": dict(spec),
        "state": _STATES.get(seen.unit.get("ActiveState", ""), "stopped"),
        "enabled": seen.enabled,
        "units": _units(name, spec) if running and spec["units"] else {},
        "exit_code": _exit_code(spec, seen),
        "addresses": observe.addresses(spec) if running else [],
        "processes": processes.of_sandbox(paths.cgroup) if running else [],
        "stale": processes.stale(paths.cgroup) if running else [],
        "resources": cgroup.usage(paths.cgroup) if running else {},
        "drift": _drift(spec, seen, facts),
    }


def _exit_code(spec: Mapping[str, Any], seen: Observed) -> int | None:
    """The code with which a command ended since the host has booted."""
    return int(seen.code) if spec["command"] and not seen.running and seen.code else None


def _units(name: str, spec: Mapping[str, Any]) -> dict[str, str]:
    try:
        return processes.units_inside(name, spec["units"])
    except SandboxError:
        return dict.fromkeys(spec["units"], "unknown")


def _drift(spec: Mapping[str, Any], seen: Observed, facts: Host) -> list[str]:
    if seen.unreadable:
        return [f"look at the content: {seen.unreadable}"]
    missing = [unit for unit in spec["units"] if not seen.systemd(facts).unit_paths[unit]]
    if missing:
        return [f"find {unit}" for unit in missing]
    return [step.name for step in plan_service(spec, "present", seen, facts)]
