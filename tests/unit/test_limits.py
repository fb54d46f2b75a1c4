# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits in the kernel's own words, what is written to bring them about, and what a host refuses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host import block
from ansible_collections.virt.sandbox.plugins.module_utils.model import limits
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host
from ansible_collections.virt.sandbox.plugins.module_utils.model.service_plan import plan_service
from ansible_collections.virt.sandbox.plugins.module_utils.model.steps import ApplyLimits

from .conftest import Declared, MakeSpec

DEVICES = {"/dev/vda": "254:0", "/srv": "254:0", "/dev/vdb": "254:16", "/run": ""}
NONE = {
    "memory.max": "max", "memory.high": "max", "memory.swap.max": "max", "cpu.max": "max 100000", "cpu.weight": "100", "pids.max": "max",
    "io.max": "", "io.weight": "default 100",
}  # fmt: skip


def io(*devices: dict[str, Any]) -> dict[str, Any]:
    return {"io": {"devices": list(devices)}}


# a default, an odd size of which systemd takes a share
HOST = limits.HostSize(15_671, (2_054_321_987 // 4096) * 4096)
NO_LIMIT = {"memory": "unlimited", "tasks_max": "unlimited"}
VDA = {"device": "/dev/vda", "read_bandwidth": "1M", "write_operations": 9}
VDB = {"device": "/dev/vdb", "write_bandwidth": "4K", "read_operations": 8}
LINE_A, LINE_B = "254:0 rbps=1048576 wbps=max riops=max wiops=9", "254:16 rbps=max wbps=4096 riops=8 wiops=max"


@pytest.mark.parametrize(
    ("options", "files"),
    [
        (NO_LIMIT, {}),
        ({}, {"memory.high": str(250_771 * 4096), "pids.max": "2350"}),
        ({**NO_LIMIT, "tasks_max": "20%"}, {"pids.max": "3134"}),
        ({**NO_LIMIT, "memory_high": "1G"}, {"memory.high": str(1 << 30)}),
        (
            {**NO_LIMIT, "memory": "1G", "memory_high": "25%"},
            {"memory.max": str(1 << 30), "memory.swap.max": "0", "memory.high": "513576960"},
        ),
        ({"memory": "20000000"}, {"memory.max": "19996672", "memory.swap.max": "0"}),
        ({"cpus": 0.25}, {"cpu.max": "25000 100000"}),
        ({"cpu_weight": 7}, {"cpu.weight": "7"}),
        ({"tasks_max": 70}, {"pids.max": "70"}),
        ({"io": {"weight": 7}}, {"io.weight": "default 7"}),
        (io(VDB, VDA), {"io.max": f"{LINE_A}\n{LINE_B}"}),
    ],
)
def test_the_kernel_shows_them_like_this(service: MakeSpec, options: dict[str, Any], files: dict[str, str]) -> None:
    assert limits.kernel_limits(service(**{**NO_LIMIT, **options}) if options else service(), DEVICES, HOST) == {**NONE, **files}
    assert set(limits.FILES) == set(NONE)


@pytest.mark.parametrize(
    ("name", "before", "after", "text"),
    [
        ("pids.max", "max", "7", "7"),
        ("io.max", "", LINE_A, LINE_A),
        ("io.max", LINE_A, "", "254:0 rbps=max wbps=max riops=max wiops=max"),
        ("io.max", LINE_A, LINE_B, f"{LINE_B}\n254:0 rbps=max wbps=max riops=max wiops=max"),
        ("io.max", f"{LINE_A}\n{LINE_B}", LINE_B, f"{LINE_B}\n254:0 rbps=max wbps=max riops=max wiops=max"),
    ],
)
def test_what_is_written(name: str, before: str, after: str, text: str) -> None:
    assert limits.to_write(name, before, after) == text


def test_a_running_sandbox_gets_them_at_once(service: MakeSpec, host: Host, declared: Declared) -> None:
    before = {**NONE, "pids.max": "99", "io.max": LINE_B}
    del before["io.weight"]  # as on a kernel without weights
    facts = Host(**{**vars(host), "devices": DEVICES})
    plan = plan_service(service(**io(VDA), **NO_LIMIT), "started", declared(service(), limits=before), facts)
    (step,) = [step for step in plan if isinstance(step, ApplyLimits)]
    assert step.change() == ({"pids.max": "99", "io.max": LINE_B}, {"pids.max": "max", "io.max": LINE_A})
    assert step.cgroup == "/sys/fs/cgroup/machine.slice/machine-virt_sandbox.slice/machine-virt_sandbox-web.slice"
    assert step.values == {"pids.max": "max", "io.max": f"{LINE_A}\n254:16 rbps=max wbps=max riops=max wiops=max"}


SAME = "io.devices[1].device: /srv and /dev/vda are on the same device (254:0). List each device once."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (io({**VDA, "device": "/nosuch"}), "io.devices[0].device: '/nosuch' is invalid: expected a block device of the host"),
        (io(VDB, {**VDA, "device": "/run"}), "io.devices[1].device: '/run' is invalid: expected a block device of the host"),
        (io(VDA, {**VDA, "device": "/srv"}), SAME),
        ({"io": {"weight": 5}}, "io.weight: not supported on this host, because its kernel has neither io.cost nor"),
    ],
)  # fmt: skip
def test_a_host_refuses_what_it_cannot_do(service: MakeSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        limits.check_host(service(**options).io, DEVICES, False)
    assert str(caught.value).startswith(message)
    limits.check_host(service(**io(VDA, VDB)).io, DEVICES, False)
    limits.check_host(service(io={"weight": 5}).io, DEVICES, True)


def disk(sys: Path, number: str, place: str, *, partition: bool = False, below: str = "") -> None:
    directory = sys / "devices" / place
    directory.mkdir(parents=True)
    (directory / "dev").write_text(number + "\n")
    if partition:
        (directory / "partition").write_text("1\n")
    if below:
        (directory / "slaves").mkdir()
        (directory / "slaves" / "sda2").symlink_to(sys / "devices" / below)
    (sys / "dev/block").mkdir(parents=True, exist_ok=True)
    (sys / "dev/block" / number).symlink_to(directory)


def test_a_disk_is_found_below_its_partition_and_what_is_mapped_to_it(tmp_path: Path) -> None:
    disk(tmp_path, "8:0", "sda")
    disk(tmp_path, "8:2", "sda/sda2", partition=True)
    disk(tmp_path, "253:0", "dm-0", below="sda/sda2")
    assert [block.whole_disk(number, str(tmp_path)) for number in ("8:0", "8:2", "253:0")] == ["8:0"] * 3
    assert block.whole_disk("7:0", str(tmp_path)) == "7:0"


def test_what_is_on_no_device_has_no_number(tmp_path: Path) -> None:
    assert block.device_number(str(tmp_path / "nosuch")) == ""
    assert block.device_number("/dev/null") == ""
    assert block.device_number("/proc") == ""
    status = os.stat(tmp_path)
    expected = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}" if os.major(status.st_dev) else ""
    assert block.device_number(str(tmp_path), str(tmp_path)) == expected


def test_weights_need_something_that_reads_them(tmp_path: Path) -> None:
    assert not block.has_weights(str(tmp_path))
    (tmp_path / "block/sda/queue").mkdir(parents=True)
    scheduler = tmp_path / "block/sda/queue/scheduler"
    scheduler.write_text("[none] bfq\n")
    assert not block.has_weights(str(tmp_path))
    scheduler.write_text("none [bfq]\n")
    assert block.has_weights(str(tmp_path))
    scheduler.unlink()
    (tmp_path / "fs/cgroup").mkdir(parents=True)
    (tmp_path / "fs/cgroup/io.cost.qos").touch()
    assert block.has_weights(str(tmp_path))
