# SPDX-License-Identifier: GPL-3.0-or-later
"""Which address each interface has before its sandbox starts, and what libvirt's networks are told of it."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .errors import ConflictError, OptionError
from .network import MANAGED_NETWORK, Interface, IPInterface, contains, fixed, mac, mac_of, next_hops, place
from .spec import ServiceSpec

Resolved = Sequence[Sequence[str]]  # of each interface its addresses, as far as they are known before it starts
# by default an interface's MAC address follows from the name and its number: so many may have been reserved
INTERFACES = 8
_MAC_NAME = re.compile(r"(?:[0-9a-f]{2}-){5}[0-9a-f]{2}\Z")


@dataclasses.dataclass(frozen=True)
class LibvirtNetwork:
    """A network that libvirt runs, as far as a sandbox's addresses depend on it."""

    gateway: str = ""
    subnets: Sequence[str] = ()  # the bridge's own addresses with their prefixes
    ranges: Sequence[tuple[str, str]] = ()  # first and last address that its DHCP server gives
    reserved: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)  # MAC address -> (address, name)
    named: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)  # address -> names that its DNS server says
    leases: Mapping[str, str] = dataclasses.field(default_factory=dict)  # address -> MAC address that has it now
    forwards: bool = True  # whether it leads further than to the host
    defined: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)  # MAC address -> addresses that definitions give it

    @property
    def assigned(self) -> dict[str, tuple[str, str]]:
        """MAC address -> address and name of an interface that the host sets up, as the names beside the address tell."""
        owners = {text: _owner(names) for text, names in self.named.items()}
        return {mac: (text, next((name for name in self.named[text] if not _owner([name])), "")) for text, mac in owners.items() if mac}

    def subnet(self, text: str) -> IPInterface | None:
        """The bridge's address in the subnet of another one."""
        return next((subnet for subnet in map(ipaddress.ip_interface, self.subnets) if contains(subnet, text)), None)


Networks = Mapping[str, LibvirtNetwork]


def _owner(names: Iterable[str]) -> str:
    """The MAC address that one of the names of an address is; by it the address is known as that of an interface."""
    return next((name.replace("-", ":") for name in names if _MAC_NAME.match(name)), "")


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
            if place(network) == MANAGED_NETWORK:
                sentences += " The role virt.sandbox.host makes and starts it. Run that first."
            raise OptionError.said(f"{option}.source", network.source, sentences)
        else:
            _check_network(network, networks[place(network)], option)


def _check_network(network: Interface, known: LibvirtNetwork, option: str) -> None:
    if network.type == "dhcp" and not known.ranges:
        raise OptionError(f"{option}.type", "dhcp", f"static, because the network {network.source} gives no addresses by DHCP")
    if network.type == "managed":
        _check_managed(network, known, option)
    name = "lease" if network.lease else "addresses"
    for text in fixed(network):
        subnets = [subnet for subnet in known.subnets if (":" in subnet) == (":" in text)]
        here = known.subnet(text)
        if (subnets or name == "lease") and here is None:
            raise OptionError(f"{option}.{name}", text, f"an address of the network {network.source} ({', '.join(known.subnets)})")
        if here is not None and str(here.ip) == text:
            raise OptionError(f"{option}.{name}", text, f"an address other than the host's own in the network {network.source}")


def _check_managed(network: Interface, known: LibvirtNetwork, option: str) -> None:
    """Refuse what another may be given by DHCP, and routers that the interface does not reach."""
    for text in fixed(network):
        span = next((f"{first} to {last}" for first, last in known.ranges if _within(text, first, last)), "")
        if span:
            sentences = (
                f"{text} is in the DHCP range of the network {network.source} ({span}). Choose an address outside, or set type: dhcp."
            )
            raise OptionError.said(f"{option}.addresses", text, sentences)
    for name, text in next_hops(network) if not network.addresses else ():
        if known.subnet(text) is None:
            expected = f"an address in {', '.join(known.subnets) or 'a subnet of the network'}, which the interface reaches"
            raise OptionError(f"{option}.{name}", text, expected)


