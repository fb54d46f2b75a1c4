# SPDX-License-Identifier: GPL-3.0-or-later
"""The interfaces of a sandbox as they are declared: what contradicts itself, and what the networkd inside is told."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Union

from .errors import OptionError
from .options import option
from .values import UNLIMITED, limit, whole

if TYPE_CHECKING:
    from .spec import ServiceSpec

NETWORK = "default"
# the one that role host makes, whose DHCP range leaves most addresses to the interfaces that the host sets up
MANAGED_NETWORK = "virt-sandbox"
IPInterface = Union[ipaddress.IPv4Interface, ipaddress.IPv6Interface]

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
_DEVICE = re.compile(r"[A-Za-z0-9_.-]{1,15}\Z")
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\Z")


def identifier(value: str) -> str:
    if not _IDENTIFIER.match(value):
        raise ValueError("a name of letters, digits, '_', '.' and '-'")
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
            raise ValueError(f"addresses with a prefix, such as 192.168.122.10/24, not {value!r}")
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
        raise ValueError("an IPv4 address, such as 192.168.122.10, because leases are of DHCP version 4")
    return text


def _destination(value: str) -> str:
    if "%" in value:  # a scope could be any text
        raise ValueError("a network without a scope")
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(f"a network with its prefix, such as 10.0.0.0/8 ({error})") from error


_EVERYWHERE = ("0.0.0.0", "::")
_PORT = whole("a port", 1, 65535)
# a sandbox that asks a name server needs a few; the kernel looks at all of them for each new one
_CONNECTIONS = limit(whole("a number of connections", 16, 65_536), share=False)


@dataclasses.dataclass(frozen=True)
class Route:
    """A route beside the default one."""

    to: str = option(required=True, normal=_destination, help="The network that the route leads to, such as V(10.0.0.0/8).")
    via: str = option(required=True, normal=address, help="The address of the router. The interface must reach it.")


@dataclasses.dataclass(frozen=True)
class Port:
    """A TCP port of the host that leads into the sandbox."""

    host_port: int = option(type="int", required=True, normal=_PORT, help="The port of the host. Nothing else may listen on it.")
    sandbox_port: int = option(
        type="int", normal=_PORT, unset=0, help="The port inside the sandbox. Defaults to O(network[].ports[].host_port)."
    )
    address: str | None = option(normal=address, help="The address of the host on which the port is published. Defaults to all addresses.")


@dataclasses.dataclass(frozen=True)
class Interface:
    """One network interface of a sandbox."""

    type: str = option(
        "dhcp",
        choices=("managed", "dhcp", "static"),
        help="""
            Who sets up the interface.

            With V(managed), the host sets address and routes before the first process of the sandbox runs. Nothing inside can
            change them, and the sandbox has neither C(net_admin) nor C(net_raw). The address is a free one outside the DHCP range
            of the libvirt network, or one that O(network[].addresses) declares. This is the default of the roles.

            With V(dhcp), C(systemd-networkd) inside asks a DHCP server. With V(static), it sets what O(network[].addresses)
            declares; beside a O(command), the host does. C(systemd-networkd) needs C(net_admin), with which root inside reaches
            more of the kernel.

            In a libvirt network, the sandbox has its address before it starts, and keeps it until it is removed.
            """,
    )
    source: str | None = option(
        normal=identifier,
        help="""
            The libvirt network. With O(network[].type=managed), it defaults to V(virt-sandbox), which the role
            P(virt.sandbox.host#role) makes. Otherwise it defaults to V(default).

            Mutually exclusive with O(network[].bridge).
            """,
    )
    bridge: str | None = option(normal=device, help="An existing bridge of the host, to be used instead of a libvirt network.")
    mac: str | None = option(normal=_mac, help="The MAC address. By default it is derived from the sandbox's name.")
    lease: str | None = option(
        normal=_lease,
        help="""
            The IPv4 address that libvirt's DHCP server gives the interface. Only valid with O(network[].type=dhcp) in a libvirt
            network.

            By default it is a free address of the network's DHCP range, derived from the MAC address.
            """,
    )
    addresses: tuple[str, ...] = option(
        [], type="list", elements="str", normal=_interfaces,
        help="""
            Addresses with their prefix, such as V(192.168.122.10/24). Not valid with O(network[].type=dhcp).

            Required with O(network[].type=static). With O(network[].type=managed), they are required on a O(network[].bridge),
            and must be outside the DHCP range of a libvirt network.
            """,
    )  # fmt: skip
    gateway: str | None = option(
        normal=address,
        help="""
            The router of the default route. Not valid with O(network[].type=dhcp).

            With O(network[].type=managed), it defaults to the host's address in the libvirt network, if that network leads
            further and no earlier interface has a default route.
            """,
    )  # fmt: skip
    routes: tuple[Route, ...] = option([], type="list", elements="dict", of=Route, help="Routes beside the default one.")
    nameservers: tuple[str, ...] = option(
        [], type="list", elements="str", normal=_addresses,
        help="""
            The name servers. Defaults to the libvirt network's own, which also knows the names of the other sandboxes in it.
            """,
    )  # fmt: skip
    # these are the host's, and change while the sandbox runs
    filter: bool = option(
        True, type="bool", effect="live",
        help="""
            Whether the host drops frames that the sandbox sends with a MAC or IP address that is not its own, and messages that
            only DHCP servers and routers send. The host needs nftables for it.

            A change takes effect while the sandbox runs.

            Only the MAC address is known, and checked, where a DHCP server on a O(network[].bridge) gives the address.
            """,
    )  # fmt: skip
    connections: int | str = option(
        "4096", normal=_CONNECTIONS, effect="live", earlier=((1, UNLIMITED),),
        help="""
            How many connections that the sandbox opens the host's kernel keeps track of at a time: of TCP, UDP, ICMP and all else.
            The table of connections is one for all of the host (C(net.netfilter.nf_conntrack_max)), and while it is full the host
            has no new connection either. Defaults to V(4096). V(unlimited) counts none.

            New connections above the number are dropped until earlier ones have ended, or have been idle for the time that the
            kernel has for them (C(net.netfilter.nf_conntrack_*_timeout_*)). In a second, an eighth of the number may be new, after
            as many at once as the number says. Connections that others open to the sandbox are not counted, and what belongs to a
            connection that is open is never dropped. M(virt.sandbox.sandbox_info) shows how many packets were dropped.

            A change takes effect while the sandbox runs. The host needs nftables for it.
            """,
    )  # fmt: skip
    ports: tuple[Port, ...] = option(
        [], type="list", elements="dict", of=Port, effect="live",
        help="""
            TCP ports of the host that are forwarded to the sandbox while it runs. A change does not restart the sandbox.

            The service inside sees the host's address as the client's. Use a bridge where the service must see the client's own
            address.
            """,
    )  # fmt: skip


def completed(interfaces: Sequence[Interface]) -> tuple[Interface, ...]:
    """The interfaces with what follows from the rest of each."""
    return tuple(
        dataclasses.replace(
            interface,
            source=interface.source if interface.bridge else interface.source or _network(interface),
            ports=tuple(_completed_port(port) for port in interface.ports),
        )
        for interface in interfaces
    )


def _network(interface: Interface) -> str:
    return MANAGED_NETWORK if interface.type == "managed" else NETWORK


def has_networkd(spec: ServiceSpec) -> bool:
    """Whether a systemd-networkd inside sets up any of the interfaces."""
    return bool(spec.units) and any(interface.type != "managed" for interface in spec.network)


def _completed_port(port: Port) -> Port:
    address = None if port.address in _EVERYWHERE else port.address
    return dataclasses.replace(port, sandbox_port=port.sandbox_port or port.host_port, address=address)


def check(spec: ServiceSpec) -> None:
    """Refuse interfaces that contradict themselves or each other."""
    for number, network in enumerate(spec.network):
        _check_one(network, f"network[{number}]")
    _check_apart(spec)


def _check_one(network: Interface, option: str) -> None:
    if network.source and network.bridge:
        raise OptionError(f"{option}.bridge", network.bridge, "no value together with source", "An interface is in one network.")
    if network.type == "dhcp":
        for name in ("addresses", "gateway"):
            if getattr(network, name):
                raise OptionError.said(f"{option}.{name}", getattr(network, name), "not valid when type is dhcp.")
        if network.bridge and network.lease:
            sentences = "only valid in a libvirt network, because the DHCP server of a bridge is not libvirt's."
            raise OptionError.said(f"{option}.lease", network.lease, sentences)
        if network.bridge and network.ports:
            sentences = "not supported with DHCP on a bridge, because the host does not know the address. Set type: managed."
            raise OptionError.said(f"{option}.ports", network.ports, sentences)
    else:
        _check_set_up(network, option)
    _check_routes(network, option)
    _check_ports(network, option)


def _check_routes(network: Interface, option: str) -> None:
    destinations = [route.to for route in network.routes]
    for number, route in enumerate(network.routes):
        if (":" in route.to) != (":" in route.via):
            raise OptionError(f"{option}.routes[{number}].via", route.via, f"an address of the same family as {route.to}")
        if route.to in destinations[:number]:
            raise OptionError.said(f"{option}.routes[{number}].to", route.to, f"{route.to} has two routes. Remove one of them.")


def _check_set_up(network: Interface, option: str) -> None:
    """Refuse what contradicts itself of an interface that gets no address by DHCP."""
    if not network.addresses and network.type == "static":
        raise OptionError.said(f"{option}.addresses", [], "required when type is static.")
    if not network.addresses and network.bridge:
        raise OptionError.said(f"{option}.addresses", [], "required when type is managed on a bridge.")
    if network.lease:
        raise OptionError.said(f"{option}.lease", network.lease, "only valid when type is dhcp.")
    if network.addresses:
        _check_next_hops(network, option)


def _check_next_hops(network: Interface, option: str) -> None:
    """Refuse a router that the interface does not reach with its addresses."""
    known = [ipaddress.ip_interface(text) for text in network.addresses]
    nearby = ", ".join(str(own.network) for own in known)
    for name, text in next_hops(network):
        if not any(contains(own, text) for own in known):
            raise OptionError(f"{option}.{name}", text, f"an address in {nearby}, which the interface reaches")
        if any(str(own.ip) == text for own in known):
            raise OptionError(f"{option}.{name}", text, "an address other than the interface's own")


def next_hops(network: Interface) -> Iterator[tuple[str, str]]:
    if network.gateway:
        yield "gateway", network.gateway
    for number, route in enumerate(network.routes):
        yield f"routes[{number}].via", route.via


def family(text: str) -> int:
    return 6 if ":" in text else 4


def contains(interface: IPInterface, text: str) -> bool:
    return ipaddress.ip_address(text) in interface.network


def _check_ports(network: Interface, option: str) -> None:
    for number, port in enumerate(network.ports):
        for other in network.ports[:number]:
            if same_port(port, other):
                sentences = f"host port {port.host_port} is published twice. Choose another port."
                raise OptionError.said(f"{option}.ports[{number}].host_port", port.host_port, sentences)


def same_port(port: Port, other: Port) -> bool:
    """Whether two published ports are the same of the host; one without an address is at all of them."""
    return bool(port.host_port == other.host_port and (not port.address or not other.address or port.address == other.address))


def _check_apart(spec: ServiceSpec) -> None:
    """No two interfaces of a sandbox in each other's way."""
    checked: list[tuple[int, Interface]] = []
    for number, network in enumerate(spec.network):
        option = f"network[{number}]"
        for earlier, other in checked:
            _check_pair(spec.name, (number, network), (earlier, other))
            for port in network.ports:
                if any(same_port(port, other_port) for other_port in other.ports):
                    sentences = f"host port {port.host_port} is already published by network[{earlier}]. Choose another port."
                    raise OptionError.said(f"{option}.ports", port.host_port, sentences)
        checked.append((number, network))


def _check_pair(name: str, interface: tuple[int, Interface], other: tuple[int, Interface]) -> None:
    (number, network), (earlier, before) = interface, other
    option, other_option = f"network[{number}]", f"network[{earlier}]"
    mac = mac_of(name, number, network)
    if mac == mac_of(name, earlier, before):
        raise OptionError.said(f"{option}.mac", network.mac, f"{other_option} already has the MAC address {mac}. Choose another one.")
    for text in network.addresses:
        for known in before.addresses:
            mine, theirs = ipaddress.ip_interface(text), ipaddress.ip_interface(known)
            if mine.version == theirs.version and mine.network.overlaps(theirs.network):
                raise OptionError(f"{option}.addresses", text, f"an address outside of {theirs.network}, the network of {other_option}")
    if network.lease and network.lease == before.lease:
        raise OptionError.said(
            f"{option}.lease", network.lease, f"{other_option} already has the address {network.lease}. Choose another one."
        )
    if network.gateway and before.gateway and (":" in network.gateway) == (":" in before.gateway):
        sentences = f"{other_option} already has a gateway, and a sandbox has one default route. Remove one of them."
        raise OptionError.said(f"{option}.gateway", network.gateway, sentences)
    destinations = {route.to for route in before.routes}
    for index, route in enumerate(network.routes):
        if route.to in destinations:
            raise OptionError.said(
                f"{option}.routes[{index}].to", route.to, f"{other_option} already has a route to {route.to}. Remove one of them."
            )


def mac(name: str, number: int) -> str:
    """A stable address in libvirt's own range, so that a lease survives a new definition."""
    digest = hashlib.sha256(f"{name}/{number}".encode()).digest()
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in digest[:3])


