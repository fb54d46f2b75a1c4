# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt, as far as it is asked for by others; the only importer of its binding, and only when it is needed."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import os
import time
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from ..model.addresses import Entry, LibvirtNetwork
from ..model.errors import SandboxError
from .binding import required

LXC_URI = "lxc:///system"

_DAEMONS = "/usr/sbin"
_TRIES = 5


def serves(uri: str, daemons: str = _DAEMONS) -> bool:
    """Whether a libvirt daemon for such domains is installed."""
    driver = uri.partition(":")[0]
    return any(os.path.exists(os.path.join(daemons, name)) for name in ("libvirtd", f"virt{driver}d"))


def binding() -> Any:
    return required("libvirt", "python3-libvirt (Debian, Fedora)")


def connect(uri: str = LXC_URI) -> Any:
    """A connection; none if libvirt is there without a driver for such domains."""
    libvirt = binding()
    # Its default handler would write every error to stderr as well.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        return libvirt.open(uri)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_CONNECT:
            return None
        raise SandboxError(f"libvirt at {uri} does not answer ({error}); start its daemon, and run as root") from error


def domain_labels(uri: str) -> dict[str, set[str]]:
    """The SELinux labels of each domain, running or defined, by its name."""
    if not serves(uri):
        return {}
    connection = connect(uri)
    if connection is None:
        return {}
    libvirt = binding()
    found = {}
    try:
        for domain in _listed(connection, libvirt.libvirtError):
            try:
                texts = [domain.XMLDesc(0), domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)]
                found[domain.name()] = {label for text in texts for label in labels_of(text)}
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise SandboxError(f"libvirt at {uri} does not show a domain: {error}") from error
    finally:
        connection.close()
    return found


def _listed(connection: Any, libvirt_error: type[Exception]) -> Any:
    try:
        return connection.listAllDomains()
    except libvirt_error as error:
        raise SandboxError(f"libvirt does not list its domains: {error}") from error


def labels_of(domain_xml: str) -> set[str]:
    """The labels that a domain's XML names, for its processes and for its images."""
    labels: set[str] = set()
    for element in ElementTree.fromstring(domain_xml).iter("seclabel"):
        if element.get("model", "selinux") == "selinux":
            labels.update(child.text for child in element if child.tag in ("label", "imagelabel") and child.text)
    return labels


@dataclasses.dataclass(frozen=True)
class Domain:
    """A libvirt-LXC domain: as it is defined, if it is, and as it runs."""

    inactive: str | None
    active: str | None


class Lxc:
    """One connection to libvirt's LXC driver, for everything that a run asks of it."""

    def __init__(self, uri: str = LXC_URI) -> None:
        self._libvirt = binding()
        self._connection = connect(uri)
        if self._connection is None:
            raise SandboxError(f"libvirt on this host has no driver for {uri}; install libvirt-daemon-driver-lxc")

    def close(self) -> None:
        with contextlib.suppress(self._libvirt.libvirtError):  # of a daemon that is gone
            self._connection.close()

    def domains(self) -> dict[str, Domain]:
        """Every domain of the driver, by name."""
        inactive = self._libvirt.VIR_DOMAIN_XML_INACTIVE
        found = {}
        for domain in _listed(self._connection, self._libvirt.libvirtError):
            try:
                active = domain.XMLDesc(0) if domain.isActive() else None
                # one that was undefined while it runs is shown as if it were defined
                found[domain.name()] = Domain(domain.XMLDesc(inactive) if domain.isPersistent() else None, active)
            except self._libvirt.libvirtError as error:
                if error.get_error_code() != self._libvirt.VIR_ERR_NO_DOMAIN:
                    raise SandboxError(f"libvirt does not show a domain: {error}") from error
        return found

    def define(self, xml: str) -> None:
        """Make or replace a domain's definition; a running one goes on as it is."""
        try:
            self._connection.defineXML(xml)
        except self._libvirt.libvirtError as error:
            raise SandboxError(f"libvirt does not take the domain: {error}") from error

    def destroy(self, name: str) -> None:
        """End a domain that runs; nothing to do where none does."""
        over = (self._libvirt.VIR_ERR_NO_DOMAIN, self._libvirt.VIR_ERR_OPERATION_INVALID)
        for tries_left in reversed(range(_TRIES)):
            try:
                domain = self._connection.lookupByName(name)
                if domain.isActive():
                    domain.destroy()
                return
            except self._libvirt.libvirtError as error:
                if error.get_error_code() in over:
                    return
                # libvirt trips over cgroups that vanish while it ends their processes
                if not tries_left:
                    raise SandboxError(f"libvirt does not end {name}: {error}") from error
            time.sleep(0.5)

    def undefine(self, name: str) -> None:
        try:
            self._connection.lookupByName(name).undefine()
        except self._libvirt.libvirtError as error:
            if error.get_error_code() != self._libvirt.VIR_ERR_NO_DOMAIN:
                raise SandboxError(f"libvirt does not undefine {name}: {error}") from error

    def networks(self) -> dict[str, LibvirtNetwork]:
        """Each network that libvirt runs, by its name."""
        try:
            return {network.name(): self._network(network) for network in self._connection.listAllNetworks() if network.isActive()}
        except self._libvirt.libvirtError as error:
            raise SandboxError(f"libvirt does not show its networks: {error}") from error

    def _network(self, network: Any) -> LibvirtNetwork:
        root = ElementTree.fromstring(network.XMLDesc(0))
        addresses = root.findall("ip")
        try:
            leases = {lease["ipaddr"]: lease["mac"] for lease in network.DHCPLeases() if lease.get("mac")}
        except self._libvirt.libvirtError:
            leases = {}
        return LibvirtNetwork(
            gateway=addresses[0].get("address", "") if addresses else "",
            subnets=tuple(_subnet(one) for one in addresses),
            ranges=tuple((one.get("start", ""), one.get("end", "")) for one in root.iterfind("ip/dhcp/range")),
            reserved={
                one.get("mac", ""): (one.get("ip", ""), one.get("name", "")) for one in root.iterfind("ip/dhcp/host") if one.get("mac")
            },
            named={one.get("ip", ""): tuple(name.text or "" for name in one) for one in root.iterfind("dns/host")},
            leases=leases,
        )

    def network_entries(self, entries: Sequence[Entry], name: str, add: bool) -> None:
        """Tell running networks, and their definitions, of addresses and names, or have them forget; others' stay as they are."""
        lib = self._libvirt
        command = lib.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST if add else lib.VIR_NETWORK_UPDATE_COMMAND_DELETE
        for entry in entries:
            section = lib.VIR_NETWORK_SECTION_IP_DHCP_HOST if entry.kind == "lease" else lib.VIR_NETWORK_SECTION_DNS_HOST
            try:
                network = self._connection.networkLookupByName(entry.network)
                flags = lib.VIR_NETWORK_UPDATE_AFFECT_LIVE | (lib.VIR_NETWORK_UPDATE_AFFECT_CONFIG if network.isPersistent() else 0)
                network.update(command, section, -1, entry_xml(entry, name), flags)
            except lib.libvirtError as error:
                verb = "take" if add else "give back"
                raise SandboxError(f"the network {entry.network} does not {verb} {entry.address} of {name}: {error}") from error


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
        ElementTree.SubElement(element, "hostname").text = name
    return ElementTree.tostring(element, encoding="unicode")
