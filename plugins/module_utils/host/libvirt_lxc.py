# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt, as far as it is asked for by others; the only importer of its binding, and only when it is needed."""

from __future__ import annotations

import dataclasses
import importlib
import os
import time
from typing import Any
from xml.etree import ElementTree

from ..model.errors import SandboxError

LXC_URI = "lxc:///system"

_DAEMONS = "/usr/sbin"
_TRIES = 5


def serves(uri: str, daemons: str = _DAEMONS) -> bool:
    """Whether a libvirt daemon for such domains is installed."""
    driver = uri.partition(":")[0]
    return any(os.path.exists(os.path.join(daemons, name)) for name in ("libvirtd", f"virt{driver}d"))


def binding() -> Any:
    try:
        return importlib.import_module("libvirt")
    except ImportError as error:
        raise SandboxError(
            f"libvirt is installed, but no Python on this host has its binding ({error}); install python3-libvirt (Debian, Fedora)"
        ) from error


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
        for domain in connection.listAllDomains():
            try:
                texts = [domain.XMLDesc(0), domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)]
                found[domain.name()] = {label for text in texts for label in labels_of(text)}
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise SandboxError(f"libvirt at {uri} does not show a domain: {error}") from error
    finally:
        connection.close()
    return found


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
        self._connection.close()

    def domains(self) -> dict[str, Domain]:
        """Every domain of the driver, by name."""
        inactive = self._libvirt.VIR_DOMAIN_XML_INACTIVE
        found = {}
        for domain in self._connection.listAllDomains():
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

    def networks(self) -> dict[str, str]:
        """The gateway of each network that libvirt runs, by the network's name; empty where it has none."""
        found = {}
        for network in self._connection.listAllNetworks():
            if network.isActive():
                address = ElementTree.fromstring(network.XMLDesc(0)).find("ip")
                found[network.name()] = address.get("address", "") if address is not None else ""
        return found

    def leases(self, network: str) -> dict[str, list[str]]:
        """The addresses that a network's DHCP server gave, by MAC address."""
        found: dict[str, list[str]] = {}
        try:
            for lease in self._connection.networkLookupByName(network).DHCPLeases():
                found.setdefault(lease["mac"], []).append(lease["ipaddr"])
        except self._libvirt.libvirtError:
            return {}
        return found
