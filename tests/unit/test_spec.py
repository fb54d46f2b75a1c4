# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sandbox is: every option's normal form, every refusal in its words, the spec file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model import layout
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import DEFAULTS, differences, names, options, plain
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import (
    ContentSpec,
    FileEntry,
    Identity,
    ServiceSpec,
    content_spec,
    dump,
    load,
    service_spec,
    started_with,
)

from .conftest import MakeContent, MakeSpec

DHCP = {
    "type": "dhcp", "source": "default", "bridge": None, "mac": None, "lease": None, "addresses": [], "gateway": None, "routes": [],
    "nameservers": [], "filter": True, "connections": 4096, "ports": [],
}  # fmt: skip
STATIC = {"type": "static", "addresses": ["10.0.0.2/24"]}


# options that have a file of tests of their own
ELSEWHERE = {
    name
    for name in names(ServiceSpec) - {"network", "command", "mounts", "capabilities"}
    if (Path(__file__).parent / f"test_{name}.py").exists()
}


def test_what_is_not_declared_goes_back_to_its_default() -> None:
    service = plain(service_spec({"name": "web", "units": ["httpd.service"]}))
    assert {name: value for name, value in service.items() if name not in ELSEWHERE} == {
        "name": "web",
        "path": "/var/lib/libvirt/filesystems",
        "level": None,
        "file_type": "virt_sandbox_file_t",
        "units": ["httpd.service"],
        "command": [],
        "user": None,
        "group": None,
        "home": None,
        "env": {},
        "process_type": "virt_sandbox_t",
        "network": [],
        "memory": None,
        "memory_high": "50%",
        "tmpfs": "10%",
        "cpus": None,
        "cpu_weight": None,
        "tasks_max": "15%",
        "io": {"weight": None, "devices": []},
        "capabilities": {"keep": None, "drop": []},
        "mounts": [],
        "autostart": True,
    }
    assert plain(content_spec({"name": "web"})) == {
        "name": "web",
        "path": "/var/lib/libvirt/filesystems",
        "level": None,
        "file_type": "virt_sandbox_file_t",
        "private": [],
        "clone_of": None,
        "method": "directory",
        "size": None,
        "disk": None,
        "inodes": None,
        "units": [],
        "files": [],
    }


def test_both_modules_know_a_sandbox_by_the_same_options() -> None:
    identity = options(Identity)
    assert options(ContentSpec)[: len(identity)] == identity == options(ServiceSpec)[: len(identity)]


