# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever the option table lets pass, the files made of it say that and nothing else (threat 18)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host.libvirt_domain import from_xml, to_xml
from ansible_collections.virt.sandbox.plugins.module_utils.model import managed, network, network_filter, ports, unit
from ansible_collections.virt.sandbox.plugins.module_utils.model.context import Context
from ansible_collections.virt.sandbox.plugins.module_utils.model.definition import define
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ServiceSpec, dump, load, service_spec
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from .conftest import expanded

# what means something to XML, systemd, a shell, a path or a context, beside what is common
HOSTILE = "\n\r\0\t \"'<>&;%$`\\/.:,-@#=[]{}()*?~|!\x1b\u2028é٣"
LINES = ("\nExecStart=/bin/sh", "]]>", "--><x/>", "<!--", '"/><x y="', "$(id)", "%n", "../..", "\\x2f", "%a\nb", " -f ")
hostile = st.one_of(st.text(alphabet=HOSTILE, max_size=4), st.sampled_from(LINES), st.text(max_size=3))


@st.composite
def disturbed(draw: st.DrawFn, valid: st.SearchStrategy[str]) -> str:
    """A valid text, sometimes with something hostile somewhere in it."""
    text = draw(valid)
    if draw(st.integers(0, 7)):
        return text
    place = draw(st.integers(0, len(text)))
    return text[:place] + draw(hostile) + text[place:]


def texts(pattern: str) -> st.SearchStrategy[str]:
    return disturbed(st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True))


routes = st.fixed_dictionaries({"to": disturbed(st.just("10.0.0.0/8")), "via": disturbed(st.ip_addresses().map(str))})
published = st.fixed_dictionaries(
    {"host_port": st.integers(0, 65536)}, optional={"sandbox_port": st.integers(1, 9), "address": disturbed(st.ip_addresses().map(str))}
)
networks = st.one_of(
    st.fixed_dictionaries({}, optional={"source": texts("[a-z0-9][a-z0-9_.-]{0,9}"), "mac": texts("5[24](:[0-9a-f]{2}){5}")}),
    st.fixed_dictionaries(
        {"type": st.just("static"), "addresses": st.lists(disturbed(st.ip_addresses().map(lambda a: f"{a}/8")), min_size=1, max_size=2)},
        optional={"source": texts("[a-z]{1,5}"), "nameservers": st.lists(disturbed(st.ip_addresses().map(str)), max_size=2)},
    ),
    st.fixed_dictionaries(
        {"bridge": texts("[a-z0-9.-]{1,15}")}, optional={"routes": st.lists(routes, max_size=2), "filter": st.booleans()}
    ),
    st.fixed_dictionaries({"lease": disturbed(st.ip_addresses(v=4).map(str)), "ports": st.lists(published, max_size=3)}),
)
io_devices = st.fixed_dictionaries(
    {"device": texts("(/[a-z=.+@-]{2,6}){1,3}")},
    optional={"read_bandwidth": texts("[1-9][0-9]{0,4}[KMGT]?"), "write_operations": st.integers(-1, 1000)},
)
mounts = st.one_of(
    st.fixed_dictionaries({"source": texts("(/[a-z=.+@-]{2,6}){1,3}"), "target": texts("/(srv|opt|var/x)/[a-z.]{2,5}")}),
    st.fixed_dictionaries({"type": st.just("image"), "source": texts("(/[a-z.:-]{2,6}){2}"), "target": texts("/mnt/[a-z:]{2,5}")}),
    st.fixed_dictionaries(
        {"type": st.just("ram"), "size": texts("[1-9][0-9]?M"), "mode": texts("[0-7]{3}"), "target": texts("/etc/[a-d]{1,5}")}
    ),
)
declarations = st.fixed_dictionaries(
    {
        "name": texts("[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?"),
        "level": texts("s0:c[1-9],c[1-9][0-9]"),
        "units": st.lists(texts(r"[a-z][a-z0-9_.\\-]{0,8}(@[a-z0-9\\-]{1,4})?\.(service|socket)"), min_size=1, max_size=3),
    },
    optional={
        "path": texts("(/[a-z.+@-]{3,6}){2,3}"),
        "file_type": texts("[a-z_]{1,8}_t"),
        "process_type": texts("[a-z_]{1,8}_t"),
        "network": st.lists(networks, max_size=2),
        "memory": texts("[1-9][0-9]{0,4}[KMGT]?"),
        "cpus": st.floats(),
        "tasks_max": st.integers() | st.sampled_from(["unlimited", "7%", "101%"]),
        "memory_high": texts("[1-9][0-9]{0,4}[KMGT]?") | st.sampled_from(["unlimited", "7%"]),
        "tmpfs": texts("[1-9][0-9]{0,4}[KMGT]?") | st.sampled_from(["7%"]),
        "cpu_weight": st.integers(),
        "io": st.fixed_dictionaries({}, optional={"weight": st.integers(1, 20000), "devices": st.lists(io_devices, max_size=2)}),
        "autostart": st.booleans(),
        "env": st.dictionaries(texts("[A-Z_]{1,4}"), texts("[a-z ]{0,6}"), max_size=2),
        "mounts": st.lists(mounts, max_size=2),
    },
)


