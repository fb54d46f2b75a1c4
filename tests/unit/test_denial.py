# SPDX-License-Identifier: GPL-3.0-or-later
"""Denials as the kernel recorded them, and what is said of each."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model import denial
from hypothesis import given
from hypothesis import strategies as st

OWNERS = {"s0:c1,c2": "web", "s0:c3,c4": "db"}
SOURCE = "scontext=system_u:system_r:virt_sandbox_t:s0:c1,c2"


def avc(permissions: str, target: str, tclass: str, rest: str = 'comm="cat"', serial: int = 7) -> str:
    text = f"type=AVC msg=audit(1795705748.123:{serial}): avc:  denied  {{ {permissions} }} for  pid=42 {rest}"
    return f"{text} {SOURCE} tcontext={target} tclass={tclass} permissive=0"


def only(*lines: str) -> denial.Explained:
    (one,) = denial.explain(denial.parse(lines), OWNERS)
    return one


CONTENT = "system_u:object_r:virt_sandbox_file_t"


@pytest.mark.parametrize(
    ("line", "owner", "why", "remedy"),
    [
        (
            avc("read", f"{CONTENT}:s0:c3,c4", "file"),
            "db",
            "it is at s0:c3,c4, the level of db; the sandbox is at s0:c1,c2",
            "foreign: fix",
        ),
        (avc("read", f"{CONTENT}:s0:c8,c9", "file"), "", "it is at s0:c8,c9, a level that no sandbox", "foreign: fix"),
        (avc("read", f"{CONTENT}:s0", "file"), "host", "it has the type of content and no categories", "the next run of sandbox_content"),
        (avc("signal", "system_u:system_r:virt_sandbox_t:s0:c3,c4", "process"), "db", "it belongs to db at s0:c3,c4", "an attack"),
        (avc("ptrace", "system_u:system_r:sshd_t:s0", "process"), "host", "it is a process of the host's", "an attack"),
        (avc("signal", "system_u:system_r:virtd_t:s0-s0:c0.c1023", "process"), "host", "it is a process of the host's", "an attack"),
        (avc("read", "system_u:object_r:setrans_t:s0:c0.c1023", "file"), "host", "it is the host's (setrans_t)", "declared in mounts"),
        (avc("read", f"{CONTENT}:s0:c3,c4-s0:c0.c1023", "file"), "db", "it is at s0:c3,c4, the level of db", "relabel: true of the mount"),
        (
            avc("read", "system_u:object_r:unlabeled_t:s0", "file", f'trawcon="{CONTENT.replace("file", "gone")}:s0:c3,c4"'),
            "db",
            "the loaded policy knows no context system_u:object_r:virt_sandbox_gone_t:s0:c3,c4",
            "install a policy that does",
        ),
        (avc("read", "", "file").replace("tcontext= ", ""), "", "the policy grants virt_sandbox_t no read on  (file)", "an attack"),
        (
            avc("sys_admin", "system_u:system_r:virt_sandbox_t:s0:c1,c2", "capability"),
            "web",
            "capability sys_admin",
            "CapabilityBoundingSet",
        ),
        (avc("setenforce", "system_u:object_r:security_t:s0", "security"), "host", "no sandbox may see or change SELinux", "an attack"),
        (avc("remount", "system_u:object_r:fs_t:s0", "filesystem"), "host", "no sandbox mounts anything itself", "declared in mounts"),
        (avc("read", "system_u:object_r:user_home_t:s0", "file"), "host", "it is the host's (user_home_t)", "relabel: true"),
        (avc("write", "system_u:object_r:cgroup_t:s0", "file"), "host", "limits and cgroups outside", "at each start"),
        (avc("write", "system_u:object_r:sysctl_kernel_t:s0", "file"), "host", "sysctl_kernel_t is the kernel's", "does without"),
        (avc("read", "system_u:object_r:fixed_disk_device_t:s0", "blk_file"), "host", "no sandbox has the host's devices", "an attack"),
        (avc("module_load", "system_u:system_r:kernel_t:s0", "system"), "host", "the whole kernel's", "an attack"),
        (
            avc("name_bind", "system_u:object_r:ssh_port_t:s0", "tcp_socket", "src=22"),
            "host",
            "no port of the type ssh_port_t",
            "another port",
        ),
        (avc("relabelto", f"{CONTENT}:s0:c1,c2", "file"), "web", "no sandbox changes labels", "sandbox_content"),
        (avc("execheap", "system_u:system_r:virt_sandbox_t:s0:c1,c2", "process"), "web", "grants virt_sandbox_t no execheap", "an attack"),
    ],
)
def test_each_kind_has_its_reason(line: str, owner: str, why: str, remedy: str) -> None:
    one = only(line)
    assert (one.sandbox, one.owner) == ("web", owner)
    assert why in one.why
    assert remedy in one.remedy


def test_an_event_is_put_together_from_its_records() -> None:
    path = 'type=PATH msg=audit(1795705748.123:7): item=0 name="/var/www/html/badcontent" inode=1 nametype=NORMAL'
    call = 'type=SYSCALL msg=audit(1795705748.123:7): arch=c000003e syscall=257 success=no exit=-13 comm="cat" exe="/usr/bin/cat"'
    other = 'type=PATH msg=audit(1795705748.123:8): item=0 name="/etc/passwd" inode=1 nametype=NORMAL'
    one = only(avc("read", f"{CONTENT}:s0:c3,c4", "file", 'comm="cat" name="badcontent" dev="ubda" ino=1'), path, call, other)
    assert (one.process, one.object, one.time) == ("/usr/bin/cat", "/var/www/html/badcontent", 1795705748.123)


def event(kind: str, rest: str, serial: int = 7, second: int = 1795705748) -> str:
    return f"type={kind} msg=audit({second}.123:{serial}): {rest}"


@pytest.mark.parametrize(
    ("name", "paths", "thing"),
    [
        pytest.param('name="shadow"', ['name="/etc/shadow"', 'name="/tmp/gshadow"'], "/etc/shadow", id="a name that another ends with"),
        pytest.param('name="shadow"', ['name="/tmp/gshadow"'], "shadow", id="no name that is the same"),
        pytest.param('name="x"', ['name="/srv/x/" nametype=PARENT', 'name="/srv/x/x" nametype=CREATE'], "/srv/x/x", id="not the parent"),
        pytest.param(
            'name="x" ino=5', ['name="/a/x" inode=5 nametype=DELETE', 'name="/b/x" inode=6 nametype=CREATE'], "/a/x", id="by its inode"
        ),
        pytest.param('name="srv"', ['name="/srv/" nametype=PARENT', 'name="/srv/x" nametype=CREATE'], "/srv", id="the parent itself"),
        pytest.param('dev="ubda"', ['name="/mnt/" nametype=PARENT', 'name="/mnt/a" nametype=CREATE'], "/mnt/a", id="the only one"),
        pytest.param('dev="ubda"', ['name="/a" nametype=DELETE', 'name="/b" nametype=CREATE'], "", id="one of two, nobody knows which"),
        pytest.param('path="/a/x"', ['name="/b/x"'], "/a/x", id="the record says it itself"),
        pytest.param('name="x"', ["name=(null)", "name=x"], "x", id="no path"),
        pytest.param("path=00666F6F00626172", [], "@foo@bar", id="an abstract socket"),
        pytest.param("path=666F6F00626172", [], "foo", id="a text with an end"),
    ],
)
def test_the_object_is_the_one_that_the_record_is_about(name: str, paths: list[str], thing: str) -> None:
    line = avc("read", f"{CONTENT}:s0:c3,c4", "file", f'comm="cat" {name}')
    assert only(line, *(event("PATH", f"item={number} {path}") for number, path in enumerate(paths))).object == thing


def test_numbers_that_begin_anew_after_a_boot_are_other_events() -> None:
    line = avc("read", f"{CONTENT}:s0:c3,c4", "file", 'comm="cat" name="x"')
    call, path = event("SYSCALL", 'exe="/usr/bin/rm"', second=1795700000), event("PATH", 'name="/etc/x"', second=1795700000)
    one = only(call, path, line)
    assert (one.process, one.object) == ("cat", "x")
    # and what another event's number and time begin with is not it
    assert only(event("SYSCALL", 'exe="/usr/bin/rm"', serial=77), line).process == "cat"


def test_two_denials_of_one_event_have_each_its_object() -> None:
    lines = [avc("add_name", f"{CONTENT}:s0:c3,c4", "dir", 'name="b"'), avc("rename", f"{CONTENT}:s0:c3,c4", "file", 'name="a"')]
    lines += [event("PATH", f'name="/srv/{name}"') for name in ("a", "b")]
    assert [(one.tclass, one.object) for one in denial.explain(denial.parse(lines), OWNERS)] == [("dir", "/srv/b"), ("file", "/srv/a")]


def test_text_that_would_break_a_record_is_read() -> None:
    hidden = "".join(f"{byte:02X}" for byte in b"a b\n")
    one = only(avc("read", f"{CONTENT}:s0:c3,c4", "file", f"comm={hidden} name={hidden}"))
    assert (one.process, one.object) == (r"a b\n", r"a b\n")
    # a name that only looks like it is in quotes
    assert only(avc("read", f"{CONTENT}:s0:c3,c4", "file", 'comm="CAFE"')).process == "CAFE"


def test_booleans_are_named_where_types_decide_and_asked_for_once() -> None:
    asked = []

    def booleans(source: str, target: str, tclass: str, permissions: Sequence[str]) -> list[str]:
        asked.append((target.split(":")[2], tclass, *permissions))
        return ["global_ssp on", "other off"] if target.split(":")[2] == "urandom_device_t" else []

    lines = [
        avc("read", f"system_u:object_r:{target}", "chr_file", f'comm="{comm}"')
        for comm in ("a", "b")
        for target in ("urandom_device_t:s0", "memory_device_t:s0", "virt_sandbox_file_t:s0", "virt_sandbox_file_t:s0:c3,c4")
    ]
    found = denial.explain(denial.parse(lines), OWNERS, booleans=booleans)
    assert asked == [("urandom_device_t", "chr_file", "read"), ("memory_device_t", "chr_file", "read")]
    named = [one for one in found if "setsebool" in one.remedy]
    assert [one.context.split(":")[2] for one in named] == ["urandom_device_t"] * 2
    would = "a boolean of the policy would grant it to every sandbox of type virt_sandbox_t"
    assert named[0].remedy.startswith(f"{would}: setsebool -P global_ssp on or setsebool -P other off; ")


@pytest.mark.parametrize("target", ["system_u:object_r:shadow_t:s0", f"{CONTENT}:s0:c3,c4", f"{CONTENT}:s0"])
def test_what_was_only_recorded_did_not_fail(target: str) -> None:
    one = only(avc("read", target, "file").replace("permissive=0", "permissive=1"))
    assert one.denied is False
    assert "it failed" not in one.remedy
    assert "it was not stopped, only recorded" in one.remedy
    assert "setenforce 1, or semanage permissive -d virt_sandbox_t, ends that" in one.remedy


def test_the_same_denial_is_counted() -> None:
    lines = [avc("read", f"{CONTENT}:s0:c3,c4", "file", serial=number) for number in range(3)]
    one = only(*lines)
    assert one.times == 3


def test_what_is_no_sandboxes_is_left_out() -> None:
    foreign = avc("read", f"{CONTENT}:s0:c3,c4", "file").replace("virt_sandbox_t", "httpd_t")
    granted = avc("read", f"{CONTENT}:s0:c3,c4", "file").replace("denied", "granted")
    told = avc("start", f"{CONTENT}:s0", "service").replace("type=AVC", "type=USER_AVC")
    quoted = event("USER", f"msg='{avc('read', f'{CONTENT}:s0', 'file')}'")
    assert denial.explain(denial.parse([foreign, granted, told, quoted, avc("\b", f"{CONTENT}:s0", "file"), "nonsense", ""]), OWNERS) == []


@pytest.mark.parametrize(
    ("line", "permissions"),
    [
        (avc("read write open", f"{CONTENT}:s0", "file"), ("read", "write", "open")),
        (avc("", f"{CONTENT}:s0", "file"), ()),
        (avc("0x400", f"{CONTENT}:s0", "nosuch_class"), ("0x400",)),
        ("node=web1.example.org " + avc("read", f"{CONTENT}:s0", "file", 'lsm=selinux comm="x"'), ("read",)),
    ],
)
def test_a_record_of_an_odd_form_is_read(line: str, permissions: tuple[str, ...]) -> None:
    assert (only(line).sandbox, only(line).permissions) == ("web", permissions)


PARTS = st.sampled_from((
    "{", "}", "avc:", "denied", "type=AVC", "msg=audit(1.1:1):", "scontext=u:r:virt_sandbox_t", "scontext=::virt_sandbox_t::", "tcontext=a",
    "tcontext=u:r:x_t:s0:c0.c999999", "tcontext=u:r:x_t:s5-s15:c0.c1023", "trawcon=7F", 'trawcon="u:r:y_t:s0:c3,c4"', "tclass=capability",
    "tclass=x", "permissive=1", "name=(null)", 'name="a"', 'name="/"', "path=00", "path=00FF", "comm=0A0D", "exe=", "src=22", "dest=",
    "ino=1", "inode=1", "nametype=PARENT", "=", '"', "\0", "\x1d", "\udcff", "\u202e",
))  # fmt: skip
LINES = st.tuples(
    st.sampled_from((f"type=AVC msg=audit(1.1:1): avc:  denied  {{ read }} for  {SOURCE}", "type=PATH msg=audit(1.1:1):", "")),
    st.lists(PARTS | st.text(max_size=4), max_size=9),
).map(lambda parts: " ".join([parts[0], *parts[1]]))


@given(st.lists(LINES, max_size=4))
def test_whatever_the_records_are_they_are_told_of_in_text_that_can_be_shown(lines: list[str]) -> None:
    for one in denial.explain(denial.parse(lines), OWNERS):
        assert one.sandbox in ("", "web")
        assert one.owner in ("", "host", "web", "db")
        assert one.why
        assert one.remedy
        assert all(text.isprintable() for text in (one.process, one.object, one.context, one.tclass, one.why, one.remedy, *one.permissions))


def test_a_long_record_takes_no_longer_than_its_length() -> None:
    begin = time.process_time()
    denial.parse([avc("read", f"{CONTENT}:s0", "file", text * 20_000) for text in ("A", "a=b ", "41", '"', '="')])
    assert time.process_time() - begin < 0.5
