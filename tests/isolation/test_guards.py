# SPDX-License-Identifier: GPL-3.0-or-later
"""Root inside one sandbox against another sandbox and the host, and the guards that stop him.

Sandboxes A and B run beside each other. ``attempts.py`` runs as root in A; the same attempts on the host, where they succeed,
show that they are made right.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.tests.lab_fixtures import ENFORCING, PERMISSIVE, Lab, Played, sandboxes_gone, shell_task

A, B = "it-a", "it-b"
LEVELS = {A: "s0:c931,c932", B: "s0:c933,c934"}
TREES = "/var/lib/libvirt/filesystems"
LABEL, CONTENT, SERVICE = "virt.sandbox.mcs_label", "virt.sandbox.sandbox_content", "virt.sandbox.sandbox_service"
INFO, ISOLATION = "virt.sandbox.sandbox_info", "virt.sandbox.sandbox_isolation_info"
ATTEMPTS = Path(__file__).with_name("attempts.py").read_text(encoding="utf-8")

DENIED = ("EACCES", "EPERM")
# of the filter of system calls
NOT_THERE = ("ENOSYS",)
ABSENT = ("ENOENT",)
# the mount is read-only, and the label says so too: which one answers first is the kernel's
READ_ONLY = ("EROFS", "EACCES")
UNREACHABLE = ("ESRCH",)
REFUSED = ("ECONNREFUSED",)
IPC = ("shared memory", "semaphores", "message queue", "POSIX shared memory")
# a sandbox may not even have one of its own
QUEUE = "POSIX message queue"
SECRETS = ("the registry", "the specs", "the other's content", "the other's /run", "the audit log", "the policy")
HOST_PORT = 18999
MOUNTS = ("/usr", "/", "/etc/alternatives")

CGROUP_KEYS = (
    "cgroup.kill", "cgroup.procs", "cgroup.freeze", "cgroup.subtree_control", "memory.max", "memory.high", "pids.max", "cpu.max",
)  # fmt: skip
EXPECTED: dict[str, tuple[str, ...]] = {
    # threat 19
    **{f"write {key} of {whose}": DENIED for key in CGROUP_KEYS for whose in ("the own slice", "the other slice", "the other's scope")},
    **{f"write {key} of the host's root": DENIED for key in ("cgroup.procs", "cgroup.subtree_control")},
    **{f"write {key} of system.slice": DENIED for key in ("cgroup.procs", "cgroup.kill", "memory.max")},
    **{f"write {key} of the slice of all sandboxes": DENIED for key in ("cgroup.procs", "cgroup.kill", "memory.max")},
    **{f"make a cgroup in {where}": DENIED for where in ("the host's root", "the other's slice", "the own slice")},
    # threat 20
    "open a file of the host by its handle": DENIED,
    "find the host's secret": ABSENT,
    "find the host's ssh keys": ABSENT,
    **{f"find {what}": ABSENT for what in SECRETS},
    # threat 9
    "find libvirt's sockets": ABSENT,
    **{f"make the host's {what} in {where}": DENIED for what in ("disk", "memory") for where in ("/dev", "/tmp", "/srv")},
    # threats 22 and 23
    "make a file in a directory that is at s0": DENIED,
    **{f"{act} at the other's level": DENIED for act in (
        "read a file", "write a file", "list a directory", "make a file in a directory",
    )},
    **{f"relabel an own file to {level}": DENIED for level in ("s0", "other_level")},
    **{f"make a file that is born at {level}": DENIED for level in ("s0", "other_level")},
    "become another level": DENIED,
    # mounts
    **{f"make the mount of {path} writable, by mount": DENIED for path in MOUNTS},
    **{f"make the mount of {path} writable, by mount_setattr": NOT_THERE for path in MOUNTS},
    **{f"write in {path}": READ_ONLY for path in MOUNTS},
    "mount a tmpfs": DENIED,
    "mount a proc": DENIED,
    "unmount /usr": DENIED,
    **dict.fromkeys(("begin a mount, by fsopen", "copy a mount, by open_tree", "pick a mount, by fspick"), NOT_THERE),
    **dict.fromkeys(("lease a file of /usr", "lock a file of /usr"), DENIED),
    "a mount namespace": DENIED,
    "a user namespace": DENIED,
    "mount in a user namespace": DENIED,
    # processes
    "see a process of the host": UNREACHABLE,
    "signal the other sandbox's first process": UNREACHABLE,
    "signal the host's sshd": UNREACHABLE,
    "read the memory of the other's first process": ABSENT,
    "read the memory of the other's first process, by process_vm_readv": UNREACHABLE,
    "have a descriptor of the other's first process": UNREACHABLE,
    "open the other's network namespace": ABSENT,
    "trace the other's first process": UNREACHABLE,
    "trace the host's sshd": UNREACHABLE,
    "signal libvirt's controller": UNREACHABLE,
    "trace libvirt's controller": UNREACHABLE,
    # IPC objects and sockets
    **{f"find {whose} {kind}": ABSENT for kind in IPC for whose in ("the other's", "the host's")},
    **{f"find {whose} {QUEUE}": (*DENIED, *ABSENT) for whose in ("the other's", "the host's")},
    "reach a service on the host's loopback": REFUSED,
    "reach an abstract socket of the host": REFUSED,
    # the kernel
    **{f"write {path}": (*DENIED, "EROFS") for path in (
        "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory",
        "/proc/sys/fs/file-max", "/proc/sysrq-trigger", "/sys/fs/selinux/enforce", "/sys/fs/selinux/load", "/sys/kernel/uevent_helper",
    )},
    **dict.fromkeys((
        "load a kernel module", "read the kernel's log", "clear the kernel's log", "set the host name", "swap", "create a bpf map",
        "set the clock", "read the kernel's memory", "use the capability behind kexec", "take a priority above the ordinary",
    ), DENIED),
    "find the kernel's log device": ABSENT,
    # refused for the namespace already, on some kernels
    "ask the audit system for its settings": (*DENIED, "ECONNREFUSED"),
    "keep a secret in the process's keyring": DENIED,
    "find the other's secret in the user's keyring": DENIED,
    "find the host's secret in the user's keyring": DENIED,
}  # fmt: skip
# the cases of docs/threats.md, by words of the attempts
THREATS = {
    "09": ("libvirt's sockets", "the host's disk", "the host's memory"),
    "19": ("cgroup", " slice", " scope"),
    "20": ("by its handle", "the host's secret", "ssh keys"),
    "22": ("at s0", "born at"),
    "23": ("relabel an own file", "become another level", "at the other's level"),
    "24": ("lease a file", "lock a file"),
    "26": ("behind kexec",),
    "27": ("above the ordinary",),
}
# what a sandbox may do with what is its own
OWN = (
    "make and remove a cgroup in the own scope",
    "make a fifo in /srv",
    "write and mark an own file",
    "signal an own process",
)
# what the host and the other sandbox have, for the attempts to look for
KEPT = ("keep a secret in the user's keyring", *(f"keep {kind}" for kind in (*IPC, QUEUE)))
LISTENER = f"""
systemctl stop vsbx-listen 2>/dev/null
cat >/run/vsbx-listen.py <<'END'
import socket, time
kept = [socket.socket(socket.AF_UNIX), socket.socket()]
kept[0].bind("\\0vsbx-host")
kept[1].bind(("127.0.0.1", {HOST_PORT}))
for one in kept:
    one.listen()
