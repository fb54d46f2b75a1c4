# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a sandbox: each option is created, repeated, changed, repeated, removed and repeated.

What a run did is asked of the kernel and of the host's tools, never of the module that did it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model.network import host_device
from ansible_collections.virt.sandbox.tests.cycle import CONTENT, INFO, LABEL, SERVICE, Cycle, CycleTests, Stage
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Played, Task, difference, sandboxes_gone, shell_task, snapshot_task

NAME, LEVEL, ADDRESS = "it-svc", "s0:c921,c922", "10.213.187.221"

UNITS = ["apache2.service"]
PRIVATE = ["/etc/apache2", "/etc/mime.types", "/var/cache/apache2", "/var/lib/apache2", "/var/log/apache2", "/var/www"]
MANAGED: list[dict[str, Any]] = [{"type": "managed"}]
ADDRESSED: list[dict[str, Any]] = [{"type": "managed", "addresses": [f"{ADDRESS}/22"]}]
TREE = f"/var/lib/libvirt/filesystems/{NAME}"
CGROUP = "/sys/fs/cgroup/machine.slice/machine-virt_sandbox.slice/machine-virt_sandbox-it\\\\x2dsvc.slice"
MB = 1024 * 1024

# the unit's main process as the sandbox counts, when it began, the limit, addresses, labels of processes
LOOK = f"""
pid=$(pgrep -o -P "$(cat /run/libvirt/lxc/{NAME}.pid)")
echo "main=$(cut -d' ' -f22 /proc/$pid/stat)"
echo "memory=$(cat {CGROUP}/memory.max)"
echo "tasks=$(cat {CGROUP}/pids.max)"
echo "cpu=$(cat {CGROUP}/cpu.max)"
echo "addresses=$(nsenter -n -t $pid ip -4 -o address show dev eth0 | awk '{{print $4}}' | xargs)"
echo "http=$(curl -s -o /dev/null -m 10 -w '%{{http_code}}' http://$(nsenter -n -t $pid ip -4 -o address show dev eth0 | awk '{{split($4, a, "/"); print a[1]; exit}}')/)"
"""  # noqa: E501


NO_LIMIT = {"memory": "max", "cpu": "max 100000", "http": "200"}
STAGES = (
    Stage(
        "create", {"units": UNITS, "network": MANAGED},
        ("write the files inside", "write the slice", "write the unit", "reload systemd", "reserve the addresses", "update /etc/hosts",
         "write the filter", "define the sandbox", "enable the unit", "link the journal", "write the spec", "start"),
        True, NO_LIMIT,
    ),
    Stage(
        "change limits", {"units": UNITS, "network": MANAGED, "memory": "300M", "tasks_max": 200, "cpus": 0.5},
        ("write the slice", "reload systemd", "apply the limits", "write the spec"),
        False, {"memory": str(300 * MB), "tasks": "200", "cpu": "50000 100000", "http": "200"},
    ),
    Stage(
        "change the network", {"units": UNITS, "network": ADDRESSED, "memory": "300M", "tasks_max": 200, "cpus": 0.5},
        ("release the addresses", "reserve the addresses", "update /etc/hosts", "write the filter", "define the sandbox",
         "write the spec", "stop for its new interfaces", "restart"),
        True, {"memory": str(300 * MB), "addresses": f"{ADDRESS}/22", "http": "200"},
    ),
    Stage(
        "remove limits", {"units": UNITS, "network": ADDRESSED, "tasks_max": "unlimited"},
        ("write the slice", "reload systemd", "apply the limits", "write the spec"),
        False, {**NO_LIMIT, "tasks": "max", "addresses": f"{ADDRESS}/22"},
    ),
)  # fmt: skip
CYCLE = Cycle(NAME, LEVEL, LOOK, STAGES)
TRIO = ("it-one", "it-two", "it-three")
TRIO_OPTIONS = [{"name": name, "units": ["systemd-tmpfiles-clean.timer"]} for name in TRIO]


def content_tasks() -> Iterator[Task]:
    arguments = {"name": NAME, "level": LEVEL, "private": PRIVATE}
    yield {"name": "content: in check mode", CONTENT: arguments, "check_mode": True}
    yield snapshot_task("content: snapshot after check mode")
    yield {"name": "content: for real", CONTENT: arguments}
    yield {"name": "content: again", CONTENT: arguments}


