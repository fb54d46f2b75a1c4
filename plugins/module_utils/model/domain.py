# SPDX-License-Identifier: GPL-3.0-or-later
"""A spec as a libvirt-LXC domain, and domains in a canonical form in which they can be compared."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from . import capabilities, command, layout
from .addresses import Resolved
from .mounts import domain_mounts
from .network import host_device, mac_of
from .spec import fingerprint, start_fingerprint

NAMESPACE = "https://galaxy.ansible.com/virt/sandbox"
INIT = "/usr/lib/systemd/systemd"
# the sandbox's own: those in the host's /usr look for hardware, disks and consoles, and new packages bring more
GENERATORS = "/etc/systemd/system-generators"
# libvirt wants a number; the slice is what limits
_MEMORY_KIB = 1 << 30


def domain_xml(spec: Mapping[str, Any], followed: Sequence[str], resolved: Resolved = ()) -> str:
    """The domain of a sandbox.

    ``followed`` are the paths of the host bound read-only into its /etc, ``resolved`` its interfaces' addresses.
    """
    ElementTree.register_namespace("sandbox", NAMESPACE)
    domain = ElementTree.Element("domain", type="lxc")
    _text(domain, "name", spec["name"])
    _text(domain, "uuid", domain_uuid(spec["name"]))
    _text(domain, "description", "Made by virt.sandbox; changes are overwritten.")
    metadata = ElementTree.SubElement(domain, "metadata")
    known = ";".join(",".join(addresses) for addresses in resolved)
    # a running domain keeps what it was started with, whatever is defined meanwhile
    ElementTree.SubElement(metadata, f"{{{NAMESPACE}}}sandbox", spec=fingerprint(spec), start=start_fingerprint(spec), addresses=known)
    _text(domain, "memory", str(_MEMORY_KIB), unit="KiB")
    _text(domain, "vcpu", "1")
    _text(ElementTree.SubElement(domain, "resource"), "partition", f"/machine/{spec['name']}")
    system = ElementTree.SubElement(domain, "os")
    _text(system, "type", "exe")
    _init(system, spec)
    features = ElementTree.SubElement(domain, "features")
    ElementTree.SubElement(features, "privnet")
    policy, states = capabilities.policy(spec)
    kept = ElementTree.SubElement(features, "capabilities", policy=policy)
    for name, state in states.items():
        ElementTree.SubElement(kept, name, state=state)
    label = ElementTree.SubElement(domain, "seclabel", type="static", model="selinux", relabel="no")
    _text(label, "label", layout.process_context(spec["process_type"], spec["level"]))
    devices = ElementTree.SubElement(domain, "devices")
    for source, target, read_only in mounts(spec, followed):
        _filesystem(devices, source, target, read_only)
    for number, network in enumerate(spec["network"]):
        kind = "bridge" if network["bridge"] else "network"
        interface = ElementTree.SubElement(devices, "interface", type=kind)
        ElementTree.SubElement(interface, "mac", address=mac_of(spec["name"], number, network))
        ElementTree.SubElement(interface, "source", {kind: network["bridge"] or network["source"]})
        ElementTree.SubElement(interface, "target", dev=host_device(spec["name"], number))
        if spec["command"]:
            _addresses(interface, network)
    ElementTree.SubElement(devices, "console", type="pty")
    return ElementTree.tostring(domain, encoding="unicode")


def _init(system: ElementTree.Element, spec: Mapping[str, Any]) -> None:
    """A systemd, or the command with what it is to have around it."""
    if not spec["command"]:
        _text(system, "init", INIT)
        _text(system, "initenv", GENERATORS, name="SYSTEMD_GENERATOR_PATH")
        return
    program, *words = command.init(spec)
    _text(system, "init", program)
    for word in words:
        _text(system, "initarg", word)
    _text(system, "initenv", command.PATH, name="PATH")


def _addresses(interface: ElementTree.Element, network: Mapping[str, Any]) -> None:
    """libvirt sets them where no systemd inside does."""
    for text in network["addresses"]:
        address, _slash, prefix = text.partition("/")
        ElementTree.SubElement(interface, "ip", address=address, family=_family(address), prefix=prefix)
    routes = [(route["to"], route["via"]) for route in network["routes"]]
    if network["gateway"]:
        routes.insert(0, ("::/0" if ":" in network["gateway"] else "0.0.0.0/0", network["gateway"]))
    for destination, gateway in routes:
        address, _slash, prefix = destination.partition("/")
        ElementTree.SubElement(interface, "route", family=_family(address), address=address, prefix=prefix, gateway=gateway)


def _family(address: str) -> str:
    return "ipv6" if ":" in address else "ipv4"


def mounts(spec: Mapping[str, Any], followed: Sequence[str]) -> list[tuple[str, str, bool]]:
    """(host path, path inside, read-only), in the order in which they are mounted."""
    paths = layout.of(spec)
    result = [(paths.root, "/", True)]
    result += [(path, path, True) for path in layout.SHARED]
    result += [(f"{paths.root}/{path}", f"/{path}", False) for path in layout.PRIVATE]
    result += [(path, path, True) for path in followed]
    result += [(paths.memory(target), target, False) for target in layout.MEMORY]
    result += domain_mounts(spec)
    return result


def domain_uuid(name: str) -> str:
    """The same name, the same UUID: a domain defined again stays itself."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name + ".domain.virt.sandbox"))