time.sleep(3600)
END
systemd-run --quiet --unit=vsbx-listen python3 /run/vsbx-listen.py
"""
KEPT_NO_LONGER = """
systemctl stop vsbx-listen; rm -f /run/vsbx-listen.py /dev/shm/vsbx-vsbx-host /dev/mqueue/vsbx-vsbx-host
ipcrm --all=shm --all=sem --all=msg
"""
# what stands before SELinux, or beside it: these fail too where SELinux only records
ELSEWHERE = ("find ", "see ", "signal ", "trace ", "read the memory", "have a descriptor", "open the other's network", "reach ")
READ_ONLY_MOUNTS = ("write /proc/sys/", "write /sys/", "write in ")
CAPABILITIES = ("make the host's", "load a kernel module", "swap", "set the clock", "ask the audit system")
# what would take A, the host's /usr or its clock apart where nothing denies it
HARMFUL = ("unmount", "mount a", "make the mount of", "set the clock")
# denied by the filter of system calls, whatever SELinux does: test_seccomp.py shows that. What is denied behind it is shown on the host
FILTERED = (
    "open a file of the host by its handle",
    "begin a mount",
    "copy a mount",
    "pick a mount",
    "a user namespace",
    "mount in a user namespace",
    "keep a secret in the process's keyring",
)
# denied by SELinux alone
SELINUX = tuple(one for one in EXPECTED if not one.startswith((*ELSEWHERE, *READ_ONLY_MOUNTS, *CAPABILITIES, *HARMFUL, *FILTERED)))
MADE_MEANWHILE = (
    "rmdir /sys/fs/cgroup/vsbx /sys/fs/cgroup/machine.slice/machine-virt_sandbox.slice/machine-virt_sandbox-it*/vsbx 2>/dev/null; true"
)
# on the host, where nothing of the above stands in the way
CONTROLS = (
    *(f"write {key} of the {whose} slice" for key in ("cgroup.kill", "cgroup.procs", "memory.max") for whose in ("own", "other")),
    "write cgroup.kill of the other's scope",
    "write cgroup.procs of the host's root",
    "open a file of the host by its handle",
    "find the host's secret",
    "find the host's ssh keys",
    "find libvirt's sockets",
    *(f"make the host's {what} in {where}" for what in ("disk", "memory") for where in ("/dev", "/tmp", "/srv")),
    "relabel an own file to s0",
    "relabel an own file to other_level",
    "make a file that is born at other_level",
    "make the mount of /usr writable, by mount_setattr",
    "make the mount of /usr writable, by mount",
    "mount a tmpfs",
    "begin a mount, by fsopen",
    "copy a mount, by open_tree",
    "pick a mount, by fspick",
    "a mount namespace",
    "see a process of the host",
    "signal the other sandbox's first process",
    "signal the host's sshd",
    "read the memory of the other's first process",
    "read the memory of the other's first process, by process_vm_readv",
    "have a descriptor of the other's first process",
    "open the other's network namespace",
    "trace the other's first process",
    "trace the host's sshd",
    "signal libvirt's controller",
    "trace libvirt's controller",
    *(f"find {what}" for what in SECRETS),
    "a user namespace",
    "mount in a user namespace",
    "keep a secret in the process's keyring",
    *(f"find the host's {kind}" for kind in (*IPC, QUEUE)),
    "reach a service on the host's loopback",
    "reach an abstract socket of the host",
    *(one for one in EXPECTED if one.startswith(("write /proc/sys/", "write /sys/"))),
    "read the kernel's log",
    "find the kernel's log device",
    "set the host name",
    "create a bpf map",
    "ask the audit system for its settings",
    "find the host's secret in the user's keyring",
)
# in B, whose they are
THEIRS = tuple(f"find the other's {kind}" for kind in IPC)
# the same act as one that has a control (a mount is a mount), shown by the walkthrough (S10, S11), or not to be tried for real
NO_CONTROL = {
    *(f"write in {path}" for path in MOUNTS),
    *(f"make the mount of {path} writable, by {how}" for path in ("/", "/etc/alternatives") for how in ("mount_setattr", "mount")),
    "mount a proc", "unmount /usr", "load a kernel module", "swap", "set the clock",
    # a sandbox may have no queue and no keyring of its own to find something in
    f"find the other's {QUEUE}", "find the other's secret in the user's keyring",
}  # fmt: skip

# what the attempts need to know, and the files they aim at
SCENE = f"""
set -e
leader() {{ pgrep -o -P "$(cat /run/libvirt/lxc/$1.pid)"; }}
mkdir -p {TREES}/{A}/srv/vsbx-at-s0
chcon system_u:object_r:virt_sandbox_file_t:s0 {TREES}/{A}/srv/vsbx-at-s0
echo theirs >{TREES}/{A}/srv/vsbx-other
chcon system_u:object_r:virt_sandbox_file_t:{LEVELS[B]} {TREES}/{A}/srv/vsbx-other
mkdir -p {TREES}/{A}/srv/vsbx-other-directory
chcon system_u:object_r:virt_sandbox_file_t:{LEVELS[B]} {TREES}/{A}/srv/vsbx-other-directory
echo "leader=$(leader {B})"
echo "controller=$(cat /run/libvirt/lxc/{A}.pid)"
echo "sshd=$(pgrep -o sshd)"
cgroup=$(sed -n "s/^0:://p" /proc/$(leader {B})/cgroup)
printf 'scope=/sys/fs/cgroup%s\n' "${{cgroup%%.scope*}}.scope"
"""
HANDLE = """
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(struct.pack("II", 128, 0) + bytes(128), 136)
assert libc.name_to_handle_at(-100, b"/etc/shadow", buffer, ctypes.byref(ctypes.c_int()), 0) == 0, os.strerror(ctypes.get_errno())
print(buffer.raw[: 8 + struct.unpack("I", buffer.raw[:4])[0]].hex())
"""


def tasks() -> list[dict[str, Any]]:
    return [
        *sandboxes_gone((A, B), " first"),
        {"name": "labels", LABEL: {"sandboxes": [{"name": name, "level": level} for name, level in LEVELS.items()]}},
        {"name": "content", CONTENT: {"sandboxes": [{"name": name} for name in LEVELS]}},
        {"name": "service", SERVICE: {"sandboxes": [{"name": name, "units": ["systemd-tmpfiles-clean.timer"]} for name in LEVELS]}},
        shell_task("scene", SCENE),
        shell_task("listener", LISTENER),
        shell_task("handle", f"python3 - <<'EOF'\n{HANDLE}EOF\n"),
    ]


@pytest.fixture(scope="module")
def scene(lab: Lab) -> Iterator[Played]:
    played = lab.play(tasks())
    for host in lab.hosts:
        assert {name: one.message for name, one in played.on(host).items() if one.failed} == {}, host
    yield played
    lab.everywhere(f"chcon -R {LEVELS[A]} {TREES}/{A}/srv 2>/dev/null; true")
    lab.play(sandboxes_gone((A, B)))


def inside(name: str) -> str:
    return f"timeout 120 virt-sandbox exec {name} -- python3 - "


def run_attempts(lab: Lab, host: str, way: str, given: dict[str, Any]) -> dict[str, str]:
    done = lab.ssh(host, f"{way}{shlex.quote(json.dumps(given))} <<'END-OF-ATTEMPTS'\n{ATTEMPTS}\nEND-OF-ATTEMPTS\n", timeout=150)
    outcomes: dict[str, str] = json.loads(done.stdout)
    return outcomes


@pytest.fixture(scope="module")
def given(lab: Lab, scene: Played) -> Iterator[dict[str, dict[str, Any]]]:
    token = secrets.token_hex(8)
    found = {}
    for host in lab.hosts:
        seen = dict(line.split("=", 1) for line in scene.on(host)["scene"].stdout.splitlines())
        places = [f"/etc/vsbx-{token}", f"/root/vsbx-{token}", f"/var/lib/vsbx-{token}", f"/run/vsbx-{token}", f"/tmp/vsbx-{token}"]
        lab.ssh(host, f"touch {' '.join(places)}")
        found[host] = {
            "own": A, "other": B, "other_level": LEVELS[B], "other_pid": int(seen["leader"]), "host_pid": int(seen["sshd"]),
            "controller_pid": int(seen["controller"]),
            "other_scope": seen["scope"], "secrets": places, "handle": scene.on(host)["handle"].stdout.strip(), "host_port": HOST_PORT,
        }  # fmt: skip
    yield found
    for host in lab.hosts:
        lab.ssh(host, f"rm -f {' '.join(found[host]['secrets'])}; {KEPT_NO_LONGER}")


@pytest.fixture(scope="module")
def outcomes(lab: Lab, given: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """How each attempt ended in A, by host. B keeps its secret first, for A to look for."""

    def attempts(host: str) -> dict[str, str]:
        for way, own in ((inside(B), B), ("python3 - ", "vsbx-host")):
            kept = run_attempts(lab, host, way, {**given[host], "own": own, "other": A, "attempts": KEPT})
            # a sandbox may have no keyring of its user to keep one in
            assert {kept[f"keep {kind}"] for kind in IPC} == {"ok"}, kept
        return run_attempts(lab, host, inside(A), {**given[host], "attempts": [*EXPECTED, *OWN]})

    return lab.each(attempts)


@pytest.fixture(scope="module")
def controls(lab: Lab, given: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """How attempts end on the host, in a mount namespace and with a host name of their own."""
    way = "timeout 120 unshare -m -u sh -c 'mount --bind /usr /usr && mount -o remount,bind,ro /usr && exec python3 - \"$0\"' "
    return lab.each(lambda host: run_attempts(lab, host, way, {**given[host], "attempts": list(CONTROLS)}))


@dataclasses.dataclass(frozen=True)
class Recorded:
    """How attempts end in A while SELinux only records what A's type may not: all else that guards is as before. By host."""

    outcomes: dict[str, dict[str, str]]
    secrets: dict[str, dict[str, bool]]  # which files of the host A's type reads
    isolation: Played


