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
from .values import UNLIMITED

NFT = "/usr/sbin/nft"
FAMILY = "bridge"
TABLE = "virt_sandbox"
INTERFACES, OPENERS = "interfaces", "openers"
MAPS, _OPENER = (INTERFACES, OPENERS), "-opener"

# of the connections that a sandbox may have, how many may be new in a second
_NEW_SHARE = 8
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
# connections are known from priority -200 on; packets of known ones, and replies, are not new
_OPENED = f"""\
table {FAMILY} {TABLE} {{
    map {OPENERS} {{
        type ifname : verdict
    }}
    chain opened {{
        type filter hook prerouting priority 0; policy accept
    }}
}}
flush chain {FAMILY} {TABLE} opened
add rule {FAMILY} {TABLE} opened ct state new iifname vmap @{OPENERS}
"""


def chains(spec: ServiceSpec) -> list[str]:
    """Those of the sandbox: of each interface that is filtered, and of each whose connections are counted."""
    return [
        chain(host_device(spec.name, number), of)
        for number, network in enumerate(spec.network)
        for of, wanted in ((INTERFACES, network.filter), (OPENERS, network.connections != UNLIMITED))
        if wanted
    ]


def chain(device: str, of: str) -> str:
    """The chain to which a map leads what comes from the host's end of an interface."""
    return device if of == INTERFACES else f"{device}{_OPENER}"


def rules(spec: ServiceSpec, resolved: Resolved) -> str | None:
    """What nft is to be given, any number of times, for a sandbox with these addresses; nothing where it has no chain."""
    kept = chains(spec)
    if not kept:
        return None
    text = f"{layout.MARK}\n# What sandbox {spec.name} may send.\n{_tables(kept)}"
    for number, network in enumerate(spec.network):
        device, mac = host_device(spec.name, number), mac_of(spec.name, number, network)
        if chain(device, INTERFACES) in kept:
            addresses = resolved[number] if number < len(resolved) else ()
            text += _chain(device, list(_interface(mac, network.type == "dhcp", addresses)))
        if chain(device, OPENERS) in kept:
            text += _chain(chain(device, OPENERS), _bound(int(network.connections)))
    return text


def without(names: Sequence[str]) -> str:
    """What nft is to be given so that there are no such chains, whether there were or not."""
    text = _tables(names)
    for name in names:
        text += _chain(name, [])
        text += f'delete element {FAMILY} {TABLE} {_map(name)} {{ "{_device(name)}" }}\n'
        text += f"delete chain {FAMILY} {TABLE} {name}\n"
    return text


def _tables(names: Sequence[str]) -> str:
    return _TABLE + (_OPENED if any(_map(name) == OPENERS for name in names) else "")


def _map(name: str) -> str:
    return OPENERS if name.endswith(_OPENER) else INTERFACES


def _device(name: str) -> str:
    return name.removesuffix(_OPENER)


def _chain(name: str, lines: Sequence[str]) -> str:
    """A chain in place of what it was, in one transaction with all else of the text."""
    text = f"add chain {FAMILY} {TABLE} {name}\nflush chain {FAMILY} {TABLE} {name}\n"
    text += "".join(f"add rule {FAMILY} {TABLE} {name} {line}\n" for line in lines)
    return text + f'add element {FAMILY} {TABLE} {_map(name)} {{ "{_device(name)}" : goto {name} }}\n'


def _bound(connections: int) -> list[str]:
    """The rate first: what is above the count stays listed for a while, which costs memory that no sandbox is charged for."""
    rate = f"limit rate over {max(connections // _NEW_SHARE, 1)}/second burst {connections} packets"
    return [f"{rate} counter drop", f"ct count over {connections} counter drop"]


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
