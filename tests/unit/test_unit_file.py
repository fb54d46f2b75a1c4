# SPDX-License-Identifier: GPL-3.0-or-later
"""Units' files: what they say, what of them can't work in a sandbox, and what makes the others work there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host import systemd
from ansible_collections.virt.sandbox.plugins.module_utils.model import unit_file
from ansible_collections.virt.sandbox.plugins.module_utils.model.unit_file import UnitFile, parse

POLICY = Path(__file__).resolve().parents[2] / "roles" / "host" / "files" / "virt_sandbox.cil"


def unit(text: str, name: str = "a.service") -> UnitFile:
    return parse(name, f"/usr/lib/systemd/system/{name}", [text])


def reason(text: str, name: str = "a.service", **others: UnitFile) -> str:
    units = {one.name: one for one in others.values()}
    return unit_file.obstacle(name, {name: unit(text, name), **units})


def test_the_last_word_on_a_setting_is_a_drop_ins() -> None:
    main = "# c\n[Service]\nUser=a\nExecStart=/bin/x \\\n# a remark between\n  y\nReadWritePaths=/a /b\nBindPaths=/a:/b\n"
    one = parse("a.service", "", [main, "[Service]\nUser=b\nReadWritePaths=/c\nBindPaths=\n"])
    assert one.one("User") == "b"
    assert one.one("ExecStart") == "/bin/x  y"
    assert one.words("ReadWritePaths") == ["/a", "/b", "/c"]
    assert one.one("BindPaths") == ""


@pytest.mark.parametrize(
    ("name", "value", "meaning"),
    [
        ("redis@web-1.service", "/etc/redis-%i.conf", "/etc/redis-web-1.conf"),
        ("pg@15-main.service", "/etc/pg/%I/a", "/etc/pg/15/main/a"),
        ("a@x.service", "%p %n %N", "a a@x.service a@x"),
        ("a.service", "%S/a 100%%", "/var/lib/a 100%"),
        ("a.service", "%m", "%m"),
    ],
)
def test_specifiers_that_depend_on_the_name(name: str, value: str, meaning: str) -> None:
    assert unit(f"[Service]\nWorkingDirectory={value}\n", name).one("WorkingDirectory") == meaning


@pytest.mark.parametrize(
    ("name", "text", "brings"),
    [
        pytest.param("a.service", "[Unit]\nRequires=b.socket dbus.service\nWants=c.service x.target\nAfter=d.service\n",
                     ["b.socket", "dbus.service", "c.service"], id="service"),
        pytest.param("a.socket", "[Socket]\nListenStream=1\n", ["a.service"], id="socket"),
        pytest.param("a.socket", "[Socket]\nService=b.service\n", ["b.service"], id="socket of another service"),
        pytest.param("a.socket", "[Socket]\nAccept=yes\n", ["a@.service"], id="socket with a service for each connection"),
        pytest.param("a@x.socket", "[Socket]\n", ["a@x.service"], id="instance of a socket"),
        pytest.param("a.timer", "[Timer]\nOnBootSec=1\n", ["a.service"], id="timer"),
        pytest.param("a.path", "[Path]\nUnit=b.service\n", ["b.service"], id="path"),
    ],
)  # fmt: skip
def test_what_a_unit_brings_along(name: str, text: str, brings: list[str]) -> None:
    assert unit_file.needed(unit(text, name)) == brings


FINE = """\
[Unit]
ConditionVirtualization=container
ConditionPathExists=!/dev/kvm
ConditionPathExists=/dev/null
ConditionCapability=CAP_NET_ADMIN
ConditionPathIsReadWrite=/var
ConditionVirtualization=|!container
[Service]
AmbientCapabilities=CAP_IPC_LOCK CAP_NET_BIND_SERVICE
CapabilityBoundingSet=~CAP_SYS_ADMIN
BindReadOnlyPaths=/etc/a /etc/b:/etc/b
ExecStartPre=-/sbin/modprobe nf_nat
ExecStart=!/usr/sbin/a
PrivateTmp=yes
ProtectSystem=strict
PrivateNetwork=yes
DeviceAllow=char-rtc
"""


def test_what_works_inside() -> None:
    assert reason(FINE) == ""


DEVICE, NAMESPACES = "and a sandbox has no device of the host's", "which no sandbox may make"
REFUSED = {
    "[Unit]\nConditionVirtualization=!container\n": "does not run in containers (ConditionVirtualization=!container)",
    "[Unit]\nConditionVirtualization=no\n": "does not run in containers (ConditionVirtualization=no)",
    "[Unit]\nAssertVirtualization=vm\n": "does not run in containers (AssertVirtualization=vm)",
    "[Unit]\nConditionCapability=CAP_SYS_TIME\n": "needs CAP_SYS_TIME (ConditionCapability=), which no sandbox has",
    "[Service]\nAmbientCapabilities=CAP_CHOWN CAP_BPF\n": "needs CAP_BPF (AmbientCapabilities=), which no sandbox has",
    "[Unit]\nConditionPathExists=/dev/kvm\n": f"needs /dev/kvm (ConditionPathExists=), {DEVICE}",
    "[Unit]\nBindsTo=dev-sda.device\n": "needs the device dev-sda.device, and a sandbox has none of the host's",
    "[Unit]\nRequires=srv-data.mount\n": "needs srv-data.mount, and a sandbox mounts nothing itself",
    "[Unit]\nRequires=modprobe@loop.service\n": "needs the kernel module of modprobe@loop.service, and a sandbox loads none",
    "[Service]\nExecStartPre=/sbin/modprobe x\n": "loads a kernel module (ExecStartPre=/sbin/modprobe x), which no sandbox may",
    "[Unit]\nConditionPathIsReadWrite=/sys\n": "needs /sys writable (ConditionPathIsReadWrite=), and a sandbox has it read-only",
    "[Service]\nRootDirectory=/srv/x\n": f"needs namespaces of its own (RootDirectory=/srv/x), {NAMESPACES}",
    "[Service]\nNetworkNamespacePath=/run/x\n": f"needs namespaces of its own (NetworkNamespacePath=/run/x), {NAMESPACES}",
    "[Service]\nBindPaths=/dev/log:/a/log\n": f"needs a mount namespace of its own (BindPaths=/dev/log:/a/log), {NAMESPACES}",
    "[Service]\nDynamicUser=yes\nUser=Ä\n": "runs as a user whose name is none here (User=Ä)",
}


@pytest.mark.parametrize(("text", "says"), REFUSED.items(), ids=[text.split("\n")[-2] for text in REFUSED])
def test_what_cannot_work_inside_says_why(text: str, says: str) -> None:
    assert reason(text) == f"it {says}"


def test_what_it_needs_must_work_too_and_what_it_only_wants_need_not() -> None:
    broken = unit("[Unit]\nConditionVirtualization=!container\n", "b.service")
    assert (
        reason("[Unit]\nRequires=b.service\n", b=broken)
        == "it needs b.service: it does not run in containers (ConditionVirtualization=!container)"
    )
    assert reason("[Unit]\nWants=b.service\n", b=broken) == ""
    assert reason("[Unit]\nRequires=b.service\n", b=unit("[Unit]\nRequires=a.service\n", "b.service")) == ""
    assert reason("[Unit]\nRequires=nowhere.service\n") == ""


def test_a_drop_in_takes_a_need_away() -> None:
    haproxy = unit("[Service]\nBindReadOnlyPaths=/dev/log:/var/lib/haproxy/dev/log\n")
    assert unit_file.obstacle("a.service", {"a.service": haproxy})
    mended = unit_file.with_drop_ins(haproxy, ["[Service]\nBindReadOnlyPaths=\n"])
    assert unit_file.obstacle("a.service", {"a.service": mended}) == ""
    assert unit_file.with_drop_ins(haproxy, []) is haproxy


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param("[Service]\nPrivateTmp=yes\n", "", id="nothing"),
        pytest.param("[Service]\nSystemCallFilter=@system-service\nNoNewPrivileges=yes\n", "", id="a filter that it may set"),
        pytest.param("[Service]\nRestrictRealtime=no\n", "", id="a filter that is off"),
        pytest.param("[Service]\nSystemCallFilter=@system-service\n", "NoNewPrivileges=yes\n", id="a filter that needs a privilege"),
        pytest.param(
            "[Service]\nDynamicUser=yes\nUser=web\n",
            "DynamicUser=no\nUser=web\nGroup=web\nRestrictSUIDSGID=yes\nRemoveIPC=yes\nNoNewPrivileges=yes\n", id="dynamic user",
        ),
        pytest.param(
            "[Service]\nDynamicUser=yes\nGroup=www\n",
            "DynamicUser=no\nUser=a\nGroup=www\nRestrictSUIDSGID=yes\nRemoveIPC=yes\nNoNewPrivileges=yes\n", id="named after it",
        ),
        pytest.param("[Service]\nNice=5\nCPUSchedulingPolicy=batch\nIOSchedulingClass=idle\n", "", id="priorities that anybody may have"),
        pytest.param(
            "[Service]\nNice=-5\nCPUSchedulingPolicy=rr\nIOSchedulingClass=realtime\n",
            "Nice=\nCPUSchedulingPolicy=\nIOSchedulingClass=\n", id="priorities that no sandbox has",
        ),
    ],
)  # fmt: skip
def test_what_makes_a_unit_work_inside(text: str, lines: str) -> None:
    assert unit_file.drop_in(unit(text)) == (f"[Service]\n{lines}" if lines else "")


def test_dynamic_users_are_made_for_good() -> None:
    units = [unit("[Service]\nDynamicUser=yes\n", "b@x.service"), unit("[Service]\nDynamicUser=1\nUser=web\n"), unit("[Service]\nUser=c\n")]
    assert unit_file.users(units) == ["b", "web"]


def test_the_paths_that_a_unit_names() -> None:
    text = """\
