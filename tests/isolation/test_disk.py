# SPDX-License-Identifier: GPL-3.0-or-later
"""Threat 37: root inside fills the disk of the host, on a file system of the host that enforces project quotas.

The control is a sandbox without limits on the same file system: it takes all, and the host's own root cannot write there.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Outcome, Played, Task, sandboxes_gone, shell_task

SERVICE, CONTENT, INFO = "virt.sandbox.sandbox_service", "virt.sandbox.sandbox_content", "virt.sandbox.sandbox_info"
BOUND, PLAIN, OPEN = "it-bound", "it-halved", "it-unbound"
LEVELS = {BOUND: "s0:c921,c925", PLAIN: "s0:c921,c926", OPEN: "s0:c921,c927"}
DISK, PLACE, INODES, MIB = "/var/lib/vsbx-disk.img", "/var/lib/libvirt/filesystems/vsbx-disk", 4000, 1 << 20
UNITS = ["systemd-tmpfiles-clean.timer"]

PREPARE = f"""
truncate -s 320M {DISK}
mkfs.ext4 -q -F -m 0 -i 16384 -O project,quota -E quotatype=prjquota {DISK}
mkdir -p {PLACE}
mount -o loop,prjquota {DISK} {PLACE}
chcon --reference=/var/lib/libvirt/filesystems {PLACE}
"""
# as many bytes as there is room for
FILL = f"""
inside() {{ virt-sandbox exec "$@" </dev/null; }}
fill() {{ inside $1 -- /bin/dd if=/dev/zero of=$2 bs=1M count=400 2>&1 | tail -n 4; }}
echo "bound: $(fill {BOUND} /var/tmp/fill)"
echo "elsewhere: $(fill {BOUND} /root/fill) $(fill {BOUND} /srv/fill)"
echo "seen: $(inside {BOUND} -- /usr/bin/df --block-size=1M --output=size /var | tail -n 1)"
virt-sandbox exec {BOUND} -- /bin/rm /var/tmp/fill </dev/null
echo "again: $(inside {BOUND} -- /bin/dd if=/dev/zero of=/var/again bs=1M count=4 2>&1 | tail -n 1)"
virt-sandbox exec {BOUND} -- /bin/rm -f /var/again /root/fill /srv/fill </dev/null
dd if=/dev/zero of={PLACE}/host bs=1M count=20 2>&1 | tail -n 1
rm -f {PLACE}/host
"""
FILES = """
import os
number = 0
os.mkdir("/var/many")
try:
    while number < 20000:
        os.close(os.open(f"/var/many/{number}", os.O_CREAT | os.O_WRONLY))
        number += 1
except OSError as error:
    print(number, os.strerror(error.errno))
"""
# out of the project: another number for a file and for a directory; a directory that passes none on; a file made elsewhere and moved in
ESCAPE = """
import ctypes, fcntl, os, struct
def tried(name, act):
    try:
        print(name, "=", act() or "done")
    except OSError as error:
        print(name, "=", os.strerror(error.errno))
def number(path):
    fd = os.open(path, os.O_RDONLY)
    fcntl.ioctl(fd, 0x401C5820, struct.pack("=4I12x", 0, 0, 0, 0))
def flags(path):
    fd = os.open(path, os.O_RDONLY)
    fcntl.ioctl(fd, 0x40086602, struct.pack("=q", 0))