@st.composite
def specs(draw: st.DrawFn) -> ServiceSpec:
    """What the option table lets pass."""
    try:
        return service_spec(draw(declarations))
    except OptionError:
        assume(False)
        raise


def check_spec_file(spec: ServiceSpec, host: Host) -> None:
    """It gives back the spec."""
    assert load(dump(spec), "it") == spec
    assert dump(load(dump(spec), "it")) == dump(spec)


def check_domain(spec: ServiceSpec, host: Host) -> None:
    """It is well-formed, and itself after libvirt's expansion."""
    definition = define(spec, host.followed, [network.fixed(interface) for interface in spec.network])
    xml = to_xml(definition)
    assert from_xml(xml) == definition
    assert from_xml(expanded(xml)) == definition
    assert definition.name == spec.name
    assert definition.context == Context.parse(f"system_u:system_r:{spec.process_type}:{spec.level}")
    assert definition.binds[0].source == spec.paths.root
    assert [device.source for device in definition.devices] == [interface.source or interface.bridge for interface in spec.network]
    assert definition.deviations == ()


# What systemd may read in each section; no text of a declaration may make another line.
HOST_UNIT = """\
# Made by virt.sandbox; changes are overwritten.
[Unit]
Description
Documentation
Requires
Wants
After
RequiresMountsFor

[Service]
Type
ExecStartPre
ExecStart
ExecReload
ExecStop
ExecStopPost
TimeoutStartSec
TimeoutStopSec
KillMode

[Install]
WantedBy
"""
SLICE = {"# Made by virt.sandbox; changes are overwritten.", "[Unit]", "Description", "", "[Slice]"}
LIMITS = {
    "IOAccounting": "yes", "MemoryMax": r"[0-9]+", "MemorySwapMax": "0", "CPUQuota": r"[0-9]+(\.[0-9]{1,2})?%", "CPUWeight": r"[0-9]+",
    "TasksMax": r"[0-9]+%?", "MemoryHigh": r"[0-9]+%?", "IOWeight": r"[0-9]+",
    "IOReadBandwidthMax": r"/[^\s\"'%\\]* [0-9]+", "IOWriteIOPSMax": r"/[^\s\"'%\\]* [0-9]+",
}  # fmt: skip
NETWORK = {
    "Name",
    "MACAddress",
    "Destination",
    "LinkLocalAddressing",
    "IPv6AcceptRA",
    "DHCP",
    "Address",
    "Gateway",
    "ClientIdentifier",
    "UseDNS",
    "UseHostname",
    "SendRelease",
}


PORTS = {
    "Description",
    "DefaultDependencies",
    "Conflicts",
    "Before",
    "BindsTo",
    "After",
    "ListenStream",
    "FreeBind",
    "BindIPv6Only",
    "WantedBy",
    "ExecStart",
}


def directives(text: str) -> list[str]:
    # any character at which something might end a line
    return [line.partition("=")[0] for line in text.splitlines()]


