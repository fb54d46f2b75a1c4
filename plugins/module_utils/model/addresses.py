# SPDX-License-Identifier: GPL-3.0-or-later
"""Which address each interface has before its sandbox starts, and what libvirt's networks are told of it."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from .errors import ConflictError, OptionError
from .network import Interface, IPInterface, contains, fixed, mac, mac_of, place
from .spec import ServiceSpec

Resolved = Sequence[Sequence[str]]  # of each interface its addresses, as far as they are known before it starts
# by default an interface's MAC address follows from the name and its number: so many may have been reserved
INTERFACES = 8


@dataclasses.dataclass(frozen=True)
class LibvirtNetwork:
    """A network that libvirt runs, as far as a sandbox's addresses depend on it."""

    gateway: str = ""
    subnets: Sequence[str] = ()  # the bridge's own addresses with their prefixes
    ranges: Sequence[tuple[str, str]] = ()  # first and last address that its DHCP server gives
    reserved: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)  # MAC address -> (address, name)
    named: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)  # address -> names that its DNS server says
    leases: Mapping[str, str] = dataclasses.field(default_factory=dict)  # address -> MAC address that has it now

    def subnet(self, text: str) -> IPInterface | None:
        """The bridge's address in the subnet of another one."""
        return next((subnet for subnet in map(ipaddress.ip_interface, self.subnets) if contains(subnet, text)), None)


Networks = Mapping[str, LibvirtNetwork]


def check_host(spec: ServiceSpec, networks: Networks, bridges: Iterable[str]) -> None:
    """What only the host knows: whether there is such a network, and whether it can give what is asked of it."""
    for number, network in enumerate(spec.network):
        option = f"network[{number}]"
        if network.bridge:
            if network.bridge not in bridges:
                known = ", ".join(sorted(bridges)) or "none"
                sentences = f"bridge {network.bridge!r} does not exist on this host. Bridges: {known}."
                raise OptionError.said(f"{option}.bridge", network.bridge, sentences)
        elif place(network) not in networks:
            known = ", ".join(sorted(networks)) or "none"
            sentences = f"libvirt network {network.source!r} does not exist or is not active. Active networks: {known}."
            raise OptionError.said(f"{option}.source", network.source, sentences)
        else:
            _check_network(network, networks[place(network)], option)


def _check_network(network: Interface, known: LibvirtNetwork, option: str) -> None:
    if network.type == "dhcp" and not known.ranges:
        raise OptionError(f"{option}.type", "dhcp", f"static, because the network {network.source} gives no addresses by DHCP")
    name = "lease" if network.lease else "addresses"
    for text in fixed(network):
        subnets = [subnet for subnet in known.subnets if (":" in subnet) == (":" in text)]
        here = known.subnet(text)
        if (subnets or name == "lease") and here is None:
            raise OptionError(f"{option}.{name}", text, f"an address of the network {network.source} ({', '.join(known.subnets)})")
        if here is not None and str(here.ip) == text:
            raise OptionError(f"{option}.{name}", text, f"an address other than the host's own in the network {network.source}")


def macs(name: str, specs: Iterable[ServiceSpec | None]) -> set[str]:
    """The MAC addresses that are a sandbox's own: those of its specs, of now and before, and those that follow from its name."""
    declared = {mac_of(name, number, interface) for spec in specs if spec for number, interface in enumerate(spec.network)}
    return declared | {mac(name, number) for number in range(INTERFACES)}


