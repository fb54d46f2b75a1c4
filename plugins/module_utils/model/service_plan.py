# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a sandbox is to be and what was seen of it to the steps between the two."""

from __future__ import annotations

from . import capabilities, command, hosts_file, layout, limits, mounts, network_plan, unit, unit_file, unit_fit
from .addresses import check_host, check_name
from .context import Context
from .definition import Definition, as_today, define, restart_reasons
from .errors import ConflictError, MissingError, OptionError
from .network import has_networkd
from .observed import Host, Observed
from .plan import Plan
from .spec import ServiceSpec, dump
from .steps import (
    ApplyLimits,
    Define,
    DisableUnit,
    EnableUnit,
    LinkJournal,
    MakeMountPoints,
    RelabelSource,
    ReloadSandbox,
    ReloadSystemd,
    RemoveFile,
    RemoveUnit,
    RemoveUnitAfterStart,
    RestartSandbox,
    StartSandbox,
    StartUnitsInside,
    StopSandbox,
    Undefine,
    WriteFile,
    WriteInside,
)


def check(spec: ServiceSpec, observed: Observed, host: Host, predicted: bool = False) -> None:
    """Refuse, before anything changes, what cannot work or is not ours.

    ``predicted``: in check mode the content may be what an earlier task has only announced.
    """
    check_ours(spec, observed)
    # before there is content, its package may not be there either, nor what the content will say of its units
    if not (predicted and observed.content_context is None):
        _check_units(spec, observed, host)
    if has_networkd(spec) and not host.systemd.unit_paths.get(unit.NETWORK_UNIT):
        sources = [interface.source or interface.bridge for interface in spec.network]
        raise OptionError.said(
            "network", sources, f"needs {unit.NETWORK_UNIT}, which this host does not have. Install it, or set type: managed."
        )
    check_host(spec, host.networks, host.bridges)
    check_name(spec.name, [spec, observed.spec], host.networks)
    hosts_file.check(spec.name, host.called(spec.name), host.named_otherwise)
    limits.check_host(spec.io, host.devices, host.io_weights)
    capabilities.check_policy(spec, host.granted.get(spec.process_type, ()))
    mounts.check(spec, observed.mounts, predicted)
    if predicted:
        return
    if observed.content_context is None:
        raise OptionError("name", spec.name, f"a sandbox with content in {spec.paths.root}", "Run sandbox_content to create it.")
    wanted = Context.object(layout.ROOT_TYPE, spec.level)
    if observed.content_context != str(wanted):
        raise OptionError(
            "level",
            str(spec.level),
            f"the level of the content, which is labelled {observed.content_context}",
            "Run sandbox_content to relabel it, with foreign: fix if that level belongs to another sandbox.",
        )
    if spec.command:
        command.check_inside(spec, observed.users, observed.groups)
        if not observed.program:
            raise OptionError("command", spec.command[0], "a program in the host's /usr or in the content of the sandbox")


def _check_units(spec: ServiceSpec, observed: Observed, host: Host) -> None:
    systemd = observed.systemd(host)
    for name in spec.units:
        if not systemd.unit_paths.get(name):
            raise MissingError("units", name, unit_file.WHERE, unit_file.INSTALL)
    for name in spec.units:
        reason = unit_fit.obstacle(name, systemd.units, spec.process_type)
        if reason:
            raise OptionError("units", name, "a unit that works in a sandbox", reason)
        reason = unit_fit.missing_program(name, systemd.units, observed.missing_programs)
        if reason:
            raise MissingError("units", name, "a unit whose program exists", reason)


def check_ours(spec: ServiceSpec, observed: Observed) -> None:
    name, paths = spec.name, spec.paths
    if any(known is not None and not known.ours for known in (observed.defined, observed.active)):
        raise ConflictError(f"name: libvirt has a domain {name} that this collection did not create. Choose another name, or undefine it.")
    for path, text in ((paths.unit_path, observed.unit_text), (paths.slice_path, observed.slice_text)):
        if text is not None and not text.startswith(layout.MARK):
            raise ConflictError(f"name: {path} was not created by this collection. Choose another name, or remove it.")


