# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd's files: what systemd itself reads of them."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model import layout, network_filter, unit
from ansible_collections.virt.sandbox.plugins.module_utils.model.addresses import LibvirtNetwork
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import older_defaults
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ServiceSpec, service_spec

from .conftest import MakeSpec


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_reads_unit_and_slice_without_complaint(service: MakeSpec, tmp_path: Path) -> None:
    spec = service(name="my-web", memory="512M", cpus=0.5, tasks_max=100)
    paths = spec.paths
    # the helper and nft need not be on this machine; all else of the unit is as on a host
    text = unit.host_unit(spec).replace("Wants=libvirtd.service systemd-machined.service\n", "")
    for program in (layout.HELPER, network_filter.NFT):
        text = text.replace(program, "/bin/true")
    (tmp_path / paths.unit).write_text(text)
    (tmp_path / paths.slice).write_text(unit.slice_unit(spec))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / paths.unit), str(tmp_path / paths.slice)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "my" in line and "web" in line] == []


# A command line, as systemd splits it (systemd.service(5), COMMAND LINES): backslashes begin C escapes.
def split(line: str) -> list[str]:
    return [word.encode().decode("unicode_escape") for word in line.split()]


@pytest.mark.parametrize("directive", ["ExecStartPre", "ExecStart", "ExecReload", "ExecStop", "ExecStopPost"])
@pytest.mark.parametrize("name", ["web", "my-web-2"])
def test_every_command_gets_its_arguments_whole(service: MakeSpec, name: str, directive: str) -> None:
    spec = service(name=name, units=[r"w@a\x2db", "x"])
    (line,) = (line for line in unit.host_unit(spec).splitlines() if line.startswith(f"{directive}="))
    verb = {"ExecStartPre": "start", "ExecStart": "watch", "ExecReload": "reload", "ExecStop": "stop", "ExecStopPost": "clean"}
    units = [r"w@a\x2db.service", "x.service"] if directive == "ExecReload" else []
    given = [f"filter:{spec.paths.filter}", "tmpfs:10%%", f"root:{spec.paths.root}"] if directive == "ExecStartPre" else []
    arguments = [verb[directive], name, spec.paths.slice, "s0:c1,c2", "virt_sandbox_file_t", *given, *units]
    assert split(line.partition("=")[2].lstrip("-")) == [layout.HELPER, *arguments]


@pytest.mark.parametrize(
    ("limits", "lines"),
    [
        pytest.param({"memory": "unlimited"}, [], id="none"),
        pytest.param({"memory_high": "1G"}, ["MemoryHigh=1073741824"], id="soft limit of memory"),
        pytest.param({"memory": "1G", "memory_high": "20%"}, ["MemoryMax=1073741824", "MemorySwapMax=0", "MemoryHigh=20%"], id="both"),
        pytest.param({"tasks_max": "20%"}, ["TasksMax=20%"], id="share of the tasks"),
        pytest.param({"memory": "1G"}, ["MemoryMax=1073741824", "MemorySwapMax=0"], id="memory, and no swap beside it"),
        pytest.param({"cpus": 0.5}, ["CPUQuota=50%"], id="half a processor"),
        pytest.param({"cpus": 0.29}, ["CPUQuota=29%"], id="no digit of binary fractions"),
        pytest.param({"cpus": 0.0125}, ["CPUQuota=1.25%"], id="fraction of a percent"),
        pytest.param({"cpus": 1234.5678}, ["CPUQuota=123456.78%"], id="many processors"),
        pytest.param({"cpus": 10000}, ["CPUQuota=1000000%"], id="no exponent"),
        pytest.param({"tasks_max": 50}, ["TasksMax=50"], id="tasks"),
        pytest.param({"cpu_weight": 50}, ["CPUWeight=50"], id="share of the processors"),
        pytest.param({"io": {"weight": 7}}, ["IOWeight=7"], id="share of the disks"),
        pytest.param(
            {
                "io": {
                    "devices": [
                        {"device": "/dev/vdb", "write_operations": 9},
                        {"device": "/srv", "read_bandwidth": "1M", "write_bandwidth": "2M"},
                    ]
                }
            },
            ["IOWriteIOPSMax=/dev/vdb 9", "IOReadBandwidthMax=/srv 1048576", "IOWriteBandwidthMax=/srv 2097152"],
            id="devices",
        ),
    ],
)
def test_the_slice_bears_the_limits(service: MakeSpec, limits: dict[str, Any], lines: list[str]) -> None:
    declared = {"memory_high": "unlimited", "tasks_max": "unlimited", **limits}
    assert unit.slice_unit(service(**declared)).partition("[Slice]\n")[2].splitlines() == ["IOAccounting=yes", *lines]


