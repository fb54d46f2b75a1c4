# SPDX-License-Identifier: GPL-3.0-or-later
"""The interfaces of a sandbox: what is declared, what libvirt's networks know, and which address each has before it starts."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Union

from .errors import ConflictError, OptionError
from .options import Option
from .values import whole

NETWORK = "default"
Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Interface = Union[ipaddress.IPv4Interface, ipaddress.IPv6Interface]

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
_DEVICE = re.compile(r"[A-Za-z0-9_.-]{1,15}\Z")
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\Z")


def identifier(value: str) -> str:
    if not _IDENTIFIER.match(value):
        raise ValueError("letters, digits, '_', '.' and '-'")
    return value


def device(value: str) -> str:
    if not _DEVICE.match(value) or value in (".", ".."):
        raise ValueError("the name of a bridge of the host, up to 15 letters, digits, '_', '.' and '-'")
    return value


def _mac(value: str) -> str:
    text = value.lower().replace("-", ":")
    if not _MAC.match(text) or int(text[1], 16) % 2:
        raise ValueError("the MAC address of one interface, such as 52:54:00:12:34:56")
    return text


def _interfaces(values: list[str]) -> list[str]:
    for value in values:
        if "/" not in value or "%" in value:  # a scope could be any text
            raise ValueError(f"addresses with a prefix, such as 192.168.122.10/24; {value!r} is none")
    try:
        return [str(ipaddress.ip_interface(value)) for value in values]
    except ValueError as error:
        raise ValueError(f"addresses with a prefix, such as 192.168.122.10/24 ({error})") from error


def address(value: str) -> str:
    if "%" in value:  # a scope could be any text
        raise ValueError("an IP address without a scope")
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as error:
        raise ValueError(f"an IP address ({error})") from error


def _addresses(values: list[str]) -> list[str]:
    return list(dict.fromkeys(address(value) for value in values))


def _lease(value: str) -> str:
    text = address(value)
    if ":" in text:
        raise ValueError("an IPv4 address, such as 192.168.122.10, for leases are of DHCP version 4")
    return text


def _destination(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(f"a network with its prefix, such as 10.0.0.0/8 ({error})") from error


_PORT = whole("a port", 1, 65535)

ROUTE: tuple[Option, ...] = (
    Option("to", required=True, normalise=_destination),
    Option("via", required=True, normalise=address),
)
PORT: tuple[Option, ...] = (
    Option("host", type="int", required=True, normalise=_PORT),
    Option("port", type="int", normalise=_PORT),
    Option("address", normalise=address),
)
NETWORK_OPTIONS: tuple[Option, ...] = (
    Option("type", default="dhcp", choices=("dhcp", "static")),
    Option("source", normalise=identifier),
    Option("bridge", normalise=device),
    Option("mac", normalise=_mac),
    Option("lease", normalise=_lease),
    Option("addresses", type="list", elements="str", default=[], normalise=_interfaces),
    Option("gateway", normalise=address),
    Option("routes", type="list", elements="dict", default=[], suboptions=ROUTE),
    Option("nameservers", type="list", elements="str", default=[], normalise=_addresses),
    Option("filter", type="bool", default=True),
    # they are the host's, and change while the sandbox runs
    Option("ports", type="list", elements="dict", default=[], suboptions=PORT, effect="live"),
)


def check(spec: dict[str, Any]) -> None:
    """Fill in what follows from the rest; refuse interfaces that contradict themselves or each other."""
    for number, network in enumerate(spec["network"]):
        _check_one(network, f"network[{number}]")
    _check_apart(spec)


def _check_one(network: dict[str, Any], option: str) -> None:
    if network["source"] and network["bridge"]:
        raise OptionError(f"{option}.bridge", network["bridge"], "none beside source; an interface is in one network")
    if not network["bridge"]:
        network["source"] = network["source"] or NETWORK
    if network["type"] == "dhcp":
        for name in ("addresses", "gateway"):
            if network[name]:
                raise OptionError(f"{option}.{name}", network[name], "none when type is dhcp; choose dhcp or static for an interface")
        if network["bridge"] and network["lease"]:
            raise OptionError(f"{option}.lease", network["lease"], "none on a bridge, whose DHCP server is not libvirt's")
        if network["bridge"] and network["ports"]:
            raise OptionError(f"{option}.ports", network["ports"], "none where DHCP on a bridge gives an address that nobody here knows")
    else:
        _check_static(network, option)
    _check_ports(network, option)


def _check_static(network: dict[str, Any], option: str) -> None:
    if not network["addresses"]:
        raise OptionError(f"{option}.addresses", [], "at least one address when type is static")
    if network["lease"]:
        raise OptionError(f"{option}.lease", network["lease"], "none when type is static, which has addresses")
    known = [ipaddress.ip_interface(text) for text in network["addresses"]]
    nearby = ", ".join(str(one.network) for one in known)
    for name, text in _next_hops(network):
        if not any(_contains(one, text) for one in known):
            raise OptionError(f"{option}.{name}", text, f"an address that the interface reaches, in {nearby}")
        if any(str(one.ip) == text for one in known):
            raise OptionError(f"{option}.{name}", text, "an address other than the interface's own")


def _next_hops(network: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if network["gateway"]:
        yield "gateway", network["gateway"]
    for number, route in enumerate(network["routes"]):
        yield f"routes[{number}].via", route["via"]


def _contains(interface: Interface, text: str) -> bool:
    return ipaddress.ip_address(text) in interface.network


def _check_ports(network: dict[str, Any], option: str) -> None:
    for number, port in enumerate(network["ports"]):
        port["port"] = port["port"] or port["host"]
        for other in network["ports"][:number]:
            if _same_port(port, other):
                raise OptionError(f"{option}.ports[{number}].host", port["host"], "each port of the host once")


def _same_port(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two published ports are the same of the host; one without an address is at all of them."""
    return bool(one["host"] == other["host"] and (not one["address"] or not other["address"] or one["address"] == other["address"]))