def plan_service(spec: ServiceSpec, state: str, observed: Observed, host: Host) -> Plan:
    """The steps that make the sandbox what ``spec`` and ``state`` say."""
    if state == "absent":
        return _plan_absent(spec, observed, host)
    plan = Plan()
    _plan_inside(plan, spec, observed, host)
    _plan_mounts(plan, spec, observed)
    wanted = wanted_definition(spec, host)
    differ = _interfaces_differ(wanted, observed)
    deferred = state == "present" and differ
    ports_changed = not deferred and network_plan.plan_ports(plan, spec, observed, host)
    units_changed = _plan_units(plan, spec, observed)
    if ports_changed or units_changed or observed.unit.get("NeedDaemonReload") == "yes":
        plan.add(ReloadSystemd(spec.name))
    _plan_limits(plan, spec, observed, host)
    if not deferred:
        network_plan.plan_network(plan, spec, observed, host)
    network_plan.plan_filter(plan, spec, observed, host, live=observed.running and not differ, deferred=deferred)
    _plan_definition(plan, spec, observed, wanted)
    if observed.enabled != spec.autostart:
        plan.add(EnableUnit(spec.name, spec.paths.unit) if spec.autostart else DisableUnit(spec.name, spec.paths.unit))
    if spec.units and host.keeps_journal and observed.journal != spec.paths.journal:
        plan.add(LinkJournal(spec.name, spec.paths.journal_link, spec.paths.journal, observed.journal))
    if observed.spec != spec:
        plan.add(WriteFile(spec.name, "the spec", spec.paths.spec, dump(spec), 0o600, observed.spec_text))
    _plan_state(plan, spec, state, observed, wanted, differ)
    _plan_former_slice(plan, spec, state, observed)
    if not deferred:
        network_plan.plan_ports_up(plan, spec, observed, host)
    return plan


def wanted_definition(spec: ServiceSpec, host: Host) -> Definition:
    """What the sandbox's runtime is to be told on this host."""
    return define(spec, host.followed, host.addresses(spec.name), host.networks)


def _interfaces_differ(wanted: Definition, observed: Observed) -> bool:
    """Whether it runs with other interfaces than declared: what leads to it stays as it is until it is restarted."""
    live = as_today(observed.active, wanted)
    if live is None or live.record is None or wanted.record is None:
        return False
    return live.devices != wanted.devices or live.record.addresses != wanted.record.addresses


def _plan_inside(plan: Plan, spec: ServiceSpec, observed: Observed, host: Host) -> None:
    """The files inside that the spec determines."""
    files = unit.inside(spec, observed.systemd(host), host.networks)
    wanted = {file.path: ("link", file.link) if file.link else ("text", file.text) for file in files}
    changed = {path: value for path, value in wanted.items() if observed.inside.get(path) != value}
    gone = sorted(set(observed.inside) - set(wanted))
    if changed or gone:
        before = {path: observed.inside[path][1] for path in [*changed, *gone] if path in observed.inside}
        plan.add(WriteInside(spec.name, spec.paths.root, Context.object(spec.file_type, spec.level), changed, gone, before))


def _plan_mounts(plan: Plan, spec: ServiceSpec, observed: Observed) -> None:
    """Places inside for what is mounted, and the sandbox's label for what is to have it."""
    context = Context.object(spec.file_type, spec.level)
    points, labels = {}, {}
    for mount in spec.mounts:
        actual = observed.mounts[mount.target]
        if not actual.point:
            points[mount.target] = mounts.point_kind(actual) if mount.type == "bind" else "directory"
        if actual.mislabelled and mount.source:
            labels[mount.source] = actual.mislabelled
    if points:
        plan.add(MakeMountPoints(spec.name, spec.paths.root, context, points))
    plan.add(*(RelabelSource(spec.name, source, context, number) for source, number in labels.items()))


def _plan_units(plan: Plan, spec: ServiceSpec, observed: Observed) -> bool:
    """The unit and its slice; whether systemd must read them."""
    files = (
        WriteFile(spec.name, "the slice", spec.paths.slice_path, unit.slice_unit(spec), before=observed.slice_text),
        WriteFile(spec.name, "the unit", spec.paths.unit_path, unit.host_unit(spec), before=observed.unit_text),
    )
    changed = [file for file in files if file.before != file.text]
    plan.add(*changed)
    return bool(changed)


