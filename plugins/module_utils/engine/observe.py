# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's state, read once for a whole run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ..host import block, cgroup, nftables, processes, selinux, sockets, systemd
from ..model import capabilities, layout, limits, network, scripts, unit
from ..model import hosts_file as hosts
from ..model.addresses import LibvirtNetwork
from ..model.context import Context
from ..model.definition import Known
from ..model.errors import SandboxError, StepError
from ..model.observed import Host, Observed, runs_in
from ..model.spec import ServiceSpec
from . import hosts_file, inside, mounts, tree
from .apply import unexpected
from .host import SandboxHost


def facts(specs: Iterable[ServiceSpec], host: SandboxHost) -> Host:
    """What of the host the sandboxes depend on."""
    specs = list(specs)
    units = {name for spec in specs for name in spec.units} | {unit.NETWORK_UNIT, unit.LOGROTATE_UNIT}
    names = hosts_file.read()
    of_types = {spec.process_type: spec for spec in specs if spec.capabilities.keep or network.has_networkd(spec)}
    limited = {device.device for spec in specs for device in spec.io.devices}
    return Host(
        systemd=systemd.host_systemd(units),
        scripts={path: scripts.version(systemd.read(path)) for path in scripts.EXPECTED},
        networks=addresses_defined(host.running_networks, host.known),
        followed=followed(),
        keeps_journal=os.path.isdir(layout.JOURNALS),
        devices={path: block.device_number(path) for path in limited},
        io_weights=block.has_weights(),
        size=cgroup.host_size(),
        bridges=sockets.bridges(),
        filtered=nftables.filtered(host.rules),
        named=hosts.of_sandboxes(names),
        named_otherwise=hosts.of_others(names),
        granted={spec.process_type: granted(spec) for spec in of_types.values()},
    )


def addresses_defined(networks: Mapping[str, LibvirtNetwork], known: Mapping[str, Known]) -> dict[str, LibvirtNetwork]:
    """The networks, with the addresses that definitions give the interfaces in them: of what is defined, and of what runs."""
    devices = [
        device
        for sandbox in known.values()
        for definition in (sandbox.defined, sandbox.running)
        if definition
        for device in definition.devices
    ]
    defined: dict[str, dict[str, list[str]]] = {name: {} for name in networks}
    for device in devices:
        source = (device.kind == "network" and device.source) or ""
        if source in networks and device.addresses:
            defined[source].setdefault(device.mac or "", []).extend(text.partition("/")[0] for text in device.addresses)
    return {name: dataclasses.replace(known_network, defined=defined[name]) for name, known_network in networks.items()}


def granted(spec: ServiceSpec) -> set[str]:
    """The capabilities that the loaded policy gives a sandbox's processes; all where no policy is loaded."""
    if selinux.mode() == "disabled":
        return {*capabilities.KNOWN, *capabilities.KNOWN_2}
    context = str(Context.process(spec.process_type, spec.level))
    asked = [("capability", name) for name in capabilities.KNOWN] + [("capability2", name) for name in capabilities.KNOWN_2]
    return {name for tclass, name in asked if selinux.decide(context, context, tclass, name)["allowed"]}


def followed() -> list[str]:
    """The paths of this host that a sandbox's /etc follows."""
    return [path for path in layout.FOLLOWED if os.path.exists(path) and not os.path.islink(path)]


@dataclasses.dataclass(frozen=True)
class Look:
    """What is looked for about the sandboxes of a run, beside what each of them always shows."""

    facts: Host | None = None
    stale: Collection[str] = ()  # those of which it counts whether they are stale
    going: Collection[str] = ()  # those in whose content nothing is looked for


@dataclasses.dataclass(frozen=True)
class Published:
    """The units of the ports that sandboxes publish, with their texts, and the states of these units and of the sandboxes' own."""

    texts: Mapping[str, str]
    states: Mapping[str, Mapping[str, str]]


def sandboxes(specs: Sequence[ServiceSpec], host: SandboxHost, look: Look) -> tuple[dict[str, Observed], list[StepError]]:
    """Each sandbox as the host has it, by name; one that cannot be looked at is a failure of its own."""
    port_units = _port_units({spec.name for spec in specs})
    states = systemd.show([*(spec.paths.unit for spec in specs), *(name for name in port_units if name.endswith(".socket"))])
    published = Published(port_units, states)
    # what is declared now, and what this run makes of it
    everyone = {**host.declared.specs, **{spec.name: spec for spec in specs}}
    observed, failures = {}, []
    for spec in specs:
        try:
            observed[spec.name] = _sandbox(spec, host, look, published, everyone.values())
        except (SandboxError, OSError) as error:
            failures.append(StepError(spec.name, "observe", str(error)))
        except Exception as error:  # whatever it is, the other sandboxes go on
            failures.append(StepError(spec.name, "observe", unexpected(error)))
    return observed, failures


