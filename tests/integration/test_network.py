# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 (scripts are read by lines)
"""Interfaces: their cycle of options, names that resolve, ports of the host that lead inside, and filters that keep a sandbox to its own address."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model.network import host_device
from ansible_collections.virt.sandbox.tests.cycle import CONTENT, INFO, LABEL, SERVICE, Cycle, CycleTests, Stage
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Played, Task, sandboxes_gone, shell_task, snapshot_task

HERE = Path(__file__).parent
NAME, LEVEL = "it-net", "s0:c931,c932"
PEER, PEER_ADDRESS, PEER_MAC = "it-peer", "192.168.122.62", "52:54:00:00:77:62"
DEVICES = [host_device(NAME, number) for number in range(2)]
IPV6 = "fd00:77::2"
UNITS = {"units": ["apache2.service"]}
PRIVATE = ["/etc/apache2", "/etc/mime.types", "/var/cache/apache2", "/var/lib/apache2", "/var/log/apache2", "/var/www"]

PREPARE = """
cat >/run/it-other.xml <<'END'
<network><name>it-other</name><bridge name='virbr77' stp='off'/>
<ip address='10.79.0.1' netmask='255.255.255.0'><dhcp><range start='10.79.0.10' end='10.79.0.20'/></dhcp></ip></network>
END
virsh -q -c lxc:///system net-destroy it-other 2>/dev/null; virsh -q -c lxc:///system net-undefine it-other 2>/dev/null
virsh -q -c lxc:///system net-define /run/it-other.xml && virsh -q -c lxc:///system net-start it-other
ip link delete br-it 2>/dev/null; ip link add br-it type bridge && ip address add 10.78.0.1/24 dev br-it && ip link set br-it up
"""
CLEAN = """
virsh -q -c lxc:///system net-destroy it-other; virsh -q -c lxc:///system net-undefine it-other; ip link delete br-it; true
"""

LOOK = f"""
pid=$(pgrep -o -P "$(cat /run/libvirt/lxc/{NAME}.pid)")
inside() {{ nsenter -n -t $pid "$@"; }}
code() {{ curl -s -o /dev/null -m 10 -w '%{{http_code}}' "$1"; }}
echo "main=$(cut -d' ' -f22 /proc/$pid/stat)"
for device in eth0 eth1; do echo "$device=$(inside ip -4 -o address show dev $device 2>/dev/null | awk '{{print $4}}' | xargs)"; done
echo "routes=$(inside ip -4 route | grep via | awk '{{print $1, $3}}' | sort | paste -sd ' ')"
echo "servers=$(virt-sandbox exec {NAME} -- grep nameserver /etc/resolv.conf | awk '{{print $2}}' | paste -sd ' ')"
address=$(inside ip -4 -o address show dev eth0 2>/dev/null | awk '{{split($4, a, "/"); print a[1]; exit}}')
echo "named=$(getent ahostsv4 {NAME} | awk '$2 == "STREAM" {{print $1}}' | grep -c "^$address$")"
echo "asked=$(virt-sandbox exec {PEER} -- getent ahostsv4 {NAME} | awk '$2 == "STREAM" {{print $1}}' | grep -c "^$address$")"
echo "reserved=$(virsh -q -c lxc:///system net-dumpxml default | grep -c "name='{NAME}' ip='$address'")"
echo "http=$(test -z "$address" || code http://$address/)"
echo "port=$(code http://127.0.0.1:18080/) $(code http://127.0.0.1:18081/)"
rules() {{ nft list chain bridge virt_sandbox $1 2>/dev/null; }}
echo "filter=$(for device in {" ".join(DEVICES)}; do rules $device | grep -oE 'ip saddr [0-9.]+ accept' | cut -d' ' -f3; done | paste -sd ' ')"
"""

STATIC: dict[str, Any] = {
    "type": "static",
    "addresses": ["192.168.122.78/24"],
    "gateway": "192.168.122.1",
    "routes": [{"to": "10.99.0.0/16", "via": "192.168.122.1"}],
}
OTHER: dict[str, Any] = {"source": "it-other", "lease": "10.79.0.15"}
BRIDGED: dict[str, Any] = {
    "type": "static",
    "bridge": "br-it",
    "addresses": ["10.78.0.2/24"],
    "nameservers": ["10.78.0.1"],
    "filter": False,
    "connections": "unlimited",
}
BOTH = {"type": "static", "addresses": ["192.168.122.79/24", f"{IPV6}/64"]}
NAMED = ("release the addresses", "reserve the addresses", "update /etc/hosts")
AGAIN = ("stop for its new interfaces", "restart")
CHANGE = ("write the files inside", *NAMED, "write the filter", "define the sandbox", "write the spec", *AGAIN)
PORTS = ("write it-net_sandbox-18080.socket", "write it-net_sandbox-18080.service")
OPEN = {"named": "1", "asked": "1", "http": "200"}

STAGES = (
    Stage(
        "create", {**UNITS, "network": [{}]},
        ("write the files inside", "write the slice", "write the unit", "reload systemd", "reserve the addresses", "update /etc/hosts",
         "write the filter", "define the sandbox", "enable the unit", "link the journal", "write the spec", "start"),
        True, {**OPEN, "reserved": "1", "servers": "192.168.122.1", "port": "000 000"},
    ),
    Stage(
        "a lease", {**UNITS, "network": [{"lease": "192.168.122.77"}]}, (*NAMED, "write the filter", "define the sandbox", "write the spec", *AGAIN),
        True, {**OPEN, "eth0": "192.168.122.77/24", "routes": "default 192.168.122.1", "reserved": "1", "filter": "192.168.122.77"},
    ),
    Stage(
        "static, and another network", {**UNITS, "network": [STATIC, OTHER]}, CHANGE, True,
        {**OPEN, "eth0": "192.168.122.78/24", "eth1": "10.79.0.15/24", "servers": "192.168.122.1 10.79.0.1", "reserved": "1",
         "filter": "192.168.122.78 10.79.0.15"},
    ),
    Stage(
        "a port", {**UNITS, "network": [{**STATIC, "ports": [{"host_port": 18080, "sandbox_port": 80}]}, OTHER]},
        (*PORTS, "reload systemd", "write the spec", "publish ports"), False, {**OPEN, "port": "200 000"},
    ),
    Stage(
        "another port", {**UNITS, "network": [{**STATIC, "ports": [{"host_port": 18081, "sandbox_port": 80, "address": "127.0.0.1"}]}, OTHER]},
        ("close ports", "remove it-net_sandbox-18080.service", "remove it-net_sandbox-18080.socket",
         "write it-net_sandbox-18081-127.0.0.1.socket", "write it-net_sandbox-18081-127.0.0.1.service",
         "reload systemd", "write the spec", "publish ports"),
        False, {**OPEN, "port": "000 200"},
    ),
    Stage(
        "a bridge", {**UNITS, "network": [BRIDGED]},
        ("write the files inside", "close ports", "remove it-net_sandbox-18081-127.0.0.1.service", "remove it-net_sandbox-18081-127.0.0.1.socket",
         "write the unit", "reload systemd", "release the addresses", "update /etc/hosts", "remove the nftables rules", "remove the filter",
         "define the sandbox", "write the spec", *AGAIN),
        True,
        {"eth0": "10.78.0.2/24", "eth1": "", "routes": "", "servers": "10.78.0.1", "named": "1", "reserved": "0", "http": "200", "filter": "",
         "port": "000 000"},
    ),
    Stage(
        "no network", UNITS, ("write the files inside", "update /etc/hosts", "define the sandbox", "write the spec", *AGAIN),
        True, {"eth0": "", "servers": "", "http": "", "named": "0", "filter": ""},
    ),
    Stage(
        "again as created", {**UNITS, "network": [{}]},
        ("write the files inside", "write the unit", "reload systemd", "reserve the addresses", "update /etc/hosts", "write the filter",
         "define the sandbox", "write the spec", *AGAIN),
        True, {**OPEN, "reserved": "1"},
    ),
)  # fmt: skip
CYCLE = Cycle(NAME, LEVEL, LOOK, STAGES)
PEER_OPTIONS: dict[str, Any] = {
    "name": PEER,
    "units": ["systemd-tmpfiles-clean.timer"],
    "network": [{"lease": PEER_ADDRESS, "mac": PEER_MAC}],
}


def service(**options: Any) -> dict[str, Any]:
    return {SERVICE: {"name": NAME, "level": LEVEL, **UNITS, **options}}


def attack(name: str) -> Task:
    """Forged frames from inside, and what of them arrives at the bridge."""
    script = f"""
    address=$(getent ahostsv4 {NAME} | awk '{{print $1; exit}}')
    python3 /run/it-listen.py virbr0 12 >/run/it-heard &
    sleep 2
    virt-sandbox exec {NAME} -- python3 - $address {PEER_ADDRESS} {PEER_MAC} {IPV6} {IPV6}:1 </run/it-spoof.py
    bridge fdb show dev {DEVICES[0]} | grep -q '^{PEER_MAC}' && echo learned
    wait; cat /run/it-heard
    """
    return shell_task(name, script, changed_when=False)


def port_tasks() -> Iterator[Task]:
    """What becomes of a port when the sandbox stops and starts; and ports that others have."""
    published = {"network": [{"ports": [{"host_port": 18080, "sandbox_port": 80}]}]}
    yield {"name": "published", **service(**published)}
    code = "curl -s -o /dev/null -m 20 -w '%{http_code}' http://127.0.0.1:18080/"
    stop_and_start = f"""
    systemctl stop {NAME}_sandbox; {code}; echo
    systemctl start {NAME}_sandbox; for n in $(seq 60); do test "$({code})" = 200 && break; sleep 1; done; {code}; echo
    """
    yield shell_task("a port follows its sandbox", stop_and_start)
    yield {"name": "info", INFO: {"name": NAME}}
    yield snapshot_task("before what is refused")
    for title, options in (
        ("a port of another sandbox", {"name": PEER, "network": [{"ports": [{"host_port": 18080}]}]}),
        ("a port of the host", {"name": PEER, "network": [{"ports": [{"host_port": 22}]}]}),
        ("an address of another sandbox", {"name": NAME, "network": [{"lease": PEER_ADDRESS}]}),
        ("a network that is not there", {"name": NAME, "network": [{"source": "nowhere"}]}),
        ("a bridge that is not there", {"name": NAME, "network": [{"bridge": "br-none"}]}),
    ):
        base = {**UNITS, "level": LEVEL} if options["name"] == NAME else {"units": PEER_OPTIONS["units"]}
        yield {"name": f"refused: {title}", SERVICE: {**base, **options}}
    yield snapshot_task("after what was refused")


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    scripts = {name: (HERE / f"{name}.py").read_text(encoding="utf-8") for name in ("spoof", "listen")}
    tasks = [
        *sandboxes_gone([NAME, PEER], " first"),
        shell_task("prepare", PREPARE),
        *(
            {"name": f"bring {name}", "ansible.builtin.copy": {"content": text, "dest": f"/run/it-{name}.py"}}
            for name, text in scripts.items()
        ),
        {"name": "labels", LABEL: {"sandboxes": [{"name": NAME, "level": LEVEL}, {"name": PEER}]}},
        {"name": "content", CONTENT: {"sandboxes": [{"name": NAME, "level": LEVEL, "private": PRIVATE}, {"name": PEER}]}},
        {"name": "peer", SERVICE: PEER_OPTIONS},
        *CYCLE.tasks(),
        attack("attack with the filter"),
        {"name": "of both families", **service(network=[BOTH])},
        attack("attack with addresses of both families"),
        {"name": "without the filter", **service(network=[{**BOTH, "filter": False}])},
        attack("attack without the filter"),
        *port_tasks(),
    ]
    yield lab.play(tasks, timeout=1800)
    lab.play([*sandboxes_gone([NAME, PEER]), shell_task("clean up the host", CLEAN)])


class TestNetwork(CycleTests):
    cycle = CYCLE


OWN = {"own", "own-arp", "own-probe"}
OWN_IPV6 = {"six", "six-neighbour", "six-probe"}
FORGED = {
    "address",
    "arp",
    "both",
    "dhcp",
    "duplicate",
    "learned",
    "lease",
    "long-lease",
    "mac",
    "neighbour",
    "other-six",
    "probe",
    "router",
}


def test_threat_21_a_sandbox_sends_under_its_own_address_only(played: Played, host: str) -> None:
    outcomes = played.on(host)
    arrived = {name: set(outcome.stdout.split()) for name, outcome in outcomes.items() if name.startswith("attack ")}
    assert arrived["attack with the filter"] == OWN | {"own-lease"}
    assert arrived["attack with addresses of both families"] == OWN | OWN_IPV6
    # the control: without the filter, which needs no restart, every one of them arrives
    assert outcomes["without the filter"].changed
    assert "restart" not in outcomes["without the filter"].steps(NAME)
    assert arrived["attack without the filter"] == OWN | OWN_IPV6 | FORGED | {"own-lease"}


def test_a_port_is_open_as_long_as_its_sandbox_runs(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert not outcomes["published"].failed, outcomes["published"].message
    assert outcomes["a port follows its sandbox"].stdout.split() == ["000", "200"]
    assert outcomes["info"].result["sandboxes"][NAME]["drift"] == []


@pytest.mark.parametrize(
    ("title", "message"),
    [
        ("a port of another sandbox", "network[0].ports: host port 18080 is already published by sandbox it-net."),
        ("a port of the host", "network[0].ports: host port 22 is already in use on this host."),
        ("an address of another sandbox", f"network[0]: sandbox {PEER} has {PEER_ADDRESS} in default. Choose another one for {NAME}."),
        (
            "a network that is not there",
            "network[0].source: libvirt network 'nowhere' does not exist or is not active. Active networks: default, it-other, virt-sandbox.",
        ),
        (
            "a bridge that is not there",
            "network[0].bridge: bridge 'br-none' does not exist on this host. Bridges: br-it, virbr-vsbx, virbr0, virbr77.",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_nothing_done(played: Played, host: str, title: str, message: str) -> None:
    outcomes = played.on(host)
    assert outcomes[f"refused: {title}"].failed
    assert message in outcomes[f"refused: {title}"].message
    before, after = (outcomes[name].snapshot for name in ("before what is refused", "after what was refused"))
    assert {key: before[key] for key in ("networks", "hosts", "domains", "units")} == {
        key: after[key] for key in ("networks", "hosts", "domains", "units")
    }