os.makedirs("/var/out", exist_ok=True)
open("/var/out/file", "w").close()
tried("read", lambda: struct.unpack("=4I12x", fcntl.ioctl(os.open("/var/out", os.O_RDONLY), 0x801C581F, bytes(28)))[3] // 65536)
tried("file", lambda: number("/var/out/file"))
tried("directory", lambda: number("/var/out"))
tried("flags", lambda: flags("/var/out"))
call = ctypes.CDLL(None, use_errno=True).syscall
def quota(command):
    buffer = ctypes.create_string_buffer(72)
    if call(443, os.open("/var", os.O_RDONLY), command << 8 | 2, 0x76620000, buffer):
        raise OSError(ctypes.get_errno(), "quota")
tried("limit", lambda: quota(0x800008))
tried("off", lambda: quota(0x800003))
"""


# by the host, in the domain of the sandbox and without its filter of system calls
GUARDED = f"""
cd {PLACE}/{BOUND}/var/out
runcon "$(id -Z | cut -d: -f1,2):virt_sandbox_t:{LEVELS[BOUND]}" python3 -I -c '
import fcntl, os, struct, sys
file = os.open("file", os.O_RDONLY)
try:
    fcntl.ioctl(file, 0x401C5820, struct.pack("=4I12x", 0, 0, 0, 0))
except OSError as error:
    os._exit(error.errno)
' 2>/dev/null
echo $?
"""


def content(name: str, sandbox: str, **options: Any) -> Task:
    keywords = {key: options.pop(key) for key in ("check_mode", "diff") if key in options}
    return {"name": name, CONTENT: {"name": sandbox, "path": PLACE, "level": LEVELS[sandbox], "units": UNITS, **options}, **keywords}


def service(name: str, sandbox: str, **options: Any) -> Task:
    return {"name": name, SERVICE: {"name": sandbox, "path": PLACE, "level": LEVELS[sandbox], "units": UNITS, **options}}


def both(name: str, module: str, bound: dict[str, Any] | None = None, **options: Any) -> Task:
    """One task for both: what a relabel of the host leaves alone changes once for all sandboxes of a task, which takes half a minute."""
    sandboxes = [{"name": sandbox, "level": LEVELS[sandbox]} for sandbox in (BOUND, PLAIN)]
    sandboxes[0].update(bound or {})
    return {"name": name, module: {"path": PLACE, "units": UNITS, "sandboxes": sandboxes, **options}}


def inside(name: str, sandbox: str, program: str) -> Task:
    return shell_task(name, f"virt-sandbox exec {sandbox} -- /usr/bin/python3 - <<'END'\n{program}\nEND")


CONTROL = f"""
virt-sandbox exec {OPEN} -- /bin/dd if=/dev/zero of=/var/fill bs=1M count=400 2>&1
dd if=/dev/zero of={PLACE}/host bs=1M count=1 2>&1
"""
USED = f"du --summarize --block-size=1 --one-file-system {PLACE}/{OPEN} | cut -f 1"
TASKS: list[Task] = [
    shell_task("a file system with project quotas", PREPARE),
    {**content("no quotas", BOUND, disk="64M"), CONTENT: {"name": BOUND, "level": LEVELS[BOUND], "units": UNITS, "disk": "64M"}},
    {**content("said", BOUND), CONTENT: {"name": BOUND, "level": LEVELS[BOUND], "units": UNITS}, "check_mode": True},
    content("predicted", BOUND, disk="64M", inodes=INODES, check_mode=True, diff=True),
    both("bound", CONTENT, {"disk": "64M", "inodes": INODES}),
    both("bound again", CONTENT, {"disk": "64M", "inodes": INODES}),
    service("start bound", BOUND),
    service("plain is defined", PLAIN, state="present"),
    shell_task("fill", FILL),
    inside("files", BOUND, FILES),
    content("below", BOUND, disk="64M", inodes=2000),
    shell_task("fewer files", f"virt-sandbox exec {BOUND} -- /bin/rm -r /var/many"),
    inside("escape", BOUND, ESCAPE),
    shell_task("guarded", GUARDED),
    {"name": "info", INFO: {"denials": 0}},
    content("more", BOUND, disk="80M"),
    service("still running", BOUND),
    both("remove", SERVICE, state="absent"),
    both("forget", CONTENT, state="absent"),
    shell_task("left", f"ls -A {PLACE} | grep -v lost+found; grep -c {PLACE} /proc/self/mountinfo"),
]  # fmt: skip
OPEN_TASKS: list[Task] = [
    content("unbound", OPEN, disk="unlimited", inodes="unlimited"),
    service("start unbound", OPEN),
    {"name": "info", INFO: {"name": OPEN, "denials": 0}},
    content("first while it runs", OPEN, disk="200M"),
    shell_task("control", CONTROL),
    shell_task("room again", f"virt-sandbox exec {OPEN} -- /bin/rm /var/fill; rm -f {PLACE}/host"),
    service("stop", OPEN, state="stopped"),
    content("first", OPEN, disk="200M"),
    {"name": "counted", INFO: {"name": OPEN, "denials": 0}},
    shell_task("used", USED),
    content("first again", OPEN, disk="200M"),
]


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    try:
        yield lab.play(TASKS)
    finally:
        lab.play([*sandboxes_gone(tuple(LEVELS), path=PLACE), shell_task("no file system", f"umount {PLACE}; rmdir {PLACE}; rm -f {DISK}")])


@pytest.fixture
def done(played: Played, host: str) -> dict[str, Outcome]:
    return played.on(host)


@pytest.fixture(scope="module")
def unbound(lab: Lab, played: Played) -> Played:
    return lab.play(OPEN_TASKS)


@pytest.fixture
def done_unbound(unbound: Played, host: str) -> dict[str, Outcome]:
    return unbound.on(host)


def lines(outcome: Outcome) -> dict[str, str]:
    assert not outcome.failed, outcome.result
    return dict(line.split(" = ", 1) for line in outcome.stdout.splitlines())


def test_a_file_system_without_quotas(done: dict[str, Outcome]) -> None:
    refused, said = done["no quotas"], done["said"]
    assert refused.failed
    assert refused.message.startswith("disk: not possible in /var/lib/libvirt/filesystems. The file system at / (ext4) enforces no project")
    (warning,) = [text for text in said.result["warnings"] if "nothing bounds" in text]
    assert warning.startswith(f"{BOUND}: nothing bounds the disk space that the content takes. The file system at / (ext4) enforces no")


def test_what_is_predicted_is_done_once(done: dict[str, Outcome]) -> None:
    assert done["predicted"].steps(BOUND) == done["bound"].steps(BOUND)
    assert "build the content" in done["bound"].steps(BOUND)
    assert f"'disk': {64 * MIB}, 'inodes': {INODES}" in str(done["predicted"].result["diff"])
    assert done["bound"].changed
    assert not done["bound again"].changed
    assert "nothing bounds" not in str(done["bound"].result.get("warnings", []))


def test_a_sandbox_fills_what_it_may_have_and_no_more(done: dict[str, Outcome]) -> None:
    filled = done["fill"].stdout
    assert "dd: error writing '/var/tmp/fill': Disk quota exceeded" in filled
    assert filled.count("Disk quota exceeded") == 3
    assert re.search(r"^seen: +64$", filled, re.MULTILINE)
    assert "again: 4194304 bytes" in filled
    assert "20971520 bytes" in filled.splitlines()[-1]


def test_inodes_too(done: dict[str, Outcome]) -> None:
    number, reason = done["files"].stdout.split(" ", 1)
    assert 100 < int(number) < INODES
    assert reason.strip() in ("Disk quota exceeded", "No space left on device")


def test_root_inside_does_not_leave_his_project(done: dict[str, Outcome]) -> None:
    tried = lines(done["escape"])
    assert tried.pop("read") == str(0x7662)
    assert tried == {
        "file": "Operation not supported",
        "directory": "Operation not supported",
        "flags": "Operation not supported",
        "limit": "Operation not permitted",
        "off": "Operation not permitted",
    }
    # where the policy alone guards
    assert done["guarded"].stdout == str(errno.EACCES)


def test_what_is_used_is_shown(done: dict[str, Outcome]) -> None:
    shown = done["info"].result["sandboxes"]
    assert (shown[BOUND]["limits"]["disk_bytes"], shown[BOUND]["limits"]["inodes"]) == (64 * MIB, INODES)
    assert MIB < shown[BOUND]["resources"]["disk_bytes"] < 64 * MIB
    assert 100 < shown[BOUND]["resources"]["inodes"] < INODES
    assert 120 * MIB < shown[PLAIN]["limits"]["disk_bytes"] < 160 * MIB


def test_a_limit_changes_while_it_runs(done: dict[str, Outcome]) -> None:
    assert done["more"].steps(BOUND) == ["limit the disk space"]
    assert not done["still running"].changed
    assert done["below"].failed
    assert f"inodes: 2000 is invalid: expected at least {INODES}, which the content of {BOUND} takes." in done["below"].message


@pytest.mark.more
def test_the_first_limit_of_content_counts_all_of_it(done_unbound: dict[str, Outcome]) -> None:
    done = done_unbound
    assert "gets its first one while it is stopped. Stop the sandbox first." in done["first while it runs"].message
    assert done["first"].steps(OPEN) == ["limit the disk space"]
    assert not done["first again"].changed
    counted = done["counted"].result["sandboxes"][OPEN]
    assert counted["limits"]["disk_bytes"] == 200 * MIB
    assert abs(counted["resources"]["disk_bytes"] - int(done["used"].stdout)) < MIB


@pytest.mark.more
def test_without_a_limit_one_fills_all(done_unbound: dict[str, Outcome]) -> None:
    """The control."""
    shown = done_unbound["info"].result["sandboxes"][OPEN]
    assert (shown["limits"]["disk_bytes"], shown["limits"]["inodes"]) == (None, None)
    assert "disk_bytes" not in shown["resources"]
    assert done_unbound["control"].stdout.count("No space left on device") == 2


def test_nothing_is_left_of_limits(done: dict[str, Outcome]) -> None:
    assert not done["remove"].failed
    assert not done["forget"].failed
    assert done["left"].stdout.split() == ["1"]
