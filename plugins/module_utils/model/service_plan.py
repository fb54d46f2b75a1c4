# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a sandbox is to be and what was seen of it to the steps between the two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import capabilities, command, domain, layout, limits, mounts, network_plan, unit, unit_file, unit_fit
from .addresses import check_host, check_name
from .errors import ConflictError, MissingError, OptionError
from .observed import Host, Observed
from .plan import Plan
from .spec import dump, needs_restart


def check(spec: Mapping[str, Any], seen: Observed, host: Host, predicted: bool = False) -> None:
    """Refuse, before anything changes, what cannot work or is not ours.

    ``predicted``: in check mode the content may be what an earlier task has only announced.
    """
    _check_ours(spec, seen)
    # before there is content, its package may not be there either, nor what the content will say of its units
    if not (predicted and seen.content_context is None):
        _check_units(spec, seen, host)
    if spec["network"] and spec["units"] and not host.systemd.unit_paths.get(unit.NETWORK_UNIT):
        sources = [one["source"] or one["bridge"] for one in spec["network"]]
        raise OptionError("network", sources, f"none where the host has no {unit.NETWORK_UNIT}; install it")
    check_host(spec, host.networks, host.bridges)
    check_name(spec["name"], [spec, seen.spec], host.networks)
    limits.check_host(spec["io"], host.devices, host.io_weights)
    capabilities.check_policy(spec, host.granted.get(spec["process_type"], ()))
    mounts.check(spec, seen.mounts, predicted)
    if predicted:
        return
    if seen.content_context is None:
        raise OptionError("name", spec["name"], f"a sandbox with content in {layout.of(spec).root}; sandbox_content makes it")
    wanted = layout.object_context(layout.ROOT_TYPE, spec["level"])
    if seen.content_context != wanted:
        raise OptionError(
            "level",
            spec["level"],
            f"the level of the content, which is labelled {seen.content_context}; sandbox_content relabels it, "
            "with foreign: fix where that level is another sandbox's",
        )
    if spec["command"]:
        command.check_inside(spec, seen.users, seen.groups)
        if not seen.program:
            raise OptionError("command", spec["command"][0], "a program that the host's /usr or the content of the sandbox has")


def _check_units(spec: Mapping[str, Any], seen: Observed, host: Host) -> None:
    systemd = seen.systemd(host)
    for name in spec["units"]:
        if not systemd.unit_paths.get(name):
            raise MissingError("units", name, unit_file.WHERE)
    for name in spec["units"]:
        reason = unit_fit.obstacle(name, systemd.units)
        if reason:
            raise OptionError("units", name, f"a unit that works in a sandbox; {reason}")
        reason = unit_fit.nowhere(name, systemd.units, seen.missing_programs)
        if reason:
            raise MissingError("units", name, f"a unit whose program is there; {reason}")


def _check_ours(spec: Mapping[str, Any], seen: Observed) -> None:
    name, paths = spec["name"], layout.of(spec)
    if any(xml is not None and not domain.is_ours(xml) for xml in (seen.inactive, seen.active)):
        raise ConflictError(f"name: libvirt has a domain {name} that this collection did not make; choose another name, or undefine it")
    for path, text in ((paths.unit_path, seen.unit_text), (paths.slice_path, seen.slice_text)):
        if text is not None and not text.startswith(layout.MARK):
            raise ConflictError(f"name: {path} was not made by this collection; choose another name, or remove it")


