# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's state, read once for a whole run."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ..host import block, cgroup, nftables, processes, selinux, sockets, systemd
from ..host.libvirt_lxc import Domain, Lxc
from ..model import capabilities, layout, limits, unit
from ..model.observed import Host, Observed
from ..model.spec import load
from . import hosts_file, inside, mounts, tree


def host(specs: Iterable[Mapping[str, Any]], lxc: Lxc) -> Host:
    """What of the host the sandboxes depend on."""
    specs = list(specs)
    units = {name for spec in specs for name in spec["units"]} | {unit.NETWORK_UNIT, unit.LOGROTATE_UNIT}
    limited = {device["device"] for spec in specs for device in spec["io"]["devices"]}
    return Host(
        systemd=systemd.host_systemd(units),
        helper_text=systemd.read(layout.HELPER),
        networks=lxc.networks(),
        followed=followed(),
        keeps_journal=os.path.isdir(layout.JOURNALS),
        devices={path: block.device_number(path) for path in limited},
        io_weights=block.has_weights(),
        bridges=sockets.bridges(),
        filtered=nftables.filtered(),
        named=hosts_file.read(),
        granted={spec["process_type"]: granted(spec) for spec in specs if spec["capabilities"]["keep"]},
    )


def granted(spec: Mapping[str, Any]) -> set[str]:
    """The capabilities that the loaded policy gives a sandbox's processes; all where no policy is loaded."""
    if selinux.mode() == "disabled":
        return {*capabilities.KNOWN, *capabilities.KNOWN_2}
    context = layout.process_context(spec["process_type"], spec["level"])
    asked = [("capability", name) for name in capabilities.KNOWN] + [("capability2", name) for name in capabilities.KNOWN_2]
    return {name for tclass, name in asked if selinux.decide(context, context, tclass, name)["allowed"]}


def followed() -> list[str]:
    """The paths of this host that a sandbox's /etc follows."""
    return [path for path in layout.FOLLOWED if os.path.exists(path) and not os.path.islink(path)]


def sandboxes(
    specs: Sequence[Mapping[str, Any]],
    domains: Mapping[str, Domain],
    facts: Host | None,
    declared: Mapping[str, Mapping[str, Any]],
    stale: Collection[str] = (),
    going: Collection[str] = (),
) -> dict[str, Observed]:
    """Each sandbox as the host has it, by name; whether it is stale only where its name is in ``stale``.

    Nothing is looked for in the content of those that are ``going``.
    """
    paths = {spec["name"]: layout.of(spec) for spec in specs}
    port_units = _port_units(paths)
    states = systemd.show([*(entry.unit for entry in paths.values()), *(name for name in port_units if name.endswith(".socket"))])
    # what is declared now, and what this run makes of it
    everyone = {**declared, **{spec["name"]: spec for spec in specs}}
    found = {}
    for spec in specs:
        name, entry = spec["name"], paths[spec["name"]]
        text = systemd.read(entry.spec)
        known = domains.get(name)
        found[name] = Observed(
            spec_text=text,
            spec=load(text, entry.spec) if text is not None else None,
            unit_text=systemd.read(entry.unit_path),
            slice_text=systemd.read(entry.slice_path),
            filter_text=systemd.read(entry.filter),
            unit=states[entry.unit],
            inactive=known.inactive if known else None,
            active=known.active if known else None,
            content_context=content_context(entry.root),
            limits=cgroup.limits(entry.cgroup, limits.FILES) if known and known.active else {},
            stale=sorted({path for one in processes.stale(entry.cgroup) for path in one["files"]}) if name in stale else (),
            code=systemd.read(entry.code),
            journal=link(entry.journal_link),
            **ports(entry, known is not None and known.active is not None, port_units, states),
            **(_content(entry.root, spec, facts, everyone.values()) if name not in going else {}),
        )
    return found


def _content(root: str, spec: Mapping[str, Any], facts: Host | None, everyone: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What the content says; where root inside has made it unreadable, that is for him to bear, and for no other sandbox."""
    there = os.path.isdir(root)
    try:
        return {
            **(inside.observe(root, spec, facts) if facts and there else {}),
            "mounts": mounts.observe(spec, root, everyone),
            **(command(root, spec) if spec["command"] and there else {}),
        }
    except tree.TreeError as error:
        return {"unreadable": str(error)}


def _port_units(sandboxes: Collection[str]) -> dict[str, str]:
    """The units of these sandboxes' published ports, with their texts."""
    names = [name for name in systemd.names(layout.UNITS) if name.partition("_sandbox-")[0] in sandboxes]
    texts = {name: systemd.read(os.path.join(layout.UNITS, name)) or "" for name in names if name.endswith((".socket", ".service"))}
    return {name: text for name, text in texts.items() if "_sandbox-" in name and text.startswith(layout.MARK)}


def ports(entry: layout.Layout, running: bool, units: Mapping[str, str], states: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """A sandbox's of these, which of them are as they are to be, enabled and active while it runs, and which listen."""
    ours = {name: text for name, text in units.items() if name.startswith(f"{entry.name}_sandbox-")}
    sockets = {name: states[name] for name in ours if name in states}
    up = [
        name
        for name, state in sockets.items()
        if state.get("UnitFileState") == "enabled" and (not running or state.get("ActiveState") == "active")
    ]
    return {"ports": ours, "ports_up": up, "ports_open": [name for name, state in sockets.items() if state.get("ActiveState") == "active"]}


def link(path: str) -> str | None:
    """The target of a link; nothing where there is none."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def command(root: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a sandbox that runs a command must have inside: the program, and whom it may run as."""
    top = tree.open_top(root)
    try:
        return {
            "program": inside.has_program(top, spec["command"][0], spec),
            "users": _numbers(top, "etc/passwd"),
            "groups": _numbers(top, "etc/group"),
        }
    finally:
        os.close(top)


def _numbers(top: int, path: str) -> dict[str, str]:
    """The names and numbers of a sandbox's users or groups."""
    try:
        text = (tree.read_file(top, path, 1 << 20) or b"").decode("utf-8", "replace")
    except tree.TreeError:
        return {}  # root inside may have put anything there
    return {fields[0]: fields[2] for fields in (line.split(":") for line in text.splitlines()) if len(fields) > 2}


def content_context(root: str) -> str | None:
    """The label of a content tree's top directory, raw; nothing where there is no tree."""
    try:
        return tree.read_label(root, "")
    except FileNotFoundError:
        return None
    except tree.TreeError:
        if os.path.lexists(root):
            raise
        return None
