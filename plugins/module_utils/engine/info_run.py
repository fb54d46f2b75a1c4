# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of ``sandbox_info``: everything that is known of the sandboxes of a host."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from ..host import audit, cgroup, nftables, policy_rules, processes, quota
from ..host.policy_file import PolicyFile
from ..model import denial, layout, limits, network_filter
from ..model.addresses import resolve
from ..model.disk import Limits
from ..model.errors import SandboxError, StepError
from ..model.observed import Host, Observed
from ..model.options import build, older_defaults, option, plain
from ..model.service_plan import plan_service
from ..model.spec import REGISTRY, ServiceSpec
from . import levels, listed, observe
from .apply import require_root
from .host import SandboxHost, opened

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
        raise ValueError(f"a number of hours from 0 to {_MOST_HOURS} (ten years)")
    return value


@dataclasses.dataclass(frozen=True)
class Run:
    """What ``sandbox_info`` is asked."""

    name: str | None = option(help="The sandbox to show. Defaults to all sandboxes of the host.")
    denials: float = option(
        24, type="float", normal=_hours,
        help="How many hours back to look for what SELinux denied, at most ten years. V(0) leaves denials out, which is quicker.",
    )  # fmt: skip
    registry: str = option(REGISTRY, help="The label registry that names the owners of levels which no sandbox of the host declares.")


def run(parameters: Mapping[str, Any], _check_mode: bool) -> dict[str, Any]:
    """What ``sandbox_info`` returns."""
    require_root()
    asked = build(Run, parameters)
    with opened(asked.registry, locked=False) as host:
        every = host.declared.specs
        specs = {name: every[name] for name in listed.chosen(asked.name, every)}
        facts = _with_addresses(observe.facts(specs.values(), host), every)
        observations, failures = observe.sandboxes(list(specs.values()), host, observe.Look(facts))
        shown = {}
        for name, observed in observations.items():
            try:
                shown[name] = _shown(specs[name], observed, facts, failures)
            except (SandboxError, OSError) as error:  # what root inside does to be in the way shows in his sandbox alone
                failures.append(StepError(name, "look", str(error)))
        denied, left_out = _denials(every, specs, asked)
        dropped, flooded = nftables.dropped(host.rules), audit.left_out()
        for name, sandbox in shown.items():
            sandbox["denials"] = [dataclasses.asdict(explained) for explained in denied if explained.sandbox == name]
            sandbox["denials_left_out"] = left_out.get(str(specs[name].level), 0)
            sandbox["audit_left_out"] = flooded.get(str(specs[name].level), {"times": 0, "seconds": 0, "now": False})
            sandbox["connections_dropped"] = sum(dropped.get(chain, 0) for chain in network_filter.chains(specs[name]))
        return {"changed": False, "sandboxes": shown, "host": _host(facts), "warnings": [*_damaged(host), *map(str, failures)]}


def _host(facts: Host) -> dict[str, Any]:
    """What the host has in all, and what its sandboxes may use of that together, and use."""
    together = layout.cgroup(layout.SANDBOXES)
    return {
        "memory_bytes": facts.size.memory,
        "tasks": facts.size.tasks,
        "audit_lost": audit.lost(),
        "sandboxes": {"limits": limits.shown(cgroup.limits(together, limits.FILES)), "resources": cgroup.usage(together)},
    }


def _damaged(host: SandboxHost) -> list[str]:
    return [f"{name}: not shown, because its spec cannot be read: {reason}" for name, reason in host.declared.damaged.items()]


def _denials(
    every: Mapping[str, ServiceSpec], shown: Mapping[str, ServiceSpec], asked: Run
) -> tuple[list[denial.Explained], Mapping[str, int]]:
    """What SELinux denied to the sandboxes that are shown, explained, and how many events of each level were left out."""
    if not asked.denials:
        return [], {}
    owners = {str(level): name for level, name in levels.known(asked.registry).whose(every).items()}
    types = {spec.process_type for spec in every.values()}
    denials = audit.denials(asked.denials, types, {str(spec.level) for spec in shown.values()})
    return denial.explain(denial.parse(denials.records), owners, types, _booleans), denials.left_out


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


def _with_addresses(facts: Host, specs: Mapping[str, ServiceSpec]) -> Host:
    """With the addresses of all sandboxes; without, where two are declared at one."""
    try:
        return dataclasses.replace(facts, resolved=resolve(list(specs.values()), [], facts.networks))
    except SandboxError:
        return facts


def _shown(spec: ServiceSpec, observed: Observed, facts: Host, failures: list[StepError]) -> dict[str, Any]:
    running = observed.active is not None
    place = observed.cgroup(spec)
    most, taken = quota.used(spec.paths.root)
    bounds = limits.shown(observed.limits or limits.kernel_limits(spec, facts.devices, facts.size))
    return {
        "spec": plain(spec),
        "older_defaults": _older_defaults(spec),
        "state": _STATES.get(observed.unit.get("ActiveState", ""), "stopped"),
        "enabled": observed.enabled,
        "units": _units(spec, failures) if running and spec.units else {},
        "exit_code": _exit_code(spec, observed),
        "addresses": observe.addresses(spec) if running else [],
        "seccomp": processes.has_filter(spec.name) if running else None,
        "processes": processes.of_sandbox(place) if running else [],
        "stale": processes.stale(place) if running else [],
        "limits": {**bounds, "tmpfs_bytes": limits.tmpfs_bytes(spec, facts.size), **_figures(most)},
        "resources": {**(_used(spec, place) if running else {}), **{key: number for key, number in _figures(taken).items() if number}},
        "drift": _drift(spec, observed, facts),
    }


def _used(spec: ServiceSpec, place: str) -> dict[str, Any]:
    return {**cgroup.usage(place), **cgroup.held(spec.paths.run)}


def _figures(known: Limits) -> dict[str, int | None]:
    """Disk space and inodes; none of what is not counted, or has no limit."""
    return {"disk_bytes": known.disk or None, "inodes": known.inodes or None}


def _older_defaults(spec: ServiceSpec) -> list[str]:
    """Of memory_high there is a default only where memory is not set."""
    return [name for name in older_defaults(spec, spec.defaults) if name != "memory_high" or spec.memory is None]


def _exit_code(spec: ServiceSpec, observed: Observed) -> int | None:
    """The code with which a command ended since the host has booted."""
    return int(observed.code) if spec.command and not observed.running and observed.code else None


def _units(spec: ServiceSpec, failures: list[StepError]) -> dict[str, str]:
    try:
        return processes.units_inside(spec.name, spec.units)
    except SandboxError as error:
        failures.append(StepError(spec.name, "look", f"the states of its units are unknown: {error}"))
        return dict.fromkeys(spec.units, "unknown")


def _drift(spec: ServiceSpec, observed: Observed, facts: Host) -> list[str]:
    if observed.unreadable:
        return [f"look at the content: {observed.unreadable}"]
    missing = [unit for unit in spec.units if not observed.systemd(facts).unit_paths[unit]]
    if missing:
        return [f"find {unit}" for unit in missing]
    return [step.title for step in plan_service(spec, "present", observed, facts)]