def end_tasks() -> Iterator[Task]:
    absent = {"name": NAME, "state": "absent"}
    yield {"name": "info", INFO: {"name": NAME}}
    yield {"name": "content absent while it runs", CONTENT: absent}
    yield {"name": "stopped", SERVICE: {"name": NAME, "level": LEVEL, **STAGES[-1].options, "state": "stopped"}}
    yield shell_task("is it stopped", f"virsh -q -c lxc:///system domstate {NAME}; systemctl is-active {NAME}_sandbox.service")
    yield {"name": "absent: in check mode", SERVICE: absent, "check_mode": True}
    yield {"name": "absent: for real", SERVICE: absent}
    yield {"name": "absent: again", SERVICE: absent}
    yield snapshot_task("absent: snapshot")
    yield {"name": "content absent: in check mode", CONTENT: absent, "check_mode": True}
    yield {"name": "content absent: for real", CONTENT: absent}
    yield {"name": "content absent: again", CONTENT: absent}
    yield {"name": "label absent", LABEL: absent}
    yield snapshot_task("end: snapshot")


def trio_tasks() -> Iterator[Task]:
    absent = [{"name": name, "state": "absent"} for name in TRIO]
    yield {"name": "three: labels", LABEL: {"sandboxes": [{"name": name} for name in TRIO]}}
    yield {"name": "three: content", CONTENT: {"sandboxes": [{"name": name} for name in TRIO]}}
    yield {"name": "three: started", SERVICE: {"sandboxes": TRIO_OPTIONS}}
    yield {"name": "three: again", SERVICE: {"sandboxes": TRIO_OPTIONS}}
    label = "ps -o label= -p $(pgrep -o -P $(cat /run/libvirt/lxc/$name.pid))"
    yield shell_task("three: look", f"for name in {' '.join(TRIO)}; do {label}; done")
    yield {"name": "three: info", INFO: {}}
    yield {"name": "three: absent", SERVICE: {"sandboxes": absent}}
    yield {"name": "three: content absent", CONTENT: {"sandboxes": absent}}
    yield {"name": "three: labels absent", LABEL: {"sandboxes": absent}}
    yield snapshot_task("three: snapshot")


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    names = (NAME, *TRIO)
    tasks = [
        *sandboxes_gone(names, " first"),
        snapshot_task("beginning: snapshot"),
        {"name": "label", LABEL: {"name": NAME, "level": LEVEL}},
    ]
    tasks += content_tasks()
    tasks += CYCLE.tasks()
    tasks += [*end_tasks(), *trio_tasks()]
    yield lab.play(tasks)
    lab.play(sandboxes_gone(names))


def without_quarantine(snapshot: dict[str, Any]) -> dict[str, Any]:
    """A released level rests: of the registry only the owners are compared."""
    return {**snapshot, "registry": snapshot["registry"].get("owner", [])}


class TestLife(CycleTests):
    cycle = CYCLE


def test_content_is_predicted_made_and_left_alone(played: Played, host: str) -> None:
    outcomes = played.on(host)
    predicted, real, again = (outcomes[f"content: {way}"] for way in ("in check mode", "for real", "again"))
    assert predicted.steps(NAME) == real.steps(NAME) == ["write the record of the content", "build the content"]
    assert not again.failed, again.message
    assert not again.changed, again.result["steps"]
    assert TREE not in str(outcomes["content: snapshot after check mode"].snapshot["entries"].keys())


def test_every_entry_of_the_content_has_its_label(played: Played, host: str) -> None:
    entries = played.on(host)["create: snapshot"].snapshot["entries"]
    labels = {path: shown[3] for path, shown in entries.items() if path.startswith(TREE)}
    assert len(labels) > 300
    assert {label.split(":", 3)[3] for label in labels.values()} == {LEVEL}
    assert {label.split(":")[2] for label in labels.values()} == {"virt_sandbox_file_t", "virt_sandbox_root_t"}
    assert labels[f"{TREE}/var/www/html/index.html"] == f"system_u:object_r:virt_sandbox_file_t:{LEVEL}"