def host_device(name: str, number: int) -> str:
    """The host's end of an interface, by whose name it is filtered."""
    return "vs" + hashlib.sha256(f"{name}/{number}".encode()).hexdigest()[:11]


def mac_of(name: str, number: int, network: Interface) -> str:
    return network.mac or mac(name, number)


def fixed(network: Interface) -> list[str]:
    """The addresses that a declaration names."""
    return [network.lease] if network.lease else [text.split("/")[0] for text in network.addresses]


def place(network: Interface) -> str:
    """The libvirt network or the bridge of an interface."""
    return str(network.source or network.bridge or "")


def published(spec: ServiceSpec) -> Iterator[tuple[int, Port]]:
    """Each published port, with the number of its interface."""
    for number, network in enumerate(spec.network):
        for port in network.ports:
            yield number, port


def networkd(spec: ServiceSpec, number: int) -> str:
    """What the systemd-networkd inside is told of an interface."""
    network = spec.network[number]
    # udev on the host may have given the interface an address of its own before it came inside
    lines = ["[Match]", f"Name=eth{number}", "", "[Link]", f"MACAddress={mac_of(spec.name, number, network)}", ""]
    lines += ["[Network]", "LinkLocalAddressing=no", "IPv6AcceptRA=no"]
    if network.type == "dhcp":
        lines += ["DHCP=ipv4", "", "[DHCPv4]", "ClientIdentifier=mac", "UseDNS=no", "UseHostname=no", "SendRelease=yes"]
    else:
        lines += [f"Address={text}" for text in network.addresses]
        lines += [f"Gateway={network.gateway}"] if network.gateway else []
    for route in network.routes:
        lines += ["", "[Route]", f"Destination={route.to}", f"Gateway={route.via}"]
    return "\n".join(lines) + "\n"