def _within(text: str, first: str, last: str) -> bool:
    address, *ends = (ipaddress.ip_address(each) for each in (text, first, last))
    return address.version == ends[0].version and int(ends[0]) <= int(address) <= int(ends[1])


def macs(name: str, specs: Iterable[ServiceSpec | None]) -> set[str]:
    """The MAC addresses that are a sandbox's own: those of its specs, of now and before, and those that follow from its name."""
    declared = {mac_of(name, number, interface) for spec in specs if spec for number, interface in enumerate(spec.network)}
    return declared | {mac(name, number) for number in range(INTERFACES)}


def resolve(
    specs: Sequence[ServiceSpec], others: Sequence[ServiceSpec], networks: Networks, before: Iterable[ServiceSpec] = ()
) -> dict[str, Resolved]:
    """The addresses of each sandbox's interfaces; those that libvirt's DHCP server gives, or the host sets up, are chosen here.

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
    """The addresses that others have in a network, and who."""
    known = [*network.reserved.items(), *network.assigned.items()]
    known += [(owner, (text, "")) for owner, addresses in network.defined.items() for text in addresses]
    return {text: name or owner for owner, (text, name) in reversed(known) if owner not in ours}


def _busy(network: LibvirtNetwork, ours: Iterable[str]) -> set[str]:
    return {text for text, owner in network.leases.items() if owner not in ours} | {subnet.split("/")[0] for subnet in network.subnets}


def _check_fixed(spec: ServiceSpec, networks: Networks, foreign: Mapping[str, Mapping[str, str]]) -> None:
    for number, network in enumerate(spec.network):
        for text in fixed(network) if place(network) in networks else ():
            owner = foreign[place(network)].get(text)
            if owner:
                where = place(network)
                raise ConflictError(f"network[{number}]: {text} is reserved for {owner} in {where}. Choose another one for {spec.name}.")


def _dynamic(spec: ServiceSpec, networks: Networks) -> Iterator[tuple[int, LibvirtNetwork, str]]:
    """The interfaces whose address is chosen here: number, network, MAC address."""
    for number, network in enumerate(spec.network):
        known = None if network.bridge or fixed(network) else networks.get(place(network))
        if known and (known.ranges or network.type == "managed"):
            yield number, known, mac_of(spec.name, number, network)


def _kept(spec: ServiceSpec, networks: Networks, occupied: Mapping[str, set[str]]) -> list[tuple[int, str]]:
    kept = []
    for number, network, owner in _dynamic(spec, networks):
        busy = occupied[place(spec.network[number])]
        had = _had_managed(network, owner) if spec.network[number].type == "managed" else _had_dhcp(network, owner)
        text = next((address for address in had if address and address not in busy and network.subnet(address)), "")
        if text:
            busy.add(text)
            kept.append((number, text))
    return kept


def _had_dhcp(network: LibvirtNetwork, owner: str) -> list[str]:
    """The addresses that the network reserves or has leased for an interface, if any."""
    return [network.reserved.get(owner, ("", ""))[0], *(text for text, who in network.leases.items() if who == owner)]


def _had_managed(network: LibvirtNetwork, owner: str) -> list[str]:
    """The addresses by which an interface is known, as far as they may still be its own."""
    pool, others = _managed_pool(network), _of_others(network, owner)
    had = [network.assigned.get(owner, ("", ""))[0], *network.defined.get(owner, ())]
    return [text for text in had if text and text not in others and any(_within(text, *span) for span in pool)]


def _of_others(network: LibvirtNetwork, owner: str) -> set[str]:
    """The addresses that have a name in a network, or are another interface's by its definition, whether that is in the run or not."""
    defined = (addresses for mac_address, addresses in network.defined.items() if mac_address != owner)
    return {text for text, names in network.named.items() if _owner(names) != owner} | set(itertools.chain.from_iterable(defined))