def resolve(
    specs: Sequence[ServiceSpec], others: Sequence[ServiceSpec], networks: Networks, before: Iterable[ServiceSpec] = ()
) -> dict[str, Resolved]:
    """The addresses of each sandbox's interfaces; those that libvirt's DHCP server gives are chosen here, and reserved.

    ``others`` are the sandboxes that stay as they are, ``before`` what those of the run were, those that go included.
    Raises ``ConflictError`` where two are to have one address or MAC address.
    """
    ours: set[str] = set()
    for spec in (*specs, *before):
        ours |= macs(spec.name, [spec])
    declared = _declared(specs, others)
    foreign = {name: _foreign(network, ours) for name, network in networks.items()}
    for spec in specs:
        _check_fixed(spec, networks, foreign)
    occupied = {name: set(foreign[name]) | _busy(network, ours) | declared.get(name, set()) for name, network in networks.items()}
    # what an interface has already it keeps, before any other chooses
    kept = {(spec.name, number): text for spec in specs for number, text in _kept(spec, networks, occupied)}
    return {spec.name: _resolved(spec, networks, occupied, kept) for spec in specs}


def _declared(specs: Sequence[ServiceSpec], others: Sequence[ServiceSpec]) -> dict[str, set[str]]:
    """The declared addresses of each network; no two sandboxes have one of them, or one MAC address."""
    owners: dict[tuple[str, str], str] = {}
    for spec in (*others, *specs):
        new = any(spec is of_run for of_run in specs)
        for number, network in enumerate(spec.network):
            for text in (*fixed(network), mac_of(spec.name, number, network)):
                owner = owners.setdefault((place(network), text), spec.name)
                if new and owner != spec.name:
                    where = place(network)
                    raise ConflictError(f"network[{number}]: sandbox {owner} has {text} in {where}. Choose another one for {spec.name}.")
    addresses: dict[str, set[str]] = {}
    for where, text in owners:
        addresses.setdefault(where, set()).add(text)
    return addresses


def _foreign(network: LibvirtNetwork, ours: Iterable[str]) -> dict[str, str]:
    """The addresses that a network reserves for others, and for whom."""
    return {text: name or owner for owner, (text, name) in network.reserved.items() if owner not in ours}


def _busy(network: LibvirtNetwork, ours: Iterable[str]) -> set[str]:
    return {text for text, owner in network.leases.items() if owner not in ours} | {subnet.split("/")[0] for subnet in network.subnets}


def _check_fixed(spec: ServiceSpec, networks: Networks, foreign: Mapping[str, Mapping[str, str]]) -> None:
    for number, network in enumerate(spec.network):
        for text in fixed(network) if place(network) in networks else ():
            owner = foreign[place(network)].get(text)
            if owner:
                where = place(network)
                raise ConflictError(f"network[{number}]: {text} is reserved for {owner} in {where}. Choose another one for {spec.name}.")


def _dynamic(spec: ServiceSpec, networks: Networks) -> list[tuple[int, LibvirtNetwork, str]]:
    """The interfaces whose address libvirt's DHCP server gives: number, network, MAC address."""
    return [
        (number, networks[place(network)], mac_of(spec.name, number, network))
        for number, network in enumerate(spec.network)
        if not fixed(network) and not network.bridge and place(network) in networks and networks[place(network)].ranges
    ]


def _kept(spec: ServiceSpec, networks: Networks, occupied: Mapping[str, set[str]]) -> list[tuple[int, str]]:
    kept = []
    for number, network, owner in _dynamic(spec, networks):
        busy = occupied[place(spec.network[number])]
        had = [network.reserved.get(owner, ("", ""))[0], *(text for text, who in network.leases.items() if who == owner)]
        text = next((address for address in had if address and address not in busy and network.subnet(address)), "")
        if text:
            busy.add(text)
            kept.append((number, text))
    return kept


def _resolved(spec: ServiceSpec, networks: Networks, occupied: Mapping[str, set[str]], kept: Mapping[tuple[str, int], str]) -> Resolved:
    by_interface = [fixed(network) for network in spec.network]
    for number, network, owner in _dynamic(spec, networks):
        source = place(spec.network[number])
        text = kept.get((spec.name, number)) or _choice(network, owner, occupied[source])
        if text is None:
            sentences = f"network {source!r} has no free address for {spec.name}. Choose another network."
            raise OptionError.said(f"network[{number}].source", source, sentences)
        occupied[source].add(text)
        by_interface[number] = [text]
    return tuple(tuple(addresses) for addresses in by_interface)