@pytest.mark.parametrize(
    ("option", "value", "normal"),
    [
        pytest.param("name", "web", "web", id="name"),
        pytest.param("name", "a" * 50, "a" * 50, id="name of 50"),
        pytest.param("name", "0a", "0a", id="name that begins with a digit"),
        pytest.param("name", "my--web-2", "my--web-2", id="name with dashes"),
        pytest.param("path", "/srv//boxes/", "/srv/boxes", id="path"),
        pytest.param("level", "s0:c2,c1", "s0:c1,c2", id="level sorted"),
        pytest.param("level", "s0:c1.c3", "s0:c1.c3", id="level as a run"),
        pytest.param("level", "s0:c3,c1,c2", "s0:c1.c3", id="level becomes a run"),
        pytest.param("file_type", "httpd_sys_content_t", "httpd_sys_content_t", id="file type"),
        pytest.param("process_type", "svirt_lxc_net_t", "svirt_lxc_net_t", id="process type"),
        pytest.param("units", ["mariadb", "httpd.service", "httpd"], ["httpd.service", "mariadb.service"], id="units"),
        pytest.param("units", ["a@1.service", "a@b-c.d.service"], ["a@1.service", "a@b-c.d.service"], id="instances"),
        pytest.param("units", ["a@", "b@.socket", "c@.d.service"], ["a@web.service", "b@web.socket", "c@.d.service"], id="templates"),
        pytest.param("units", [r"dev\x2dlog.socket"], [r"dev\x2dlog.socket"], id="escaped unit"),
        pytest.param("units", ["a.timer", "b.path", "c.target"], ["a.timer", "b.path", "c.target"], id="kinds of units"),
        pytest.param("network", [{"type": "dhcp"}, {}], [DHCP, DHCP], id="dhcp"),
        pytest.param(
            "network",
            [{**STATIC, "mac": "52-54-00-AB-CD-EF", "gateway": "10.0.0.1", "source": "br.lan_1-x"}],
            [{**DHCP, **STATIC, "mac": "52:54:00:ab:cd:ef", "gateway": "10.0.0.1", "source": "br.lan_1-x"}],
            id="static",
        ),
        pytest.param(
            "network",
            [{"type": "static", "addresses": ["10.0.0.2/255.255.255.0", "FD00:0::2/64"]}],
            [{**DHCP, "type": "static", "addresses": ["10.0.0.2/24", "fd00::2/64"]}],
            id="spellings of addresses",
        ),
        pytest.param("memory", "512M", 512 << 20, id="M"),
        pytest.param("memory", "1g", 1 << 30, id="g"),
        pytest.param("memory", "2 GiB", 2 << 30, id="GiB"),
        pytest.param("memory", "65536KB", 64 << 20, id="KB"),
        pytest.param("memory", "1T", 1 << 40, id="T"),
        pytest.param("memory", "40960000", 40960000, id="bytes"),
        pytest.param("memory", 40960000, 40960000, id="a number from the spec file"),
        pytest.param("cpus", 0.5, 0.5, id="half a processor"),
        pytest.param("cpus", 1 / 3, 0.3333, id="as precise as systemd takes it"),
        pytest.param("cpus", 2, 2.0, id="two processors"),
        pytest.param("tasks_max", 100, 100, id="tasks"),
        pytest.param("tasks_max", "100", 100, id="tasks as text"),
        pytest.param("tasks_max", "20%", "20%", id="share of the tasks"),
        pytest.param("tasks_max", "unlimited", "unlimited", id="no limit"),
        pytest.param("memory_high", "1G", 1 << 30, id="soft limit"),
        pytest.param("cpu_weight", 10000, 10000, id="share of the processors"),
        pytest.param("io", {}, {"weight": None, "devices": []}, id="no limit of input and output"),
        pytest.param(
            "io",
            {"weight": 1, "devices": [{"device": "/dev//vda", "read_bandwidth": "1M", "write_operations": 7}]},
            {
                "weight": 1,
                "devices": [
                    {
                        "device": "/dev/vda",
                        "read_bandwidth": 1 << 20,
                        "write_bandwidth": None,
                        "read_operations": None,
                        "write_operations": 7,
                    }
                ],
            },
            id="input and output",
        ),
        pytest.param("autostart", False, False, id="autostart"),
    ],
)
def test_normal_form(service: MakeSpec, option: str, value: Any, normal: Any) -> None:
    spec = service(**{option: value})
    # 2 and 2.0 are equal, and two texts in the spec file
    assert json.dumps(plain(spec)[option], sort_keys=True) == json.dumps(normal, sort_keys=True)
    assert service_spec(plain(spec)) == spec, "the normal form of the normal form is another"


