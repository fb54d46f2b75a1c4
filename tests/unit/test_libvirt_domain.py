# SPDX-License-Identifier: GPL-3.0-or-later
"""A definition as libvirt's XML and back, and what counts as a difference between two."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host.libvirt_domain import domain_uuid, from_xml, to_xml
from ansible_collections.virt.sandbox.plugins.module_utils.model.definition import Definition, define
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import started_with

from .conftest import MakeSpec, expanded

FOREIGN = "<domain type='lxc'><name>web</name><os><type>exe</type><init>/bin/sh</init></os></domain>"


@pytest.fixture
def definition(service: MakeSpec, host: Host) -> Definition:
    return define(service(name="my-web"), host.followed)


@pytest.fixture
def xml(service: MakeSpec, host: Host) -> str:
    return to_xml(define(service(), host.followed))


def test_a_definition_is_itself_after_it_was_xml(definition: Definition) -> None:
    assert from_xml(to_xml(definition)) == definition
    # what libvirt says more of one that runs is no difference
    assert from_xml(expanded(to_xml(definition))) == definition


def test_a_domain_bears_the_mark_of_what_it_is_started_with(service: MakeSpec, xml: str) -> None:
    record = from_xml(xml).record
    assert record is not None
    assert record.options == started_with(service())
    assert not from_xml(FOREIGN).ours


def test_a_foreign_domain_has_a_definition_too() -> None:
    seen = from_xml(FOREIGN)
    assert (seen.name, seen.init, seen.record, seen.context, seen.binds) == ("web", ("/bin/sh",), None, None, ())


@pytest.mark.parametrize("label", ["", "none", "a:b:c", "system_u:system_r:x_t:s1:c1"])
def test_a_label_that_is_none_of_ours_is_none(xml: str, label: str) -> None:
    assert from_xml(xml.replace("system_u:system_r:virt_sandbox_net_t:s0:c1,c2<", f"{label}<")).context is None


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        pytest.param("s0:c1,c2<", "s0<", "context", id="level"),
        pytest.param('relabel="no"', 'relabel="yes"', "deviations", id="relabel"),
        pytest.param("<uuid>", "<uuid>0", "deviations", id="UUID"),
        pytest.param("/machine/virt_sandbox/web<", "/machine<", "slice", id="partition"),
        pytest.param("<privnet />", "", "deviations", id="network of its own"),
        pytest.param('<target dir="/usr" /><readonly />', '<target dir="/usr" />', "binds", id="read-only"),
        pytest.param('<source dir="/usr" />', '<source dir="/" />', "binds", id="source of a mount"),
        pytest.param('<target dir="/tmp" />', '<target dir="/tmp/x" />', "binds", id="target of a mount"),
        pytest.param('<source network="default" />', '<source network="other" />', "devices", id="network"),
        pytest.param('address="52:', 'address="56:', "devices", id="MAC"),
        pytest.param('<target dev="vs', '<target dev="vt', "devices", id="the host's end"),
        pytest.param('<interface type="network">', '<interface type="bridge">', "devices", id="kind of interface"),
        pytest.param("</interface>", '<ip address="10.0.0.9" prefix="8" /></interface>', "devices", id="an address"),
        pytest.param("/usr/lib/systemd/systemd<", "/bin/sh<", "init", id="init"),
        pytest.param("</os>", "<initarg>x</initarg></os>", "init", id="argument"),
        pytest.param("</initenv>", "/x</initenv>", "env", id="variable"),
        pytest.param('policy="default"', 'policy="allow"', "capabilities", id="capabilities"),
        pytest.param("</devices>", '<hostdev mode="capabilities" type="storage" /></devices>', "deviations", id="a device of the host"),
        pytest.param('<console type="pty" />', "", "deviations", id="console"),
        pytest.param('started_with="', 'started_with="0', "record", id="what it is started with"),
    ],
)
def test_what_matters_is_a_difference(xml: str, old: str, new: str, field: str) -> None:
    assert xml.count(old) == 1
    before, after = from_xml(xml), from_xml(xml.replace(old, new))
    differ = [known.name for known in dataclasses.fields(Definition) if getattr(before, known.name) != getattr(after, known.name)]
    assert differ == [field]


def test_another_kind_of_mount_is_a_difference(xml: str) -> None:
    changed = xml.replace('<filesystem type="mount"', '<filesystem type="block"', 1)
    assert from_xml(changed).deviations == ("filesystem block",)


def test_uuids_are_stable_and_ones_own() -> None:
    assert domain_uuid("web") == domain_uuid("web") != domain_uuid("db")