def _choice(network: LibvirtNetwork, owner: str, occupied: set[str]) -> str | None:
    """The first free address from a place in the range that follows from the MAC address."""
    pool = [(int(ipaddress.IPv4Address(first)), int(ipaddress.IPv4Address(last))) for first, last in network.ranges if ":" not in first]
    size = sum(last - first + 1 for first, last in pool)
    start = int.from_bytes(hashlib.sha256(owner.encode()).digest()[:8], "big") % size if size else 0
    for offset in range(size):
        text = _at(pool, (start + offset) % size)
        if text not in occupied:
            return text
    return None


def _at(pool: Sequence[tuple[int, int]], number: int) -> str:
    for first, last in pool:
        if number <= last - first:
            return str(ipaddress.IPv4Address(first + number))
        number -= last - first + 1
    raise IndexError(number)


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a libvirt network is told of a sandbox: an address reserved for a MAC address, or a name for an address."""

    network: str
    kind: str  # lease or name
    address: str
    mac: str = ""
    called: bool = True  # a network takes a name for one reservation only

    def text(self) -> str:
        return f"{self.network}: {self.address}{' for ' + self.mac if self.mac else ''}"


def entries(spec: ServiceSpec, resolved: Resolved, networks: Networks) -> list[Entry]:
    """What the networks are to know of a sandbox: in each the address by which it is called, and the first of each interface."""
    wanted: list[Entry] = []
    for number, (network, addresses) in enumerate(zip(spec.network, resolved)):
        source = network.source or ""
        known = networks.get(source)
        if known is None or not addresses:
            continue
        first = not any(entry.network == source for entry in wanted)
        leased = [text for text in addresses if ":" not in text and known.ranges and known.subnet(text)]
        wanted += [Entry(source, "lease", text, mac_of(spec.name, number, network), first) for text in leased[:1]]
        if first and known.gateway:
            wanted.append(Entry(source, "name", addresses[0]))
    return wanted


def entries_of(name: str, specs: Iterable[ServiceSpec | None], networks: Networks) -> list[Entry]:
    """What the networks know of a sandbox, by its own MAC addresses; ``specs``: what it is and was."""
    known = [spec for spec in specs if spec]
    own = macs(name, known)
    of_sandbox = []
    for source, network in sorted(networks.items()):
        leases = [Entry(source, "lease", text, owner, called == name) for owner, (text, called) in network.reserved.items() if owner in own]
        addresses = {entry.address for entry in leases} | {
            text for spec in known for interface in spec.network for text in fixed(interface)
        }
        of_sandbox += leases + [
            Entry(source, "name", text) for text, names in network.named.items() if list(names) == [name] and text in addresses
        ]
    return of_sandbox


def check_name(name: str, specs: Iterable[ServiceSpec | None], networks: Networks) -> None:
    """Refuse a name that a network has for something else."""
    ours = entries_of(name, specs, networks)
    for source, network in networks.items():
        own = {entry.address for entry in ours if entry.network == source}
        others = [text for text, called in network.reserved.values() if called == name and text not in own]
        others += [text for text, names in network.named.items() if name in names and text not in own]
        if others:
            raise ConflictError(f"name: {name} is already the name of {others[0]} in the network {source}. Choose another name.")


def nameservers(spec: ServiceSpec, networks: Networks) -> list[str]:
    """Whom a sandbox asks for names: those of its interfaces, else libvirt's in their networks."""
    all_servers: dict[str, None] = {}
    for network in spec.network:
        known = networks.get(network.source or "")
        servers = network.nameservers or ([known.gateway] if known and known.gateway else [])
        all_servers.update(dict.fromkeys(servers))
    return list(all_servers)