def plan_service(spec: Mapping[str, Any], state: str, seen: Observed, host: Host) -> Plan:
    """The steps that make the sandbox what ``spec`` and ``state`` say."""
    if state == "absent":
        return _plan_absent(spec, seen, host)
    plan = Plan()
    name, paths = spec["name"], layout.of(spec)
    _plan_inside(plan, spec, seen, host)
    _plan_mounts(plan, spec, seen)
    differ = _interfaces_differ(spec, seen, host)
    deferred = state == "present" and differ
    ports_changed = not deferred and network_plan.plan_ports(plan, spec, seen, host)
    reload_systemd = ports_changed or seen.unit.get("NeedDaemonReload") == "yes"
    if host.helper_text != unit.HELPER:
        plan.add(
            name,
            "write the unit's helper",
            "write",
            path=layout.HELPER,
            text=unit.HELPER,
            mode=0o755,
            after=layout.HELPER,
        )
    for title, path, before, after in (
        ("write the slice", paths.slice_path, seen.slice_text, unit.slice_unit(spec)),
        ("write the unit", paths.unit_path, seen.unit_text, unit.host_unit(spec)),
    ):
        if before != after:
            plan.add(name, title, "write", path=path, text=after, mode=0o644, before=before, after=after)
            reload_systemd = True
    if reload_systemd:
        plan.add(name, "reload systemd", "daemon_reload", after="units as their files say")
    _plan_limits(plan, spec, seen, host)
    if not deferred:
        network_plan.plan_network(plan, spec, seen, host)
    network_plan.plan_filter(plan, spec, seen, host, live=seen.running and not differ, deferred=deferred)
    _plan_domain(plan, spec, seen, host)
    if seen.enabled != spec["autostart"]:
        verb = "enable" if spec["autostart"] else "disable"
        plan.add(name, f"{verb} the unit", verb, unit=paths.unit, before=seen.enabled, after=spec["autostart"])
    if spec["units"] and host.keeps_journal and seen.journal != paths.journal:
        link = {"path": paths.journal_link, "target": paths.journal}
        plan.add(name, "link the journal", "link", before=seen.journal, after=paths.journal, **link)
    after = dump(spec)
    if seen.spec_text != after:
        plan.add(name, "write the spec", "write", path=paths.spec, text=after, mode=0o600, before=seen.spec_text, after=after)
    _plan_state(plan, spec, state, seen, host, differ)
    if not deferred:
        network_plan.plan_ports_up(plan, spec, seen, host)
    return plan


def _interfaces_differ(spec: Mapping[str, Any], seen: Observed, host: Host) -> bool:
    """Whether it runs with other interfaces than declared: what leads to it stays as it is until it is restarted."""
    if seen.active is None:
        return False
    live, wanted = domain.canonical(seen.active), domain.canonical(_wanted_xml(spec, host))
    return any(live[key] != wanted[key] for key in ("interfaces", "addresses"))


def _plan_inside(plan: Plan, spec: Mapping[str, Any], seen: Observed, host: Host) -> None:
    """The files inside that the spec determines: one step, because each alone tells a reader little."""
    files = unit.inside(spec, seen.systemd(host), host.networks)
    wanted = {file.path: ("link", file.link) if file.link else ("text", file.text) for file in files}
    changed = {path: value for path, value in wanted.items() if seen.inside.get(path) != value}
    gone = sorted(set(seen.inside) - set(wanted))
    if changed or gone:
        plan.add(
            spec["name"],
            "write the files inside",
            "inside",
            root=layout.of(spec).root,
            context=layout.object_context(spec["file_type"], spec["level"]),
            files=changed,
            gone=gone,
            before={path: seen.inside[path][1] for path in [*changed, *gone] if path in seen.inside},
            after={path: value for path, (_kind, value) in changed.items()},
        )


def _plan_mounts(plan: Plan, spec: Mapping[str, Any], seen: Observed) -> None:
    """Places inside for what is mounted, and the sandbox's label for what is to have it."""
    context = layout.object_context(spec["file_type"], spec["level"])
    points, labels = {}, {}
    for mount in spec["mounts"]:
        one = seen.mounts[mount["target"]]
        if not one.point:
            points[mount["target"]] = mounts.point_kind(one) if mount["type"] == "bind" else "directory"
        if one.mislabelled:
            labels[mount["source"]] = one.mislabelled
    if points:
        plan.add(spec["name"], "make the mount points", "points", root=layout.of(spec).root, context=context, points=points, after=points)
    for source, number in labels.items():
        plan.add(
            spec["name"], f"label {source}", "label", source=source, context=context, before=f"{number} entries otherwise", after=context
        )


def _plan_limits(plan: Plan, spec: Mapping[str, Any], seen: Observed, host: Host) -> None:
    """Into a slice that is there already: not every systemd does that when it reads its units again."""
    wanted = limits.kernel_limits(spec, host.devices)
    after = {name: value for name, value in wanted.items() if seen.limits.get(name, value) != value}
    if after:
        before = {name: seen.limits[name] for name in after}
        values = {name: limits.to_write(name, before[name], value) for name, value in after.items()}
        plan.add(spec["name"], "apply the limits", "limit", path=layout.of(spec).cgroup, values=values, before=before, after=after)


def _plan_domain(plan: Plan, spec: Mapping[str, Any], seen: Observed, host: Host) -> None:
    xml = _wanted_xml(spec, host)
    after = domain.canonical(xml)
    before = domain.canonical(seen.inactive) if seen.inactive else None
    if before != after:
        plan.add(spec["name"], "define the domain", "define", xml=xml, before=before, after=after)