NAME = "1 to 50 lower-case letters, digits and inner dashes, but not digits alone and not localhost"
ABSOLUTE = "an absolute path without '.' and '..'"
BELOW = "a directory below another one, such as /var/lib/libvirt/filesystems, without spaces, quotes, '$', '%' and '\\'"
UNIT = "names of systemd units, such as httpd.service, not "
SIZE = "a size above 0 such as 512M or 1G (units K, M, G, T of 1024)"
CPUS = "a number of processors from 0.01 to 10000"
TASKS = "a number of tasks from 1 to 4194304, a percentage of the host such as 25%, or unlimited"
MEMORY = f"{SIZE}, or unlimited"
HIGH = f"{SIZE}, a percentage of the host such as 25%, or unlimited"
TMPFS = "a size from 4M, such as 256M, or a percentage of the host's memory, such as 10%"
WEIGHT = "a weight from 1 to 10000"
A_LEVEL = "s0 alone, or s0 with categories, such as s0:c1,c2 or s0:c1.c3"
A_TYPE = "an SELinux type, such as virt_sandbox_t"


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        pytest.param("name", "4242", NAME, id="a name that virsh takes for a number"),
        pytest.param("name", "localhost", NAME, id="the host's own name"),
        pytest.param("name", "", NAME, id="no name"),
        pytest.param("name", "a/b", NAME, id="name with a slash"),
        pytest.param("name", "..", NAME, id="name of dots"),
        pytest.param("name", "../x", NAME, id="name that climbs"),
        pytest.param("name", "web\n", NAME, id="name ends in a newline"),
        pytest.param("name", "we\nb", NAME, id="name with a newline"),
        pytest.param("name", "-f", NAME, id="name like an option"),
        pytest.param("name", "web-", NAME, id="name ends in a dash"),
        pytest.param("name", "a" * 51, NAME, id="name of 51"),
        pytest.param("name", "Web", NAME, id="capital"),
        pytest.param("name", "wéb", NAME, id="accent"),
        pytest.param("name", "w٣b", NAME, id="digit of another script"),
        pytest.param("name", "web\0", NAME, id="NUL"),
        pytest.param("name", "<web>", NAME, id="angle brackets"),
        pytest.param("name", "%n", NAME, id="specifier"),
        pytest.param("path", "srv/boxes", ABSOLUTE, id="relative path"),
        pytest.param("path", "/srv/../etc", ABSOLUTE, id="path that climbs"),
        pytest.param("path", "/srv/./boxes", ABSOLUTE, id="path with a dot"),
        pytest.param("path", "/srv/a\nb", ABSOLUTE, id="path with a newline"),
        pytest.param("path", "/srv/a\0b", ABSOLUTE, id="path with NUL"),
        pytest.param("path", "/", BELOW, id="the root"),
        pytest.param("path", "/srv", BELOW, id="a directory of the root"),
        pytest.param("path", "//srv/", BELOW, id="the same with more slashes"),
        pytest.param("path", "/srv/my boxes", BELOW, id="path with a space"),
        pytest.param("path", "/srv/%n", BELOW, id="path with a specifier"),
        pytest.param("path", "/srv/\\x2f", BELOW, id="path with an escape"),
        pytest.param("path", '/srv/"a', BELOW, id="path with a quote"),
        pytest.param(
            "level", "s0", "a level with categories, such as s0:c1,c2, because every level dominates s0 alone", id="not the category"
        ),
        pytest.param("level", "s0:c1,c1", "different categories, not one category twice, which is s0:c1", id="a pair of equals"),
        pytest.param(
            "level",
            "s0:c0.c1023",
            "not all categories of c0.c1023, which would dominate every other sandbox",
            id="all categories",
        ),
        pytest.param("level", "s1:c1,c2", "a level of sensitivity s0, such as s0:c1,c2", id="unknown sensitivity"),
        pytest.param("level", "c1,c2", A_LEVEL, id="no sensitivity"),
        pytest.param("level", "s0:c1,c1024", "categories of the policy, c0 to c1023, which has no c1024", id="unknown category"),
        pytest.param("level", "s0-s0:c1,c2", "one level such as s0:c1,c2, not a range of two", id="range"),
        pytest.param("level", "s0:c1,c2\n", f"{A_LEVEL}, not the category 'c2\\n'", id="level ends in a newline"),
        pytest.param("file_type", "etc_t:s0", A_TYPE, id="type with a level"),
        pytest.param("file_type", "object_r", A_TYPE, id="a role"),
        pytest.param("file_type", 'x" y_t', A_TYPE, id="type with a quote"),
        pytest.param("process_type", "init_t\n", A_TYPE, id="type ends in a newline"),
        pytest.param("process_type", "", A_TYPE, id="no type"),
        pytest.param("units", [], "at least one systemd unit, or set command", id="no unit"),
        pytest.param("units", ["../x"], f"{UNIT}'../x'", id="unit that climbs"),
        pytest.param("units", ["a/b.service"], f"{UNIT}'a/b.service'", id="unit with a slash"),
        pytest.param("units", ["ok.service", "a\nb.service"], f"{UNIT}'a\\nb.service'", id="unit with a newline"),
        pytest.param("units", ["a.service\n"], f"{UNIT}'a.service\\n'", id="unit ends in a newline"),
        pytest.param("units", ["-H.service"], f"{UNIT}'-H.service'", id="unit like an option"),
        pytest.param("units", ["..service"], f"{UNIT}'..service'", id="hidden unit"),
        pytest.param("units", ["a b"], f"{UNIT}'a b.service'", id="unit with a space"),
        pytest.param("units", ["a%n"], f"{UNIT}'a%n.service'", id="unit with a specifier"),
        pytest.param("units", ["$x"], f"{UNIT}'$x.service'", id="unit with a variable"),
        pytest.param("units", ["a.mount"], f"{UNIT}'a.mount'", id="kind of unit that no sandbox runs"),
        pytest.param("units", ["a@/x.service"], f"{UNIT}'a@/x.service'", id="instance with a slash"),
        pytest.param("memory", "0", MEMORY, id="no memory"),
        pytest.param("memory", "-1M", MEMORY, id="less than no memory"),
        pytest.param("memory", "1.5G", MEMORY, id="fraction"),
        pytest.param("memory", "1P", MEMORY, id="unknown unit"),
        pytest.param("memory", "lots", MEMORY, id="a word"),
        pytest.param("memory", "1M\nTasksMax=1", MEMORY, id="memory with a line"),
        pytest.param("memory", "1048576T", MEMORY, id="more than systemd takes"),
        pytest.param("memory", "9" * 5000, MEMORY, id="a number of 5000 digits"),
        pytest.param("memory", "٣M", MEMORY, id="size in another script"),
        pytest.param("cpus", 0.0, CPUS, id="no processor"),
        pytest.param("cpus", 0.001, CPUS, id="less than the kernel gives"),
        pytest.param("cpus", float("nan"), CPUS, id="not a number"),
        pytest.param("cpus", float("inf"), CPUS, id="infinite"),
        pytest.param("tasks_max", 15, "at least 16, for systemd and its units", id="too few tasks for a systemd"),
        pytest.param("memory", 512, "at least 16M, such as 512M (a number without a unit is bytes)", id="megabytes that are bytes"),
        pytest.param("memory_high", "101%", HIGH, id="more than all"),
        pytest.param("memory_high", "0%", HIGH, id="nothing of all"),
        pytest.param("memory_high", 512, "at least 16M, such as 512M (a number without a unit is bytes)", id="too little to run with"),
        pytest.param("tmpfs", "unlimited", TMPFS, id="tmpfs without a limit"),
        pytest.param("tmpfs", "1M", TMPFS, id="too small a tmpfs"),
        pytest.param("tasks_max", "many", TASKS, id="a word for tasks"),
        pytest.param("tasks_max", 0, TASKS, id="no task"),
        pytest.param("tasks_max", -1, TASKS, id="less than no task"),
        pytest.param("tasks_max", 1 << 23, TASKS, id="more tasks than there are"),
        pytest.param("cpu_weight", 0, WEIGHT, id="no share"),
        pytest.param("cpu_weight", 10001, WEIGHT, id="more than the kernel's greatest share"),
    ],
)
def test_refusals_name_option_value_and_what_is_allowed(service: MakeSpec, option: str, value: Any, allowed: str) -> None:
    with pytest.raises(OptionError) as caught:
        service(**{option: value})
    given = f"{value!r} is invalid: " if value != [] else ""
    assert str(caught.value) == f"{option}: {given}expected {allowed}."


