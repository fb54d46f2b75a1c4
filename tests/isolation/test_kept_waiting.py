# SPDX-License-Identifier: GPL-3.0-or-later
"""Threat 28: root inside freezes, stops or starves what the host enters and asks. That holds up nobody for long, and no other sandbox.

``STATES`` is what root inside does, each from a process of his that goes on doing it. In each of them the host does what it does
with sandboxes: it runs commands there, looks at all of them, reloads and stops them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
from ansible_collections.virt.sandbox.tests.cycle import CONTENT, EXEC, INFO, LABEL, SERVICE
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Played, Task, sandboxes_gone, shell_task

HOSTILE, QUIET = "it-waits", "it-quiet"
SANDBOXES = [{"name": HOSTILE, "level": "s0:c821,c822"}, {"name": QUIET, "level": "s0:c823,c824"}]
SERVED = {"units": ["systemd-tmpfiles-clean.timer"], "network": [], "sandboxes": SANDBOXES}
UNIT = f"{HOSTILE}_sandbox.service"
# seconds that a command has
LIMIT = 3
ATTACK = """
import ctypes, os, sys, time
place = "/sys/fs/cgroup" + open("/proc/1/cgroup").read().strip()[3:]
scope = place[: place.index(".scope") + 6]
def write(path, text):
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError:
        pass
def frozen_scope():  # once, and himself with it
    write(scope + "/cgroup.freeze", "1")
def frozen_init():
    while True:
        write(place + "/cgroup.freeze", "1")
def stopped():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    assert libc.ptrace(0x4206, 1, 0, 0) == 0 and libc.ptrace(0x4207, 1, 0, 0) == 0, os.strerror(ctypes.get_errno())
    while True:
        time.sleep(9)
def starved():
    write(place + "/memory.high", "0")
    write(place + "/pids.max", "1")
    while True:
        time.sleep(9)
print("begun", flush=True)
if os.fork():  # whoever started it goes on thawing as long as it runs
    os._exit(0)
os.setsid()
for number in range(3):
    os.close(number)
globals()[sys.argv[1]]()
"""
FROZEN = "frozen_init"
# half of them where time is scarce
STATES = ("frozen_scope", FROZEN, "stopped", "starved")[: None if os.environ.get("VSBX_WAITS") == "all" else 2]
ATTACK_FILE = f"/var/lib/libvirt/filesystems/{HOSTILE}/srv/attack.py"
# the guard taken away: a process that is put beside the first one, and that nobody thaws
CONTROL = f"""
place=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(pgrep -o -P "$(cat /run/libvirt/lxc/{HOSTILE}.pid)")/cgroup")
rm -f /run/it-waits-ran
sh -c 'echo $$ >"$1/cgroup.procs"; : >/run/it-waits-ran' sh "$place" & pid=$!
sleep 3; test -e /run/it-waits-ran && echo ran || echo held
kill -9 $pid
"""


def timed(title: str, script: str) -> Task:
    return shell_task(title, f"began=$(date +%s%N)\n{script}\necho \\ took $((($(date +%s%N) - began) / 1000000))")


def attacked(state: str) -> Iterator[Task]:
    yield {"name": f"{state}: up", SERVICE: SERVED}
    yield shell_task(f"{state}: attack", f"virt-sandbox exec {HOSTILE} -- python3 /srv/attack.py {state} </dev/null 2>&1; sleep 2")
    if state.startswith("frozen"):
        yield shell_task(f"{state}: without a thaw", CONTROL)
    yield {"name": f"{state}: exec", EXEC: {"name": HOSTILE, "cmd": "echo served", "timeout": LIMIT, "user": "nobody"}}
    yield timed(
        f"{state}: command line",
        f"""virt-sandbox exec {HOSTILE} -- sleep 60 </dev/null >/dev/null 2>&1 & sleep 2; kill $!; wait $!; echo "code $?" """,
    )
    yield {"name": f"{state}: info", INFO: {"denials": 0}}
    if state == FROZEN:
        yield {"name": "reload", SERVICE: {**SERVED, "state": "reloaded"}}
    yield timed(f"{state}: stop", f"systemctl stop {UNIT}; systemctl show -P ActiveState {UNIT}")


def tasks() -> Iterator[Task]:
    yield {"name": "labels", LABEL: {"sandboxes": SANDBOXES}}
    yield {"name": "content", CONTENT: {"sandboxes": SANDBOXES}}
    yield shell_task("attack", f"cat >{ATTACK_FILE} <<'END'{ATTACK}END\n")
    for state in STATES:
        yield from attacked(state)


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    names = [HOSTILE, QUIET]
    yield lab.play([*sandboxes_gone(names, " first"), *tasks()])
    lab.play(sandboxes_gone(names))


def milliseconds(text: str) -> int:
    match = re.search(r"took ([0-9]+)", text)
    assert match, text
    return int(match.group(1))


def test_threat_28_the_attacks_are_real(played: Played, host: str) -> None:
    outcomes = played.on(host)
    for state in STATES:
        assert not outcomes[f"{state}: up"].failed, outcomes[f"{state}: up"].message
        assert outcomes[f"{state}: attack"].stdout == "begun", outcomes[f"{state}: attack"].stdout
    assert [outcomes[f"{state}: without a thaw"].stdout for state in STATES[:2]] == ["held", "held"]


@pytest.mark.parametrize("state", STATES)
def test_threat_28_a_command_is_served_or_ends_at_its_limit(played: Played, host: str, state: str) -> None:
    outcome = played.on(host)[f"{state}: exec"]
    assert outcome.stdout == "served" or HOSTILE in outcome.message, outcome.result


@pytest.mark.parametrize("state", STATES)
def test_threat_28_a_person_can_end_a_command(played: Played, host: str, state: str) -> None:
    shown = played.on(host)[f"{state}: command line"].stdout
    assert "code 143" in shown or "code 125" in shown, shown
    assert milliseconds(shown) < 20_000


@pytest.mark.parametrize("state", STATES)
def test_threat_28_all_sandboxes_are_shown(played: Played, host: str, state: str) -> None:
    sandboxes = played.on(host)[f"{state}: info"].result["sandboxes"]
    assert sandboxes[QUIET]["units"] == {"systemd-tmpfiles-clean.timer": "active"}
    assert sandboxes[HOSTILE]["state"] == "running"


def test_threat_28_no_other_sandbox_fails_with_its_reload(played: Played, host: str) -> None:
    message = played.on(host)["reload"].message
    assert HOSTILE in message, message
    assert QUIET not in message, message


@pytest.mark.parametrize("state", STATES)
def test_threat_28_a_stop_is_a_stop(played: Played, host: str, state: str) -> None:
    shown = played.on(host)[f"{state}: stop"].stdout
    assert shown.splitlines()[0] == "inactive", shown
    assert milliseconds(shown) < 60_000
