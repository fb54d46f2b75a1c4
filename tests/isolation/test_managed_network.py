# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox whose interface the host sets up: it serves from its first start, and root inside changes nothing of its network.

The control is a sandbox beside it that differs only in the type of its processes, which has what systemd-networkd needs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.tests.cycle import CONTENT, INFO, LABEL, SERVICE
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Played, Task, sandboxes_gone, shell_task

NAME, CONTROL = "it-managed", "it-managed-net"
ACTS = (Path(__file__).parent / "network_acts.py").read_text(encoding="utf-8")
PRIVATE = ["/etc/apache2", "/etc/mime.types", "/var/cache/apache2", "/var/lib/apache2", "/var/log/apache2", "/var/www"]
BASE: dict[str, Any] = {"units": ["apache2.service"], "network": [{"type": "managed"}]}
OPTIONS = {**BASE, "network": [{"type": "managed", "ports": [{"host_port": 18087, "sandbox_port": 80}]}]}
CONTROL_OPTIONS = {**BASE, "units": ["systemd-tmpfiles-clean.timer"], "process_type": "virt_sandbox_net_t"}
BRIDGE = "virbr-vsbx"
# how many neighbours the kernel has in all: by itself 1024, and more once the role has raised it, which takes an attack longer to fill
THRESHOLD, SMALL = "/proc/sys/net/ipv4/neigh/default/gc_thresh3", 1024

SERVES = f"""
code() {{ curl -s -o /dev/null -m 10 -w '%{{http_code}}' "$@"; }}
address=$(getent ahostsv4 {NAME} | awk '{{print $1; exit}}')
inside() {{ virt-sandbox exec "$@"; }}
echo "address=$address"
echo "host=$(code http://{NAME}/)"
echo "port=$(code http://127.0.0.1:18087/)"
echo "peer=$(inside {CONTROL} -- curl -s -o /dev/null -m 10 -w '%{{http_code}}' http://{NAME}/)"
echo "asked=$(inside {CONTROL} -- getent ahostsv4 {NAME} | awk '{{print $1; exit}}')"
echo "has=$(inside {NAME} -- ip -4 -o address show dev eth0 | awk '{{print $4}}')"
echo "routes=$(inside {NAME} -- ip -4 route show default | awk '{{print $3}}')"
echo "six=$(inside {NAME} -- ip -6 -o address show dev eth0 | wc -l)"
echo "sockets=$(inside {NAME} -- ss -Htln 'sport = :80' | wc -l)"
echo "processes=$(inside {NAME} -- ps -eo comm= | sort -u | paste -sd ' ')"
echo "reserved=$(virsh -q -c lxc:///system net-dumpxml virt-sandbox | grep -c 'mac=')"
echo "ping=$(cat <<'END' | inside {NAME} -- python3 - ping $(ip -4 -o address show dev {BRIDGE} | awk '{{split($4, a, "/"); print a[1]}}')
{ACTS}
END
)"
"""


def inside(sandbox: str, *words: object) -> str:
    return f"virt-sandbox exec {sandbox} -- python3 - {' '.join(map(str, words))} <<'END'\n{ACTS}\nEND\n"


def tasks() -> Iterator[Task]:
    both = [{"name": NAME, **OPTIONS}, {"name": CONTROL, **CONTROL_OPTIONS}]
    yield {"name": "labels", LABEL: {"sandboxes": [{"name": NAME}, {"name": CONTROL}]}}
    raw = {"path": "/etc/systemd/system/raw.service", "content": "[Service]\nExecStart=/usr/bin/true\nAmbientCapabilities=CAP_NET_RAW\n"}
    yield {"name": "content", CONTENT: {"sandboxes": [{"name": NAME, "private": PRIVATE, "files": [raw]}, {"name": CONTROL}]}}
    yield {"name": "started", SERVICE: {"sandboxes": both}}
    yield shell_task("serves", SERVES, changed_when=False)
    yield {"name": "again", SERVICE: {"sandboxes": both}}
    for sandbox in (NAME, CONTROL):
        yield shell_task(f"change {sandbox}", inside(sandbox, "change"), changed_when=False)
        yield shell_task(f"permanent {sandbox}", inside(sandbox, "neighbours", 2000), changed_when=False)
    subnet = f"$(ip -4 -o address show dev {BRIDGE} | awk '{{print $4}}')"
    yield shell_task("a small table", f"cat {THRESHOLD} >/run/it-threshold; echo {SMALL} >{THRESHOLD}")
    yield shell_task("flood", attacked(NAME, "flood", subnet, 12), changed_when=False)
    for sandbox in (NAME, CONTROL):
        yield shell_task(f"held {sandbox}", attacked(sandbox, "reachable", SMALL + 200, 12), changed_when=False)
    yield shell_task("a large table", f"cat /run/it-threshold >{THRESHOLD}")
    yield {"name": "refused: a unit", SERVICE: {"name": NAME, **OPTIONS, "units": ["raw.service"]}}
    yield {"name": "refused: a range", SERVICE: {"name": NAME, **BASE, "network": [{"type": "managed", "source": "default"}]}}
    yield {"name": "refused: a type", SERVICE: {"name": NAME, **BASE, "network": [{"type": "dhcp"}], "process_type": "virt_sandbox_t"}}
    yield {"name": "restarted", SERVICE: {"name": NAME, **OPTIONS, "state": "restarted"}}
    yield {"name": "info", INFO: {"name": NAME, "denials": 1}}


