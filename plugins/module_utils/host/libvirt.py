# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt itself: its connections, and the labels of whatever it runs. Its binding is imported here alone, and only when it is needed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from ..model.errors import SandboxError
from .binding import required

LXC_URI = "lxc:///system"

_DAEMONS = "/usr/sbin"


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
        raise SandboxError(f"libvirt at {uri} does not answer ({error}). Start its daemon, and run as root.") from error


def opened(uri: str = LXC_URI) -> Any:
    """A connection; raises ``SandboxError`` where libvirt has no driver for such domains."""
    connection = connect(uri)
    if connection is None:
        raise SandboxError(f"libvirt on this host has no driver for {uri}. Install libvirt-daemon-driver-lxc.")
    return connection


def close(connection: Any) -> None:
    """Give a connection up, whether or not the daemon is still there."""
    with contextlib.suppress(binding().libvirtError):
        connection.close()


@contextlib.contextmanager
def errors(what: str, accept: tuple[int, ...] = ()) -> Iterator[None]:
    """libvirt's errors as sentences that begin with ``what``; those with an accepted code end the block and no more."""
    libvirt = binding()
    try:
        yield
    except libvirt.libvirtError as error:
        if error.get_error_code() not in accept:
            raise SandboxError(f"{what}: {error}") from error


def domain_labels(uri: str) -> dict[str, set[str]]:
    """The SELinux labels of each domain, running or defined, by its name."""
    if not serves(uri):
        return {}
    connection = connect(uri)
    if connection is None:
        return {}
    libvirt = binding()
    labels: dict[str, set[str]] = {}
    try:
        with errors(f"libvirt at {uri} does not list its domains"):
            domains = connection.listAllDomains()
        for domain in domains:
            with errors(f"libvirt at {uri} does not show a domain", accept=(libvirt.VIR_ERR_NO_DOMAIN,)):
                texts = [domain.XMLDesc(0), domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)]
                labels[domain.name()] = {label for text in texts for label in labels_of(text)}
    finally:
        connection.close()
    return labels


def labels_of(domain_xml: str) -> set[str]:
    """The labels that a domain's XML names, for its processes and for its images."""
    labels: set[str] = set()
    for element in ElementTree.fromstring(domain_xml).iter("seclabel"):
        if element.get("model", "selinux") == "selinux":
            labels.update(child.text for child in element if child.tag in ("label", "imagelabel") and child.text)
    return labels