def test_info_shows_what_runs(played: Played, host: str) -> None:
    outcome = played.on(host)["info"]
    assert not outcome.failed, outcome.message
    info = outcome.result["sandboxes"][NAME]
    assert (info["state"], info["enabled"], info["units"], info["drift"]) == ("running", True, {"apache2.service": "active"}, [])
    assert info["addresses"] == [ADDRESS]
    assert {one["context"].split(":", 2)[2] for one in info["processes"]} == {f"virt_sandbox_t:{LEVEL}"}
    assert {"systemd", "apache2"} <= {one["command"] for one in info["processes"]}
    assert info["resources"]["memory_bytes"] > MB


def test_content_of_a_running_sandbox_is_not_removed(played: Played, host: str) -> None:
    outcome = played.on(host)["content absent while it runs"]
    assert outcome.failed
    assert f"{NAME} is running. Stop it" in outcome.message


def test_stopped(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["stopped"].steps(NAME) == ["stop"]
    assert outcomes["is it stopped"].stdout.split() == ["shut", "off", "inactive"]


def test_absent_leaves_the_content_and_nothing_else(played: Played, host: str) -> None:
    outcomes = played.on(host)
    predicted, real = outcomes["absent: in check mode"], outcomes["absent: for real"]
    steps = [
        "disable the unit", "undefine the sandbox", "release the addresses", "update /etc/hosts",
        "remove the nftables rules", "remove the filter",
        "remove the link to the journal", "remove the unit", "remove the slice", "remove the spec", "reload systemd",
    ]  # fmt: skip
    assert predicted.steps(NAME) == real.steps(NAME) == steps
    assert not real.failed, real.message
    assert not outcomes["absent: again"].changed
    left = difference(outcomes["beginning: snapshot"].snapshot, outcomes["absent: snapshot"].snapshot)
    kept = {path for path in left if path.startswith(f"entries {TREE}")}
    assert f"entries {TREE}/var/www/html/index.html" in kept
    of_the_content = {f"entries /var/lib/virt-sandbox/content/{NAME}{suffix}" for suffix in (".json", ".copied.json")}
    assert {path for path in left if path not in kept} <= of_the_content | HOST_WIDE
    assert not [line for line in outcomes["absent: snapshot"].snapshot["filters"] if host_device(NAME, 0) in line]


# made for the first sandbox, and for all; of the network's definition only that nothing of this sandbox is left in it
HOST_WIDE = {
    "networks virt-sandbox",
    "entries /etc/libvirt-sandbox", "entries /etc/libvirt-sandbox/services", "entries /var/lib/virt-sandbox/content",
    "entries /var/lib/libvirt/filesystems",
    "filters",
    "registry quarantine", "registry owner", "registry setting", "registry free", "registry pool",
}  # fmt: skip


def test_content_absent_leaves_nothing(played: Played, host: str) -> None:
    outcomes = played.on(host)
    predicted, real = outcomes["content absent: in check mode"], outcomes["content absent: for real"]
    assert predicted.steps(NAME) == real.steps(NAME) == ["remove the content", "remove the record of the content"]
    assert not outcomes["content absent: again"].changed
    assert not outcomes["label absent"].failed
    before, after = (without_quarantine(outcomes[f"{when}: snapshot"].snapshot) for when in ("beginning", "end"))
    assert set(difference(before, after)) - HOST_WIDE == set()
    assert NAME not in str(after["registry"])
    assert NAME not in str(after["networks"])


def test_three_sandboxes_in_one_task(played: Played, host: str) -> None:
    outcomes = played.on(host)
    for task in ("three: labels", "three: content", "three: started", "three: again", "three: absent", "three: content absent"):
        assert not outcomes[task].failed, outcomes[task].message
    assert set(outcomes["three: started"].result["sandboxes"]) == set(TRIO)
    assert not outcomes["three: again"].changed, outcomes["three: again"].result["steps"]
    levels = outcomes["three: labels"].result["levels"]
    assert len(set(levels.values())) == 3
    assert outcomes["three: look"].stdout.split() == [f"system_u:system_r:virt_sandbox_t:{levels[name]}" for name in TRIO]
    assert {outcomes["three: info"].result["sandboxes"][name]["state"] for name in TRIO} == {"running"}
    assert set(difference(*(without_quarantine(outcomes[f"{when}: snapshot"].snapshot) for when in ("end", "three")))) - HOST_WIDE == set()
