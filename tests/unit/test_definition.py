# SPDX-License-Identifier: GPL-3.0-or-later
"""What a runtime is told of a sandbox, and what it was started with."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model import network
from ansible_collections.virt.sandbox.plugins.module_utils.model.definition import Record, define, restart_reasons
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import started_with

from .conftest import MakeSpec


def test_a_definition_bears_what_the_sandbox_is_started_with(service: MakeSpec, host: Host) -> None:
    spec = service()
    definition = define(spec, host.followed, [["10.0.0.2"]])
    assert definition.ours
    assert definition.record == Record(started_with(spec), (("10.0.0.2",),))
    assert not dataclasses.replace(definition, record=None).ours


def test_only_what_is_private_or_in_memory_is_writable(service: MakeSpec, host: Host) -> None:
    writable = [bind.target for bind in define(service(), host.followed).binds if not bind.read_only]
    assert writable == ["/etc", "/var", "/home", "/root", "/srv", "/run", "/run/lock", "/tmp", "/dev/shm"]


def test_nothing_is_mounted_before_what_it_is_mounted_in(service: MakeSpec, host: Host) -> None:
    targets = [bind.target for bind in define(service(), host.followed).binds]
    for number, target in enumerate(targets):
        assert not [later for later in targets[number + 1 :] if target.startswith(later.rstrip("/") + "/")]


def test_addresses_are_stable_and_ones_own() -> None:
    macs = [network.mac(name, number) for name in ("web", "db") for number in (0, 1)]
    assert len(set(macs)) == 4
    assert all(mac.startswith("52:54:00:") and len(mac) == 17 for mac in macs)


def test_a_declared_mac_is_the_interfaces(service: MakeSpec) -> None:
    devices = define(service(network=[{}, {"mac": "52:54:00:00:00:01"}]), []).devices
    assert [device.mac for device in devices] == [network.mac("web", 0), "52:54:00:00:00:01"]


def test_a_record_is_itself_after_it_was_text(service: MakeSpec) -> None:
    spec = service(env={"A": "<&\"' é"}, network=[{"routes": [{"to": "10.9.0.0/16", "via": "10.0.0.1"}]}, {}])
    record = define(spec, [], [["10.0.0.2", "fd00::2"], []]).record
    assert record is not None
    assert Record.load(record.dump()) == record


@pytest.mark.parametrize("text", ["", "x", "null", "5", "[]", "{}", '{"options": {}}', '{"options": {}, "addresses": 5}'])
def test_a_record_that_cannot_be_read_is_empty(text: str) -> None:
    assert Record.load(text) == Record()


@pytest.mark.parametrize(
    ("options", "reasons"),
    [
        ({"memory": "1G", "cpus": 2, "cpu_weight": 5, "tasks_max": 99, "io": {"weight": 5}, "autostart": False}, []),
        ({"network": [{"filter": False, "ports": [{"host_port": 80}]}]}, []),
        ({"level": "s0:c3,c4", "units": ["mariadb"]}, ["level", "units"]),
        ({"network": [{"source": "other"}]}, ["network"]),
        ({"capabilities": {"drop": ["sys_ptrace"]}, "env": {"A": "b"}}, ["env", "capabilities"]),
        ({"mounts": [{"type": "ram", "size": "1M", "target": "/srv/x"}]}, ["mounts"]),
    ],
)
def test_a_restart_has_reasons(service: MakeSpec, host: Host, options: dict[str, Any], reasons: list[str]) -> None:
    running, wanted = define(service(), host.followed), define(service(**options), host.followed)
    assert restart_reasons(running, wanted) == reasons


def test_another_address_is_a_reason(service: MakeSpec, host: Host) -> None:
    running, wanted = (define(service(), host.followed, [[address]]) for address in ("10.0.0.2", "10.0.0.3"))
    assert restart_reasons(running, wanted) == ["addresses"]