ONE_OF = "/dev/vda has no limit. Set at least one of read_bandwidth, write_bandwidth, read_operations, write_operations"


@pytest.mark.parametrize(
    ("io", "message"),
    [
        pytest.param({"weight": 0}, f"io.weight: 0 is invalid: expected {WEIGHT}", id="weight"),
        pytest.param({"devices": [{}]}, "io.devices[0].device: required", id="no device"),
        pytest.param({"devices": [{"device": "vda"}]}, f"io.devices[0].device: 'vda' is invalid: expected {ABSOLUTE}", id="relative"),
        pytest.param(
            {"devices": [{"device": "/dev/a b"}]},
            "io.devices[0].device: '/dev/a b' is invalid: expected an absolute path without spaces, quotes, '$', '%' and '\\'",
            id="device with a space",
        ),
        pytest.param(
            {"devices": [{"device": "/dev/vda", "read_bandwidth": "1MB/s"}]},
            f"io.devices[0].read_bandwidth: '1MB/s' is invalid: expected {SIZE}",
            id="unit",
        ),
        pytest.param(
            {"devices": [{"device": "/dev/vda", "write_operations": 0}]},
            "io.devices[0].write_operations: 0 is invalid: expected a number of operations per second from 1 to 1000000000",
            id="no operation",
        ),
        pytest.param(
            {"devices": [{"device": "/dev/vda"}]},
            f"io.devices[0]: {ONE_OF}",
            id="no limit",
        ),
        pytest.param(
            {"devices": [{"device": "/dev/vda", "read_operations": 1}, {"device": "//dev/vda", "read_operations": 2}]},
            "io.devices[0].device: /dev/vda is listed more than once. List each device once",
            id="twice",
        ),
    ],
)
def test_refusals_about_input_and_output(service: MakeSpec, io: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        service(io=io)
    assert str(caught.value) == f"{message}."


PREFIX = "addresses with a prefix, such as 192.168.122.10/24"
MAC = "the MAC address of one interface, such as 52:54:00:12:34:56"
NO_STATIC = "not valid when type is dhcp."
IDENTIFIER = "a name of letters, digits, '_', '.' and '-'"


@pytest.mark.parametrize(
    ("network", "message"),
    [
        pytest.param({"type": "bridge"}, "network[1].type: 'bridge' is invalid: expected one of managed, dhcp, static", id="type"),
        pytest.param({"addresses": ["10.0.0.2/24"]}, f"network[1].addresses: {NO_STATIC}", id="dhcp, address"),
        pytest.param({"gateway": "10.0.0.1"}, f"network[1].gateway: {NO_STATIC}", id="dhcp, gateway"),
        pytest.param({"type": "static"}, "network[1].addresses: required when type is static.", id="static, none"),
        pytest.param(
            {"type": "static", "addresses": ["10.0.0.2"]},
            f"network[1].addresses: ['10.0.0.2'] is invalid: expected {PREFIX}, not '10.0.0.2'",
            id="no prefix",
        ),
        pytest.param(
            {"type": "static", "addresses": ["fe80::1%x\ny/64"]},
            f"network[1].addresses: ['fe80::1%x\\ny/64'] is invalid: expected {PREFIX}, not 'fe80::1%x\\ny/64'",
            id="scope with a newline",
        ),
        pytest.param(
            {"type": "static", "addresses": ["10.0.0.2/33"]},
            f"network[1].addresses: ['10.0.0.2/33'] is invalid: expected {PREFIX} (",
            id="prefix",
        ),
        pytest.param(
            {**STATIC, "gateway": "fe80::1%x\ny"}, "network[1].gateway: 'fe80::1%x\\ny' is invalid: expected an IP address", id="scope"
        ),
        pytest.param({**STATIC, "gateway": "gw"}, "network[1].gateway: 'gw' is invalid: expected an IP address", id="gateway by name"),
        pytest.param({"mac": "52:54:00:12:34"}, f"network[1].mac: '52:54:00:12:34' is invalid: expected {MAC}", id="short MAC"),
        pytest.param({"mac": "52:54:00:12:34:5g"}, f"network[1].mac: '52:54:00:12:34:5g' is invalid: expected {MAC}", id="MAC"),
        pytest.param(
            {"mac": "52:54:00:12:34:56\n"}, f"network[1].mac: '52:54:00:12:34:56\\n' is invalid: expected {MAC}", id="MAC, newline"
        ),
        pytest.param({"mac": "01:00:5e:00:00:01"}, f"network[1].mac: '01:00:5e:00:00:01' is invalid: expected {MAC}", id="multicast MAC"),
        pytest.param({"source": "a'/><x"}, f'network[1].source: "a\'/><x" is invalid: expected {IDENTIFIER}', id="source with XML"),
        pytest.param({"source": "-a"}, f"network[1].source: '-a' is invalid: expected {IDENTIFIER}", id="source like an option"),
        pytest.param({"source": "../a"}, f"network[1].source: '../a' is invalid: expected {IDENTIFIER}", id="source that climbs"),
    ],
)
def test_refusals_of_an_interface_name_its_number(service: MakeSpec, network: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        service(network=[{}, network])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("private", "normal"),
    [
        pytest.param([], [], id="none"),
        pytest.param(["/var/www", "/etc/httpd"], ["/etc/httpd", "/var/www"], id="sorted"),
        pytest.param(["/etc/http", "/etc/httpd"], ["/etc/http", "/etc/httpd"], id="topmost by components"),
        pytest.param(["/etc/http/a", "/etc/http", "/etc/http-b"], ["/etc/http", "/etc/http-b"], id="topmost with one between"),
        pytest.param(["/etc/httpd/", "/etc//httpd"], ["/etc/httpd"], id="spellings"),
        pytest.param(["/home/a", "/root/b", "/srv/c d"], ["/home/a", "/root/b", "/srv/c d"], id="every root"),
    ],
)
def test_private_paths(content: MakeContent, private: list[str], normal: list[str]) -> None:
    spec = content(private=private)
    assert spec.private == tuple(normal)
    assert content_spec(plain(spec)) == spec


def test_content_may_be_found_from_units(content: MakeContent) -> None:
    assert content(units=["b@", "a"]).units == ("a.service", "b@web.service")
    with pytest.raises(OptionError, match=r"units: .* is invalid: expected names of systemd units"):
        content(units=["/etc/passwd"])


DROP_IN = "/etc/systemd/system/a.service.d/50-sandbox.conf"
NAMED = "the name of a user or group, or a number from 0 to 4294967294"
WRITTEN_BY_IT = "a path that sandbox_service does not write itself"
FOLLOWED = f"a path outside {', '.join(layout.FOLLOWED)}, which the sandbox has from its host"


def test_files_are_named_once_and_lie_in_private_places(content: MakeContent) -> None:
    (file,) = content(files=[{"path": "/etc//a.conf", "mode": "600"}]).files
    assert file == FileEntry("/etc/a.conf", "", "0600", "root", "root")
    for files, message in (
        ([{"path": "/usr/a"}], f"files[0].path: '/usr/a' is invalid: expected {ROOTS}"),
        ([{"path": "/etc/a"}, {"path": "/etc/../a"}], f"files[1].path: '/etc/../a' is invalid: expected {ABSOLUTE}"),
        ([{"path": "/etc/a"}, {"path": "/etc/a"}], "files[1].path: /etc/a is listed more than once. List each file once"),
        ([{"content": "x"}], "files[0].path: required"),
        ([{"path": "/etc/a", "owner": "-a"}], f"files[0].owner: '-a' is invalid: expected {NAMED}"),
        ([{"path": "/etc/a", "group": "a:b"}], f"files[0].group: 'a:b' is invalid: expected {NAMED}"),
        ([{"path": "/etc/a", "owner": "4294967295"}], f"files[0].owner: '4294967295' is invalid: expected {NAMED}"),
        ([{"path": "/etc/a", "group": "99999999999999"}], f"files[0].group: '99999999999999' is invalid: expected {NAMED}"),
        ([{"path": "/etc/a/b"}, {"path": "/etc/a"}], "files[0].path: /etc/a/b is below /etc/a, which is declared as a file too"),
        ([{"path": "/etc/hosts"}], f"files[0].path: '/etc/hosts' is invalid: expected {WRITTEN_BY_IT}"),
        ([{"path": DROP_IN}], f"files[0].path: {DROP_IN!r} is invalid: expected {WRITTEN_BY_IT}"),
        ([{"path": "/etc/ssl/certs/a.pem"}], f"files[0].path: '/etc/ssl/certs/a.pem' is invalid: expected {FOLLOWED}"),
    ):
        with pytest.raises(OptionError) as caught:
            content(files=files)
        assert str(caught.value) == f"{message}."


@pytest.mark.parametrize(
    ("mode", "normal"),
    [
        pytest.param("0644", "0644", id="digits"),
        pytest.param("644", "0644", id="three digits"),
        pytest.param(420, "0644", id="what YAML makes of 0644"),
        pytest.param("2750", "2750", id="with a bit of its own"),
        pytest.param(0o2750, "2750", id="the same as a number"),
        pytest.param(0, "0000", id="nothing for anybody"),
        pytest.param("u=rw,g=r,o=", "0640", id="for each"),
        pytest.param("u+x", "0744", id="one more than usual"),
        pytest.param("go-r", "0600", id="less than usual"),
        pytest.param("a=rx", "0555", id="for all"),
        pytest.param("u=rwx,g=rxs,o=", "2750", id="a bit of its own by letter"),
        pytest.param("u+x,go+X", "0755", id="where somebody executes it"),
        pytest.param("go+X", "0644", id="where nobody executes it"),
        pytest.param("+x", "0755", id="for whom a umask says"),
        pytest.param("+w", "0644", id="not for whom no umask says"),
        pytest.param("=rw", "0644", id="exactly that for whom a umask says"),
        pytest.param("u=rw,+t", "1644", id="sticky"),
    ],
)
def test_the_mode_of_a_file_is_what_the_module_copy_takes(content: MakeContent, mode: object, normal: str) -> None:
    (file,) = content(files=[{"path": "/etc/a", "mode": mode}]).files
    assert file.mode == normal
    (again,) = content(files=[plain(file)]).files
    assert again == file


@pytest.mark.parametrize(
    "mode", ["", "8", "0888", "000644", "64", "rw", "u=rw;", "u=z", "u", "0644\n", -1, 0o10000, True, 6.5, ["0644"], {}]
)
def test_other_modes_are_refused(content: MakeContent, mode: object) -> None:
    with pytest.raises(OptionError) as caught:
        content(files=[{"path": "/etc/a"}, {"path": "/etc/b", "mode": mode}])
    assert str(caught.value) == f"files[1].mode: {mode!r} is invalid: expected a mode, such as '0644' or 'u=rw,g=r,o='."


ROOTS = "paths below /etc, /var, /home, /root, /srv"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        pytest.param("/usr/share/httpd", ROOTS, id="outside"),
        pytest.param("/etc", ROOTS, id="a root itself"),
        pytest.param("/", ROOTS, id="everything"),
        pytest.param("/etcetera/x", ROOTS, id="looks like a root"),
        pytest.param("/var/../usr/x", ABSOLUTE, id="climbs out"),
        pytest.param("etc/httpd", ABSOLUTE, id="relative"),
        pytest.param("/etc/a\nb", ABSOLUTE, id="newline"),
    ],
)
def test_private_paths_stay_below_their_roots(content: MakeContent, path: str, allowed: str) -> None:
    with pytest.raises(OptionError) as caught:
        content(private=["/etc/httpd", path])
    assert str(caught.value) == f"private: ['/etc/httpd', {path!r}] is invalid: expected {allowed}."