def _check_apart(spec: Mapping[str, Any]) -> None:
    """No two interfaces of a sandbox in each other's way."""
    seen: list[tuple[int, Mapping[str, Any]]] = []
    for number, network in enumerate(spec["network"]):
        option = f"network[{number}]"
        for earlier, other in seen:
            _check_pair(spec["name"], (number, network), (earlier, other))
            for port in network["ports"]:
                if any(_same_port(port, one) for one in other["ports"]):
                    raise OptionError(f"{option}.ports", port["host"], f"each port of the host once; network[{earlier}] has it")
        seen.append((number, network))


def _check_pair(name: str, one: tuple[int, Mapping[str, Any]], other: tuple[int, Mapping[str, Any]]) -> None:
    (number, network), (earlier, before) = one, other
    option, there = f"network[{number}]", f"network[{earlier}]"
    if mac_of(name, number, network) == mac_of(name, earlier, before):
        raise OptionError(f"{option}.mac", network["mac"], f"a MAC address of its own; {there} has this one")
    for text in network["addresses"]:
        for known in before["addresses"]:
            mine, theirs = ipaddress.ip_interface(text), ipaddress.ip_interface(known)
            if mine.version == theirs.version and mine.network.overlaps(theirs.network):
                raise OptionError(f"{option}.addresses", text, f"an address outside of {theirs.network}, to which {there} leads")
    if network["lease"] and network["lease"] == before["lease"]:
        raise OptionError(f"{option}.lease", network["lease"], f"an address of its own; {there} has this one")
    if network["gateway"] and before["gateway"] and (":" in network["gateway"]) == (":" in before["gateway"]):
        raise OptionError(f"{option}.gateway", network["gateway"], f"none beside the gateway of {there}; there is one default route")
    destinations = {route["to"] for route in before["routes"]}
    for index, route in enumerate(network["routes"]):
        if route["to"] in destinations:
            raise OptionError(f"{option}.routes[{index}].to", route["to"], f"each destination once; {there} has it")