def _sandbox(spec: ServiceSpec, host: SandboxHost, look: Look, units: Published, everyone: Iterable[ServiceSpec]) -> Observed:
    name, paths = spec.name, spec.paths
    if name in host.declared.damaged:
        reason = host.declared.damaged[name]
        raise SandboxError(f"{reason.rstrip('.')}. Restore {paths.spec} from a backup, or remove it to have it written again.")
    known = host.known.get(name, Known())
    going = name in look.going
    place = runs_in(spec, known.running)
    return Observed(
        spec_text=systemd.read(paths.spec),
        spec=host.declared.specs.get(name),
        unit_text=systemd.read(paths.unit_path),
        slice_text=systemd.read(paths.slice_path),
        former_slice=_former_slice(paths),
        filter_text=systemd.read(paths.filter),
        unit=units.states[paths.unit],
        defined=known.defined,
        active=known.running,
        content_context=content_context(paths.root),
        limits=cgroup.limits(place, limits.FILES) if known.running else {},
        stale=sorted({path for process in processes.stale(place) for path in process["files"]}) if name in look.stale else (),
        code=systemd.read(paths.code),
        journal=link(paths.journal_link),
        **ports(paths, known.running is not None, units),
        **({} if going else _content(paths.root, spec, look.facts, everyone)),
    )


def _former_slice(paths: layout.Layout) -> str | None:
    """The text of the slice in which a sandbox of the first generation was, if that is ours and not its slice today."""
    text = None if paths.apart else systemd.read(layout.unit_path(paths.slice_apart))
    return text if text and text.startswith(layout.MARK) else None


def _content(root: str, spec: ServiceSpec, facts: Host | None, everyone: Iterable[ServiceSpec]) -> dict[str, Any]:
    """What the content says; where root inside has made it unreadable, that is for him to bear, and for no other sandbox."""
    exists = os.path.isdir(root)
    try:
        return {
            **(inside.observe(root, spec, facts) if facts and exists else {}),
            "mounts": mounts.observe(spec, root, everyone),
            **(command(root, spec) if spec.command and exists else {}),
        }
    except tree.TreeError as error:
        return {"unreadable": str(error)}


def _port_units(sandboxes: Collection[str]) -> dict[str, str]:
    """The units of these sandboxes' published ports, with their texts."""
    names = [name for name in systemd.names(layout.UNITS) if name.partition("_sandbox-")[0] in sandboxes]
    texts = {name: systemd.read(os.path.join(layout.UNITS, name)) or "" for name in names if name.endswith((".socket", ".service"))}
    return {name: text for name, text in texts.items() if "_sandbox-" in name and text.startswith(layout.MARK)}


def ports(entry: layout.Layout, running: bool, units: Published) -> dict[str, Any]:
    """A sandbox's of these, which of them are as they are to be, enabled and active while it runs, and which listen."""
    ours = {name: text for name, text in units.texts.items() if name.startswith(f"{entry.name}_sandbox-")}
    sockets = {name: units.states[name] for name in ours if name in units.states}
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


def command(root: str, spec: ServiceSpec) -> dict[str, Any]:
    """What a sandbox that runs a command must have inside: the program, and whom it may run as."""
    top = tree.open_top(root)
    try:
        return {"program": inside.has_program(top, spec.command[0], spec), **numbers_in(top)}
    finally:
        os.close(top)


def numbers(root: str) -> dict[str, Mapping[str, str]]:
    """The users and groups of the system below a directory, each with its number."""
    top = tree.open_top(root)
    try:
        return numbers_in(top)
    finally:
        os.close(top)


def numbers_of_host() -> dict[str, Mapping[str, str]]:
    """Those of the host, which content that is made from its files gets."""
    return {kind: _named(systemd.read(path) or "") for kind, path in (("users", "/etc/passwd"), ("groups", "/etc/group"))}


def numbers_in(top: int) -> dict[str, Mapping[str, str]]:
    return {"users": _numbers(top, "etc/passwd"), "groups": _numbers(top, "etc/group")}


def _numbers(top: int, path: str) -> dict[str, str]:
    """The names and numbers of a sandbox's users or groups."""
    try:
        text = (tree.read_file(top, path, 1 << 20) or b"").decode("utf-8", "surrogateescape")
    except tree.TreeError:
        return {}  # root inside may have put anything there
    return _named(text)


def _named(text: str) -> dict[str, str]:
    return {fields[0]: fields[2] for fields in (line.split(":") for line in text.split("\n")) if len(fields) > 2}


def addresses(spec: ServiceSpec) -> list[str]:
    """Those that a running sandbox has; none where they cannot be read, which a run says that waits for them."""
    try:
        return processes.addresses(spec.name, [text for interface in spec.network for text in network.fixed(interface)])
    except SandboxError:
        return []


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
