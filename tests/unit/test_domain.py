# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain of a sandbox, and what counts as a difference between two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model import domain, network
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import fingerprint

MakeSpec = Callable[..., dict[str, Any]]

FOREIGN = "<domain type='lxc'><name>web</name><os><type>exe</type><init>/bin/sh</init></os></domain>"


@pytest.fixture
def xml(service: MakeSpec, host: Host) -> str:
    return domain.domain_xml(service(), host.followed)


def test_a_domain_bears_the_mark_of_its_spec(service: MakeSpec, xml: str) -> None:
    assert domain.is_ours(xml)
    assert domain.canonical(xml)["spec"] == fingerprint(service())
    assert not domain.is_ours(FOREIGN)


def test_a_foreign_domain_has_a_canonical_form_too() -> None:
    seen = domain.canonical(FOREIGN)
    assert (seen["name"], seen["init"], seen["spec"], seen["label"], seen["mounts"]) == ("web", ["/bin/sh"], None, None, [])


def test_only_what_is_private_or_in_memory_is_writable(service: MakeSpec, host: Host) -> None:
    writable = [target for _source, target, read_only in domain.mounts(service(), host.followed) if not read_only]
    assert writable == ["/etc", "/var", "/home", "/root", "/srv", "/run", "/run/lock", "/tmp", "/dev/shm"]


def test_nothing_is_mounted_before_what_it_is_mounted_in(service: MakeSpec, host: Host) -> None:
    targets = [target for _source, target, _read_only in domain.mounts(service(), host.followed)]
    for number, target in enumerate(targets):
        assert not [later for later in targets[number + 1 :] if target.startswith(later.rstrip("/") + "/")]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        pytest.param("s0:c1,c2<", "s0<", "label", id="level"),
        pytest.param('relabel="no"', 'relabel="yes"', "relabel", id="relabel"),
        pytest.param("/machine/web<", "/machine<", "partition", id="partition"),
        pytest.param("<privnet />", "", "privnet", id="network of its own"),
        pytest.param('<target dir="/usr" /><readonly />', '<target dir="/usr" />', "mounts", id="read-only"),
        pytest.param('<source dir="/usr" />', '<source dir="/" />', "mounts", id="source of a mount"),
        pytest.param('<target dir="/tmp" />', '<target dir="/tmp/x" />', "mounts", id="target of a mount"),
        pytest.param('<source network="default" />', '<source network="other" />', "interfaces", id="network"),
        pytest.param('address="52:', 'address="56:', "interfaces", id="MAC"),
        pytest.param('<interface type="network">', '<interface type="bridge">', "interfaces", id="kind of interface"),
        pytest.param("/usr/lib/systemd/systemd<", "/bin/sh<", "init", id="init"),
        pytest.param("</devices>", '<hostdev mode="capabilities" type="storage" /></devices>', "other devices", id="a device of the host"),
        pytest.param('<console type="pty" />', "", "consoles", id="console"),
        pytest.param('spec="', 'spec="0', "spec", id="spec"),
        pytest.param('start="', 'start="0', "start", id="what it is started with"),
    ],
)
def test_what_matters_is_a_difference(xml: str, old: str, new: str, key: str) -> None:
    assert xml.count(old) == 1
    before, after = domain.canonical(xml), domain.canonical(xml.replace(old, new))
    assert [name for name in before if before[name] != after[name]] == [key]


def test_addresses_and_uuids_are_stable_and_ones_own() -> None:
    macs = [network.mac(name, number) for name in ("web", "db") for number in (0, 1)]
    assert len(set(macs)) == 4
    assert all(mac.startswith("52:54:00:") and len(mac) == 17 for mac in macs)
    assert domain.domain_uuid("web") == domain.domain_uuid("web") != domain.domain_uuid("db")


def test_a_declared_mac_is_the_interfaces(service: MakeSpec) -> None:
    xml = domain.domain_xml(service(network=[{}, {"mac": "52:54:00:00:00:01"}]), [])
    addresses = [element.get("address") for element in ElementTree.fromstring(xml).iterfind("devices/interface/mac")]
    assert addresses == [network.mac("web", 0), "52:54:00:00:00:01"]
