# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host sets up of interfaces before the first process runs: addresses with their prefixes, and routes."""

from __future__ import annotations

from collections.abc import Iterator

from .addresses import LibvirtNetwork, Networks, Resolved
from .network import family, place
from .spec import ServiceSpec

_EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


def is_set_up(spec: ServiceSpec, number: int) -> bool:
    """Whether the host sets up an interface: one of type managed, and any where no systemd-networkd runs inside."""
    return bool(spec.command) or spec.network[number].type == "managed"


def without_ipv6(spec: ServiceSpec) -> list[int]:
    """The numbers of the managed interfaces that have no IPv6 address."""
    return [
        number
        for number, interface in enumerate(spec.network)
        if interface.type == "managed" and all(family(text) == 4 for text in interface.addresses)
    ]


def addresses(spec: ServiceSpec, number: int, resolved: Resolved, networks: Networks) -> tuple[str, ...]:
    """The addresses of an interface with their prefixes."""
    interface = spec.network[number]
    if interface.addresses or number >= len(resolved):
        return interface.addresses
    known = networks.get(place(interface), LibvirtNetwork())
    subnets = ((text, known.subnet(text)) for text in resolved[number])
    return tuple(f"{text}/{subnet.network.prefixlen}" for text, subnet in subnets if subnet)


def routes(spec: ServiceSpec, number: int, resolved: Resolved, networks: Networks) -> tuple[tuple[str, str], ...]:
    """The destination and router of each route of an interface, the default ones first."""
    routers = [router for index, router in _default_routers(spec, resolved, networks) if index == number]
    declared = [(route.to, route.via) for route in spec.network[number].routes]
    return (*((_EVERYWHERE[family(router)], router) for router in routers), *declared)


def _default_routers(spec: ServiceSpec, resolved: Resolved, networks: Networks) -> Iterator[tuple[int, str]]:
    """The router of the default route of each family, with the number of its interface: one that is declared, else the first host."""
    declared = [(number, interface.gateway) for number, interface in enumerate(spec.network) if interface.gateway]
    yield from declared
    routed = {family(router) for _number, router in declared}
    for number, interface in enumerate(spec.network):
        if interface.type == "dhcp":
            routed.add(4)
        known = networks.get(place(interface), LibvirtNetwork())
        for text in resolved[number] if interface.type == "managed" and known.forwards and number < len(resolved) else ():
            subnet = known.subnet(text)
            if subnet and subnet.version not in routed:
                routed.add(subnet.version)
                yield number, str(subnet.ip)
