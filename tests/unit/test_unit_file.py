# SPDX-License-Identifier: GPL-3.0-or-later
"""Units' files: what they say, what of them can't work in a sandbox, and what makes the others work there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model import capabilities, unit_file, unit_fit
from ansible_collections.virt.sandbox.plugins.module_utils.model.unit_file import UnitFile, parse

POLICY = Path(__file__).resolve().parents[2] / "roles" / "host" / "files" / "virt_sandbox.cil"


def unit(text: str, name: str = "a.service") -> UnitFile:
    return parse(name, f"/usr/lib/systemd/system/{name}", [text])


def reason(text: str, name: str = "a.service", **others: UnitFile) -> str:
    units = {one.name: one for one in others.values()}
    return unit_fit.obstacle(name, {name: unit(text, name), **units})


def test_the_last_word_on_a_setting_is_a_drop_ins() -> None:
    main = "# c\n[Service]\nUser=a\nExecStart=/bin/x \\\n# a remark between\n  y\nReadWritePaths=/a /b\nBindPaths=/a:/b\n"
    one = parse("a.service", "", [main, "[Service]\nUser=b\nReadWritePaths=/c\nBindPaths=\n"])
    assert one.last("User") == "b"
    assert one.last("ExecStart") == "/bin/x    y"
    assert one.words("ReadWritePaths") == ["/a", "/b", "/c"]
    assert one.last("BindPaths") == ""


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        pytest.param("User=x\n[Service]\n", "User", [], id="before any section"),
        pytest.param("[Unit]\nUser=x\n[X-Y]\nUser=y\n", "User", [], id="in another section"),
        pytest.param("[Service]\nWants=b.service\n[Install]\nRequires=c.service\n", "Wants", [], id="a dependency outside of Unit"),
        pytest.param("[ Service ]\nUser=x\n", "User", [], id="a section with spaces"),
        pytest.param("[Unit]\nWants=b.service\nWants=\nWants=c.service\n", "Wants", ["b.service", "c.service"], id="dependencies stay"),
        pytest.param("[Service]\nExecStart=/a\nExecStart=\nExecStart=/b\n", "ExecStart", ["/b"], id="only what comes before"),
        pytest.param("[Service]\nBindPaths=/a:/b\nBindReadOnlyPaths=\n", "BindPaths", [], id="two settings of one list"),
        pytest.param("[Unit]\nConditionHost=a\nConditionPathExists=\n", "ConditionHost", [], id="conditions of all kinds"),
        pytest.param("[Unit]\nAssertHost=a\nConditionHost=\n", "AssertHost", ["a"], id="assertions are no conditions"),
        pytest.param("[Service]\nUser=a\\\n; no\nGroup=b\nType=x", "User", ["a Group=b"], id="continued over a comment"),
        pytest.param("[Service]\nUser=a\\\\\nGroup=b\n", "User", ["a\\\\"], id="an escaped backslash continues nothing"),
        pytest.param("[Service]\nUser=a \\\n\nGroup=b\n", "User", ["a"], id="an empty line ends it"),
        pytest.param("\ufeff[Service]\r\nUser=a \\", "User", ["a"], id="the end of the file ends it"),
        pytest.param("[Service]\nUser=a\u2028Group=b\x0bc\u00a0\n", "User", ["a\u2028Group=b\x0bc\u00a0"], id="no other ends of lines"),
        pytest.param("# \udce9\n[Service]\nUser=a\nUser=\udce9\nUser=b\n", "User", ["a"], id="nothing after what is not UTF-8"),
    ],
)  # fmt: skip
def test_which_assignments_count(text: str, key: str, values: list[str]) -> None:
    assert list(unit(text).all(key)) == values


@pytest.mark.parametrize(("line", "says"), [("User=\udce9", "line 3 is not UTF-8"), ("[Unit", "line 3 is not the header of a section")])
def test_a_file_that_systemd_does_not_load_is_refused(line: str, says: str) -> None:
    assert reason(f"[Service]\n# \udce9\n{line}\n") == f"It is not loaded by systemd: /usr/lib/systemd/system/a.service: {says}."
    assert unit_fit.obstacle("a.service", {"a.service": parse("a.service", "", ["[Service]\n", f"{line}\n"])}) == "", "a drop-in"


@pytest.mark.parametrize(
    ("text", "yes"),
    [("yes", True), ("yes\nDynamicUser=", True), ("on\nDynamicUser=foo", True), ("1\nDynamicUser=OFF", False), ("x", False)],
)
def test_a_boolean_keeps_its_last_valid_value(text: str, yes: bool) -> None:
    assert unit(f"[Service]\nDynamicUser={text}\n").yes("DynamicUser") == yes


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (r"/bin/x a\x20b c\sd", ["/bin/x", "a b", "c d"]),
        (r"\xc3\xa9 \u00e9 \303\251 \U0001f600", ["é", "é", "é", "\U0001f600"]),
        (r"\xe9", ["\udce9"]),
        (r"\q \x4 \x00 \ud800", [r"\q", r"\x4", r"\x00", r"\ud800"]),
        (r"""'a "b' "c 'd" e"f g"h "\"" ''""", ['a "b', "c 'd", "ef gh", '"', ""]),
        ("a\u00a0b", ["a\u00a0b"]),
        ("'a b", ["'a", "b"]),
    ],
)
def test_the_words_of_a_command(value: str, words: list[str]) -> None:
    assert unit_file.split_words(value) == words


def test_a_name_is_unescaped_to_utf_8() -> None:
    assert unit_file.unescape(r"srv-caf\xc3\xa9-a\x2Db-\xe9") == "srv/café/a-b/\udce9"


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
    assert unit(f"[Service]\nWorkingDirectory={value}\n", name).last("WorkingDirectory") == meaning


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
    "[Service]\nDynamicUser=yes\nUser=Ä\n": "runs as a user whose name is invalid here (User=Ä)",
}


@pytest.mark.parametrize(("text", "says"), REFUSED.items(), ids=[text.split("\n")[-2] for text in REFUSED])
def test_what_cannot_work_inside_says_why(text: str, says: str) -> None:
    assert reason(text) == f"It {says}."


def test_what_it_needs_must_work_too_and_what_it_only_wants_need_not() -> None:
    broken = unit("[Unit]\nConditionVirtualization=!container\n", "b.service")
    assert (
        reason("[Unit]\nRequires=b.service\n", b=broken)
        == "It needs b.service: it does not run in containers (ConditionVirtualization=!container)."
    )
    assert reason("[Unit]\nWants=b.service\n", b=broken) == ""
    assert reason("[Unit]\nRequires=b.service\n", b=unit("[Unit]\nRequires=a.service\n", "b.service")) == ""
    assert reason("[Unit]\nRequires=nowhere.service\n") == ""


def test_a_drop_in_takes_a_need_away() -> None:
    texts = ["[Service]\nBindReadOnlyPaths=/dev/log:/var/lib/haproxy/dev/log\n", "[Service]\nBindReadOnlyPaths=\n"]
    assert unit_fit.obstacle("a.service", {"a.service": parse("a.service", "", texts[:1])})
    assert unit_fit.obstacle("a.service", {"a.service": parse("a.service", "", texts)}) == ""


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
    assert unit_fit.drop_in(unit(text)) == (f"[Service]\n{lines}" if lines else "")


def test_dynamic_users_are_made_for_good() -> None:
    units = [unit("[Service]\nDynamicUser=yes\n", "b@x.service"), unit("[Service]\nDynamicUser=1\nUser=web\n"), unit("[Service]\nUser=c\n")]
    assert unit_fit.users(units) == ["b", "web"]


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
    assert unit_fit.paths(unit(text)) == [
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
    policy = POLICY.read_text()
    for attribute, known in (("domain", unit_fit.CAPABILITIES), ("net_domain", capabilities.OF_NETWORKS)):
        (granted,) = re.findall(rf"\(allow virt_sandbox_{attribute} self \(capability \(([^)]*)\)\)\)", policy)
        assert set(granted.split()) == set(known)


@pytest.mark.parametrize("line", ["[Service]\nAmbientCapabilities=CAP_NET_RAW", "[Unit]\nConditionCapability=CAP_NET_ADMIN"])
def test_what_the_type_is_denied_no_unit_may_need(line: str) -> None:
    units = {"a.service": unit_file.parse("a.service", "a.service", [f"{line}\n"])}
    reason = unit_fit.obstacle("a.service", units, "virt_sandbox_t")
    assert "which virt_sandbox_t is denied. Set process_type: virt_sandbox_net_t, or type: dhcp or static for an interface." in reason
    assert unit_fit.obstacle("a.service", units, "virt_sandbox_net_t") == ""
    bounded = {"a.service": unit_file.parse("a.service", "a.service", ["[Service]\nCapabilityBoundingSet=CAP_NET_RAW\n"])}
    assert unit_fit.obstacle("a.service", bounded, "virt_sandbox_t") == ""


def test_a_unit_whose_program_is_missing_is_refused() -> None:
    units = {
        name: unit_file.parse(name, name, [f"[Unit]\nRequires={other}\n"])
        for name, other in (("a.service", "b.service"), ("b.service", ""))
    }
    assert unit_fit.obstacle("a.service", units) == ""
    assert unit_fit.missing_program("a.service", units, {"c.service": "/opt/c"}) == ""
    reason = unit_fit.missing_program("a.service", units, {"b.service": "/opt/b"})
    assert reason.startswith("It needs b.service: it runs /opt/b, which neither")


@pytest.mark.parametrize("name", ["../b.service", "b@c/.service", "b" * 250 + ".service", "b/c.service"])
def test_what_a_unit_brings_along_has_the_name_of_a_unit(name: str) -> None:
    assert unit_file.needed(unit_file.parse("a.service", "a", [f"[Unit]\nWants={name} c.service\n"])) == ["c.service"]
