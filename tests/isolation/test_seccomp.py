# SPDX-License-Identifier: GPL-3.0-or-later
"""Root inside makes the calls that the filter of system calls refuses, as what the host enters with and as a service (threat 38).

``calls.py`` makes them inside while SELinux only records, which leaves the filter alone to answer; and in the same domain without the
filter, where each gets another answer.
"""

from __future__ import annotations

import errno
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.tests.cycle import CONTENT, INFO, LABEL, SERVICE
from ansible_collections.virt.sandbox.tests.lab_fixtures import ENFORCING, PERMISSIVE, Lab, Played, in_domain, sandboxes_gone
from ansible_collections.virt.sandbox.tests.tools import seccomp_filter as rules

NAME, LEVEL = "it-calls", "s0:c945,c946"
UNIT = f"{NAME}_sandbox.service"
CALLS = Path(__file__).with_name("calls.py").read_text(encoding="utf-8")
SECCOMP, REAL = "/usr/local/libexec/virt-sandbox-seccomp", "/usr/lib/libvirt/libvirt_lxc"
ARCH = rules.MACHINES["x86_64"]
BAD, MANY = -1, 0xFFFF
# with which a call does nothing but fail; for those without, no argument at all does
ARGUMENTS: dict[str, list[Any]] = {
    "open_tree": [BAD], "move_mount": [BAD, 0, BAD], "fsconfig": [BAD, MANY], "fsmount": [BAD], "fspick": [BAD], "mount_setattr": [BAD],
    "io_uring_enter": [BAD], "io_uring_register": [BAD],
    "kexec_load": [0, 0, 0, MANY], "kexec_file_load": [BAD, BAD, 0, 0, MANY], "finit_module": [BAD],
    "perf_event_open": [0, 0, 0, BAD], "userfaultfd": [MANY], "kcmp": [0x7FFFFFFF, 0x7FFFFFFF], "keyctl": [MANY],
    "open_by_handle_at": [BAD], "fanotify_init": [0xFFFFFFFF], "quotactl_fd": [BAD], "acct": ["/vsbx/none"],
    "swapon": ["/vsbx/none"], "swapoff": ["/vsbx/none"], "clock_settime": [MANY],
}  # fmt: skip
# by the way in, by host and by call
Answers = dict[str, dict[str, dict[str, int]]]
SIGNAL, CLONE_FS = 17, 0x200
# what an error names: the answer, and the call with its arguments
FLAGS: dict[str, tuple[int, str, list[Any]]] = {
    "unshare a user namespace": (errno.EPERM, "unshare", [rules.CLONE_NEWUSER]),
    "clone into a user namespace": (errno.EPERM, "clone", [rules.CLONE_NEWUSER | CLONE_FS | SIGNAL]),
    "enter a user namespace": (errno.EPERM, "setns", [BAD, rules.CLONE_NEWUSER]),
    **{name: (number, "ioctl", [BAD, request]) for name, (request, number) in rules.IOCTLS.items()},
    "open a bpf object": (errno.EPERM, "bpf", [7]),
    "link a bpf program": (errno.EPERM, "bpf", [28]),
}
EXPECTED = {**{call: (number, call, ARGUMENTS.get(call, [])) for call, number in rules.REFUSED.items()}, **FLAGS}
GIVEN = {name: (rules.seccomp.resolve_syscall(ARCH, call), arguments) for name, (_number, call, arguments) in EXPECTED.items()}
# where the kernel has not the call either, nobody can tell who answers
ABSENT = {name for name, (number, _call, _arguments) in EXPECTED.items() if number == errno.ENOSYS}
ANSWERS = {name: number for name, (number, _call, _arguments) in EXPECTED.items()}


def tasks() -> list[dict[str, Any]]:
    return [
        *sandboxes_gone((NAME,), " first"),
        {"name": "label", LABEL: {"name": NAME, "level": LEVEL}},
        {"name": "content", CONTENT: {"name": NAME}},
        {"name": "service", SERVICE: {"name": NAME, "units": ["systemd-tmpfiles-clean.timer"]}},
        {"name": "info", INFO: {"name": NAME, "denials": 0}},
    ]


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    played = lab.play(tasks())
    for host in lab.hosts:
        assert {name: one.message for name, one in played.on(host).items() if one.failed} == {}, host
    yield played
    lab.play(sandboxes_gone((NAME,)))


WORDS = f"python3 -c {shlex.quote(CALLS)} {shlex.quote(json.dumps(GIVEN))}"
WAYS = {
    "what enters": f"virt-sandbox exec {NAME} -- {WORDS}",
    # there is no D-Bus inside to wait for it by
    "a service": f"""
    virt-sandbox exec {NAME} -- systemd-run --quiet {WORDS} /run/answers
    virt-sandbox exec {NAME} -- sh -c 'until test -s /run/answers; do sleep 0.2; done; cat /run/answers'
    """,
}
BARE = in_domain(LEVEL, WORDS)


