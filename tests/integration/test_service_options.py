# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 (scripts are read by lines)
"""Limits, environment, capabilities, mounts and commands: each declared, repeated, changed, repeated, removed and repeated.

What a run did is asked of the kernel and of processes inside, never of the module that did it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.virt.sandbox.tests.cycle import CONTENT, EXEC, INFO, LABEL, SERVICE, Cycle, CycleTests, Stage
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Played, Task, sandboxes_gone, shell_task

NAME, LEVEL = "it-opt", "s0:c923,c924"
CGROUP = "/sys/fs/cgroup/machine.slice/machine-virt_sandbox.slice/machine-virt_sandbox-it\\\\x2dopt.slice"
UNIT = f"{NAME}_sandbox.service"
PAGES, IMAGE = "/srv/it-opt-pages", "/srv/it-opt.img"
MB = 1024 * 1024

PREPARE = f"""
rm -rf {PAGES} {IMAGE}* /srv/it-opt-seed; mkdir {PAGES} /srv/it-opt-seed
echo of the host >{PAGES}/file; echo of the image >/srv/it-opt-seed/hello
mke2fs -q -t ext4 -d /srv/it-opt-seed {IMAGE} 8M; chcon -t mount_loopback_t {IMAGE}
cp {IMAGE} {IMAGE}.unlabelled; chcon -t var_t {IMAGE}.unlabelled
"""

# what the kernel and processes inside show
LOOK = f"""
pid=$(pgrep -o -P "$(cat /run/libvirt/lxc/{NAME}.pid)")
journald=$(pgrep -o -P $pid systemd-journal || pgrep -o -P $pid)
inside() {{ timeout 20 virt-sandbox exec {NAME} -- sh -c "$1" 2>&1 | tail -n 1; }}
echo "main=$(cut -d' ' -f22 /proc/$pid/stat)"
echo "weight=$(cat {CGROUP}/cpu.weight)"
echo "io=$(cut -d' ' -f2- {CGROUP}/io.max)"
echo "environment=$(tr '\\0' '\\n' </proc/$journald/environ | grep ^IT_ | sort | paste -sd ' ')"
bounding=$(awk '/CapBnd/ {{ print $2 }}' /proc/$pid/status)
for capability in chown:0 net_raw:13 sys_ptrace:19; do
    test $((0x$bounding >> ${{capability#*:}} & 1)) = 1 || echo "${{capability%:*}}"
done | paste -sd ' ' | sed 's/^/lost=/'
echo "entered=$(inside 'grep CapBnd /proc/self/status' | grep -c "$bounding")"
echo "page=$(inside 'cat /srv/pages/file')"
echo "page_write=$(inside 'echo written >/srv/pages/new && echo yes')"
echo "page_label=$(stat -c %C {PAGES}/file)"
echo "image=$(inside 'cat /opt/disk/hello')"
echo "image_write=$(inside 'echo written >/opt/disk/new && echo yes')"
echo "ram=$(inside 'findmnt -n -o FSTYPE,SIZE -T /var/cache/quick' | xargs)"
echo "ram_write=$(inside 'echo written >/var/cache/quick/new && stat -c %a /var/cache/quick')"
echo "process=$(ps -o user=,group=,args= -p $(pgrep -n -P $pid sleep) | xargs)"
echo "home=$(tr '\\0' '\\n' </proc/$(pgrep -n -P $pid sleep)/environ | grep ^HOME=) $(readlink /proc/$(pgrep -n -P $pid sleep)/cwd)"
"""


UNITS = {"units": ["systemd-tmpfiles-clean.timer"]}
LIMITS: dict[str, Any] = {
    "cpu_weight": 50,
    "io": {"devices": [{"device": "/srv", "write_bandwidth": "1M", "read_operations": 500}]},
}
OTHER_LIMITS: dict[str, Any] = {"cpu_weight": 200, "io": {"devices": [{"device": "/var/lib", "read_bandwidth": "2M"}]}}
BIND: dict[str, Any] = {"source": PAGES, "target": "/srv/pages", "relabel": True}
DISK = {"type": "image", "source": IMAGE, "target": "/opt/disk"}
RAM = {"type": "ram", "target": "/var/cache/quick", "size": "8M"}
EXTRAS: dict[str, Any] = {
    **UNITS,
    "env": {"IT_TEXT": 'a "b" \\ %n $HOME', "IT_NUMBER": 5},
    "capabilities": {"drop": ["net_raw", "CAP_SYS_PTRACE"]},
    "mounts": [{**BIND, "read_only": True}, {**DISK, "read_only": True}, RAM],
}
KEPT = [
    "audit_write", "chown", "dac_override", "fowner", "fsetid", "kill", "net_admin", "net_bind_service", "net_raw", "setgid",
    "setpcap", "setuid", "sys_chroot",
]  # fmt: skip
OTHER_EXTRAS: dict[str, Any] = {
    **UNITS,
    "env": {"IT_TEXT": "other"},
    "capabilities": {"keep": KEPT},
    "mounts": [BIND, DISK, {**RAM, "size": "16M", "mode": "1777"}],
}
SLEEP: dict[str, Any] = {
    "command": ["/usr/bin/sleep", "86400"],
    "user": "www-data",
    "group": "games",
    "home": "/srv",
    "env": {"IT_TEXT": "a <b> & 'c'"},
}
OTHER_SLEEP: dict[str, Any] = {"command": ["/usr/bin/sleep", "86401"]}

LIVE = ("write the slice", "reload systemd", "apply the limits", "write the spec")
NOTHING = {"weight": "100", "io": "", "environment": "", "lost": "", "entered": "1"}
ABSENT = {"page": "cat: /srv/pages/file: No such file or directory", "image": "cat: /opt/disk/hello: No such file or directory"}
OURS = f"system_u:object_r:virt_sandbox_file_t:{LEVEL}"
STAGES = (
    Stage(
        "create", UNITS,
        ("write the files inside", "write the slice", "write the unit", "reload systemd", "define the sandbox", "enable the unit", "link the journal",
         "write the spec", "start"),
        True, {**NOTHING, **ABSENT},
    ),
    Stage("limit", {**UNITS, **LIMITS}, LIVE, False, {**NOTHING, "weight": "50", "io": "rbps=max wbps=1048576 riops=500 wiops=max"}),
    Stage("limit otherwise", {**UNITS, **OTHER_LIMITS}, LIVE, False, {**NOTHING, "weight": "200", "io": "rbps=2097152 wbps=max riops=max wiops=max"}),
    Stage("no limits", UNITS, LIVE, False, NOTHING),
    Stage(
        "extras", EXTRAS,
        ("write the files inside", "make the mount points", f"relabel {PAGES}", "write the unit", "reload systemd", "define the sandbox",
         "write the spec", "restart"),
        True,
        {
            "environment": 'IT_NUMBER=5 IT_TEXT=a "b" \\ %n $HOME', "lost": "net_raw sys_ptrace", "entered": "1",
            "page": "of the host", "page_write": "sh: 1: cannot create /srv/pages/new: Read-only file system", "page_label": OURS,
            "image": "of the image", "image_write": "sh: 1: cannot create /opt/disk/new: Read-only file system",
            "ram": "tmpfs 8M", "ram_write": "755",
        },
    ),
    Stage(
        "other extras", OTHER_EXTRAS, ("write the files inside", "write the unit", "reload systemd", "define the sandbox", "write the spec", "restart"), True,
        {
            "environment": "IT_TEXT=other", "lost": "sys_ptrace", "entered": "1", "page": "of the host", "page_write": "yes", "page_label": OURS,
            "image": "of the image", "image_write": "yes", "ram": "tmpfs 16M", "ram_write": "1777",
        },
    ),
    Stage(
        "no extras", UNITS, ("write the files inside", "write the unit", "reload systemd", "define the sandbox", "write the spec", "restart"), True,
        {**NOTHING, **ABSENT},
    ),
    Stage(
        "a command", SLEEP, ("write the files inside", "write the unit", "reload systemd", "define the sandbox", "write the spec", "restart"), True,
        {"environment": "IT_TEXT=a <b> & 'c'", "process": "www-data games /usr/bin/sleep 86400", "home": "HOME=/srv /srv", "lost": "", "entered": "1"},
    ),
    Stage(
        "another command", OTHER_SLEEP, ("define the sandbox", "write the spec", "restart"), True,
        {"environment": "", "process": "root root /usr/bin/sleep 86401", "home": "HOME=/root /root"},
    ),
    Stage(
        "units again", UNITS, ("write the files inside", "write the unit", "reload systemd", "define the sandbox", "write the spec", "restart"), True,
        {**NOTHING, "process": ""},
    ),
)  # fmt: skip
CYCLE = Cycle(NAME, LEVEL, LOOK, STAGES)


def command(script: str, **options: Any) -> dict[str, Any]:
    return {"name": NAME, "level": LEVEL, "autostart": False, "command": ["/bin/sh", "-c", script], **options}


SHOW = f"systemctl show --value --property=ActiveState --property=Result --property=ExecMainStatus {UNIT} | sort | paste -sd ' '"
WAIT = (
    f"timeout 30 sh -c 'until systemctl show --value --property=ActiveState {UNIT} | grep -qE \"^(inactive|failed)\"; do sleep 0.2; done'"
)
SAID = f"journalctl --output=cat --no-pager -u {UNIT} | grep ^it-said | tail -n"


def command_tasks() -> Iterator[Task]:
    """How a sandbox that runs a command ends, and what shows of it."""
    unlabelled = {**DISK, "source": f"{IMAGE}.unlabelled"}
    yield {"name": "an image without a label", SERVICE: {"name": NAME, "level": LEVEL, **UNITS, "mounts": [unlabelled]}}
    yield {"name": "ends in failure", SERVICE: command("echo it-said out; echo it-said err >&2; sleep 8; exit 3")}
    yield shell_task("ended in failure", f"{WAIT}; {SHOW}; {SAID} 2", changed_when=False)
    yield {"name": "info of a failure", INFO: {"name": NAME}}
    yield {"name": "fails at once", SERVICE: command("exit 4")}
    yield {"name": "ends in success", SERVICE: command("sleep 1")}  # before or after it is looked at
    yield shell_task("ended in success", f"{WAIT}; {SHOW}", changed_when=False)
    yield {"name": "info of a success", INFO: {"name": NAME}}
    yield {
        "name": "heeds signals",
        SERVICE: command("trap 'echo it-said bye; exit 5' TERM; trap 'echo it-said again' HUP; while :; do sleep 0.1; done"),
    }
    yield {"name": "exec", EXEC: {"name": NAME, "argv": ["sh", "-c", "ps -p 1 -o args= | cut -c 1-13; id -u"]}}
    yield shell_task(
        "connect",
        f"(sleep 3; printf 'uname -n\\n'; sleep 2; printf '\\035'; sleep 2) | timeout 30 script -q -e -c 'virt-sandbox connect {NAME}' /dev/null",
        changed_when=False,
    )
    yield {"name": "info of a command", INFO: {"name": NAME}}
    yield {
        "name": "reloaded",
        SERVICE: {
            **command("trap 'echo it-said bye; exit 5' TERM; trap 'echo it-said again' HUP; while :; do sleep 0.1; done"),
            "state": "reloaded",
        },
    }
    yield shell_task("after the reload", f"sleep 1; {SHOW}; {SAID} 1", changed_when=False)
    yield shell_task("stop", f"time=$(date +%s); systemctl stop {UNIT}; echo $(($(date +%s) - time)); {SHOW}; {SAID} 1")
    yield {"name": "heeds no signal", SERVICE: command("trap '' TERM; echo it-said begun; while :; do sleep 1; done")}
    yield shell_task(
        "stop by force",
        f"time=$(date +%s); systemctl stop {UNIT}; echo $(($(date +%s) - time)); {SHOW}; virsh -q -c lxc:///system domstate {NAME}",
    )
    yield {
        "name": "with an address",
        SERVICE: command("exec sleep 1000", network=[{"type": "static", "addresses": ["192.168.122.223/24"], "gateway": "192.168.122.1"}]),
    }
    yield shell_task(
        "reach it",
        f"timeout 10 bash -c '</dev/tcp/192.168.122.223/9' 2>&1 | grep -q 'Connection refused' && echo refused; "
        f"virt-sandbox exec {NAME} -- ip -4 route | grep -c 'default via 192.168.122.1'",
    )


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    tasks = [
        *sandboxes_gone([NAME], " first"),
        shell_task("prepare", PREPARE),
        {"name": "label", LABEL: {"name": NAME, "level": LEVEL}},
        {"name": "content", CONTENT: {"name": NAME, "level": LEVEL}},
    ]
    tasks += [*CYCLE.tasks(), *command_tasks()]
    yield lab.play(tasks, timeout=1800)
    lab.play([*sandboxes_gone([NAME]), shell_task("clean up the host", f"rm -rf {PAGES} {IMAGE}* /srv/it-opt-seed")])


class TestOptions(CycleTests):
    cycle = CYCLE


def test_an_image_that_mount_may_not_read_is_refused(played: Played, host: str) -> None:
    outcome = played.on(host)["an image without a label"]
    assert outcome.failed
    assert "an image that mount may use. Its label" in outcome.message
    assert "denies file open, file read" in outcome.message or "denies file read" in outcome.message


def test_a_command_that_fails_fails_its_unit(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert not outcomes["ends in failure"].failed, outcomes["ends in failure"].message
    assert outcomes["ended in failure"].stdout.splitlines() == ["3 exit-code failed", "it-said out", "it-said err"]
    info = outcomes["info of a failure"].result["sandboxes"][NAME]
    assert (info["state"], info["exit_code"], info["units"], info["drift"]) == ("failed", 3, {}, [])
    assert outcomes["fails at once"].failed
    assert f"{NAME}: start: its unit failed (exit-code, code 4)" in outcomes["fails at once"].message


def test_a_command_that_ends_in_success_stops_its_unit(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert not outcomes["ends in success"].failed, outcomes["ends in success"].message
    assert outcomes["ended in success"].stdout == "0 inactive success"
    info = outcomes["info of a success"].result["sandboxes"][NAME]
    assert (info["state"], info["exit_code"]) == ("stopped", 0)


def test_a_command_is_entered_as_any_sandbox(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["exec"].stdout.splitlines() == ["/usr/bin/sh -", "0"]
    assert outcomes["exec"].result["context"].endswith(f":virt_sandbox_t:{LEVEL}")
    assert NAME in outcomes["connect"].stdout.splitlines()
    info = outcomes["info of a command"].result["sandboxes"][NAME]
    assert (info["state"], info["exit_code"], info["drift"]) == ("running", None, [])
    assert {one["context"].split(":", 2)[2] for one in info["processes"]} == {f"virt_sandbox_t:{LEVEL}"}
    assert info["resources"]["tasks"] >= 2


def test_a_command_hears_reload_and_stop(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["reloaded"].steps(NAME) == ["reload"]
    assert outcomes["after the reload"].stdout.splitlines() == ["0 active success", "it-said again"]
    seconds, state, said = outcomes["stop"].stdout.splitlines()
    assert int(seconds) < 15
    assert state.split()[1:] == ["inactive", "success"]
    assert said == "it-said bye"


def test_a_command_that_heeds_nothing_is_killed(played: Played, host: str) -> None:
    seconds, state, domain = played.on(host)["stop by force"].stdout.splitlines()
    assert 25 <= int(seconds) < 80
    assert "inactive" in state.split()
    assert domain == "shut off"


def test_a_command_may_have_an_address(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["with an address"].result["sandboxes"][NAME]["addresses"] == ["192.168.122.223"]
    assert outcomes["reach it"].stdout.split() == ["refused", "1"]
