# SPDX-License-Identifier: GPL-3.0-or-later
"""Threat 36: a sandbox floods the audit log with denials. Records of the host survive, and it is shown what was left out.

How soon the flood is noticed depends on how soon auditd writes the log, so this runs on hosts that have the machine to themselves.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest
from ansible_collections.virt.sandbox.tests.cycle import CONTENT, INFO, LABEL, SERVICE
from ansible_collections.virt.sandbox.tests.isolation.test_shared import inside
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, sandboxes_gone

NAME, LEVEL = "it-flood", "s0:c945,c946"
# a process of the host that is denied something up to 20 times a second, for as long as it is given
WITNESS = """
import os, sys, time
path, end, denied = sys.argv[1], time.monotonic() + float(sys.argv[2]), 0
open(path, "w").close()
os.chmod(path, 0o755)
with open("/proc/self/attr/exec", "w") as file:
    file.write("unconfined_u:system_r:auditd_t:s0-s0:c0.c1023")
while time.monotonic() < end:
    try:
        os.execv(path, [path])
    except PermissionError:
        denied += 1
    time.sleep(0.05)
os.unlink(path)
print(denied)
"""

FLOOD, SHORT = 14, 5


def witnessed(seconds: float) -> str:
    """A flood by a sandbox, during which a process of the host is denied something: how often, and how often the log says so."""
    return f"""
    mark=/root/vsbx-witness-$$
    {inside(NAME, "flood", str(seconds))} >/dev/null &
    denied=$(python3 -c {shlex.quote(WITNESS)} $mark {seconds})
    auditctl -m "said by the host $mark" 2>/dev/null
    wait
    for second in $(seq 20); do
        test "$(auditctl -s | sed -n 's/^backlog //p')" -gt 3 || break
        sleep 1
    done
    cat /var/log/audit/audit.log* | grep -a "$mark" >/run/vsbx-marks
    echo $denied $(grep -ac "type=AVC.*path=" /run/vsbx-marks) $(grep -ac "said by the host" /run/vsbx-marks)
    """


@pytest.fixture(scope="module")
def running(lab: Lab) -> Iterator[None]:
    sandbox = {"name": NAME, "level": LEVEL}
    made = lab.play(
        [
            *sandboxes_gone([NAME], " first"),
            {"name": "label", LABEL: sandbox},
            {"name": "content", CONTENT: sandbox},
            {"name": "service", SERVICE: {**sandbox, "units": ["systemd-tmpfiles-clean.timer"], "network": []}},
        ]
    )
    assert not [host for host in lab.hosts if made.on(host)["service"].failed]
    yield
    lab.play(sandboxes_gone([NAME]))


@pytest.fixture(scope="module")
def flooded(lab: Lab, running: None) -> dict[str, dict[str, list[int]]]:
    """Denials of the host's process, those in the log, and messages in the log; with the watch and without; by host."""

    def counts(script: str) -> dict[str, list[int]]:
        return {host: [int(word) for word in done.stdout.split()[-3:]] for host, done in lab.everywhere(script, timeout=180).items()}

    with_watch = counts(f"auditctl --reset-lost >/dev/null\n{witnessed(FLOOD)}")
    info = lab.play([{"name": "info", INFO: {"name": NAME, "denials": 0}}])
    shown = {host: [info.on(host)["info"].result["sandboxes"][NAME]["audit_left_out"]["times"]] for host in lab.hosts}
    lab.everywhere("systemctl stop virt-sandbox-audit; auditctl -b 64 >/dev/null; auditctl --reset-lost >/dev/null")
    try:
        without = counts(witnessed(SHORT))
        info = lab.play([{"name": "info", INFO: {"name": NAME, "denials": 0}}])
        lost = {host: [info.on(host)["info"].result["host"]["audit_lost"]] for host in lab.hosts}
    finally:
        lab.everywhere("auditctl -b 32768 >/dev/null; systemctl start virt-sandbox-audit")
    return {host: {"watched": with_watch[host], "shown": shown[host], "unwatched": without[host], "lost": lost[host]} for host in lab.hosts}


def test_threat_36_records_of_the_host_survive_a_flood(flooded: dict[str, dict[str, list[int]]], host: str) -> None:
    denied, recorded, said = flooded[host]["watched"]
    assert denied > FLOOD / 2
    assert (recorded, said) == (denied, 1)


def test_threat_36_it_is_shown_that_records_were_left_out(flooded: dict[str, dict[str, list[int]]], host: str) -> None:
    assert flooded[host]["shown"] == [1]


def test_threat_36_without_the_watch_and_with_a_short_queue_records_are_lost(flooded: dict[str, dict[str, list[int]]], host: str) -> None:
    """The control: records of the host, and their number is shown."""
    denied, recorded, _said = flooded[host]["unwatched"]
    assert recorded < denied
    assert flooded[host]["lost"][0] > 0