def _plan_state(plan: Plan, spec: Mapping[str, Any], state: str, seen: Observed, host: Host, differ: bool) -> None:
    name, paths = spec["name"], layout.of(spec)
    why = _restart_reasons(spec, seen, host)
    if state == "stopped":
        plan.extend(plan_stop(spec, seen))
    elif state == "restarted" or (state in ("started", "reloaded") and seen.running and why):
        reasons = f"running ({', '.join(why)} changed)" if why else "running"
        if seen.running and differ:
            # before any other starts, which may be given the address that this one has now
            plan.add(name, "stop for its new interfaces", "stop", unit=paths.unit, before=reasons, after="stopped")
        plan.add(name, "restart", "restart", unit=paths.unit, before=reasons if seen.running else "stopped", after="running")
    elif state in ("started", "reloaded") and not seen.running:
        plan.add(name, "start", "start", unit=paths.unit, before="stopped", after="running")
    elif state in ("started", "reloaded") and seen.down:
        units = sorted(seen.down)
        plan.add(name, "start the units inside", "start_inside", units=units, before=dict(seen.down), after=dict.fromkeys(units, "active"))
    elif state == "reloaded":
        plan.add(name, "reload", "reload", unit=paths.unit, before="running", after="reloaded")


def plan_stop(spec: Mapping[str, Any], seen: Observed) -> Plan:
    """The step that stops a sandbox which runs."""
    plan = Plan()
    if seen.running:
        plan.add(spec["name"], "stop", "stop", unit=layout.of(spec).unit, before="running", after="stopped")
    return plan


def _restart_reasons(spec: Mapping[str, Any], seen: Observed, host: Host) -> list[str]:
    """What of a running sandbox is not as declared and only a restart brings in."""
    if seen.active is None:
        return []
    reasons = needs_restart(seen.spec, spec) if seen.spec else []
    live, wanted = (_without_followed(domain.canonical(xml)) for xml in (seen.active, _wanted_xml(spec, host)))
    reasons += [
        key
        for key in ("label", "init", "mounts", "interfaces", "addresses", "partition")
        if live[key] != wanted[key] and key not in reasons
    ]
    if not reasons and live["start"] != wanted["start"]:
        reasons.append("what it was started with")
    reasons += seen.stale
    if not seen.unit_active:
        reasons.append("its unit, behind whose back it runs,")
    return reasons


def _wanted_xml(spec: Mapping[str, Any], host: Host) -> str:
    return domain.domain_xml(spec, host.followed, host.addresses(spec["name"]))


def _without_followed(canonical: dict[str, Any]) -> dict[str, Any]:
    """What the host has come to have of what a sandbox follows is there from its next start on."""
    mounted = [mount for mount in canonical["mounts"] if mount["target"] not in layout.FOLLOWED]
    return {**canonical, "mounts": mounted}


def _plan_absent(spec: Mapping[str, Any], seen: Observed, host: Host) -> Plan:
    name, paths = spec["name"], layout.of(spec)
    _check_ours(spec, seen)
    plan = plan_stop(spec, seen)
    if seen.enabled:
        plan.add(name, "disable the unit", "disable", unit=paths.unit, before=True, after=False)
    network_plan.plan_ports_gone(plan, name, seen, sorted(seen.ports), sorted(seen.ports))
    if seen.inactive is not None:
        plan.add(name, "undefine the domain", "undefine", before=domain.canonical(seen.inactive))
    network_plan.plan_network_gone(plan, spec, seen, host)
    if seen.journal is not None:
        plan.add(name, "remove the link to the journal", "unlink", path=paths.journal_link, before=seen.journal)
    reload_systemd = bool(seen.ports)
    for title, path, unit_name, text in (
        ("remove the unit", paths.unit_path, paths.unit, seen.unit_text),
        ("remove the slice", paths.slice_path, paths.slice, seen.slice_text),
    ):
        if text is not None:
            plan.add(name, title, "remove_unit", path=path, unit=unit_name, before=text)
            reload_systemd = True
    if seen.code is not None:
        plan.add(name, "forget how its command ended", "unlink", path=paths.code, before=seen.code)
    if seen.spec_text is not None:
        plan.add(name, "remove the spec", "unlink", path=paths.spec, before=seen.spec_text)
        reload_systemd = True  # a run may have been killed after it had removed the units
    if reload_systemd:
        plan.add(name, "reload systemd", "daemon_reload", after="units as their files say")
    return plan
