# SPDX-License-Identifier: GPL-3.0-or-later
"""The libvirt network of managed interfaces, as role host makes it: what follows from its subnet, and what on a host is in its way."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import OptionError

# the addresses after the host's own that its DHCP server gives, to virtual machines and other guests
_LEASES = 30
_SHORTEST, _LONGEST = 16, 26


def layout(option: str, subnet: str) -> dict[str, str]:
    """The addresses of a subnet: netmask, the host's address, and the ends of the DHCP range."""
    try:
        network = ipaddress.IPv4Network(subnet)
    except ValueError as error:
        raise OptionError(option, subnet, f"an IPv4 network with its prefix, such as 10.0.0.0/22 ({error})") from error
    if not _SHORTEST <= network.prefixlen <= _LONGEST:
        raise OptionError(option, subnet, f"a prefix from /{_SHORTEST} to /{_LONGEST}")
    return {
        "netmask": str(network.netmask),
        "gateway": str(network[1]),
        "first": str(network[2]),
        "last": str(network[1 + _LEASES]),
    }


def check_free(option: str, subnet: str, routes: Iterable[Mapping[str, Any]], own: str) -> None:
    """Refuse a subnet that overlaps with a route or an address of the host; ``own``: the bridge whose routes are the network's."""
    wanted = ipaddress.IPv4Network(subnet)
    for route in routes:
        target = str(route.get("dst", "default"))
        if route.get("dev") == own or target == "default":
            continue
        known = ipaddress.ip_network(target, strict=False)
        if known.version == 4 and known.overlaps(wanted):
            device = f" on {route['dev']}" if route.get("dev") else ""
            what = "the address" if route.get("type") in ("local", "broadcast") else "the route to"
            sentences = f"{subnet} overlaps with {what} {target}{device} of this host. Choose another subnet."
            raise OptionError.said(option, subnet, sentences)
