# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel has once for the host and all sandboxes: how much of it root inside one gets (threats 30, 33b and 34).

``shares.py`` runs as root inside; the same where nothing guards shows that it would take what the host needs.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.tests.cycle import CONTENT, INFO, LABEL, SERVICE
from ansible_collections.virt.sandbox.tests.lab_fixtures import ENFORCING, PERMISSIVE, Lab, Played, in_domain, sandboxes_gone, shell_task

BOUND, OPEN = "it-bound", "it-open"
LEVEL = "s0:c941,c942"
ADDRESSES = {BOUND: "10.213.187.251", OPEN: "10.213.187.252"}
SHARES = Path(__file__).with_name("shares.py").read_text(encoding="utf-8")
UNIT = ["systemd-tmpfiles-clean.timer"]
CONNECTIONS, QUERIES, CLIENTS = 256, 2000, 400
REFUSED = {"EPERM", "EACCES"}
# answers one client after another, and keeps the first
SERVER = """
import socket
server = socket.create_server(("", 8080), backlog=512)
kept, _peer = server.accept()
while True:
    client, _peer = server.accept()
    client.sendall(b"x")
    client.close()
"""
# from the host: a connection from before the queries, and many after them
ASK = f"""
import socket, subprocess, sys, time
address = sys.argv[1]
def number():
    with open("/proc/sys/net/netfilter/nf_conntrack_count") as file:
        return int(file.read())
for attempt in range(100):
    try:
        kept = socket.create_connection((address, 8080), 5)
        break
    except OSError:
        time.sleep(0.2)
before = number()
subprocess.run(sys.argv[2:], check=True, stdout=subprocess.DEVNULL)
opened, begin = number() - before, time.monotonic()
answered = 0
for client in range({CLIENTS}):
    with socket.create_connection((address, 8080), 5) as one:
        answered += one.recv(1) == b"x"
print(opened, answered, round(answered / (time.monotonic() - begin)))
"""


def inside(name: str, *words: str) -> str:
    return f"virt-sandbox exec {name} -- {on_host(*words)}"


def on_host(*words: str) -> str:
    return f"python3 -c {shlex.quote(SHARES)} {' '.join(words)}"


def as_sandbox(*words: str) -> str:
    """In the root cgroup, where the lab's kernel allows real-time priority as every kernel without RT_GROUP_SCHED does."""
    return in_domain(LEVEL, on_host(*words), before="echo $$ >/sys/fs/cgroup/cgroup.procs")


def scene() -> list[dict[str, Any]]:
    given = {BOUND: str(CONNECTIONS), OPEN: "unlimited"}
    network = {
        name: [{"type": "managed", "addresses": [f"{address}/22"], "connections": given[name]}] for name, address in ADDRESSES.items()
    }
    return [
        *sandboxes_gone((BOUND, OPEN), " first"),
        {"name": "labels", LABEL: {"sandboxes": [{"name": BOUND, "level": LEVEL}, {"name": OPEN}]}},
        {"name": "content", CONTENT: {"sandboxes": [{"name": name} for name in network]}},
        {"name": "service", SERVICE: {"sandboxes": [{"name": name, "units": UNIT, "network": given} for name, given in network.items()]}},
        {"name": "before", INFO: {"denials": 0}},
        *(
            task
            for name in network
            for task in (
                shell_task(f"server in {name}", f"virt-sandbox exec {name} -- systemd-run --quiet python3 -c {shlex.quote(SERVER)}"),
                shell_task(
                    f"connections of {name}",
                    f"python3 -c {shlex.quote(ASK)} {ADDRESSES[name]} {inside(name, 'queries', '10.213.184.1', str(QUERIES))}",
                ),
            )
        ),
        {"name": "after", INFO: {"denials": 0}},
    ]


# a user that root inside becomes; more than the host's system bus may have in flight, and a file of the shared /usr that nobody needs
USER, BUS, FILE = 65533, 524288, "/usr/share/common-licenses/GFDL-1.3"
GROUP = "/sys/fs/cgroup/vsbx-slow"


# of the host's user of that number, with the limit of the bus, while the others are in flight
ONE_MORE = f"prlimit --nofile={BUS} {on_host('in_flight', str(USER), '1')}"
IN_FLIGHT = f"""
echo "$({inside(BOUND, "in_flight", str(USER), str(BUS + 9000))})"
{ONE_MORE}
"""
IN_FLIGHT_CONTROL = f"""
sleep 9
prlimit --nofile=1048576 {on_host("in_flight", str(USER), str(BUS + 9000))}
{ONE_MORE}
"""
READ = f"timeout -s KILL 5 cat {FILE} >/dev/null 2>&1; echo $?"
SLOW_READ = f"""
{inside(BOUND, "slow_read", "own", FILE)}
sleep 1
{READ}
"""
SLOW_READ_CONTROL = f"""
{on_host("slow_read", GROUP, FILE)}
sleep 1
{READ}
echo "$(cut -d ' ' -f 1 {GROUP}/io.max) rbps=max riops=max" >{GROUP}/io.max
sleep 1
{READ}
rmdir {GROUP}
"""


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    yield lab.play(
        [
            *scene(),
            shell_task("in flight", IN_FLIGHT),
            shell_task("in flight without a limit", IN_FLIGHT_CONTROL),
            shell_task("slow read", SLOW_READ),
            shell_task("slow read where nothing forbids it", SLOW_READ_CONTROL),
        ]
    )
    lab.play(sandboxes_gone((BOUND, OPEN)))


