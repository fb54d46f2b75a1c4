# SPDX-License-Identifier: GPL-3.0-or-later
"""Sandboxes and hosts that the unit tests share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model import addresses, layout, network, network_filter, scripts, unit
from ansible_collections.virt.sandbox.plugins.module_utils.model.addresses import LibvirtNetwork
from ansible_collections.virt.sandbox.plugins.module_utils.model.context import Context
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host, Observed
from ansible_collections.virt.sandbox.plugins.module_utils.model.service_plan import wanted_definition
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ContentSpec, ServiceSpec, content_spec, dump, service_spec

MakeSpec = Callable[..., ServiceSpec]
MakeContent = Callable[..., ContentSpec]
Declared = Callable[..., Observed]
INSTANCE = r"a\x2db"


@pytest.fixture(scope="session")
def service() -> MakeSpec:
    """A sandbox's service in its normal form: one unit and one interface unless said otherwise."""

    def make(**options: Any) -> ServiceSpec:
        declared = {"name": "web", "level": "s0:c1,c2", "units": ["httpd"], "network": [{"type": "dhcp"}]}
        return service_spec({**declared, **options})

    return make


@pytest.fixture(scope="session")
def content() -> MakeContent:
    """A sandbox's content in its normal form."""

    def make(**options: Any) -> ContentSpec:
        return content_spec({"name": "web", "level": "s0:c1,c2", "private": ["/etc/httpd"], **options})

    return make


@pytest.fixture(scope="session")
def host() -> Host:
    """A host that has what ``service`` asks for, and little else."""
    there = ("httpd.service", "mariadb.service", "systemd-networkd.service", f"worker@{INSTANCE}.service")
    return Host(
        systemd=unit.HostSystemd(
            wants={"sysinit.target": ["systemd-journald.service", "systemd-udevd.service"], "getty.target": ["getty@tty1.service"]},
            unit_paths={name: f"/usr/lib/systemd/system/{name.replace(INSTANCE, '')}" for name in there},
        ),
        scripts=scripts.EXPECTED,
        networks={
            "default": LibvirtNetwork("192.168.122.1", ("192.168.122.1/24",), (("192.168.122.2", "192.168.122.254"),)),
            "other": LibvirtNetwork("10.0.0.1", ("10.0.0.1/24",), (("10.0.0.2", "10.0.0.9"),)),
            "virt-sandbox": LibvirtNetwork("10.7.0.1", ("10.7.0.1/22",), (("10.7.0.2", "10.7.0.31"),)),
        },
        followed=["/etc/alternatives", "/etc/ld.so.cache"],
        granted={"virt_sandbox_net_t": ["net_admin", "net_raw"]},
        filtered=[network.host_device(name, 0) + opener for name in ("web", "db") for opener in ("", "-opener")],
    )


@pytest.fixture(scope="session")
def declared(host: Host) -> Declared:
    """A sandbox exactly as its spec says, running or stopped; changes to that are named."""

    def make(spec: ServiceSpec, /, running: bool = True, **changes: Any) -> Observed:
        definition = wanted_definition(spec, host)
        files = unit.inside(spec, host.systemd, host.networks)
        state = {
            "spec_text": dump(spec),
            "spec": spec,
            "unit_text": unit.host_unit(spec),
            "slice_text": unit.slice_unit(spec),
            "filter_text": network_filter.rules(spec, ()),
            "unit": {
                "ActiveState": "active" if running else "inactive",
                "UnitFileState": "enabled" if spec.autostart else "disabled",
                "NeedDaemonReload": "no",
            },
            "defined": definition,
            "active": definition if running else None,
            "content_context": str(Context.object(layout.ROOT_TYPE, spec.level)),
            "inside": {file.path: ("link", file.link) if file.link else ("text", file.text) for file in files},
        }
        return Observed(**{**state, **changes})

    return make


def settled(host: Host, spec: ServiceSpec, given: addresses.Resolved | None = None) -> Host:
    """The host after a run: its networks know the sandbox."""
    given = addresses.resolve([spec], [], host.networks)[spec.name] if given is None else given
    known = dict(host.networks)
    for entry in addresses.entries(spec, given, host.networks):
        if entry.kind == "lease":
            known[entry.network] = dataclasses.replace(known[entry.network], reserved={entry.mac: (entry.address, spec.name)})
        else:
            known[entry.network] = dataclasses.replace(known[entry.network], named={entry.address: tuple(entry.names(spec.name))})
    named = {spec.name: [of_interface[0] for of_interface in given if of_interface]}
    return dataclasses.replace(host, networks=known, resolved={spec.name: given}, named=named)


def expanded(xml: str) -> str:
    """The domain as libvirt shows it while it runs: with what it added, in its own order of attributes."""
    root = ElementTree.fromstring(xml)
    root.set("id", "4711")
    for tag, text in (("currentMemory", "1073741824"), ("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        ElementTree.SubElement(root, tag).text = text
    ElementTree.SubElement(root, "clock", offset="utc")
    label = root.find("seclabel")
    assert label is not None
    ElementTree.SubElement(label, "imagelabel").text = label.findtext("label", "").replace("system_r", "object_r")
    devices = root.find("devices")
    assert devices is not None
    emulator = ElementTree.Element("emulator")
    emulator.text = "/usr/lib/libvirt/libvirt_lxc"
    devices.insert(0, emulator)
    for number, interface in enumerate(devices.iterfind("interface")):
        source = interface.find("source")
        assert source is not None
        if interface.get("type") == "network":
            source.attrib = {**source.attrib, "portid": "0b1cb5d4", "bridge": "virbr0"}
        ElementTree.SubElement(interface, "guest", dev=f"eth{number}")
        ElementTree.SubElement(interface, "address", type="pci", slot="0x01")
    for console in devices.iterfind("console"):
        console.set("tty", "/dev/pts/3")
        ElementTree.SubElement(console, "source", path="/dev/pts/3")
        ElementTree.SubElement(console, "target", type="lxc", port="0")
        ElementTree.SubElement(console, "alias", name="console0")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode")