def attacked(sandbox: str, *words: object) -> str:
    """What becomes of the host's search for a neighbour that it has forgotten while a sandbox attacks, and what that has done."""
    return f"""
    ({inside(sandbox, *words)}) >/run/it-attack 2>&1 &
    sleep 5
    ip neigh flush dev {BRIDGE} 2>/dev/null
    curl -s -o /dev/null -m 5 -w '%{{http_code}}\n' http://$(awk '$2 == "{NAME}" {{print $1}}' /etc/hosts)/
    wait
    cat /run/it-attack"""


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    yield lab.play([*sandboxes_gone([NAME, CONTROL], " first"), *tasks()])
    lab.play(
        [*sandboxes_gone([NAME, CONTROL]), shell_task("forgotten", "virsh -q -c lxc:///system net-dumpxml virt-sandbox | grep -c hostname")]
    )


def lines(text: str, sign: str) -> dict[str, str]:
    return dict(line.split(sign, 1) for line in text.splitlines() if sign in line)


def test_it_serves_from_its_first_start(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert not outcomes["started"].failed, outcomes["started"].message
    answers = lines(outcomes["serves"].stdout, "=")
    assert {name: answers[name] for name in ("host", "port", "peer")} == dict.fromkeys(("host", "port", "peer"), "200")
    assert answers["asked"] == answers["address"]
    assert answers["has"] == f"{answers['address']}/22"
    assert (answers["routes"], answers["six"], answers["reserved"]) == (str(ipaddress.ip_interface(answers["has"]).network[1]), "0", "0")
    assert not outcomes["again"].changed, outcomes["again"].result["steps"]


def test_what_is_read_of_the_network_inside_is_read(played: Played, host: str) -> None:
    answers = lines(played.on(host)["serves"].stdout, "=")
    assert (answers["sockets"], answers["ping"]) == ("1", "ok")


def test_no_network_daemon_runs_inside(played: Played, host: str) -> None:
    names = lines(played.on(host)["serves"].stdout, "=")["processes"].split()
    assert {"systemd", "apache2"} <= set(names)
    assert not {"systemd-network", "dhclient", "networkd"} & set(names)


def test_threat_33_root_inside_changes_nothing_of_its_network(played: Played, host: str) -> None:
    outcomes = played.on(host)
    ended, control = (lines(outcomes[f"change {name}"].stdout, ": ") for name in (NAME, CONTROL))
    assert set(ended.values()) <= {"EACCES", "EPERM"}, ended
    # the control: what only a namespace of its own would give, none has
    assert control.pop("a user namespace") != "ok"
    assert set(control.values()) == {"ok"}, control
    assert outcomes[f"permanent {NAME}"].stdout == "taken 0"
    assert outcomes[f"permanent {CONTROL}"].stdout == "taken 2000"


def test_threat_29_the_host_finds_new_neighbours(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes[f"held {NAME}"].stdout.split() == ["200", "taken", "0"]
    # nor does it help to ask for every address that the interface reaches
    code, _sent, number = outcomes["flood"].stdout.split()
    assert (int(number) > 1000, code) == (True, "200")
    # the control: the table is full
    code, _taken, number = outcomes[f"held {CONTROL}"].stdout.split()
    assert (int(number) > 500, code) == (True, "000")


@pytest.mark.parametrize(
    ("title", "message"),
    [
        ("a unit", "needs CAP_NET_RAW (AmbientCapabilities=), which virt_sandbox_t is denied. Set process_type: virt_sandbox_net_t"),
        ("a range", "network 'default' has no address outside its DHCP range"),
        ("a type", "process_type: the loaded policy denies net_admin to virt_sandbox_t"),
    ],
)
def test_what_cannot_be_is_refused(played: Played, host: str, title: str, message: str) -> None:
    outcome = played.on(host)[f"refused: {title}"]
    assert outcome.failed
    assert message in outcome.message


def test_it_keeps_its_address_and_its_type(played: Played, host: str) -> None:
    outcomes = played.on(host)
    info = outcomes["info"].result["sandboxes"][NAME]
    assert info["addresses"] == [lines(outcomes["serves"].stdout, "=")["address"]]
    assert info["drift"] == []
    assert {process["context"].split(":")[2] for process in info["processes"]} == {"virt_sandbox_t"}
    # what was tried is told
    assert {"rawip_socket", "packet_socket"} <= {denial["tclass"] for denial in info["denials"]}