def connections(played: Played, host: str, name: str) -> tuple[int, int, int]:
    outcome = played.on(host)[f"connections of {name}"]
    assert not outcome.failed, outcome.result
    opened, answered, rate = outcome.stdout.split()[-3:]
    return int(opened), int(answered), int(rate)


def dropped(played: Played, host: str, name: str) -> int:
    return int(played.on(host)["after"].result["sandboxes"][name]["connections_dropped"])


def test_threat_30_a_sandbox_opens_no_more_connections_than_its_share(played: Played, host: str) -> None:
    opened, _answered, _rate = connections(played, host, BOUND)
    # the rate lets some more through while those of the server begin; the host has a few of its own
    assert opened <= CONNECTIONS + 100
    assert dropped(played, host, BOUND) >= QUERIES - CONNECTIONS - 100


def test_threat_30_without_a_share_it_opens_as_many_as_it_likes(played: Played, host: str) -> None:
    """The control."""
    opened, _answered, _rate = connections(played, host, OPEN)
    assert opened >= QUERIES - 100
    assert dropped(played, host, OPEN) == 0


def test_threat_30_what_others_open_to_it_is_not_counted(played: Played, host: str) -> None:
    """Its server answers every client, right after it has opened all that it may."""
    assert connections(played, host, BOUND)[1] == CLIENTS


# ---- privileges


@pytest.fixture(scope="module")
def privileges(lab: Lab, played: Played) -> dict[str, dict[str, dict[str, str]]]:
    """How root inside fares with each, by how it is guarded and by host; "inside" is in a sandbox as it is."""

    def ask(script: str) -> dict[str, dict[str, str]]:
        return {host: json.loads(done.stdout) for host, done in lab.everywhere(script).items()}

    found = {"inside": ask(inside(BOUND, "privileges")), "guarded": ask(as_sandbox("privileges"))}
    lab.everywhere(PERMISSIVE)
    try:
        return {**found, "recorded": ask(as_sandbox("privileges"))}
    finally:
        lab.everywhere(ENFORCING)


@pytest.mark.parametrize(
    "privilege",
    [
        pytest.param("real-time priority", id="threat_34 real-time priority"),
        pytest.param("a priority above the ordinary", id="threat_34 a priority above the ordinary"),
        pytest.param("to be spared where memory runs out", id="threat_33b to be spared where memory runs out"),
        pytest.param("a higher hard limit", id="threat_34 a higher hard limit"),
    ],
)
def test_root_inside_is_refused(privileges: dict[str, dict[str, dict[str, str]]], host: str, privilege: str) -> None:
    """Inside, and where only the type guards; where that only records, it succeeds."""
    assert privileges["inside"][host][privilege] in REFUSED
    assert privileges["guarded"][host][privilege] in REFUSED
    assert privileges["recorded"][host][privilege] == "ok"


# ---- what the host shares by user or by file


def answers(played: Played, host: str, task: str) -> list[Any]:
    outcome = played.on(host)[task]
    assert not outcome.failed, outcome.result
    return [json.loads(line) for line in outcome.stdout.splitlines()]


def test_threat_40_descriptors_in_flight_leave_the_hosts_user_some(played: Played, host: str) -> None:
    inside_said, one_more = answers(played, host, "in flight")
    assert inside_said["refused"] == "ETOOMANYREFS"
    assert BUS / 4 < inside_said["sent"] < BUS * 3 / 4
    assert one_more == {"sent": 1, "refused": ""}


def test_threat_40_without_a_limit_the_hosts_user_sends_none(played: Played, host: str) -> None:
    """The control."""
    taken, one_more = answers(played, host, "in flight without a limit")
    assert taken["sent"] > BUS
    assert one_more == {"sent": 0, "refused": "ETOOMANYREFS"}


def test_threat_39_a_sandbox_slows_no_reading_of_its_own(played: Played, host: str) -> None:
    said, code = answers(played, host, "slow read")
    assert said["cgroup.procs"] == "ok"
    assert "ok" not in (said["cgroup.subtree_control"], said["io.max"])
    assert code == 0


def test_threat_39_a_slow_reader_of_a_shared_file_keeps_the_host_waiting(played: Played, host: str) -> None:
    """The control."""
    said, during, after = answers(played, host, "slow read where nothing forbids it")
    assert set(said.values()) == {"ok"}
    assert during == 137
    assert after == 0
