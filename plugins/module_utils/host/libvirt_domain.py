# SPDX-License-Identifier: GPL-3.0-or-later
"""Definitions as libvirt-LXC has them: XML, and back. What libvirt expands or adds by itself is left out."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from xml.etree import ElementTree

from ..model import command, layout
from ..model.context import Context
from ..model.definition import Bind, Definition, Device, Record
from ..model.mcs import LevelError

NAMESPACE = "https://galaxy.ansible.com/virt/sandbox"
# libvirt wants a number; the slice is what limits
_MEMORY_KIB = 1 << 30


def to_xml(definition: Definition) -> str:
    """The domain of a sandbox."""
    ElementTree.register_namespace("sandbox", NAMESPACE)
    domain = ElementTree.Element("domain", type="lxc")
    _text(domain, "name", definition.name)
    _text(domain, "uuid", domain_uuid(definition.name))
    _text(domain, "description", "Made by virt.sandbox; changes are overwritten.")
    _mark(domain, definition.record or Record())
    _text(domain, "memory", str(_MEMORY_KIB), unit="KiB")
    _text(domain, "vcpu", "1")
    _text(ElementTree.SubElement(domain, "resource"), "partition", _partition(definition.slice))
    _init(ElementTree.SubElement(domain, "os"), definition)
    features = ElementTree.SubElement(domain, "features")
    ElementTree.SubElement(features, "privnet")
    policy, states = definition.capabilities
    capabilities = ElementTree.SubElement(features, "capabilities", policy=policy)
    for name, state in states.items():
        ElementTree.SubElement(capabilities, name, state=state)
    label = ElementTree.SubElement(domain, "seclabel", type="static", model="selinux", relabel="no")
    _text(label, "label", str(definition.context))
    devices = ElementTree.SubElement(domain, "devices")
    # no part of a definition: what an earlier release defined gets it from the unit's helper, at its next start
    _text(devices, "emulator", layout.CONTROLLER)
    for bind in definition.binds:
        _filesystem(devices, bind)
    for device in definition.devices:
        _interface(devices, device)
    ElementTree.SubElement(devices, "console", type="pty")
    return ElementTree.tostring(domain, encoding="unicode")


def _mark(domain: ElementTree.Element, record: Record) -> None:
    """Tells that the domain is ours. A running domain keeps what it was started with, whatever is defined meanwhile."""
    metadata = ElementTree.SubElement(domain, "metadata")
    ElementTree.SubElement(metadata, f"{{{NAMESPACE}}}sandbox", started_with=record.dump())


def _init(system: ElementTree.Element, definition: Definition) -> None:
    _text(system, "type", "exe")
    program, *words = definition.init
    _text(system, "init", program)
    for word in words:
        _text(system, "initarg", word)
    for name, text in definition.env.items():
        _text(system, "initenv", text, name=name)


def _filesystem(devices: ElementTree.Element, bind: Bind) -> None:
    element = ElementTree.SubElement(devices, "filesystem", type="mount", accessmode="passthrough")
    ElementTree.SubElement(element, "source", dir=bind.source)
    ElementTree.SubElement(element, "target", dir=bind.target)
    if bind.read_only:
        ElementTree.SubElement(element, "readonly")


def _interface(devices: ElementTree.Element, device: Device) -> None:
    element = ElementTree.SubElement(devices, "interface", type=device.kind)
    ElementTree.SubElement(element, "mac", address=device.mac or "")
    ElementTree.SubElement(element, "source", {device.kind: device.source or ""})
    ElementTree.SubElement(element, "target", dev=device.host_end or "")
    for text in device.addresses:
        address, _slash, prefix = text.partition("/")
        ElementTree.SubElement(element, "ip", address=address, family=_family(address), prefix=prefix)
    for destination, gateway in device.routes:
        address, _slash, prefix = destination.partition("/")
        ElementTree.SubElement(element, "route", family=_family(address), address=address, prefix=prefix, gateway=gateway)


def _family(address: str) -> str:
    return "ipv6" if ":" in address else "ipv4"


def domain_uuid(name: str) -> str:
    """The same name, the same UUID: a domain defined again stays itself."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name + ".domain.virt.sandbox"))


def _text(parent: ElementTree.Element, tag: str, text: str, **attributes: str) -> None:
    ElementTree.SubElement(parent, tag, attributes).text = text