def _resolved(spec: ServiceSpec, networks: Networks, occupied: Mapping[str, set[str]], kept: Mapping[tuple[str, int], str]) -> Resolved:
    by_interface = [fixed(network) for network in spec.network]
    for number, network, owner in _dynamic(spec, networks):
        source = place(spec.network[number])
        text = kept.get((spec.name, number))
        if not text and spec.network[number].type == "managed":
            text = _managed_choice(spec.name, number, network, source, occupied[source] | _of_others(network, owner), owner)
        elif not text:
            text = _choice(network.ranges, owner, occupied[source])
        if text is None:
            sentences = f"network {source!r} has no free address for {spec.name}. Choose another network."
            raise OptionError.said(f"network[{number}].source", source, sentences)
        occupied[source].add(text)
        by_interface[number] = [text]
    return tuple(tuple(addresses) for addresses in by_interface)


def _managed_choice(name: str, number: int, network: LibvirtNetwork, source: str, occupied: set[str], owner: str) -> str | None:
    pool = _managed_pool(network)
    if not pool:
        spans = ", ".join(f"{first} to {last}" for first, last in network.ranges)
        sentences = f"network {source!r} has no address outside its DHCP range ({spans}), which type managed needs. "
        sentences += f"Use the network {MANAGED_NETWORK}, or set type: dhcp."
        if not spans:
            sentences = f"network {source!r} has no IPv4 subnet of libvirt's from which {name} could get an address. Declare addresses."
        raise OptionError.said(f"network[{number}].source", source, sentences)
    return _choice(pool, owner, occupied)


def _managed_pool(network: LibvirtNetwork) -> list[tuple[str, str]]:
    """The first and last addresses of what a network's first IPv4 subnet has outside the DHCP ranges and beside the host's address."""
    subnet = next((known for known in map(ipaddress.ip_interface, network.subnets) if known.version == 4), None)
    if subnet is None:
        return []
    ends = _ipv4(network.ranges)
    begin, end = int(subnet.network.network_address) + 1, int(subnet.network.broadcast_address) - 1
    pool = []
    for first, last in [*sorted([*ends, (int(subnet.ip), int(subnet.ip))]), (end + 1, end + 1)]:
        if begin <= min(first - 1, end):
            pool.append((str(ipaddress.IPv4Address(begin)), str(ipaddress.IPv4Address(min(first - 1, end)))))
        begin = max(begin, last + 1)
    return pool


def _ipv4(spans: Iterable[tuple[str, str]]) -> list[tuple[int, int]]:
    """The first and last numbers of those spans that are of IPv4."""
    return [(int(ipaddress.IPv4Address(first)), int(ipaddress.IPv4Address(last))) for first, last in spans if ":" not in first]


def _choice(spans: Iterable[tuple[str, str]], owner: str, occupied: set[str]) -> str | None:
    """The first free address from a place in the spans that follows from the MAC address."""
    pool = _ipv4(spans)
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
    """What a libvirt network is told of a sandbox: an address reserved for a MAC address, or a name for an address.

    An address that the host sets up is not reserved, because libvirt takes down and puts up all of a network's firewall rules for
    each reservation. It is named after the sandbox and its MAC address, so that the network tells whose it is.
    """

    network: str
    kind: str  # lease or name
    address: str
    mac: str = ""
    called: bool = True  # a network takes a name for one reservation only

    def names(self, name: str) -> list[str]:
        """The names of the address of a sandbox."""
        return [name] * self.called + ([self.mac.replace(":", "-")] if self.mac else [])

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
        if network.type == "managed":
            wanted += [Entry(source, "name", addresses[0], mac_of(spec.name, number, network), first)] if known.gateway else []
            continue
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
            Entry(source, "name", text, owner, called == name) for owner, (text, called) in network.assigned.items() if owner in own
        ]
        of_sandbox += [Entry(source, "name", text) for text, names in network.named.items() if list(names) == [name] and text in addresses]
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
