# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's networks, which the sandboxes of any runtime can be in."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from ..model.addresses import Entry, LibvirtNetwork
from . import libvirt


class Networks:
    """libvirt's networks, over a connection to any of its drivers."""

    def __init__(self, connection: Any) -> None:
        self._libvirt = libvirt.binding()
        self._connection = connection

    def running(self) -> dict[str, LibvirtNetwork]:
        """Each network that libvirt runs, by its name."""
        with libvirt.errors("libvirt does not show its networks"):
            return {network.name(): self._network(network) for network in self._connection.listAllNetworks() if network.isActive()}
        return {}

    def _network(self, network: Any) -> LibvirtNetwork:
        root = ElementTree.fromstring(network.XMLDesc(0))
        addresses = root.findall("ip")
        try:
            leases = {lease["ipaddr"]: lease["mac"] for lease in network.DHCPLeases() if lease.get("mac")}
        except self._libvirt.libvirtError:
            leases = {}
        return LibvirtNetwork(
            gateway=addresses[0].get("address", "") if addresses else "",
            subnets=tuple(_subnet(address) for address in addresses),
            ranges=tuple((dhcp_range.get("start", ""), dhcp_range.get("end", "")) for dhcp_range in root.iterfind("ip/dhcp/range")),
            reserved={
                host.get("mac", ""): (host.get("ip", ""), host.get("name", "")) for host in root.iterfind("ip/dhcp/host") if host.get("mac")
            },
            named={host.get("ip", ""): tuple(name.text or "" for name in host) for host in root.iterfind("dns/host")},
            leases=leases,
            forwards=root.find("forward") is not None,
        )

    def entries(self, entries: Sequence[Entry], name: str, add: bool) -> None:
        """Tell running networks, and their definitions, of addresses and names, or have them forget; others' stay as they are."""
        lib = self._libvirt
        command = lib.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST if add else lib.VIR_NETWORK_UPDATE_COMMAND_DELETE
        for entry in entries:
            section = lib.VIR_NETWORK_SECTION_IP_DHCP_HOST if entry.kind == "lease" else lib.VIR_NETWORK_SECTION_DNS_HOST
            verb = "take" if add else "release"
            with libvirt.errors(f"the network {entry.network} does not {verb} {entry.address} of {name}"):
                network = self._connection.networkLookupByName(entry.network)
                flags = lib.VIR_NETWORK_UPDATE_AFFECT_LIVE | (lib.VIR_NETWORK_UPDATE_AFFECT_CONFIG if network.isPersistent() else 0)
                network.update(command, section, -1, entry_xml(entry, name), flags)


def _subnet(element: ElementTree.Element) -> str:
    address = element.get("address", "")
    prefix = element.get("prefix") or element.get("netmask") or ("64" if ":" in address else "24")
    return str(ipaddress.ip_interface(f"{address}/{prefix}"))


def entry_xml(entry: Entry, name: str) -> str:
    """An address for a MAC address, or a name for an address, as a network's definition has it."""
    if entry.kind == "lease":
        called = {"name": name} if entry.called else {}
        element = ElementTree.Element("host", {"mac": entry.mac, "ip": entry.address, **called})
    else:
        element = ElementTree.Element("host", ip=entry.address)
        for text in entry.names(name):
            ElementTree.SubElement(element, "hostname").text = text
    return ElementTree.tostring(element, encoding="unicode")