def from_xml(xml: str) -> Definition:
    """What a domain's XML defines, whoever made it."""
    root = ElementTree.fromstring(xml)
    name = root.findtext("name") or ""
    partition = root.findtext("resource/partition") or ""
    return Definition(
        name=name,
        context=_context(root),
        init=_init_of(root),
        env={element.get("name", ""): element.text or "" for element in root.iterfind("os/initenv")},
        capabilities=_capabilities(root.find("features/capabilities")),
        binds=tuple(map(_bind, root.iterfind("devices/filesystem"))),
        devices=tuple(map(_device, root.iterfind("devices/interface"))),
        slice=_slice(partition),
        record=_record(root),
        deviations=tuple(_deviations(root, name)),
    )


def _init_of(root: ElementTree.Element) -> tuple[str, ...]:
    """The first process; for a command, release 0.1.0 gave the shell the script's text, not its path."""
    words = (root.findtext("os/init") or "", *(element.text or "" for element in root.iterfind("os/initarg")))
    if (*words[:2], *words[3:4]) == (command.SHELL, "-c", "sh"):
        return (command.SHELL, layout.INIT, *words[4:])
    return words


def _partition(slice_name: str) -> str:
    """The partition of which libvirt makes a unit."""
    return "/" + slice_name[: -len(".slice")].replace("-", "/").replace("\\x2d", "-")


def _slice(partition: str) -> str:
    """The unit that libvirt makes of a partition: a dash inside a name is escaped."""
    return "-".join(part.replace("-", "\\x2d") for part in partition.strip("/").split("/")) + ".slice"


def _context(root: ElementTree.Element) -> Context | None:
    text = root.findtext("seclabel[@model='selinux']/label")
    try:
        return Context.parse(text) if text else None
    except LevelError:
        return None


def _record(root: ElementTree.Element) -> Record | None:
    """What it was started with, in whichever form; nothing for a domain that is not ours."""
    mark = root.find(f"metadata/{{{NAMESPACE}}}sandbox")
    if mark is None:
        return None
    if mark.get("start") is None:
        return Record.load(mark.get("started_with") or "")
    # release 0.1.0 told no interface from one without an address
    of_interfaces = (mark.get("addresses") or "").split(";") if root.find("devices/interface") is not None else ()
    return Record(addresses=tuple(tuple(filter(None, text.split(","))) for text in of_interfaces), legacy=mark.get("start", ""))


def _capabilities(element: ElementTree.Element | None) -> tuple[str, dict[str, str]]:
    """libvirt's policy, and what is on or off against it; it leaves out the policy that is its default."""
    if element is None:
        return "default", {}
    return element.get("policy", "default"), {child.tag: child.get("state", "") for child in element}


def _bind(element: ElementTree.Element) -> Bind:
    source, target = element.find("source"), element.find("target")
    return Bind(
        source=source.get("dir", "") if source is not None else "",
        target=target.get("dir", "") if target is not None else "",
        read_only=element.find("readonly") is not None,
    )


def _device(element: ElementTree.Element) -> Device:
    source, address, host_end = element.find("source"), element.find("mac"), element.find("target")
    kind = element.get("type", "")
    return Device(
        kind=kind,
        # a running one says the network's bridge and its port too
        source=source.get(kind) if source is not None else None,
        mac=address.get("address") if address is not None else None,
        host_end=host_end.get("dev") if host_end is not None else None,
        addresses=tuple(f"{ip.get('address')}/{ip.get('prefix')}" for ip in element.iterfind("ip")),
        routes=tuple((f"{route.get('address')}/{route.get('prefix')}", route.get("gateway", "")) for route in element.iterfind("route")),
    )


def _deviations(root: ElementTree.Element, name: str) -> Iterator[str]:
    """What no domain of ours has."""
    label = root.find("seclabel[@model='selinux']")
    if label is not None and label.get("relabel") != "no":
        yield "relabel"
    if root.findtext("uuid") != domain_uuid(name):
        yield "uuid"
    if root.find("features/privnet") is None:
        yield "no network namespace"
    if len(root.findall("devices/console")) != 1:
        yield "consoles"
    for element in root.iterfind("devices/filesystem"):
        if element.get("type") != "mount":
            yield f"filesystem {element.get('type')}"
    known = ("filesystem", "interface", "console", "emulator")
    yield from sorted(f"device {element.tag}" for element in root.iterfind("devices/*") if element.tag not in known)