# The spec file


def test_the_spec_file_is_json_with_a_format(service: MakeSpec) -> None:
    spec = service(memory="1G", cpus=0.5)
    assert json.loads(dump(spec)) == {"format": 2, "defaults": DEFAULTS, "sandbox": plain(spec)}
    assert load(dump(spec), "web.sandbox") == spec


def test_a_spec_file_of_before_an_option_was_there_has_its_default(service: MakeSpec) -> None:
    spec = service()
    older = json.loads(dump(spec))
    del older["sandbox"]["autostart"], older["sandbox"]["network"][0]["ports"]
    assert load(json.dumps(older), "web.sandbox") == spec


def test_a_spec_file_keeps_the_generation_of_its_defaults(service: MakeSpec) -> None:
    older = json.loads(dump(service()))
    older["defaults"] = DEFAULTS - 1
    spec = load(json.dumps(older), "web.sandbox")
    assert spec == dataclasses.replace(service(), defaults=DEFAULTS - 1)
    assert json.loads(dump(spec)) == older


def test_a_spec_file_of_format_1_is_read_by_todays_names(service: MakeSpec) -> None:
    options = {
        "cpu_weight": 10, "memory": "1G", "tasks_max": 50, "tmpfs": "50%", "env": {"A": "1"},
        "network": [{"type": "static", "addresses": ["10.0.0.2/24"], "ports": [{"host_port": 80, "sandbox_port": 8080}]}],
    }  # fmt: skip
    wanted = dataclasses.replace(service(**options), defaults=1)
    old = plain(wanted)
    (port,) = old["network"][0]["ports"]
    port["host"], port["port"] = port.pop("host_port"), port.pop("sandbox_port")
    old["cpu_shares"], old["environment"], old["idmap"] = old.pop("cpu_weight"), old.pop("env"), None

    def loaded() -> ServiceSpec:
        return load(json.dumps({"format": 1, "sandbox": old}), "web.sandbox")

    assert loaded() == wanted
    # one of before there were ports, and interfaces
    del old["network"][0]["ports"]
    assert loaded() == dataclasses.replace(wanted, network=(dataclasses.replace(wanted.network[0], ports=()),))
    del old["network"]
    assert loaded() == dataclasses.replace(wanted, network=())


