# SPDX-License-Identifier: GPL-3.0-or-later
"""Threats 31 and 32: what sandboxes of which a play says nothing may use, alone and together, and what the host keeps.

The limits are looked at as they are, and tried at a twentieth, because a storm of their own size lasts minutes on the lab. The controls are
the same storm without the limits, which keeps the host's user of that number out, and the same use of memory without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Outcome, Played, Task, sandboxes_gone, shell_task

SERVICE, CONTENT, INFO = "virt.sandbox.sandbox_service", "virt.sandbox.sandbox_content", "virt.sandbox.sandbox_info"
PLAIN, OPEN = "it-plain", "it-open"
LEVELS = {PLAIN: "s0:c921,c923", OPEN: "s0:c921,c924"}
ALL = "/sys/fs/cgroup/machine.slice/machine-virt_sandbox.slice"
APART = "/etc/systemd/system/machine-it\\\\x2dopen.slice"
# what packages' units ask for: mariadb, elasticsearch, docker
FILES = {"some.service": "32768", "more.service": "65535:131072", "most.service": "infinity", "none.service": ""}


def unit(limit: str) -> str:
    return "[Service]\nExecStart=/usr/bin/sleep infinity\n" + (f"LimitNOFILE={limit}\n" if limit else "")


PLAIN_UNITS = [{"path": f"/etc/systemd/system/{name}", "content": unit(limit)} for name, limit in FILES.items()]
DECLARED: dict[str, dict[str, Any]] = {
    PLAIN: {"level": LEVELS[PLAIN], "units": list(FILES)},
    OPEN: {"level": LEVELS[OPEN], "units": ["systemd-tmpfiles-clean.timer"], "memory": "unlimited", "tasks_max": "unlimited"},
}
SMALL = {"memory": None, "memory_high": "64M", "tmpfs": "8M"}


def declare(name: str, sandbox: str, changes: dict[str, Any] | None = None, **keywords: Any) -> Task:
    options = {key: value for key, value in {"name": sandbox, **DECLARED[sandbox], **(changes or {})}.items() if value is not None}
    return {"name": name, SERVICE: options, **keywords}


# a twentieth of 15, 40 and 50 percent of what the lab's kernel runs in all
ONE, TOGETHER, USER = 89, 237, 296
# processes of user 1000 until there can be no more, or more than that user may have
STORM = f"""
import os, signal, time
os.setgid(1000); os.setuid(1000)
number = 0
try:
    while number < {USER + 20}:
        os.fork() or signal.pause()
        number += 1
except OSError:
    pass
print(number, flush=True)
time.sleep(120)
"""
# two megabytes after the other, each written to
HOG = """
import sys
held = []
for number in range(64):
    held.append(b"x" * (2 << 20))
    print(2 * number + 2, flush=True)
"""
SCRIPTS = f"""
mkdir -p /run/vsbx-limits; cd /run/vsbx-limits
cat >storm.py <<'END'
{STORM}
END
cat >hog.py <<'END'
{HOG}
END
cat >lib.sh <<'END'
cd /run/vsbx-limits
storm() {{ # SANDBOX: begins one, and returns when it has what it gets
    : >$1.count
    virt-sandbox exec $1 -- /usr/bin/python3 -c "$(cat storm.py)" >$1.count 2>&1 &
    timeout 60 sh -c "until grep -q . $1.count; do sleep 0.2; done"
    echo "$1=$(head -1 $1.count)"
}}
calm() {{
    for pid in $(find {ALL} -name cgroup.procs -exec cat {{}} + 2>/dev/null); do
        grep -q setuid /proc/$pid/cmdline 2>/dev/null && kill -9 $pid
    done
    wait
}}
login() {{ # of user 1000 of the host, who then has ten processes at once
    local user="timeout 30 prlimit --nproc={USER} setpriv --reuid=1000 --regid=1000 --clear-groups"
    $user sh -c 'for n in $(seq 10); do sleep 1 & done; wait' >/dev/null 2>&1 && echo $1=logged-in || echo $1=refused
}}
hog() {{ # SANDBOX SECONDS
    timeout -s KILL 60 virt-sandbox exec $1 -- /usr/bin/timeout -s KILL $2 /usr/bin/python3 -c "$(cat hog.py)" 2>/dev/null | tail -1
}}
figure() {{ awk -v key="$2" '$1 == key {{ print $2 }}' "$1"; }}
END
"""
PLAIN_SLICE = f"'{ALL}/machine-virt_sandbox-it\\x2dplain.slice'"
OPEN_SLICE = f"'{ALL}/machine-virt_sandbox-it\\x2dopen.slice'"
LIMITS = f"""
for file in memory.max memory.high pids.max; do echo "all.$file=$(cat {ALL}/$file)"; echo "plain.$file=$(cat {PLAIN_SLICE}/$file)"; done
for file in memory.max memory.high pids.max; do echo "open.$file=$(cat {OPEN_SLICE}/$file)"; done
echo "tmpfs=$(df -B1 --output=size /run/virt-sandbox/{PLAIN} | tail -1)"
echo "tasks=$(cat /proc/sys/kernel/threads-max) memory=$(awk '/^MemTotal/ {{ print $2 * 1024 }}' /proc/meminfo)"
echo "user=$(su - admin -c 'ulimit -u')"
for name in some more most none; do
    main=$(virt-sandbox exec {PLAIN} -- systemctl show -P MainPID $name.service)
    echo "$name=$(virt-sandbox exec {PLAIN} -- cat /proc/$main/limits | awk '/^Max open files/ {{ print $4 ":" $5 }}')"