def mac(name: str, number: int) -> str:
    """A stable address in libvirt's own range, so that a lease survives a new definition."""
    digest = hashlib.sha256(f"{name}/{number}".encode()).digest()
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in digest[:3])


def host_device(name: str, number: int) -> str:
    """The host's end of an interface, which is known by its name: libvirt 9 filters no interface of a container that it names itself."""
    return "vs" + hashlib.sha256(f"{name}/{number}".encode()).hexdigest()[:11]


def mac_of(name: str, number: int, network: Mapping[str, Any]) -> str:
    return network["mac"] or mac(name, number)


@dataclasses.dataclass(frozen=True)
class LibvirtNetwork:
    """A network that libvirt runs, as far as a sandbox's addresses depend on it."""

    gateway: str = ""
    subnets: Sequence[str] = ()  # the bridge's own addresses with their prefixes
    ranges: Sequence[tuple[str, str]] = ()  # first and last address that its DHCP server gives
    reserved: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)  # MAC address -> (address, name)
    named: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)  # address -> names that its DNS server says
    leases: Mapping[str, str] = dataclasses.field(default_factory=dict)  # address -> MAC address that has it now

    def subnet(self, text: str) -> Interface | None:
        """The bridge's address in the subnet of another one."""
        return next((one for one in map(ipaddress.ip_interface, self.subnets) if _contains(one, text)), None)


def check_host(spec: Mapping[str, Any], networks: Mapping[str, LibvirtNetwork], bridges: Iterable[str]) -> None:
    """What only the host knows: whether there is such a network, and whether it can give what is asked of it."""
    for number, network in enumerate(spec["network"]):
        option = f"network[{number}]"
        if network["bridge"]:
            if network["bridge"] not in bridges:
                known = ", ".join(sorted(bridges)) or "it has none"
                raise OptionError(f"{option}.bridge", network["bridge"], f"a bridge of this host ({known})")
        elif network["source"] not in networks:
            known = ", ".join(sorted(networks)) or "none is"
            raise OptionError(f"{option}.source", network["source"], f"a running libvirt network ({known})")
        else:
            _check_network(network, networks[network["source"]], option)


def _check_network(network: Mapping[str, Any], known: LibvirtNetwork, option: str) -> None:
    if network["type"] == "dhcp" and not known.ranges:
        raise OptionError(f"{option}.type", "dhcp", f"static in the network {network['source']}, which gives no addresses by DHCP")
    declared = [("lease", network["lease"])] if network["lease"] else [("addresses", text.split("/")[0]) for text in network["addresses"]]
    for name, text in declared:
        subnets = [one for one in known.subnets if (":" in one) == (":" in text)]
        here = known.subnet(text)
        if (subnets or name == "lease") and here is None:
            raise OptionError(f"{option}.{name}", text, f"an address of the network {network['source']}, {', '.join(known.subnets)}")
        if here is not None and str(here.ip) == text:
            raise OptionError(f"{option}.{name}", text, f"another address than the host's own in the network {network['source']}")


Resolved = Sequence[Sequence[str]]  # of each interface its addresses, as far as they are known before it starts


def resolve(
    specs: Sequence[Mapping[str, Any]], others: Iterable[Mapping[str, Any]], networks: Mapping[str, LibvirtNetwork]
) -> dict[str, Resolved]:
    """The addresses of each sandbox's interfaces; those that libvirt's DHCP server gives are chosen here, and reserved.

    ``others`` are the sandboxes that stay as they are. Raises ``ConflictError`` where two are to have one address.
    """
    owners = _declared([*others, *specs])
    ours = {mac_of(spec["name"], number, network) for spec in specs for number, network in enumerate(spec["network"])}
    names = {spec["name"] for spec in specs}
    taken = {name: _taken(network, ours, names) | {key[1] for key in owners if key[0] == name} for name, network in networks.items()}
    return {spec["name"]: _resolved(spec, networks, taken) for spec in specs}