[Unit]
ConditionPathExists=/etc/inetd.conf
[Service]
EnvironmentFile=-/etc/default/a
ReadWritePaths=-/var/lib/a/ //var//log/a
WorkingDirectory=~
StateDirectory=b b/c:d
ConfigurationDirectory=e
ExecStartPre=/bin/sh -c 'test $X'
ExecStart=@/usr/bin/a a --config=/etc/a.conf -f /etc/b.conf $OPTIONS ${DIR}/x
"""
    assert unit_file.paths(unit(text)) == [
        "/var/lib/a", "/var/log/a", "/etc/default/a", "/etc/inetd.conf", "/var/lib/b", "/var/lib/b/c", "/etc/e",
        "/bin/sh", "/usr/bin/a", "/etc/a.conf", "/etc/b.conf",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "instance"),
    [
        ("foo@.service", "foo@web.service"),
        ("foo@bar.service", "foo@bar.service"),
        ("foo.service", "foo.service"),
        ("f@.socket", "f@web.socket"),
    ],
)
def test_a_template_gets_the_sandboxs_name(name: str, instance: str) -> None:
    assert unit_file.instance_of(name, "web") == instance


def test_the_capabilities_are_those_of_the_policy() -> None:
    (granted,) = re.findall(r"\(allow virt_sandbox_domain self \(capability \(([^)]*)\)\)\)", POLICY.read_text())
    assert set(granted.split()) == unit_file.CAPABILITIES


# The files where a host has them


@pytest.fixture
def place(tmp_path: Path) -> Path:
    files = {
        "usr/a@.service": "[Service]\nUser=%i\n",
        "usr/a@.service.d/10-x.conf": "[Service]\nGroup=x\n",
        "usr/a@x.service.d/20-y.conf": "[Service]\nGroup=y\n",
        "usr/a@x.service.d/README": "[Service]\nGroup=z\n",
        "usr/b.service": "[Unit]\nWants=a@x.service c.service\n",
        "usr/d.socket": "[Socket]\nListenStream=1\n",
        "usr/d.service": "[Service]\n",
        "etc/e.service": "[Service]\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "usr/b.service.wants").mkdir()
    (tmp_path / "usr/b.service.wants/d.socket").symlink_to("../d.socket")
    (tmp_path / "usr/gone.service").symlink_to("/dev/null")
    return tmp_path


def files(place: Path, *units: str) -> dict[str, UnitFile]:
    return systemd.unit_files(units, [str(place / "usr")], [str(place / "etc")])


def test_units_are_read_with_all_that_they_bring_along(place: Path) -> None:
    found = files(place, "b.service", "e.service")
    assert sorted(found) == ["a@x.service", "b.service", "d.service", "d.socket", "e.service"]
    assert (found["a@x.service"].one("User"), found["a@x.service"].one("Group")) == ("x", "y")


def test_a_unit_whose_program_is_missing_is_refused() -> None:
    units = {
        name: unit_file.parse(name, name, [f"[Unit]\nRequires={other}\n"])
        for name, other in (("a.service", "b.service"), ("b.service", ""))
    }
    assert unit_file.obstacle("a.service", units) == ""
    assert unit_file.nowhere("a.service", units, {"c.service": "/opt/c"}) == ""
    reason = unit_file.nowhere("a.service", units, {"b.service": "/opt/b"})
    assert reason.startswith("it needs b.service: it runs /opt/b, which neither")


def test_a_link_of_an_administrators_is_no_unit(place: Path) -> None:
    (place / "etc/other.service").symlink_to("e.service")
    assert not files(place, "other.service")


def test_the_hosts_usr_comes_before_its_administrator(place: Path) -> None:
    (place / "etc/d.service").write_text("[Service]\nUser=x\n")
    assert files(place, "d.service")["d.service"].path == str(place / "usr/d.service")


@pytest.mark.parametrize("name", ["../b.service", "b\0.service", "b" * 250 + ".service", "b/c.service"])
def test_what_a_unit_brings_along_has_the_name_of_a_unit(name: str) -> None:
    assert unit_file.needed(unit_file.parse("a.service", "a", [f"[Unit]\nWants={name} c.service\n"])) == ["c.service"]


@pytest.mark.parametrize(("mask", "name"), [("a@.service", "a@x.service"), ("a@x.service", "a@x.service"), ("d.service", "d.socket")])
def test_a_masked_unit_is_refused(place: Path, mask: str, name: str) -> None:
    (place / "etc" / mask).symlink_to("/dev/null")
    assert f"is masked by {place}/etc/{mask}" in unit_file.obstacle(name, files(place, name))


def test_a_unit_that_its_package_masks_is_refused(place: Path) -> None:
    assert unit_file.obstacle("gone.service", files(place, "gone.service")) == f"it is masked by {place}/usr/gone.service"