def check_filter(spec: ServiceSpec, host: Host) -> None:
    """Every line is a rule or an element of the interface's chain, and says no more than addresses and numbers."""
    resolved = [network.fixed(one) for one in spec.network]
    text = network_filter.rules(spec, resolved) or ""
    bare = service_spec({"name": "a", "level": "s0:c1,c2", "units": ["a"], "network": [{"bridge": "b"}]})
    frame = {*(network_filter.rules(bare, []) or "").splitlines(), f"# What sandbox {spec.name} may send."}
    for line in text.splitlines():
        for device in network_filter.chains(spec):
            line = line.replace(device.partition("-")[0], "DEVICE")
        element = re.fullmatch(r'add element bridge virt_sandbox (interfaces|openers) { "DEVICE" : goto DEVICE(-opener)? }', line)
        rule = re.fullmatch(r"(add|flush) (rule|chain) bridge virt_sandbox DEVICE(-opener)?( [a-z0-9.:!=@,/{}_ -]+)?", line)
        assert line in frame or element or rule


def check_host_unit(spec: ServiceSpec, host: Host) -> None:
    """It has the same lines for every spec, and no word too many."""
    text = unit.host_unit(spec)
    assert directives(text) == HOST_UNIT.splitlines()
    assert "%" not in text.replace("%%", ""), "a specifier"
    commands = [line for line in text.splitlines() if line.startswith("Exec")]
    assert not [line for line in commands if "$" in line], "a variable"
    kind = 1 if spec.command else 0
    before = (
        bool(network_filter.chains(spec))
        + (spec.tmpfs != "50%")
        + len(managed.without_ipv6(spec))
        + kind
        + 2 * len(spec.mounts)
        + sum(mount.type == "image" for mount in spec.mounts)
    )
    assert [len(line.split()) for line in commands] == [7 + before, 6 + kind, 6 + (len(spec.units) or 1), 6 + kind, 6]
    (needed,) = re.findall("^RequiresMountsFor=(.*)$", text, re.MULTILINE)
    assert needed.split(" ") == [spec.paths.root, *(mount.source for mount in spec.mounts if mount.source)]
    assert not re.search(r"[\t\"'\\$%]", needed)


def check_slice(spec: ServiceSpec, host: Host) -> None:
    """It has only limits, and such as systemd takes."""
    text = unit.slice_unit(spec)
    limits = [line.split("=", 1) for line in text.partition("[Slice]\n")[2].splitlines()]
    assert set(directives(text)) - SLICE == {name for name, _value in limits}
    assert all(re.fullmatch(LIMITS[name], value) for name, value in limits)
    known = [spec.memory, spec.memory, spec.memory_high, spec.cpus, spec.cpu_weight, spec.tasks_max, spec.io.weight]
    known += [value for device in spec.io.devices for key, value in vars(device).items() if key != "device"]
    assert len(limits) == 1 + sum(value not in (None, "unlimited") for value in known)


def check_inside(spec: ServiceSpec, host: Host) -> None:
    """Only known lines, at paths that stay where they are."""
    for file in unit.inside(spec, host.systemd, host.networks):
        assert re.fullmatch(r"etc(/(?![.-])[A-Za-z0-9:_.@\\-]+)+", file.path)
        if file.path.endswith(".network"):
            assert {line for line in directives(file.text) if line and line[0] not in "#["} <= NETWORK
        if file.path.endswith("/system.conf.d/10-sandbox.conf"):
            assert [line.partition('"')[0] for line in file.text.splitlines()[2:]] == ["DefaultEnvironment="] * len(spec.env)
            assert all(re.fullmatch(r'[A-Za-z=]+"([^"\\%]|\\["\\]|%%)*"', line) for line in file.text.splitlines()[2:])
    hosts = {file.path: file.text for file in unit.inside(spec, host.systemd, host.networks)}
    assert hosts["etc/hostname"] == f"{spec.name}\n"
    assert hosts["etc/hosts"].count("\n") == 3


def check_ports(spec: ServiceSpec, host: Host) -> None:
    """Units beside the sandbox's, which say where to listen and where that leads."""
    known = [network.fixed(one) or ["10.0.0.9"] for one in spec.network]
    for name, text in ports.units(spec, known).items():
        assert re.fullmatch(rf"{spec.name}_sandbox-[0-9]+(-[0-9a-f._]+)?\.(socket|service)", name)
        assert {line for line in directives(text) if line and line[0] not in "#["} <= PORTS


CHECKS = (check_spec_file, check_domain, check_host_unit, check_filter, check_slice, check_inside, check_ports)


@given(specs())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_threat_18_what_is_made_of_any_spec_says_that_and_nothing_else(host: Host, spec: ServiceSpec) -> None:
    for check in CHECKS:
        check(spec, host)