def ask(lab: Lab, script: str) -> dict[str, dict[str, int]]:
    return {host: json.loads(done.stdout) for host, done in lab.everywhere(script).items()}


@pytest.fixture(scope="module")
def answers(lab: Lab, played: Played) -> Answers:
    """By the way in and by host."""
    found = {way: ask(lab, script) for way, script in WAYS.items()}
    lab.everywhere(PERMISSIVE)
    try:
        return {**found, "recorded": ask(lab, WAYS["what enters"]), "bare": ask(lab, BARE)}
    finally:
        lab.everywhere(ENFORCING)


@pytest.mark.parametrize("way", [*WAYS, "recorded"])
def test_threat_38_the_filter_answers(answers: Answers, host: str, way: str) -> None:
    assert answers[way][host] == ANSWERS


def test_threat_38_without_the_filter_the_same_domain_is_answered_otherwise(answers: Answers, host: str) -> None:
    """The control; what this kernel has not is answered as the filter does."""
    same = {name for name, answer in answers["bare"][host].items() if answer == ANSWERS[name]}
    assert same <= ABSENT
    assert {"fsopen", "mount_setattr", "clone3"}.isdisjoint(same)


LOOK = f"""
controller=$(cat /run/libvirt/lxc/{NAME}.pid)
scope=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$(pgrep -o -P $controller)/cgroup)
for pid in $controller $(find "${{scope%%.scope*}}.scope" -name cgroup.procs -exec cat {{}} +); do
    echo $(sed -n 's/^\\(Seccomp\\|NoNewPrivs\\):\\s*//p' /proc/$pid/status)
done
"""


def test_every_process_has_the_filter(lab: Lab, played: Played, host: str) -> None:
    """Libvirt's controller, too, outside; and programs may run as their owner."""
    controller, *others = lab.ssh(host, LOOK).stdout.splitlines()
    assert controller == "0 2"
    assert len(others) > 2
    assert {one.split()[1] for one in others} == {"2"}


def test_info_says_so(played: Played, host: str) -> None:
    assert played.on(host)["info"].result["sandboxes"][NAME]["seccomp"] is True


@pytest.mark.more
def test_it_is_reloaded_restarted_and_stopped(lab: Lab, played: Played, host: str) -> None:
    verbs = " && ".join(f"systemctl {verb} {UNIT}" for verb in ("reload", "restart", "stop", "start", "is-active"))
    lab.ssh(host, verbs, timeout=150)


# what an earlier release has left: a definition without the filter, and a sandbox that runs without
EARLIER = f"""
set -e
helper=/usr/local/libexec/virt-sandbox-unit new=/etc/libvirt-sandbox/{NAME}.xml
systemctl stop {UNIT}
sed 's|<emulator>.*</emulator>|<emulator>{REAL}</emulator>|' /etc/libvirt/lxc/{NAME}.xml >$new
virsh -q -c lxc:///system define $new >/dev/null
sed 's/^    use_filter$/:/; s/^    has_filter ||/: ||/' $helper >$new
cp --attributes-only --preserve=mode,context $helper $new
mount --bind $new $helper
systemctl start {UNIT} || :
umount --lazy $helper
rm $new
"""


@pytest.mark.more
def test_what_an_earlier_release_started_has_it_from_its_next_start_on(lab: Lab, played: Played, host: str) -> None:
    """Nothing restarts it before."""
    look = f"sed -n 's/^Seccomp:\\s*//p' /proc/$(cat /run/libvirt/lxc/{NAME}.pid)/status"
    lab.ssh(host, EARLIER, timeout=120)
    again = lab.play([tasks()[-2], tasks()[-1]], limit=[host]).on(host)
    assert not again["service"].changed
    assert again["info"].result["sandboxes"][NAME]["seccomp"] is False
    assert lab.ssh(host, f"{look}; systemctl restart {UNIT}; {look}", timeout=120).stdout.split() == ["0", "2"]


@pytest.mark.more
def test_nobody_enters_and_nothing_starts_without_the_filter(lab: Lab, played: Played, host: str) -> None:
    lab.ssh(host, f"mv {SECCOMP} {SECCOMP}.away")
    try:
        entered = lab.ssh(host, f"virt-sandbox exec {NAME} -- true", check=False)
        started = lab.ssh(host, f"systemctl restart {UNIT}; systemctl status --no-pager {UNIT}", check=False)
    finally:
        lab.ssh(host, f"mv {SECCOMP}.away {SECCOMP}; systemctl restart {UNIT}")
    assert entered.returncode == 125
    assert "the filter of system calls cannot be read" in entered.stderr
    assert f"{SECCOMP} is missing. Run the role virt.sandbox.host" in started.stdout