def test_a_sandbox_of_which_nothing_is_said_has_limits(service: MakeSpec) -> None:
    def lines(spec: ServiceSpec) -> list[str]:
        return unit.slice_unit(spec).partition("[Slice]\n")[2].splitlines()[1:]

    assert lines(service()) == ["MemoryHigh=50%", "TasksMax=15%"]
    # a hard limit is the only one
    assert lines(service(memory="1G")) == ["MemoryMax=1073741824", "MemorySwapMax=0", "TasksMax=15%"]
    assert lines(service(memory="unlimited", tasks_max="unlimited")) == []
    first = service_spec({"name": "web", "units": ["httpd"]}, 1)
    assert (lines(first), "tmpfs:" in unit.host_unit(first)) == ([], False)
    assert older_defaults(first, 1) == ["memory_high", "tmpfs", "tasks_max"]


def inside(spec: ServiceSpec, host: Host) -> dict[str, str]:
    return {file.path: file.link or file.text for file in unit.inside(spec, host.systemd, host.networks)}


def test_files_inside_are_in_order_and_once_each(service: MakeSpec, host: Host) -> None:
    paths = [file.path for file in unit.inside(service(network=[{}, {"source": "other"}]), host.systemd, host.networks)]
    assert paths == sorted(set(paths))
    assert not [path for path in paths if path.startswith("/") or ".." in path.split("/")]


def test_what_a_host_starts_by_itself_is_masked_inside_but_for_the_base(service: MakeSpec, host: Host) -> None:
    files = inside(service(), host)
    wants = "etc/systemd/system/sysinit.target.wants"
    assert files[f"{wants}/systemd-udevd.service"] == "/dev/null"
    assert f"{wants}/systemd-journald.service" not in files


def test_a_declared_unit_is_started_even_where_it_is_wanted_by_the_host(service: MakeSpec, host: Host) -> None:
    systemd = dataclasses.replace(host.systemd, wants={"sysinit.target": ["httpd.service"]})
    files = inside(service(units=["httpd"]), dataclasses.replace(host, systemd=systemd))
    assert files["etc/systemd/system/multi-user.target.wants/httpd.service"] == "/usr/lib/systemd/system/httpd.service"
    assert "etc/systemd/system/sysinit.target.wants/httpd.service" not in files


@pytest.mark.parametrize(
    ("network", "servers"),
    [
        pytest.param([], "", id="no network"),
        pytest.param([{}], "nameserver 192.168.122.1\n", id="its own network only"),
        pytest.param([{}, {}], "nameserver 192.168.122.1\n", id="the same network twice"),
        pytest.param([{"source": "other"}, {}], "nameserver 10.0.0.1\nnameserver 192.168.122.1\n", id="in order"),
        pytest.param([{"source": "bare"}], "", id="network without an address"),
        pytest.param([{"source": "unknown"}], "", id="network that does not run"),
    ],
)
def test_names_are_asked_for_where_the_sandbox_can_reach(
    service: MakeSpec, host: Host, network: list[dict[str, str]], servers: str
) -> None:
    known = dataclasses.replace(host, networks={**host.networks, "bare": LibvirtNetwork()})
    assert inside(service(network=network), known)["etc/resolv.conf"] == servers


def test_without_a_network_no_network_daemon(service: MakeSpec, host: Host) -> None:
    wants = "etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
    assert wants in inside(service(), host)
    assert wants not in inside(service(network=[]), host)


def test_a_unit_that_the_host_lacks_does_not_stop_a_look(service: MakeSpec, host: Host) -> None:
    assert "etc/systemd/system/multi-user.target.wants/gone.service" in inside(service(units=["gone"]), host)


def test_logs_are_rotated_where_the_host_has_what_does_it(service: MakeSpec, host: Host) -> None:
    wants = "etc/systemd/system/timers.target.wants/logrotate.timer"
    path = "/usr/lib/systemd/system/logrotate.timer"
    assert wants not in inside(service(), host)
    for there in ({}, {"timers.target": ["logrotate.timer"]}):
        paths = {**host.systemd.unit_paths, "logrotate.timer": path}
        systemd = dataclasses.replace(host.systemd, unit_paths=paths, wants=there)
        assert inside(service(), dataclasses.replace(host, systemd=systemd))[wants] == path