done
"""
STORMS = f"""
. /run/vsbx-limits/lib.sh
kept=$(cat {ALL}/pids.max) own=$(cat {PLAIN_SLICE}/pids.max)
echo {ONE} >{PLAIN_SLICE}/pids.max
storm {PLAIN}
echo "plain.pids=$(cat {PLAIN_SLICE}/pids.current)"
login beside_one
calm
echo {TOGETHER} >{ALL}/pids.max
storm {PLAIN}
storm {OPEN} | sed s/^/second./
echo "all.pids=$(cat {ALL}/pids.current)"
login beside_two
calm
# control: without any limit the same storm keeps that user out
echo max >{ALL}/pids.max
storm {OPEN}
login beside_unlimited
calm
echo $kept >{ALL}/pids.max; echo $own >{PLAIN_SLICE}/pids.max
login after
"""
HOGS = f"""
. /run/vsbx-limits/lib.sh
echo "unlimited=$(hog {OPEN} 50)"
"""
SOFT = f"""
. /run/vsbx-limits/lib.sh
hog {OPEN} 8 >held &
sleep 4
begin=$(date +%s%3N)
setpriv --reuid=1000 --regid=1000 --clear-groups sh -c 'sh -c :; :'
echo "login_milliseconds=$(($(date +%s%3N) - begin))"
wait
echo "soft=$(cat held) high=$(figure {OPEN_SLICE}/memory.events high) killed=$(figure {OPEN_SLICE}/memory.events oom_kill)"
"""
FILLED = f"""
virt-sandbox exec {OPEN} -- dd if=/dev/zero of=/tmp/big bs=64k count=400 2>&1 | grep -o 'No space left' | sed 's/ /-/g; s/^/said=/'
echo "held=$(df -B1 --output=used /run/virt-sandbox/{OPEN} | tail -1)"
virt-sandbox exec {OPEN} -- rm /tmp/big
"""
# as a run of the first generation left it
OLDER = f'sed -i \'s/"defaults": 2/"defaults": 1/\' /etc/libvirt-sandbox/services/{OPEN}.sandbox'
PLACE = f"""
echo "file=$(ls {APART} >/dev/null 2>&1 && echo yes || echo no)"
echo "place=$(sed s,.*::,, /proc/$(cat /run/libvirt/lxc/{OPEN}.pid)/cgroup | grep -c virt_sandbox)"
"""


def tasks() -> Iterator[Task]:
    names = list(DECLARED)
    yield from sandboxes_gone(names, " before")
    yield shell_task("scripts", SCRIPTS)
    content = [{"name": name, "level": LEVELS[name], **({"files": PLAIN_UNITS} if name == PLAIN else {})} for name in names]
    yield {"name": "content", CONTENT: {"sandboxes": content}}
    listed = [{"name": name, **options} for name, options in DECLARED.items()]
    yield {"name": "start", SERVICE: {"sandboxes": listed}}
    yield {"name": "again", SERVICE: {"sandboxes": listed}}
    yield shell_task("limits", LIMITS)
    yield {"name": "info", INFO: {"denials": 0}}
    yield shell_task("storms", STORMS)
    yield shell_task("hog without a limit", HOGS)
    yield declare("small in check mode", OPEN, SMALL, check_mode=True)
    yield declare("small", OPEN, SMALL)
    yield shell_task("hog with a soft limit", SOFT)
    yield shell_task("filled", FILLED)
    yield shell_task("older by hand", OLDER)
    yield declare("older", OPEN)
    yield declare("older again", OPEN)
    yield shell_task("older place", PLACE)
    yield {"name": "older info", INFO: {"name": OPEN, "denials": 0}}
    yield declare("upgraded, not restarted", OPEN, {"upgrade_defaults": True, "state": "present"})
    yield shell_task("upgraded place", PLACE)
    yield declare("upgraded and restarted", OPEN, {"upgrade_defaults": True})
    yield shell_task("place after the restart", PLACE)
    yield declare("upgraded again", OPEN)
    yield from sandboxes_gone(names, " after")


@pytest.fixture(scope="module")
def played(lab: Lab) -> Played:
    """All actions of this module, in one play."""
    return lab.play(list(tasks()))


@pytest.fixture
def done(played: Played, host: str) -> dict[str, Outcome]:
    return played.on(host)


def said(outcome: Outcome) -> dict[str, str]:
    assert not outcome.failed, outcome.result
    return dict(word.split("=", 1) for word in outcome.stdout.split() if "=" in word)


def test_a_sandbox_of_which_nothing_is_said_has_limits(done: dict[str, Outcome]) -> None:
    limits = said(done["limits"])
    tasks, memory = int(limits["tasks"]), int(limits["memory"])
    assert int(limits["plain.pids.max"]) == tasks * 15 // 100
    assert 0 <= memory // 2 - int(limits["plain.memory.high"]) < 4096
    assert limits["plain.memory.max"] == "max"
    assert 0 <= int(limits["tmpfs"]) - memory // 10 < 4096
    assert {limits[f"open.{name}"] for name in ("memory.max", "memory.high", "pids.max")} == {"max"}
    assert done["again"].result["steps"] == {}


def test_all_together_leave_the_host_a_reserve(done: dict[str, Outcome]) -> None:
    limits = said(done["limits"])
    assert int(limits["all.pids.max"]) == int(limits["tasks"]) * 40 // 100
    # of each user, too
    assert int(limits["all.pids.max"]) < int(limits["user"])
    assert [round(int(limits[f"all.memory.{name}"]) * 100 / int(limits["memory"])) for name in ("high", "max")] == [75, 85]


def test_sandbox_info_shows_them(done: dict[str, Outcome]) -> None:
    limits, shown = said(done["limits"]), done["info"].result
    plain, together = shown["sandboxes"][PLAIN], shown["host"]["sandboxes"]
    assert plain["limits"]["tasks"] == int(limits["plain.pids.max"])
    assert plain["limits"]["memory_high_bytes"] == int(limits["plain.memory.high"])
    assert plain["limits"]["tmpfs_bytes"] == int(limits["tmpfs"])
    assert plain["limits"]["memory_bytes"] is None
    assert plain["resources"]["tmpfs_bytes"] > 0
    assert shown["sandboxes"][OPEN]["limits"]["tasks"] is None
    assert together["limits"]["tasks"] == int(limits["all.pids.max"])
    assert together["resources"]["tasks"] >= plain["resources"]["tasks"]
    assert shown["host"]["tasks"] == int(limits["tasks"])
    assert shown["host"]["memory_bytes"] == int(limits["memory"])


def test_services_have_the_open_files_that_they_ask_for(done: dict[str, Outcome]) -> None:
    limits = said(done["limits"])
    asked = {"some": "32768:32768", "more": "65535:131072", "none": "1024:262144"}
    assert {name: limits[name] for name in asked} == asked
    assert int(limits["most"].partition(":")[0]) >= 262144


def test_threat_32_a_storm_ends_at_the_limit_of_the_sandbox(done: dict[str, Outcome]) -> None:
    assert ONE - 2 <= int(said(done["storms"])["plain.pids"]) <= ONE


def test_threat_32_two_storms_end_at_the_limit_of_all(done: dict[str, Outcome]) -> None:
    storms = said(done["storms"])
    assert TOGETHER - 2 <= int(storms["all.pids"]) <= TOGETHER
    assert int(storms[f"second.{OPEN}"]) < TOGETHER - ONE


def test_threat_31_the_hosts_user_of_that_number_logs_in_meanwhile(done: dict[str, Outcome]) -> None:
    storms = said(done["storms"])
    assert (storms["beside_one"], storms["beside_two"], storms["after"]) == ("logged-in",) * 3
    # control
    assert storms["beside_unlimited"] == "refused"
    assert int(storms[OPEN]) == USER + 20


def test_memory_above_the_soft_limit_slows_the_sandbox_down_and_not_the_host(done: dict[str, Outcome]) -> None:
    soft = said(done["hog with a soft limit"])
    assert int(soft["soft"]) < 100
    assert int(soft["high"]) > 0
    assert soft["killed"] == "0"
    assert int(soft["login_milliseconds"]) < 5000
    # control
    assert said(done["hog without a limit"])["unlimited"] == "128"


def test_a_tmpfs_is_bounded(done: dict[str, Outcome]) -> None:
    filled = said(done["filled"])
    assert filled["said"] == "No-space-left"
    assert int(filled["held"]) == 8 << 20


def test_a_change_is_predicted(done: dict[str, Outcome]) -> None:
    steps = done["small"].steps(OPEN)
    assert done["small in check mode"].steps(OPEN) == steps
    assert "apply the limits" in steps
    assert steps[-1] == "restart"  # for the tmpfs


def test_a_sandbox_of_the_first_generation_moves_with_a_restart(done: dict[str, Outcome]) -> None:
    assert done["older"].steps(OPEN)[-1] == "restart"
    assert done["older again"].steps(OPEN) == []
    assert said(done["older place"]) == {"file": "yes", "place": "0"}
    assert done["older info"].result["sandboxes"][OPEN]["older_defaults"] == ["tmpfs"]
    # its slice stays while it runs there
    assert "restart" not in done["upgraded, not restarted"].steps(OPEN)
    assert said(done["upgraded place"]) == {"file": "yes", "place": "0"}
    assert done["upgraded and restarted"].steps(OPEN) == ["restart", "remove the former slice"]
    assert said(done["place after the restart"]) == {"file": "no", "place": "1"}
    assert done["upgraded again"].steps(OPEN) == []
