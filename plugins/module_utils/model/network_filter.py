# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host lets a sandbox's interfaces send: nftables rules at the bridge, before a frame reaches anybody.

The rules go by the names of the host's ends of the interfaces, so they are there before the interfaces are. libvirt's own network
filters take some sixty calls of ebtables and iptables for each start, one after the other for all sandboxes; this takes one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from . import layout
from .addresses import Resolved
from .network import host_device, mac_of
from .spec import ServiceSpec

NFT = "/usr/sbin/nft"
FAMILY = "bridge"
TABLE = "virt_sandbox"
INTERFACES = "interfaces"

# answers that only a server gives: DHCP of both versions, and a router's advertisements
_NEVER = ("udp dport { 68, 546 } drop", "icmpv6 type nd-router-advert drop")
# where a DHCP request says what it is (of an Ethernet address of six bytes), which address it has and whose it is; and a
# neighbour's message whom it is about
_REQUEST, _ADDRESS, _CLIENT, _TARGET = "@th,64,24 0x010106", "@th,160,32", "@th,288,48", "@th,64,128"
_TABLE = f"""\
table {FAMILY} {TABLE} {{
    map {INTERFACES} {{
        type ifname : verdict
    }}
    chain sent {{
        type filter hook prerouting priority dstnat; policy accept
    }}
}}
flush chain {FAMILY} {TABLE} sent
add rule {FAMILY} {TABLE} sent iifname vmap @{INTERFACES}
"""


def devices(spec: ServiceSpec) -> list[str]:
    """The host's ends of the interfaces that are filtered."""
    return [host_device(spec.name, number) for number, network in enumerate(spec.network) if network.filter]


def rules(spec: ServiceSpec, resolved: Resolved) -> str | None:
    """What nft is to be given, any number of times, for a sandbox with these addresses; nothing where no interface is filtered."""
    if not devices(spec):
        return None
    text = f"{layout.MARK}\n# What sandbox {spec.name} may send.\n{_TABLE}"
    for number, network in enumerate(spec.network):
        if network.filter:
            addresses = resolved[number] if number < len(resolved) else ()
            lines = _interface(mac_of(spec.name, number, network), network.type == "dhcp", addresses)
            text += _chain(host_device(spec.name, number), list(lines))
    return text


def without(names: Sequence[str]) -> str:
    """What nft is to be given for interfaces that are not filtered any more, whether they were or not."""
    text = _TABLE
    for name in names:
        text += _chain(name, [])
        text += f'delete element {FAMILY} {TABLE} {INTERFACES} {{ "{name}" }}\n'
        text += f"delete chain {FAMILY} {TABLE} {name}\n"
    return text


def _chain(name: str, lines: Sequence[str]) -> str:
    """A chain in place of what it was, in one transaction with all else of the text."""
    text = f"add chain {FAMILY} {TABLE} {name}\nflush chain {FAMILY} {TABLE} {name}\n"
    text += "".join(f"add rule {FAMILY} {TABLE} {name} {line}\n" for line in lines)
    return text + f'add element {FAMILY} {TABLE} {INTERFACES} {{ "{name}" : goto {name} }}\n'


def _interface(mac: str, asks: bool, addresses: Sequence[str]) -> Iterator[str]:
    """The rules for what an interface sends. Where its address is not known, because another's DHCP server gives it, its MAC address is."""
    yield f"ether saddr != {mac} drop"
    yield from _NEVER
    if not addresses:
        return
    families = {version: [text for text in addresses if ipaddress.ip_address(text).version == version] for version in (4, 6)}
    if families[4]:
        yield from _ipv4(mac, asks, families[4])
    if families[6]:
        yield from _ipv6(families[6])
    yield "drop"


def _ipv4(mac: str, asks: bool, addresses: Sequence[str]) -> Iterator[str]:
    own = ", ".join(addresses)
    for has in (0, *(int(ipaddress.ip_address(text)) for text in addresses)) if asks else ():
        request = f"{_REQUEST} {_ADDRESS} 0x{has:08x} {_CLIENT} 0x{mac.replace(':', '')}"
        yield f"ip saddr {{ 0.0.0.0, {own} }} udp dport 67 {request} accept"
    yield "udp dport 67 drop"
    yield f"ip saddr {{ {own} }} accept"
    # before it has the address: whether somebody has it already
    yield f"arp operation request arp saddr ether {mac} arp saddr ip 0.0.0.0 arp daddr ip {{ {own} }} accept"
    yield f"arp saddr ether {mac} arp saddr ip {{ {own} }} accept"


def _ipv6(addresses: Sequence[str]) -> Iterator[str]:
    own = ", ".join(addresses)
    yield "udp dport 547 drop"
    for text in addresses:
        about = f"{_TARGET} 0x{int(ipaddress.ip_address(text)):032x}"
        yield f"ip6 saddr {{ {own} }} icmpv6 type nd-neighbor-advert {about} accept"
        yield f"ip6 saddr :: icmpv6 type nd-neighbor-solicit {about} accept"
    yield "icmpv6 type nd-neighbor-advert drop"
    # by which a bridge knows what to send it
    yield "ip6 saddr { ::, fe80::/10 } icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } accept"
    yield f"ip6 saddr {{ {own} }} accept"
