# SPDX-License-Identifier: GPL-3.0-or-later
"""From a declared service and an observed one to the steps between the two."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model import layout, unit, unit_file
from ansible_collections.virt.sandbox.plugins.module_utils.model.context import Context
from ansible_collections.virt.sandbox.plugins.module_utils.model.definition import Bind, Definition
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import ConflictError, OptionError
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import Level
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host, Observed
from ansible_collections.virt.sandbox.plugins.module_utils.model.service_plan import check, plan_service, wanted_definition
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ServiceSpec, dump
from ansible_collections.virt.sandbox.plugins.module_utils.model.steps import (
    LinkJournal,
    RemoveFile,
    RemoveUnit,
    RestartSandbox,
    WriteFile,
    WriteInside,
)

from .conftest import Declared, MakeSpec

FOREIGN = Definition("web", None, ("/bin/sh",), {}, ("default", {}), (), (), "machine.slice", record=None)
FOREIGN_UNIT = "[Service]\nExecStart=/bin/true\n"

FRESH = [
    "write the files inside",
    "write the slice",
    "write the unit",
    "reload systemd",
    "write the filter",
    "define the sandbox",
    "enable the unit",
    "write the spec",
]
REMOVED = [
    "stop", "disable the unit", "undefine the sandbox", "remove the nftables rules", "remove the filter", "remove the unit",
    "remove the slice", "remove the spec", "reload systemd",
]  # fmt: skip


def steps(spec: ServiceSpec, state: str, seen: Observed, host: Host) -> list[str]:
    return [step.title for step in plan_service(spec, state, seen, host)]


@pytest.mark.parametrize(
    ("state", "last"),
    [
        ("present", []),
        ("started", ["start"]),
        ("stopped", []),
        ("restarted", ["restart"]),
        ("reloaded", ["start"]),
    ],
)
def test_a_fresh_sandbox_gets_everything_in_order(service: MakeSpec, host: Host, state: str, last: list[str]) -> None:
    assert steps(service(), state, Observed(), host) == [*FRESH, *last]


@pytest.mark.parametrize(
    ("state", "running", "expected"),
    [
        ("present", True, []),
        ("present", False, []),
        ("started", True, []),
        ("started", False, ["start"]),
        ("stopped", True, ["stop"]),
        ("stopped", False, []),
        ("restarted", True, ["restart"]),
        ("restarted", False, ["restart"]),
        ("reloaded", True, ["reload"]),
        ("reloaded", False, ["start"]),
        ("absent", True, REMOVED),
        ("absent", False, REMOVED[1:]),
    ],
)
def test_a_sandbox_that_is_as_declared(
    service: MakeSpec, host: Host, declared: Declared, state: str, running: bool, expected: list[str]
) -> None:
    assert steps(service(), state, declared(service(), running), host) == expected


DEFINED = ["define the sandbox", "write the spec"]
SLICE = ["write the slice", "reload systemd", "write the spec"]
UNIT = ["write the unit", "reload systemd", *DEFINED]
INSIDE = "write the files inside"
UNFILTERED = ["write the unit", "reload systemd", "remove the nftables rules", "remove the filter"]
CHANGES = [
    pytest.param({"memory": "1G"}, SLICE, False, id="memory"),
    pytest.param({"cpus": 0.5}, SLICE, False, id="cpus"),
    pytest.param({"tasks_max": 20}, SLICE, False, id="tasks_max"),
    pytest.param({"cpu_weight": 10}, SLICE, False, id="cpu_weight"),
    pytest.param({"io": {"devices": [{"device": "/dev/vda", "read_bandwidth": "1M"}]}}, SLICE, False, id="io"),
    pytest.param({"autostart": False}, ["disable the unit", "write the spec"], False, id="autostart"),
    pytest.param({"units": ["mariadb"]}, [INSIDE, *UNIT], True, id="units"),
    pytest.param({"network": []}, [INSIDE, *UNFILTERED, *DEFINED], True, id="no network"),
    pytest.param({"network": [{"source": "other"}]}, [INSIDE, *DEFINED], True, id="network"),
    pytest.param({"level": "s0:c3,c4"}, UNIT, True, id="level"),
    pytest.param({"process_type": "other_t"}, DEFINED, True, id="process type"),
    pytest.param({"file_type": "other_t"}, UNIT, True, id="file type"),
    pytest.param({"path": "/srv/boxes"}, UNIT, True, id="path"),
    pytest.param({"env": {"LANG": "C"}}, [INSIDE, *DEFINED], True, id="env"),
    pytest.param({"capabilities": {"drop": ["sys_ptrace"]}}, DEFINED, True, id="capabilities"),
    pytest.param({"units": [], "command": ["/bin/true"], "network": []}, [INSIDE, *UNFILTERED, *DEFINED], True, id="a command instead"),
]


@pytest.mark.parametrize("state", ["present", "started", "reloaded", "stopped", "restarted"])
@pytest.mark.parametrize(("change", "expected", "restarts"), CHANGES)
def test_a_change_to_a_running_sandbox(
    service: MakeSpec,
    host: Host,
    declared: Declared,
    change: dict[str, Any],
    expected: list[str],
    restarts: bool,
    state: str,
) -> None:
    # whoever has other interfaces stops before any other sandbox starts
    again = ["stop for its new interfaces", "restart"] if "network" in change else ["restart"]
    last = {
        "present": [],
        "started": again if restarts else [],
        "reloaded": again if restarts else ["reload"],
        "stopped": ["stop"],
        "restarted": again,
    }
    # interfaces that it runs with are filtered until it does not
    kept = [step for step in expected if state != "present" or step != "remove the nftables rules"]
    assert steps(service(**change), state, declared(service()), host) == [*kept, *last[state]]


@pytest.mark.parametrize(("change", "expected", "restarts"), CHANGES)
def test_a_change_to_a_stopped_sandbox_is_there_when_it_starts(
    service: MakeSpec, host: Host, declared: Declared, change: dict[str, Any], expected: list[str], restarts: bool
) -> None:
    assert steps(service(**change), "started", declared(service(), running=False), host) == [*expected, "start"]
    assert steps(service(**change), "present", declared(service(), running=False), host) == expected


def test_a_restart_says_why(service: MakeSpec, host: Host, declared: Declared) -> None:
    plan = plan_service(service(level="s0:c3,c4", units=["mariadb"]), "started", declared(service()), host)
    (restart,) = (step for step in plan if isinstance(step, RestartSandbox))
    assert restart == RestartSandbox("web", "web_sandbox.service", "running (level, units changed)")
    assert restart.change() == ("running (level, units changed)", "running")


def test_what_runs_is_compared_too(service: MakeSpec, host: Host, declared: Declared) -> None:
    """Declared, defined and written long ago with state present: a later started brings it in."""
    spec = service()
    old = wanted_definition(service(level="s0:c8,c9"), host)
    assert steps(spec, "started", declared(spec, active=old), host) == ["restart"]
    assert steps(spec, "present", declared(spec, active=old), host) == []


WRONG = {
    "label": {"context": Context.process("virt_sandbox_t", Level.parse("s0:c8,c9"))},
    "no label": {"context": None},
    "init": {"init": ("/bin/sh",)},
    "mounts": {"binds": (Bind("/", "/"),)},
    "slice": {"slice": "machine.slice"},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_runs_otherwise_than_its_record_says_is_restarted(
    service: MakeSpec, host: Host, declared: Declared, wrong: dict[str, Any]
) -> None:
    """Somebody changed the definition and started it, and the record of ours in it is still the same."""
    spec = service()
    changed = dataclasses.replace(wanted_definition(spec, host), **wrong)
    assert steps(spec, "started", declared(spec, active=changed), host) == ["restart"]
    assert steps(spec, "present", declared(spec, active=changed), host) == []


def test_another_interface_than_the_record_says_is_replaced(service: MakeSpec, host: Host, declared: Declared) -> None:
    spec = service()
    before = wanted_definition(spec, host)
    changed = dataclasses.replace(before, devices=(dataclasses.replace(before.devices[0], source="other"),))
    assert steps(spec, "started", declared(spec, active=changed), host) == ["stop for its new interfaces", "restart"]


def test_a_change_that_a_run_left_for_later_is_not_forgotten(service: MakeSpec, host: Host, declared: Declared) -> None:
    """With state present, or killed before the restart: all is as declared but what the sandbox was started with."""
    before, after = service(), service(units=["mariadb"])
    seen = declared(after, active=wanted_definition(before, host))
    assert steps(after, "present", seen, host) == []
    assert steps(after, "started", seen, host) == ["restart"]
    limited = declared(service(memory="1G"), active=wanted_definition(before, host))
    assert steps(service(memory="1G"), "started", limited, host) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"unit_text": f"{layout.MARK}\n[Service]\n"}, ["write the unit", "reload systemd"], id="unit edited"),
        pytest.param({"unit_text": None}, ["write the unit", "reload systemd"], id="unit gone"),
        pytest.param({"slice_text": None}, ["write the slice", "reload systemd"], id="slice gone"),
        pytest.param({"defined": None}, ["define the sandbox"], id="domain gone"),
        pytest.param({"spec_text": None, "spec": None}, ["write the spec"], id="spec gone"),
        pytest.param({"filter_text": None}, ["load the nftables rules", "write the filter"], id="filter gone"),
        pytest.param({"inside": {}}, ["write the files inside"], id="files inside gone"),
        pytest.param({"unit": {"ActiveState": "active", "UnitFileState": "disabled"}}, ["enable the unit"], id="unit disabled"),
        pytest.param(
            {"unit": {"ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "yes"}},
            ["reload systemd"],
            id="interrupted before systemd was told",
        ),
    ],
)
def test_drift_is_mended_without_a_restart(
    service: MakeSpec, host: Host, declared: Declared, changes: dict[str, Any], expected: list[str]
) -> None:
    assert steps(service(), "started", declared(service(), **changes), host) == expected


def test_a_definition_edited_by_hand_is_defined_again(service: MakeSpec, host: Host, declared: Declared) -> None:
    edited = dataclasses.replace(wanted_definition(service(), host), deviations=("no network namespace",))
    assert steps(service(), "started", declared(service(), defined=edited), host) == ["define the sandbox"]


def test_the_files_inside_are_one_step_of_what_differs(service: MakeSpec, host: Host, declared: Declared) -> None:
    there = {**declared(service()).inside, "etc/hostname": ("text", "evil\n"), "etc/systemd/network/11-eth1.network": ("text", "old")}
    (step,) = plan_service(service(), "started", declared(service(), inside=there), host)
    before = {"etc/hostname": "evil\n", "etc/systemd/network/11-eth1.network": "old"}
    assert step == WriteInside(
        "web",
        root="/var/lib/libvirt/filesystems/web",
        context=Context.parse("system_u:object_r:virt_sandbox_file_t:s0:c1,c2"),
        files={"etc/hostname": ("text", "web\n")},
        gone=["etc/systemd/network/11-eth1.network"],
        before=before,
    )
    assert step.change() == (before, {"etc/hostname": "web\n"})


@pytest.mark.parametrize("active_state", ["inactive", "failed", "deactivating", ""])
def test_a_sandbox_that_runs_behind_its_units_back_is_restarted(
    service: MakeSpec, host: Host, declared: Declared, active_state: str
) -> None:
    seen = declared(service(), unit={"ActiveState": active_state, "UnitFileState": "enabled"})
    assert steps(service(), "started", seen, host) == ["restart"]
    assert steps(service(), "reloaded", seen, host) == ["restart"]
    assert steps(service(), "present", seen, host) == []


@pytest.mark.parametrize("active_state", ["active", "activating", "reloading"])
def test_a_unit_on_its_way_is_not_started_again(service: MakeSpec, host: Host, declared: Declared, active_state: str) -> None:
    seen = declared(service(), running=False, unit={"ActiveState": active_state, "UnitFileState": "enabled"})
    assert steps(service(), "started", seen, host) == []
    assert steps(service(), "stopped", seen, host) == ["stop"]


def test_what_is_written_can_be_read_by_those_who_should(service: MakeSpec, host: Host) -> None:
    written = {step.path: step for step in plan_service(service(), "started", Observed(), host) if isinstance(step, WriteFile)}
    assert {path: step.mode for path, step in written.items()} == {
        "/etc/systemd/system/machine-virt_sandbox-web.slice": 0o644,
        "/etc/systemd/system/web_sandbox.service": 0o644,
        "/etc/libvirt-sandbox/services/web.nft": 0o600,
        "/etc/libvirt-sandbox/services/web.sandbox": 0o600,
    }
    assert written["/etc/libvirt-sandbox/services/web.sandbox"].text == dump(service())


def test_the_plan_can_be_told_to_ansible(service: MakeSpec, host: Host, declared: Declared) -> None:
    for plan in (
        plan_service(service(), "started", Observed(), host),
        plan_service(service(level="s0:c7,c8"), "started", declared(service()), host),
        plan_service(service(), "absent", declared(service()), host),
    ):
        assert json.loads(json.dumps(plan.diff())) == plan.diff()


# Absent


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, [], id="never there"),
        pytest.param({"spec_text": "x"}, ["remove the spec", "reload systemd"], id="spec only"),
        pytest.param({"unit_text": layout.MARK}, ["remove the unit", "reload systemd"], id="unit only"),
        pytest.param({"unit": {"UnitFileState": "enabled"}}, ["disable the unit"], id="enabled"),
        pytest.param({"unit": {"ActiveState": "activating"}}, ["stop"], id="starting"),
    ],
)
def test_what_an_interrupted_removal_left_is_removed(service: MakeSpec, host: Host, changes: dict[str, Any], expected: list[str]) -> None:
    assert steps(service(), "absent", Observed(**changes), dataclasses.replace(host, filtered=())) == expected


def test_removal_unlinks_its_own_files(service: MakeSpec, host: Host, declared: Declared) -> None:
    plan = plan_service(service(), "absent", declared(service()), host)
    assert [step.path for step in plan if isinstance(step, (RemoveUnit, RemoveFile))] == [
        "/etc/libvirt-sandbox/services/web.nft",
        "/etc/systemd/system/web_sandbox.service",
        "/etc/systemd/system/machine-virt_sandbox-web.slice",
        "/etc/libvirt-sandbox/services/web.sandbox",
    ]


# Refusals, before anything changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"defined": FOREIGN}, "libvirt has a domain web that this collection did not create", id="domain"),
        pytest.param({"unit_text": FOREIGN_UNIT}, "web_sandbox.service was not created by this collection", id="unit"),
        pytest.param({"slice_text": FOREIGN_UNIT}, "machine-virt_sandbox-web.slice was not created by this collection", id="slice"),
    ],
)
def test_what_is_not_ours_is_left_alone(service: MakeSpec, host: Host, changes: dict[str, Any], message: str) -> None:
    seen = Observed(**changes)
    with pytest.raises(ConflictError, match=message):
        check(service(), seen, host)
    with pytest.raises(ConflictError, match=message):
        check(service(), seen, host, predicted=True)
    with pytest.raises(ConflictError, match=message):
        plan_service(service(), "absent", seen, host)


def test_the_host_administrators_unit_counts_only_as_the_content_has_it(service: MakeSpec, host: Host, declared: Declared) -> None:
    path = "/etc/systemd/system/mine.service"
    known = {"mine.service": unit_file.parse("mine.service", path, ["[Service]\nDynamicUser=yes\n"])}
    systemd = dataclasses.replace(host.systemd, unit_paths={**host.systemd.unit_paths, "mine.service": path}, units=known)
    host, spec = dataclasses.replace(host, systemd=systemd), service(units=["mine"])
    announced = plan_service(spec, "present", declared(spec, inside={}), host).steps[0]
    assert isinstance(announced, WriteInside)
    assert announced.files["etc/systemd/system/multi-user.target.wants/mine.service"] == ("link", path)
    assert "User=mine" in announced.files["etc/systemd/system/mine.service.d/50-sandbox.conf"][1]
    check(spec, declared(spec, own_units=known), host)
    with pytest.raises(OptionError, match="Check that its package is installed"):
        check(spec, declared(spec, own_units={}), host)


def test_a_unit_that_only_the_content_has_is_run(service: MakeSpec, host: Host, declared: Declared) -> None:
    path = "/etc/systemd/system/mine.service"
    systemd = dataclasses.replace(host.systemd, unit_paths={**host.systemd.unit_paths, "mine.service": ""})
    host, spec = dataclasses.replace(host, systemd=systemd), service(units=["mine"])
    own = unit_file.parse("mine.service", path, ["[Service]\n"])
    check(spec, declared(spec, own_units={"mine.service": own}), host)
    masked = unit_file.parse("mine.service", path, [], masked=path)
    with pytest.raises(OptionError, match=f"It is masked by {path}"):
        check(spec, declared(spec, own_units={"mine.service": masked}), host)


def test_how_a_command_ended_is_forgotten_with_the_sandbox(service: MakeSpec, host: Host, declared: Declared) -> None:
    (step,) = (step for step in plan_service(service(), "absent", declared(service(), code="0\n"), host) if "command" in step.title)
    assert step == RemoveFile("web", "the exit code of its command", "/run/virt-sandbox/web.code", "0\n")


def without_networkd(host: Host) -> Host:
    paths = {**host.systemd.unit_paths, unit.NETWORK_UNIT: ""}
    return dataclasses.replace(host, systemd=dataclasses.replace(host.systemd, unit_paths=paths))


def test_what_is_declared_and_there_is_accepted(service: MakeSpec, host: Host, declared: Declared) -> None:
    check(service(), declared(service()), host)
    check(service(network=[]), declared(service()), without_networkd(host))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            {"units": ["gone"]},
            "units: 'gone.service' is invalid: expected a unit in /usr/lib/systemd/system or /etc/systemd/system of the host,"
            " or in /etc/systemd/system of the sandbox. Check that its package is installed.",
            id="unit",
        ),
        pytest.param(
            {"network": [{}, {"source": "gone"}]},
            "network[1].source: libvirt network 'gone' does not exist or is not active. Active networks: default, other, virt-sandbox.",
            id="network",
        ),
    ],
)
@pytest.mark.parametrize("predicted", [False, True])
def test_what_the_host_lacks_is_named(
    service: MakeSpec, host: Host, declared: Declared, options: dict[str, Any], message: str, predicted: bool
) -> None:
    with pytest.raises(OptionError) as caught:
        check(service(**options), declared(service()), host, predicted=predicted)
    assert str(caught.value) == message


def test_a_host_without_networks_says_so(service: MakeSpec, host: Host, declared: Declared) -> None:
    with pytest.raises(OptionError, match=r"does not exist or is not active. Active networks: none"):
        check(service(), declared(service()), dataclasses.replace(host, networks={}))


def test_a_host_without_a_network_daemon_says_so(service: MakeSpec, host: Host, declared: Declared) -> None:
    with pytest.raises(OptionError, match=r"network: needs systemd-networkd.service, which this host does not have. Install it."):
        check(service(), declared(service()), without_networkd(host))


@pytest.mark.parametrize(
    ("context", "message"),
    [
        pytest.param(None, "name: 'web' is invalid: expected a sandbox with content in /var/lib/libvirt/filesystems/web", id="no content"),
        pytest.param(
            "system_u:object_r:virt_sandbox_root_t:s0:c3,c4",
            "level: 's0:c1,c2' is invalid: expected the level of the content, "
            "which is labelled system_u:object_r:virt_sandbox_root_t:s0:c3,c4",
            id="content at another level",
        ),
        pytest.param("system_u:object_r:virt_sandbox_root_t:s0", "level: 's0:c1,c2' is invalid", id="content at no level"),
        pytest.param("system_u:object_r:var_lib_t:s0:c1,c2", "level: 's0:c1,c2' is invalid", id="content of another type"),
    ],
)
def test_content_is_there_and_at_the_sandboxes_level(
    service: MakeSpec, host: Host, declared: Declared, context: str | None, message: str
) -> None:
    seen = declared(service(), content_context=context)
    with pytest.raises(OptionError) as caught:
        check(service(), seen, host)
    assert str(caught.value).startswith(message)
    # in check mode an earlier task has only announced the content
    check(service(), seen, host, predicted=True)


# What runs what the host has replaced

OLD_FILE = ["/usr/sbin/httpd"]


@pytest.mark.parametrize(
    ("state", "expected"),
    [("started", ["restart"]), ("reloaded", ["restart"]), ("restarted", ["restart"]), ("present", []), ("stopped", ["stop"])],
)
def test_what_is_stale_is_restarted(service: MakeSpec, host: Host, declared: Declared, state: str, expected: list[str]) -> None:
    spec = service()
    assert steps(spec, state, declared(spec, stale=OLD_FILE), host) == expected


def test_a_restart_says_which_file_is_stale(service: MakeSpec, host: Host, declared: Declared) -> None:
    spec = service()
    (step,) = plan_service(spec, "started", declared(spec, stale=OLD_FILE), host)
    assert step.change()[0] == "running (/usr/sbin/httpd changed)"


# Its journal among the host's


def test_the_journal_is_linked_where_the_host_keeps_one(service: MakeSpec, host: Host, declared: Declared) -> None:
    spec, paths = service(), service().paths
    keeping = dataclasses.replace(host, keeps_journal=True)
    (step,) = plan_service(spec, "started", declared(spec), keeping)
    assert step == LinkJournal("web", paths.journal_link, paths.journal, None)
    assert steps(spec, "started", declared(spec, journal="/elsewhere"), keeping) == ["link the journal"]
    assert steps(spec, "started", declared(spec, journal=paths.journal), keeping) == []
    assert steps(spec, "absent", declared(spec, running=False, journal=paths.journal), host)[4] == "remove the link to the journal"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("started", ["start the units inside"]),
        ("reloaded", ["start the units inside"]),
        ("present", []),
        ("stopped", ["stop"]),
        ("restarted", ["restart"]),
    ],
)
def test_a_unit_that_has_failed_inside_is_started_there(
    service: MakeSpec, host: Host, declared: Declared, state: str, expected: list[str]
) -> None:
    seen = declared(service(), down={"httpd.service": "failed"})
    assert steps(service(), state, seen, host) == expected


def test_what_the_host_comes_to_have_is_followed_from_the_next_start_on(service: MakeSpec, host: Host, declared: Declared) -> None:
    more = dataclasses.replace(host, followed=[*host.followed, "/etc/ssl/certs"])
    assert steps(service(), "started", declared(service()), more) == ["define the sandbox"]