def _text(parent: ElementTree.Element, tag: str, text: str, **attributes: str) -> None:
    ElementTree.SubElement(parent, tag, attributes).text = text


def _filesystem(devices: ElementTree.Element, source: str, target: str, read_only: bool) -> None:
    element = ElementTree.SubElement(devices, "filesystem", type="mount", accessmode="passthrough")
    ElementTree.SubElement(element, "source", dir=source)
    ElementTree.SubElement(element, "target", dir=target)
    if read_only:
        ElementTree.SubElement(element, "readonly")


def canonical(xml: str) -> dict[str, Any]:
    """What of a domain's XML is ours to say: libvirt's expansions and figures left out."""
    root = ElementTree.fromstring(xml)
    label = root.find("seclabel[@model='selinux']")
    return {
        "name": root.findtext("name"),
        "uuid": root.findtext("uuid"),
        "spec": fingerprint_of(root),
        "start": _mark(root, "start"),
        "addresses": _mark(root, "addresses") or "",
        "partition": root.findtext("resource/partition"),
        "init": _current_init([root.findtext("os/init"), *(element.text for element in root.iterfind("os/initarg"))]),
        "environment": {element.get("name"): element.text for element in root.iterfind("os/initenv")},
        "capabilities": _capabilities(root.find("features/capabilities")),
        "privnet": root.find("features/privnet") is not None,
        "label": label.findtext("label") if label is not None else None,
        "relabel": label.get("relabel") if label is not None else None,
        "mounts": [_mount(element) for element in root.iterfind("devices/filesystem")],
        "interfaces": [_interface(element) for element in root.iterfind("devices/interface")],
        "consoles": len(root.findall("devices/console")),
        "other devices": sorted(
            element.tag for element in root.iterfind("devices/*") if element.tag not in ("filesystem", "interface", "console", "emulator")
        ),
    }


def _current_init(words: list[str | None]) -> list[str | None]:
    """The first process of a command's sandbox; virt.sandbox 0.1.0 gave the shell the script's text, not its path."""
    if [words[0], *words[1:2], *words[3:4]] == [command.SHELL, "-c", "sh"]:
        return [command.SHELL, layout.INIT, *words[4:]]
    return words


def _capabilities(element: ElementTree.Element | None) -> dict[str, str]:
    """libvirt's policy, and what is on or off against it; it leaves out the policy that is its default."""
    if element is None:
        return {"policy": "default"}
    return {"policy": element.get("policy", "default"), **{child.tag: child.get("state", "") for child in element}}


def fingerprint_of(root: ElementTree.Element) -> str | None:
    """The hash of the spec that a domain was made from; none for a domain that is not ours."""
    return _mark(root, "spec")


def _mark(root: ElementTree.Element, name: str) -> str | None:
    element = root.find(f"metadata/{{{NAMESPACE}}}sandbox")
    return element.get(name) if element is not None else None


def is_ours(xml: str) -> bool:
    return fingerprint_of(ElementTree.fromstring(xml)) is not None


def _mount(element: ElementTree.Element) -> dict[str, Any]:
    source, target = element.find("source"), element.find("target")
    return {
        "type": element.get("type"),
        "source": dict(source.attrib) if source is not None else {},
        "target": target.get("dir") if target is not None else None,
        "read_only": element.find("readonly") is not None,
    }


def _interface(element: ElementTree.Element) -> dict[str, Any]:
    source, address, device = element.find("source"), element.find("mac"), element.find("target")
    kind = element.get("type", "")
    return {
        "type": kind,
        # a running one says the network's bridge and its port too
        "source": source.get(kind) if source is not None else None,
        "mac": address.get("address") if address is not None else None,
        "device": device.get("dev") if device is not None else None,
        "addresses": [f"{one.get('address')}/{one.get('prefix')}" for one in element.iterfind("ip")],
        "routes": [f"{one.get('address')}/{one.get('prefix')} {one.get('gateway')}" for one in element.iterfind("route")],
    }