def _declared(specs: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Who declares an address, by network or bridge and address."""
    owners: dict[tuple[str, str], str] = {}
    for spec in specs:
        for number, network in enumerate(spec["network"]):
            place = network["source"] or network["bridge"] or ""
            for text in fixed(network):
                owner = owners.setdefault((place, text), spec["name"])
                if owner != spec["name"]:
                    raise ConflictError(f"network[{number}]: {text} of {spec['name']} is {owner}'s address in {place}; choose another one")
    return owners


def fixed(network: Mapping[str, Any]) -> list[str]:
    """The addresses that a declaration names."""
    return [network["lease"]] if network["lease"] else [text.split("/")[0] for text in network["addresses"]]


def _taken(network: LibvirtNetwork, ours: Iterable[str], names: Iterable[str]) -> set[str]:
    """What others have of a network; a reservation that bears the name of one of these sandboxes is not another's."""
    reserved = {text for owner, (text, name) in network.reserved.items() if owner not in ours and name not in names}
    leased = {text for text, owner in network.leases.items() if owner not in ours}
    return reserved | leased | {one.split("/")[0] for one in network.subnets}


def _resolved(spec: Mapping[str, Any], networks: Mapping[str, LibvirtNetwork], taken: Mapping[str, set[str]]) -> Resolved:
    found = []
    for number, network in enumerate(spec["network"]):
        addresses = fixed(network)
        known = networks.get(network["source"] or "")
        if not addresses and known is not None and known.ranges:
            owner = mac_of(spec["name"], number, network)
            chosen = _choice(known, owner, taken[network["source"]])
            if chosen is None:
                raise OptionError(f"network[{number}].source", network["source"], f"a network with a free address for {spec['name']}")
            taken[network["source"]].add(chosen)
            addresses = [chosen]
        found.append(tuple(addresses))
    return tuple(found)


def _choice(network: LibvirtNetwork, owner: str, taken: set[str]) -> str | None:
    """The address that an interface had before, else the first free one from a place in the range that follows from its MAC address."""
    had = [network.reserved.get(owner, ("", ""))[0], *(text for text, mac_address in network.leases.items() if mac_address == owner)]
    for text in had:
        if text and text not in taken:
            return text
    pool = [(int(ipaddress.IPv4Address(first)), int(ipaddress.IPv4Address(last))) for first, last in network.ranges if ":" not in first]
    size = sum(last - first + 1 for first, last in pool)
    start = int.from_bytes(hashlib.sha256(owner.encode()).digest()[:8], "big") % size if size else 0
    for offset in range(size):
        text = _at(pool, (start + offset) % size)
        if text not in taken:
            return text
    return None


def _at(pool: Sequence[tuple[int, int]], place: int) -> str:
    for first, last in pool:
        if place <= last - first:
            return str(ipaddress.IPv4Address(first + place))
        place -= last - first + 1
    raise IndexError(place)


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a libvirt network is told of a sandbox: an address reserved for a MAC address, or a name for an address."""

    network: str
    kind: str  # lease or name
    address: str
    mac: str = ""

    def text(self) -> str:
        return f"{self.network}: {self.address}{' for ' + self.mac if self.mac else ''}"


def entries(spec: Mapping[str, Any], resolved: Resolved, networks: Mapping[str, LibvirtNetwork]) -> list[Entry]:
    """What the networks are to know of a sandbox: one address by which it is called in each, and who has it."""
    found, called = [], set()
    for number, (network, addresses) in enumerate(zip(spec["network"], resolved)):
        source = network["source"] or ""
        known = networks.get(source)
        if known is None:
            continue
        leased = [text for text in addresses if ":" not in text and known.ranges and known.subnet(text)]
        found += [Entry(source, "lease", text, mac_of(spec["name"], number, network)) for text in leased[:1]]
        if addresses and source not in called:
            called.add(source)
            found.append(Entry(source, "name", addresses[0]))
    return found


def entries_of(name: str, networks: Mapping[str, LibvirtNetwork]) -> list[Entry]:
    """What the networks know of a sandbox."""
    found = []
    for network, known in sorted(networks.items()):
        found += [Entry(network, "lease", text, mac_address) for mac_address, (text, owner) in known.reserved.items() if owner == name]
        found += [Entry(network, "name", text) for text, names in known.named.items() if list(names) == [name]]
    return found


def check_ports(specs: Sequence[Mapping[str, Any]], others: Iterable[Mapping[str, Any]], listening: Collection[tuple[str, int]]) -> None:
    """No port of the host for two sandboxes, nor one on which something else of the host listens."""
    owners: list[tuple[Mapping[str, Any], str]] = [(port, spec["name"]) for spec in others for _number, port in _published(spec)]
    for spec in specs:
        for number, port in _published(spec):
            option = f"network[{number}].ports"
            owner = next((name for other, name in owners if _same_port(port, other) and name != spec["name"]), "")
            if owner:
                raise OptionError(option, port["host"], f"a port of the host that {owner} has not")
            if any(_meets(port, one) for one in listening):
                raise OptionError(option, port["host"], "a port of the host on which nothing listens yet")
            owners.append((port, spec["name"]))


def _meets(port: Mapping[str, Any], listener: tuple[str, int]) -> bool:
    address, number = listener
    return bool(number == port["host"] and (not port["address"] or address in (port["address"], "0.0.0.0", "::")))


def foreign_listeners(listening: Iterable[tuple[str, int]], declared: Iterable[Mapping[str, Any]]) -> set[tuple[str, int]]:
    """What listens on the host beside the published ports of its sandboxes."""
    ours = [port for spec in declared for _number, port in _published(spec)]
    return {one for one in listening if not any(_meets(port, one) for port in ours)}


def _published(spec: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, network in enumerate(spec["network"]):
        for port in network["ports"]:
            yield number, port


def published(spec: Mapping[str, Any], resolved: Resolved) -> list[tuple[Mapping[str, Any], str]]:
    """Each published port with the address inside to which it leads."""
    return [(port, resolved[number][0]) for number, port in _published(spec) if number < len(resolved) and resolved[number]]


def nameservers(spec: Mapping[str, Any], networks: Mapping[str, LibvirtNetwork]) -> list[str]:
    """Whom a sandbox asks for names: those of its interfaces, else libvirt's in their networks."""
    found: dict[str, None] = {}
    for network in spec["network"]:
        known = networks.get(network["source"] or "")
        servers = network["nameservers"] or ([known.gateway] if known and known.gateway else [])
        found.update(dict.fromkeys(servers))
    return list(found)


def networkd(spec: Mapping[str, Any], number: int) -> str:
    """What the systemd-networkd inside is told of an interface."""
    network = spec["network"][number]
    # udev on the host may have given the interface an address of its own before it came inside
    lines = ["[Match]", f"Name=eth{number}", "", "[Link]", f"MACAddress={mac_of(spec['name'], number, network)}", ""]
    lines += ["[Network]", "LinkLocalAddressing=no", "IPv6AcceptRA=no"]
    if network["type"] == "dhcp":
        lines += ["DHCP=ipv4", "", "[DHCPv4]", "ClientIdentifier=mac", "UseDNS=no", "UseHostname=no", "SendRelease=yes"]
    else:
        lines += [f"Address={text}" for text in network["addresses"]]
        lines += [f"Gateway={network['gateway']}"] if network["gateway"] else []
    for route in network["routes"]:
        lines += ["", "[Route]", f"Destination={route['to']}", f"Gateway={route['via']}"]
    return "\n".join(lines) + "\n"