@pytest.fixture(scope="module")
def recorded(
    lab: Lab, given: dict[str, dict[str, Any]], explained: dict[str, list[dict[str, Any]]], unseen: dict[str, dict[str, bool]]
) -> Recorded:
    lab.everywhere(PERMISSIVE)
    try:
        outcomes = lab.each(lambda host: run_attempts(lab, host, inside(A), {**given[host], "attempts": [*SELINUX]}))
        readable = lab.each(lambda host: read_as_a_sandbox(lab, host))
        return Recorded(outcomes, readable, lab.play([{"name": "isolation", ISOLATION: {}}]))
    finally:
        lab.everywhere(f"{ENFORCING}; {MADE_MEANWHILE}")


@pytest.fixture(scope="module")
def at_home(lab: Lab, given: dict[str, dict[str, Any]], outcomes: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """How the search for B's objects ends in B."""
    return lab.each(lambda host: run_attempts(lab, host, inside(B), {**given[host], "other": B, "attempts": [*THEIRS]}))


@pytest.fixture(scope="module")
def explained(lab: Lab, outcomes: dict[str, dict[str, str]]) -> dict[str, list[dict[str, Any]]]:
    """What is said of the denials, from the log as the attempts have left it, before SELinux only records."""
    played = lab.play([{"name": "info", INFO: {"name": A, "denials": 1}}])
    return {host: played.on(host)["info"].result["sandboxes"][A]["denials"] for host in lab.hosts}


def case(attempt: str) -> str:
    """The attempt's name in the test's, with the number of the threat that it is a case of."""
    numbers = [number for number, words in THREATS.items() if any(word in attempt for word in words)]
    return f"threat_{numbers[0]} {attempt}" if numbers else attempt


@pytest.mark.parametrize("attempt", EXPECTED, ids=case)
def test_root_inside_cannot(outcomes: dict[str, dict[str, str]], host: str, attempt: str) -> None:
    assert outcomes[host][attempt] in EXPECTED[attempt]


@pytest.mark.parametrize("attempt", OWN)
def test_root_inside_can(outcomes: dict[str, dict[str, str]], host: str, attempt: str) -> None:
    assert outcomes[host][attempt] == "ok"


@pytest.mark.parametrize("attempt", SELINUX, ids=case)
def test_selinux_alone_denied_it(recorded: Recorded, host: str, attempt: str) -> None:
    assert recorded.outcomes[host][attempt] == "ok"


def test_what_is_only_recorded_is_not_called_separate(recorded: Recorded, host: str) -> None:
    result = recorded.isolation.on(host)["isolation"].result
    assert {A, B} <= set(result["permissive"])
    assert result["separate"] is False


# ---- what is not in a sandbox's mounts it could not use either

UNSEEN = (
    "/etc/shadow", "/etc/ssh/ssh_host_ed25519_key", "/var/lib/virt-sandbox/labels.db", f"/etc/libvirt-sandbox/services/{B}.sandbox",
    f"{TREES}/{B}/etc/hostname", "/var/log/audit/audit.log", "/etc/fstab",
)  # fmt: skip
SHARED = "/usr/share/common-licenses/GPL-3"


def read_as_a_sandbox(lab: Lab, host: str) -> dict[str, bool]:
    """Which files a process of A's type and level reads that has the host's mounts."""
    label = f"$(id -Z | cut -d: -f1,2):virt_sandbox_t:{LEVELS[A]}"
    script = f"for path in {' '.join((*UNSEEN, SHARED))}; do runcon {label} head -c1 $path >/dev/null 2>&1 && echo yes || echo no; done"
    return dict(zip((*UNSEEN, SHARED), (answer == "yes" for answer in lab.ssh(host, script).stdout.split())))


@pytest.fixture(scope="module")
def unseen(lab: Lab, given: dict[str, dict[str, Any]]) -> dict[str, dict[str, bool]]:
    return lab.each(lambda host: read_as_a_sandbox(lab, host))


@pytest.mark.parametrize("path", UNSEEN)
def test_threat_20_it_could_not_read_what_it_does_not_see(
    unseen: dict[str, dict[str, bool]], recorded: Recorded, host: str, path: str
) -> None:
    assert unseen[host][SHARED]
    assert not unseen[host][path]
    assert recorded.secrets[host][path]


def test_threat_25_the_host_runs_no_program_of_content(lab: Lab, scene: Played, host: str) -> None:
    """Not even one that runs as its owner, which is root: neither the types nor the directories let anybody."""
    copy, other = f"{TREES}/{A}/srv/vsbx-id", "/usr/local/bin/vsbx-id"
    lab.ssh(host, f"virt-sandbox exec {A} -- sh -c 'cp /usr/bin/id /srv/vsbx-id && chmod 4755 /srv/vsbx-id && /srv/vsbx-id'")
    lab.ssh(host, f"cp /usr/bin/id {other}; chmod 4755 {other}")
    run = "{ %s -u || echo denied; } 2>/dev/null | tail -1"
    as_root, as_nobody, elsewhere = (
        lab.ssh(host, run % command).stdout.strip() for command in (copy, f"runuser -u nobody -- {copy}", f"runuser -u nobody -- {other}")
    )
    permissive = lab.ssh(host, f"setenforce 0; {run % copy}; setenforce 1; rm {copy} {other}").stdout.strip()
    assert (as_root, as_nobody) == ("denied", "denied")
    assert (elsewhere, permissive) == ("0", "0")
    assert lab.ssh(host, f"runuser -u nobody -- ls {TREES} 2>/dev/null || echo denied").stdout.strip() == "denied"


@pytest.mark.parametrize("attempt", THEIRS)
def test_the_other_itself_can(at_home: dict[str, dict[str, str]], host: str, attempt: str) -> None:
    assert at_home[host][attempt] == "ok"


def test_every_denial_has_a_control() -> None:
    assert {*EXPECTED} - {*SELINUX, *CONTROLS, *THEIRS} == NO_CONTROL


@pytest.mark.parametrize("attempt", CONTROLS)
def test_the_host_can(controls: dict[str, dict[str, str]], host: str, attempt: str) -> None:
    assert controls[host][attempt] == "ok"


def test_threat_20_the_passwords_are_its_own(lab: Lab, scene: Played, host: str) -> None:
    """The accounts have no passwords, and the file is not the host's."""
    stat = "stat -c %d:%i /etc/shadow"
    seen = lab.ssh(host, f"virt-sandbox exec {A} -- sh -c '{stat}; cat /etc/shadow'; {stat}").stdout.splitlines()
    assert seen[0] != seen[-1]
    assert {line.split(":")[1] for line in seen[1:-1]} == {"*"}


def test_threat_22_every_file_is_born_at_the_level_of_its_sandbox(lab: Lab, scene: Played, host: str) -> None:
    """Wherever a file can be made inside, it has the sandbox's own level, and a type that is the sandbox's."""
    found = run_attempts(lab, host, inside(A), {"only": "births"})
    assert {"/srv", "/tmp", "/run", "/var/tmp", "/etc", "/root", "/dev/shm"} <= set(found.values())
    assert "/srv/vsbx-at-s0" not in found.values()
    root = f'/proc/$(pgrep -o -P "$(cat /run/libvirt/lxc/{A}.pid)")/root'
    look = f"root={root}; while read -r path; do stat -c '%C %n' $root$path; rm $root$path; done"
    script = "\n".join([f"{look} <<'END'", *found, "END\n"])
    seen = [line.split()[0] for line in lab.ssh(host, script).stdout.splitlines()]
    assert len(seen) == len(found)
    assert {context.split(":", 3)[3] for context in seen} == {LEVELS[A]}
    assert {context.split(":")[2] for context in seen} <= {"virt_sandbox_file_t", "container_file_t"}


def test_every_process_carries_its_label(lab: Lab, scene: Played, host: str) -> None:
    for name, level in LEVELS.items():
        labels = lab.ssh(host, f"virt-sandbox exec {name} -- ps -eo label=").stdout.split()
        assert len(labels) > 2
        assert {label.split(":", 2)[2] for label in labels} == {f"virt_sandbox_t:{level}"}


# of what was denied: the object, its class, whose it is, and what is said of it
EXPLAINED = (
    ("vsbx-other", "file", B, f"the level of {B}; the sandbox is at {LEVELS[A]}"),
    ("vsbx-other-directory", "dir", B, f"the level of {B}; the sandbox is at {LEVELS[A]}"),
    ("vsbx-at-s0", "dir", "host", "no categories, so it is nobody's"),
    ("memory.max", "file", A, "a sandbox's limits are set from the host alone"),
    ("machine-virt_sandbox-it\\x2db.slice", "dir", B, f"it belongs to {B} at {LEVELS[B]}"),
    ("vsbx-own", "file", A, "no sandbox changes labels"),
    ("core_pattern", "file", "host", "the kernel's, and not the sandbox's to use so"),
    ("", "filesystem", "host", "no sandbox mounts anything itself"),
    ("", "system", "host", "which is the whole kernel's"),
)


@pytest.mark.parametrize(("thing", "tclass", "owner", "why"), EXPLAINED, ids=lambda value: str(value)[:24])
def test_denials_are_explained(
    explained: dict[str, list[dict[str, Any]]], host: str, thing: str, tclass: str, owner: str, why: str
) -> None:
    found = [one for one in explained[host] if one["tclass"] == tclass and one["object"].endswith(thing) and one["owner"] == owner]
    assert any(why in one["why"] for one in found), found


def test_every_denial_is_the_sandboxes_own_and_says_what_to_do(explained: dict[str, list[dict[str, Any]]], host: str) -> None:
    assert len(explained[host]) >= 30
    for one in explained[host]:
        assert (one["sandbox"], one["denied"]) == (A, True)
        assert one["process"]
        assert one["why"]
        assert one["remedy"]
