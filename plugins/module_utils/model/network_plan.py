# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of what leads to a sandbox: its addresses, its filter, its name on the host, its published ports."""

from __future__ import annotations

from collections.abc import Sequence

from . import layout, network_filter, ports
from .addresses import INTERFACES, Entry, entries, entries_of
from .network import host_device
from .observed import Host, Observed
from .plan import Plan
from .spec import ServiceSpec
from .steps import ClosePorts, LoadFilter, NameOnHost, PublishPorts, ReleaseAddresses, RemoveFile, ReserveAddresses, WriteFile


def plan_network(plan: Plan, spec: ServiceSpec, observed: Observed, host: Host) -> None:
    """What libvirt's networks and the host know of its addresses."""
    name, addresses = spec.name, host.addresses(spec.name)
    wanted, known = entries(spec, addresses, host.networks), entries_of(name, [spec, observed.spec], host.networks)
    _plan_released(plan, name, [entry for entry in known if entry not in wanted])
    new = [entry for entry in wanted if entry not in known]
    if new:
        plan.add(ReserveAddresses(name, new))
    _plan_named(plan, name, host.called(name), host)


def plan_network_gone(plan: Plan, spec: ServiceSpec, observed: Observed, host: Host) -> None:
    """Of a sandbox that goes nothing is left in the networks and on the host."""
    _plan_released(plan, spec.name, entries_of(spec.name, [spec, observed.spec], host.networks))
    _plan_named(plan, spec.name, (), host)
    _plan_filter_gone(plan, spec.name, _filtered(spec, host))
    if observed.filter_text is not None:
        plan.add(RemoveFile(spec.name, "the filter", spec.paths.filter, observed.filter_text))


def plan_filter(plan: Plan, spec: ServiceSpec, observed: Observed, host: Host, live: bool, deferred: bool) -> None:
    """What its interfaces may send, in the file that its next start loads; ``live``: and of those that it runs with.

    The file comes last, for what it says counts as loaded. ``deferred``: those that it runs with are others.
    """
    name, path, kept = spec.name, spec.paths.filter, network_filter.chains(spec)
    wanted = network_filter.rules(spec, host.addresses(name))
    if not deferred:
        _plan_filter_gone(plan, name, [chain for chain in _filtered(spec, host) if chain not in kept])
    before = [chain for chain in kept if chain in host.filtered]
    if live and wanted and not (wanted == observed.filter_text and before == kept):
        plan.add(LoadFilter(name, wanted, before, kept))
    if wanted and wanted != observed.filter_text:
        plan.add(WriteFile(name, "the filter", path, wanted, 0o600, observed.filter_text))
    elif not wanted and observed.filter_text is not None:
        plan.add(RemoveFile(name, "the filter", path, observed.filter_text))


def _filtered(spec: ServiceSpec, host: Host) -> list[str]:
    """Which chains of a sandbox's interfaces, as many as it may have or have had, the kernel has."""
    devices = [host_device(spec.name, number) for number in range(max(INTERFACES, len(spec.network)))]
    own = [network_filter.chain(device, of) for device in devices for of in network_filter.MAPS]
    return [chain for chain in own if chain in host.filtered]


def _plan_filter_gone(plan: Plan, name: str, chains: Sequence[str]) -> None:
    if chains:
        plan.add(LoadFilter(name, network_filter.without(chains), chains))


def _plan_released(plan: Plan, name: str, entries: Sequence[Entry]) -> None:
    """The last first: names go before the leases by whose addresses the next run would find what an interrupted one left."""
    if entries:
        plan.add(ReleaseAddresses(name, entries[::-1]))


def _plan_named(plan: Plan, name: str, addresses: Sequence[str], host: Host) -> None:
    before = list(host.named.get(name, ()))
    if before != list(addresses):
        plan.add(NameOnHost(name, before, list(addresses)))


def plan_ports(plan: Plan, spec: ServiceSpec, observed: Observed, host: Host) -> bool:
    """The units of the published ports; whether systemd must read them."""
    name, wanted = spec.name, ports.units(spec, host.addresses(spec.name))
    touched = ports.touched(observed.ports, wanted)
    gone = [unit for unit in sorted(observed.ports) if unit not in wanted]
    plan_ports_gone(plan, name, observed, [unit for unit in sorted(observed.ports) if unit in touched], gone)
    changed = {unit: text for unit, text in wanted.items() if observed.ports.get(unit) != text}
    for unit, text in changed.items():
        plan.add(WriteFile(name, unit, f"{layout.UNITS}/{unit}", text, before=observed.ports.get(unit)))
    return bool(changed or gone)


def plan_ports_gone(plan: Plan, name: str, observed: Observed, closed: Sequence[str], gone: Sequence[str]) -> None:
    """Close ports, of which some go altogether."""
    if closed:
        plan.add(ClosePorts(name, list(closed)))
    for unit in gone:
        plan.add(RemoveFile(name, unit, f"{layout.UNITS}/{unit}", observed.ports[unit]))


def plan_ports_up(plan: Plan, spec: ServiceSpec, observed: Observed, host: Host) -> None:
    """Published with every start of the sandbox from now on, and now if it runs."""
    wanted = ports.units(spec, host.addresses(spec.name))
    touched = ports.touched(observed.ports, wanted)
    new = sorted(unit for unit in wanted if unit.endswith(".socket") and (unit in touched or unit not in observed.ports_up))
    if new:
        plan.add(PublishPorts(spec.name, new, spec.paths.unit))