WRITTEN = "a spec as sandbox_service writes it"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            '{"format": 3, "sandbox": {}}',
            "web.sandbox: 3 is invalid: expected a spec of format 1 or 2. A newer release of the collection wrote it.",
            id="format",
        ),
        pytest.param('{"format": 2, "sandbox": {"name": "a"}}', "web.sandbox: ", id="no defaults"),
        pytest.param('{"format": 2, "defaults": "x", "sandbox": {"name": "a"}}', "web.sandbox: ", id="no number of defaults"),
        pytest.param('{"format": 2, "defaults": 1, "sandbox": 5}', "web.sandbox: ", id="a number as sandbox"),
        pytest.param("", f"web.sandbox: '' is invalid: expected {WRITTEN}", id="empty"),
        pytest.param("[]", f"web.sandbox: '[]' is invalid: expected {WRITTEN}", id="list"),
        pytest.param("{}", f"web.sandbox: '{{}}' is invalid: expected {WRITTEN}", id="no format"),
        pytest.param('{"format": 1}', f"web.sandbox: '{{\"format\": 1}}' is invalid: expected {WRITTEN}", id="no sandbox"),
        pytest.param(
            '{"format": 1, "sandbox": []}', f'web.sandbox: \'{{"format": 1, "sandbox": []}}\' is invalid: expected {WRITTEN}', id="no dict"
        ),
        pytest.param('{"format": 1, "sandbox": {"name": 5}}', "web.sandbox: ", id="a number as name"),
        pytest.param('{"format": 1, "sandbox": {"name": "a", "path": 5}}', "web.sandbox: ", id="a number as path"),
        pytest.param('{"format": 1, "sandbox": {"name": "a", "network": [5]}}', "web.sandbox: ", id="a number as network"),
        pytest.param('{"format": 1, "sandbox": {"name": "../a"}}', "name: '../a' is invalid: expected 1 to 50", id="a bad name"),
    ],
)
def test_another_file_is_refused_by_its_name(text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        load(text, "web.sandbox")
    assert str(caught.value).startswith(message)


CHANGES: dict[str, Any] = {
    "path": "/srv/boxes",
    "level": "s0:c3,c4",
    "file_type": "other_t",
    "units": ["mariadb"],
    "process_type": "other_t",
    "network": [{}, {}],
    "memory": "unlimited",
    "memory_high": "1G",
    "tmpfs": "1G",
    "cpus": 2.0,
    "cpu_weight": 10,
    "tasks_max": 20,
    "io": {"weight": 10},
    "env": {"LANG": "C"},
    "capabilities": {"drop": ["sys_ptrace"]},
    "mounts": [{"type": "ram", "target": "/srv/x", "size": "1M"}],
    "autostart": False,
}
WITHOUT_RESTART = {"memory", "memory_high", "cpus", "cpu_weight", "tasks_max", "io", "autostart"}


def needs_restart(before: ServiceSpec, after: ServiceSpec) -> list[str]:
    """The options by which what two sandboxes are started with differs."""
    known = started_with(before)
    return [name for name, value in started_with(after).items() if known[name] != value]


@pytest.mark.parametrize("option", CHANGES)
def test_each_change_is_seen_and_only_some_ask_for_a_restart(service: MakeSpec, option: str) -> None:
    before, after = service(), service(**{option: CHANGES[option]})
    assert dump(before) != dump(after)
    # a limit of memory is the only one
    assert differences(before, after) == ([option, "memory_high"] if option == "memory" else [option])
    assert needs_restart(before, after) == ([] if option in WITHOUT_RESTART else [option])


def test_the_same_spec_is_the_same_text_in_whatever_order(service: MakeSpec) -> None:
    spec = service(env={"B": "1", "A": "2"})
    assert dump(spec) == dump(service_spec(dict(reversed(list(plain(spec).items())))))
    assert differences(spec, service(env={"A": "2", "B": "1"})) == needs_restart(spec, service(env={"A": "2", "B": "1"})) == []


COMMAND: dict[str, Any] = {"command": ["/bin/other"], "user": "nobody", "group": "games", "home": "/srv"}


@pytest.mark.parametrize("option", COMMAND)
def test_each_change_of_a_command_asks_for_a_restart(service: MakeSpec, option: str) -> None:
    base = {"units": [], "command": ["/bin/sleep", "1"], "network": []}
    before, after = service(**base), service(**{**base, option: COMMAND[option]})
    assert dump(before) != dump(after)
    assert needs_restart(before, after) == [option]


def test_every_option_is_among_the_changes() -> None:
    assert {*CHANGES, *COMMAND, *ELSEWHERE} == names(ServiceSpec) - {"name"}