def _plan_limits(plan: Plan, spec: ServiceSpec, observed: Observed, host: Host) -> None:
    wanted = limits.kernel_limits(spec, host.devices, host.size)
    after = {name: value for name, value in wanted.items() if observed.limits.get(name, value) != value}
    if after:
        before = {name: observed.limits[name] for name in after}
        values = {name: limits.to_write(name, before[name], value) for name, value in after.items()}
        plan.add(ApplyLimits(spec.name, observed.cgroup(spec), values, before, after))


def _plan_former_slice(plan: Plan, spec: ServiceSpec, state: str, observed: Observed) -> None:
    """It stays as long as the sandbox runs in it, for with its file it would lose its limits."""
    paths = spec.paths
    if observed.former_slice and not (state == "present" and observed.cgroup(spec) != paths.cgroup):
        unit_path = layout.unit_path(paths.slice_apart)
        plan.add(RemoveUnitAfterStart(spec.name, "the former slice", unit_path, paths.slice_apart, observed.former_slice))


def _plan_definition(plan: Plan, spec: ServiceSpec, observed: Observed, wanted: Definition) -> None:
    if as_today(observed.defined, wanted) != wanted:
        plan.add(Define(spec.name, wanted, observed.defined))


def _plan_state(plan: Plan, spec: ServiceSpec, state: str, observed: Observed, wanted: Definition, differ: bool) -> None:
    name, own = spec.name, spec.paths.unit
    why = _why_restart(observed, wanted)
    if state == "stopped":
        plan.extend(plan_stop(spec, observed))
    elif state == "restarted" or (state in ("started", "reloaded") and observed.running and why):
        reasons = f"running ({', '.join(why)} changed)" if why else "running"
        if observed.running and differ:
            # before any other starts, which may be given the address that this one has now
            plan.add(StopSandbox(name, own, reasons, "for its new interfaces"))
        plan.add(RestartSandbox(name, own, reasons if observed.running else "stopped"))
    elif state in ("started", "reloaded") and not observed.running:
        plan.add(StartSandbox(name, own))
    elif state in ("started", "reloaded") and observed.down:
        plan.add(StartUnitsInside(name, observed.down))
    elif state == "reloaded":
        plan.add(ReloadSandbox(name, own))


def plan_stop(spec: ServiceSpec, observed: Observed) -> Plan:
    """The step that stops a sandbox which runs."""
    return Plan([StopSandbox(spec.name, spec.paths.unit)] if observed.running else [])


def _why_restart(observed: Observed, wanted: Definition) -> list[str]:
    """What of a running sandbox is not as declared and only a restart brings in."""
    live = as_today(observed.active, wanted)
    if live is None:
        return []
    reasons = restart_reasons(live, wanted)
    reasons += observed.stale
    if not observed.unit_active:
        reasons.append("its unit, behind whose back it runs,")
    return reasons


def _plan_absent(spec: ServiceSpec, observed: Observed, host: Host) -> Plan:
    name, paths = spec.name, spec.paths
    check_ours(spec, observed)
    plan = plan_stop(spec, observed)
    if observed.enabled:
        plan.add(DisableUnit(name, paths.unit))
    network_plan.plan_ports_gone(plan, name, observed, sorted(observed.ports), sorted(observed.ports))
    if observed.defined is not None:
        plan.add(Undefine(name, observed.defined))
    network_plan.plan_network_gone(plan, spec, observed, host)
    if observed.journal is not None:
        plan.add(RemoveFile(name, "the link to the journal", paths.journal_link, observed.journal))
    units = [
        RemoveUnit(name, what, path, unit_name, text)
        for what, path, unit_name, text in (
            ("the unit", paths.unit_path, paths.unit, observed.unit_text),
            ("the slice", paths.slice_path, paths.slice, observed.slice_text),
            ("the former slice", layout.unit_path(paths.slice_apart), paths.slice_apart, observed.former_slice),
        )
        if text is not None
    ]
    plan.add(*units)
    if observed.code is not None:
        plan.add(RemoveFile(name, "the exit code of its command", paths.code, observed.code))
    if observed.spec_text is not None:
        plan.add(RemoveFile(name, "the spec", paths.spec, observed.spec_text))
    # a run may have been killed after it had removed the units
    if units or observed.ports or observed.spec_text is not None:
        plan.add(ReloadSystemd(name))
    return plan