VALID: dict[str, Any] = {"name": "my-web", "level": "s0:c1,c2", "units": ["httpd"]}
STATIC: dict[str, Any] = {"type": "static", "addresses": ["10.0.0.2/24"]}
PLACES: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
    "name": ("my-web", lambda text: {"name": text}),
    "level": ("s0:c1,c2", lambda text: {"level": text}),
    "path": ("/srv/boxes", lambda text: {"path": text}),
    "unit": ("httpd.service", lambda text: {"units": [text]}),
    "unit without a suffix": ("httpd", lambda text: {"units": [text]}),
    "instance": ("a@b.service", lambda text: {"units": [text]}),
    "file_type": ("my_t", lambda text: {"file_type": text}),
    "process_type": ("my_t", lambda text: {"process_type": text}),
    "memory": ("512M", lambda text: {"memory": text}),
    "memory_high": ("50%", lambda text: {"memory_high": text}),
    "tmpfs": ("10%", lambda text: {"tmpfs": text}),
    "tasks_max": ("15%", lambda text: {"tasks_max": text}),
    "device": ("/dev/vda", lambda text: {"io": {"devices": [{"device": text, "read_bandwidth": "1M"}]}}),
    "bandwidth": ("1M", lambda text: {"io": {"devices": [{"device": "/dev/vda", "read_bandwidth": text}]}}),
    "source of a mount": ("/data", lambda text: {"mounts": [{"source": text, "target": "/srv/x"}]}),
    "target of a mount": ("/srv/data", lambda text: {"mounts": [{"type": "ram", "size": "1M", "target": text}]}),
    "mode of a mount": ("0755", lambda text: {"mounts": [{"type": "ram", "size": "1M", "target": "/srv/x", "mode": text}]}),
    "variable": ("HOME", lambda text: {"env": {text: "x"}}),
    "value of a variable": ("a b", lambda text: {"env": {"X": text}}),
    "word of a command": ("/bin/x", lambda text: {"units": [], "command": [text]}),
    "user": ("nobody", lambda text: {"units": [], "command": ["/bin/x"], "user": text}),
    "home": ("/srv/x", lambda text: {"units": [], "command": ["/bin/x"], "home": text}),
    "source": ("default", lambda text: {"network": [{"source": text}]}),
    "mac": ("52:54:00:00:00:01", lambda text: {"network": [{"mac": text}]}),
    "address": ("10.0.0.2/24", lambda text: {"network": [{**STATIC, "addresses": [text]}]}),
    "address of IPv6": ("fe80::1/64", lambda text: {"network": [{**STATIC, "addresses": [text]}]}),
    "gateway": ("10.0.0.1", lambda text: {"network": [{**STATIC, "gateway": text}]}),
    "gateway of IPv6": ("fe80::1", lambda text: {"network": [{**STATIC, "addresses": ["fe80::2/64"], "gateway": text}]}),
    "bridge": ("br0", lambda text: {"network": [{"bridge": text}]}),
    "lease": ("10.0.0.2", lambda text: {"network": [{"lease": text}]}),
    "destination of a route": ("10.0.0.0/8", lambda text: {"network": [{"routes": [{"to": text, "via": "10.0.0.1"}]}]}),
    "router": ("10.0.0.1", lambda text: {"network": [{"routes": [{"to": "10.0.0.0/8", "via": text}]}]}),
    "name server": ("10.0.0.1", lambda text: {"network": [{"nameservers": [text]}]}),
    "address of a port": ("10.0.0.1", lambda text: {"network": [{"ports": [{"host_port": 80, "address": text}]}]}),
}


@pytest.mark.parametrize("option", PLACES)
def test_threat_18_hostile_text_anywhere_in_a_value_is_refused_or_harmless(option: str, host: Host) -> None:
    valid, declare = PLACES[option]
    refused = 0
    for text in (*HOSTILE, *LINES):
        for place in range(len(valid) + 1):
            try:
                spec = service_spec({**VALID, **declare(valid[:place] + text + valid[place:])})
            except OptionError:
                refused += 1
                continue
            for check in CHECKS:
                check(spec, host)
    # NUL and newline, at the very least, at every place
    assert refused >= 2 * (len(valid) + 1)
