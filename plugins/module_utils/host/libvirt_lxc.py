# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt-LXC as the runtime of sandboxes."""

from __future__ import annotations

import time
from typing import Any

from ..model.definition import Definition, Known
from . import libvirt
from .libvirt_domain import from_xml, to_xml

_TRIES = 5


class Lxc:
    """libvirt's LXC driver, over a connection to it."""

    def __init__(self, connection: Any) -> None:
        self._libvirt = libvirt.binding()
        self._connection = connection

    def known(self) -> dict[str, Known]:
        """Every domain of the driver, by name."""
        inactive, gone = self._libvirt.VIR_DOMAIN_XML_INACTIVE, (self._libvirt.VIR_ERR_NO_DOMAIN,)
        with libvirt.errors("libvirt does not list its domains"):
            domains = self._connection.listAllDomains()
        known = {}
        for domain in domains:
            with libvirt.errors("libvirt does not show a domain", accept=gone):
                running = from_xml(domain.XMLDesc(0)) if domain.isActive() else None
                # one that was undefined while it runs is shown as if it were defined
                defined = from_xml(domain.XMLDesc(inactive)) if domain.isPersistent() else None
                known[domain.name()] = Known(defined, running)
        return known

    def define(self, definition: Definition) -> None:
        """Make or replace a domain's definition; a running one goes on as it is."""
        with libvirt.errors("libvirt does not take the domain"):
            self._connection.defineXML(to_xml(definition))

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
                # libvirt trips over cgroups that vanish while it ends their processes
                if not tries_left or error.get_error_code() in over:
                    with libvirt.errors(f"libvirt does not end {name}", accept=over):
                        raise
                    return
            time.sleep(0.5)

    def undefine(self, name: str) -> None:
        with libvirt.errors(f"libvirt does not undefine {name}", accept=(self._libvirt.VIR_ERR_NO_DOMAIN,)):
            self._connection.lookupByName(name).undefine()
