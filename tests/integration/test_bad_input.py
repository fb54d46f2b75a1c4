# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 (a table is read by lines)
"""Bad input, one case each: an error that names option, value and what is allowed, and a host on which nothing changed.

Every case is ``GOOD`` with one thing wrong, and ``GOOD`` itself is shown to work: what is refused is that one thing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from ansible_collections.virt.sandbox.tests import lab_fixtures
from ansible_collections.virt.sandbox.tests.lab_fixtures import (
    Lab,
    Played,
    Task,
    difference,
    meant,
    sandboxes_gone,
    shell_task,
    snapshot_task,
)

NAME, LEVEL, OTHER_LEVEL = "it-bad", "s0:c911,c912", "s0:c913,c914"
FOREIGN, NEIGHBOUR = "it-foreign", "it-neighbour"
FILESYSTEMS = "/var/lib/libvirt/filesystems"
UNIT = "systemd-tmpfiles-clean.timer"

LABEL, CONTENT, SERVICE = "virt.sandbox.mcs_label", "virt.sandbox.sandbox_content", "virt.sandbox.sandbox_service"
INFO, EXEC = "virt.sandbox.sandbox_info", "virt.sandbox.sandbox_exec"
GOOD: dict[str, dict[str, Any]] = {
    LABEL: {"name": NAME, "level": LEVEL},
    CONTENT: {"name": NAME, "level": LEVEL, "private": ["/etc/default"]},
    SERVICE: {"name": NAME, "level": LEVEL, "state": "present", "units": [UNIT]},
    INFO: {"name": NAME},
    EXEC: {"name": NAME, "argv": ["true"]},
}


@dataclasses.dataclass(frozen=True)
class Case:
    """``wrong`` replaces options of ``GOOD``; every text of ``says`` must be in the error."""

    name: str
    module: str
    wrong: Mapping[str, Any]
    says: tuple[str, ...]
    become: bool = True

    @property
    def task(self) -> Task:
        arguments = {key: value for key, value in {**GOOD[self.module], **self.wrong}.items() if value is not None}
        return {"name": self.name, self.module: arguments, "become": self.become}


@dataclasses.dataclass(frozen=True)
class Group:
    """Cases on a host that is in a state of its own; ``before`` brings that about and ``after`` ends it."""

    name: str
    cases: tuple[Case, ...]
    before: str = ""
    after: str = ""


UNKNOWN, SENSITIVITY = "s0:c1,c2000", "s0"
NO_NAME = ("name: ", "'a/b'", "lower-case letters, digits and inner dashes")
NO_ROOT = ("root", "become: true")
TWICE = {"name": None, "level": None, "state": None, "units": None, "private": None}

RAM = {"type": "ram", "size": "1M"}
NESTED = {"mounts": [{**RAM, "target": "/srv/a"}, {**RAM, "target": "/srv/a/b"}]}
SYSTEMD = ["chown", "dac_override", "fowner", "kill", "setgid", "setuid"]


def mount(source: str, target: str = "/srv/x", **more: Any) -> dict[str, Any]:
    return {"mounts": [{"source": source, "target": target, **more}]}


def device(path: str, bandwidth: str = "1M") -> dict[str, Any]:
    return {"io": {"devices": [{"device": path, "read_bandwidth": bandwidth}]}}


def keep(capability: str) -> dict[str, Any]:
    return {"capabilities": {"keep": [*SYSTEMD, capability]}}


VALUES = (
    Case("a level that the policy does not know, mcs_label", LABEL, {"level": UNKNOWN}, ("level: ", UNKNOWN, "c1023")),
    Case("a level that the policy does not know, sandbox_content", CONTENT, {"level": UNKNOWN}, ("level: ", UNKNOWN, "c1023")),
    Case("a level that the policy does not know, sandbox_service", SERVICE, {"level": UNKNOWN}, ("level: ", UNKNOWN, "c1023")),
    Case("a level without categories, mcs_label", LABEL, {"level": SENSITIVITY}, ("level: 's0' is invalid", "categor")),
    Case("a level without categories, sandbox_content", CONTENT, {"level": SENSITIVITY}, ("level: 's0' is invalid", "categor")),
    Case("a level without categories, sandbox_service", SERVICE, {"level": SENSITIVITY}, ("level: 's0' is invalid", "categor")),
    Case("a pair of equal categories", LABEL, {"level": "s0:c5,c5"}, ("level: 's0:c5,c5' is invalid", "different categories")),
    Case("the level of another sandbox", LABEL, {"level": OTHER_LEVEL}, (f"level {OTHER_LEVEL} is not separated from {NEIGHBOUR}'s", "Choose another")),
    Case("a level that another dominates", LABEL, {"level": "s0:c913"}, (f"level s0:c913 is not separated from {NEIGHBOUR}'s", "dominates", "Choose another")),
    Case("another level than the registry's", SERVICE, {"level": "s0:c1,c911"}, ("level: ", "s0:c1,c911", LEVEL)),
    Case("an unknown unit", SERVICE, {"units": ["nosuch.service"]}, ("units: 'nosuch.service'", "/usr/lib/systemd/system", "package")),
    Case("a unit that cannot work inside", SERVICE, {"units": ["systemd-modules-load"]}, ("systemd-modules-load", "CAP_SYS_MODULE", "no sandbox has")),
    Case("a unit that the host does not have, sandbox_content", CONTENT, {"units": ["nosuch"]}, ("units: 'nosuch.service'", "package")),
    Case("a file of the shared part", CONTENT, {"files": [{"path": "/usr/a"}]}, ("files[0].path: '/usr/a'", "/etc, /var, /home, /root, /srv")),
    Case("a file with a mode that is none", CONTENT, {"files": [{"path": "/etc/a", "mode": "rw"}]}, ("files[0].mode: 'rw'", "0644")),
    Case("no unit", SERVICE, {"units": []}, ("units: expected", "at least one systemd unit")),
    Case("a name with a slash, mcs_label", LABEL, {"name": "a/b"}, NO_NAME),
    Case("a name with a slash, sandbox_content", CONTENT, {"name": "a/b"}, NO_NAME),
    Case("a name with a slash, sandbox_service", SERVICE, {"name": "a/b"}, NO_NAME),
    Case("a name with a slash, to be absent", SERVICE, {"name": "a/b", "state": "absent"}, NO_NAME),
    Case("a name with a slash, sandbox_exec", EXEC, {"name": "a/b"}, NO_NAME),
    Case("a sandbox that there is not, sandbox_info", INFO, {"name": "it-none"}, ("name: 'it-none'", "a sandbox of this host")),
    Case("a sandbox that there is not, sandbox_exec", EXEC, {"name": "it-none"}, ("it-none", "not running")),
    Case("a sandbox without content", SERVICE, {"name": "it-none", "level": "s0:c915,c916"}, ("name: 'it-none'", "Run sandbox_content")),
    Case("a sandbox without a level", CONTENT, {"name": "it-none", "level": None}, ("level: expected a level", "mcs_label")),
    Case("a size that is none", SERVICE, {"memory": "lots"}, ("memory: 'lots'", "512M")),
    Case("megabytes that are bytes", SERVICE, {"memory": 512}, ("memory: 512", "at least 16M")),
    Case("a mode that is none", CONTENT, {"files": [{"path": "/etc/a", "mode": "rwx"}]}, ("files[0].mode: 'rwx'", "0644")),
    Case("a file where a directory is", CONTENT, {"files": [{"path": "/etc/default"}]}, ("files[0].path: '/etc/default'", "not a directory")),
    Case("a file that the sandbox's identity is in", CONTENT, {"files": [{"path": "/etc/hosts"}]}, ("files[0].path: '/etc/hosts'", "sandbox_service")),
    Case("a mount of the content of another", SERVICE, mount(f"{FILESYSTEMS}/{NEIGHBOUR}/etc"), ("mounts[0].source", FILESYSTEMS)),
    Case("a share that is none", SERVICE, {"cpu_weight": 0}, ("cpu_weight: 0", "from 1 to 10000")),
    Case("a limit in wrong units", SERVICE, device("/", "10MB/s"), ("io.devices[0].read_bandwidth: '10MB/s'", "512M")),
    Case("a device that there is not", SERVICE, device("/dev/nosuch", "1M"), ("io.devices[0].device: '/dev/nosuch'", "block device")),
    Case("a device in memory", SERVICE, device("/run", "1M"), ("io.devices[0].device: '/run'", "block device")),
    Case("a weight on a kernel without weights", SERVICE, {"io": {"weight": 50}}, ("io.weight: ", "io.cost", "bfq")),
    Case("a variable that is no text", SERVICE, {"env": {"A": True}}, ("env: {'A': True}", "quote true and false")),
    Case("a capability that the policy denies", SERVICE, keep("sys_admin"),
         ("capabilities.keep: the loaded policy denies sys_admin", "virt_sandbox_t", "mounts")),
    Case("a capability that libvirt takes and the policy denies", SERVICE, keep("mknod"),
         ("capabilities.keep: the loaded policy denies mknod", "virt_sandbox_t")),
    Case("a systemd without what it needs", SERVICE, {"capabilities": {"drop": ["setuid"]}},
         ("capabilities.drop: must not include setuid", "systemd inside the sandbox needs")),
    Case("a mount over /usr", SERVICE, mount("/srv", "/usr/share"), ("mounts[0].target: '/usr/share'", "below /etc, /var")),
    Case("a mount outside the tree", SERVICE, mount("/srv", "/srv/../../usr"), ("mounts[0].target: '/srv/../../usr'", "without '.' and '..'")),
    Case("mounts in each other", SERVICE, NESTED, ("mounts[/srv/a/b].target", "overlaps with the target /srv/a")),
    Case("a mount of nothing", SERVICE, mount("/srv/nosuch"), ("mounts[/srv/x].source: '/srv/nosuch'", "that exists on the host")),
    Case("a mount of a link", SERVICE, mount("/bin"), ("mounts[/srv/x].source: '/bin'", "real path is /usr/bin")),
    Case("a mount that the sandbox could not use", SERVICE, mount("/etc/ssh"), ("mounts[/srv/x].source: '/etc/ssh'", "etc_t:s0", "relabel: true")),
    Case("relabelling what is the host's", SERVICE, mount("/etc/ssh", relabel=True), ("/etc/ssh", "belongs to the host")),
    Case("an image that is none", SERVICE, mount("/etc/passwd", type="image"), ("mounts[/srv/x].source: '/etc/passwd'", "mkfs.ext4")),
    Case("a mount where a link is inside", SERVICE, {"mounts": [{**RAM, "target": "/etc/mtab"}]}, ("mounts[/etc/mtab].target: '/etc/mtab'", "symlink")),
    Case("units and a command", SERVICE, {"command": ["/bin/true"]}, ("command: ['/bin/true']", "units")),
    Case("a command that there is not", SERVICE, {"units": None, "command": ["/usr/bin/nosuch"]}, ("command: '/usr/bin/nosuch'", "/usr")),
    Case("a user that the sandbox does not have", SERVICE, {"units": None, "command": ["/bin/true"], "user": "nosuch"}, ("user: 'nosuch'", "/etc/passwd")),
    Case("a command with DHCP", SERVICE, {"units": None, "command": ["/bin/true"], "network": [{}]}, ("network[0].type: 'dhcp'", "static")),
    Case("an unknown network", SERVICE, {"network": [{"source": "nowhere"}]}, ("network[0].source: libvirt network 'nowhere'", "default")),
    Case("a static interface without address", SERVICE, {"network": [{"type": "static"}]}, ("network[0].addresses: required", "static")),
    Case("a private path of the shared part", CONTENT, {"private": ["/usr/lib"]}, ("private: ['/usr/lib']", "/etc, /var, /home, /root, /srv")),
    Case("a private path that the host does not have", CONTENT, {"private": ["/etc/nosuch"]}, ("private: ['/etc/nosuch']", "package")),
    Case("a type that the policy does not know", SERVICE, {"process_type": "nosuch_t"}, ("process_type: 'nosuch_t'", "virt.sandbox.host")),
    Case("a type that is not held to its level", SERVICE, {"process_type": "unconfined_t"}, ("process_type: 'unconfined_t'", "mcs_constrained_type")),
    Case("one name twice, mcs_label", LABEL, {**TWICE, "sandboxes": [{"name": "it-x"}, {"name": "it-x"}]}, ("sandboxes: sandbox it-x", "once")),
    Case("one name twice, sandbox_content", CONTENT, {**TWICE, "sandboxes": [{"name": "it-x"}, {"name": "it-x"}]}, ("sandboxes: sandbox it-x", "once")),
    Case("one name twice, sandbox_service", SERVICE, {**TWICE, "sandboxes": [{"name": "it-x"}, {"name": "it-x"}]}, ("sandboxes: sandbox it-x", "once")),
    Case("a name and a list", SERVICE, {"sandboxes": [{"name": "it-x"}]}, ("name", "sandboxes", "mutually exclusive")),
    Case("no become, mcs_label", LABEL, {}, NO_ROOT, become=False),
    Case("no become, sandbox_content", CONTENT, {}, NO_ROOT, become=False),
    Case("no become, sandbox_service", SERVICE, {}, NO_ROOT, become=False),
    Case("no become, sandbox_info", INFO, {}, NO_ROOT, become=False),
    Case("no become, sandbox_exec", EXEC, {}, NO_ROOT, become=False),
)  # fmt: skip

MASKED = (
    Case("a masked unit", SERVICE, {}, (f"units: {UNIT!r}", "works in a sandbox", f"is masked by /etc/systemd/system/{UNIT}")),
)  # fmt: skip
FOREIGN_TREE = (
    Case(
        "a content path that exists and is not ours", CONTENT, {"name": FOREIGN, "level": "s0:c917,c918"},
        ("path: ", f"{FILESYSTEMS}/{FOREIGN} exists", "move it away"),
    ),
    Case(
        "removing a content path that is not ours", CONTENT, {"name": FOREIGN, "state": "absent"},
        ("path: ", f"{FILESYSTEMS}/{FOREIGN} exists", "move it away"),
    ),
)  # fmt: skip
FOREIGN_DOMAIN = (
    Case("a foreign domain of the same name", SERVICE, {}, (f"name: libvirt has a domain {NAME}", "Choose another name, or undefine it")),
    Case("removing a foreign domain of the same name", SERVICE, {"state": "absent"}, (f"name: libvirt has a domain {NAME}", "undefine it")),
)
FOREIGN_UNIT = (
    Case("a foreign unit of the same name", SERVICE, {}, (f"name: /etc/systemd/system/{NAME}_sandbox.service", "Choose another name, or remove it")),
)  # fmt: skip
PERMISSIVE = (
    Case("SELinux permissive, sandbox_content", CONTENT, {}, ("SELinux is permissive", "must be enforcing", "require_enforcing: false")),
    Case("SELinux permissive, sandbox_service", SERVICE, {}, ("SELinux is permissive", "must be enforcing", "require_enforcing: false")),
)
PERMISSIVE_TYPE = (
    Case("a process type that is permissive", SERVICE, {}, ("process_type: 'virt_sandbox_t'", "not permissive", "semanage permissive")),
)
NO_LIBVIRT = (
    Case("libvirt not running, mcs_label", LABEL, {"level": None, "name": "it-new"}, ("libvirt", "does not answer", "Start its daemon")),
    Case("libvirt not running, sandbox_content", CONTENT, {}, ("libvirt", "does not answer", "Start its daemon")),
    Case("libvirt not running, sandbox_service", SERVICE, {}, ("libvirt", "does not answer", "Start its daemon")),
)
NO_LIBVIRT_BINDING = (
    Case("no binding of libvirt, sandbox_content", CONTENT, {}, ("No Python on this host", "python3-libvirt")),
    Case("no binding of libvirt, sandbox_service", SERVICE, {}, ("No Python on this host", "python3-libvirt")),
    Case("no binding of libvirt, sandbox_info", INFO, {"name": None}, ("No Python on this host", "python3-libvirt")),
    Case("no binding of libvirt, mcs_label", LABEL, {"level": None, "name": "it-new"}, ("No Python on this host", "python3-libvirt")),
)
NO_SELINUX_BINDING = (
    Case("no binding of SELinux, sandbox_content", CONTENT, {}, ("No Python on this host", "python3-selinux")),
    Case("no binding of SELinux, sandbox_service", SERVICE, {}, ("No Python on this host", "python3-selinux")),
)

DAEMON = "$(systemctl list-units --plain --no-legend 'libvirtd*.socket' 'virtlxcd*.socket' | cut -d' ' -f1) libvirtd.service"
PACKAGES, HIDDEN = "/usr/lib/python3/dist-packages", "/usr/lib/python3/it-hidden"
HIDE = f"mkdir {HIDDEN} && mv -t {HIDDEN} {PACKAGES}/%s"
SHOW = f"if test -d {HIDDEN}; then mv -t {PACKAGES} {HIDDEN}/* && rmdir {HIDDEN}; fi"
FOREIGN_XML = f"<domain type='lxc'><name>{NAME}</name><memory>65536</memory><os><type>exe</type><init>/bin/sh</init></os></domain>"
GROUPS = (
    Group("values", VALUES),
    Group("a foreign tree", FOREIGN_TREE, f"mkdir {FILESYSTEMS}/{FOREIGN}; echo theirs >{FILESYSTEMS}/{FOREIGN}/file"),
    Group(
        "a foreign domain", FOREIGN_DOMAIN,
        f"echo \"{FOREIGN_XML}\" >/run/it-domain.xml; virsh -q -c lxc:///system define /run/it-domain.xml",
        f"virsh -q -c lxc:///system undefine {NAME}",
    ),
    Group(
        "a foreign unit", FOREIGN_UNIT,
        f"echo '[Service]' >/etc/systemd/system/{NAME}_sandbox.service",
        f"rm /etc/systemd/system/{NAME}_sandbox.service",
    ),
    Group("a masked unit", MASKED, f"systemctl mask {UNIT}", f"systemctl unmask {UNIT}"),
    Group("permissive", PERMISSIVE, "setenforce 0", "setenforce 1"),
    Group("no libvirt", NO_LIBVIRT, f"units=\"{DAEMON}\"; echo $units >/run/it-libvirt; systemctl stop $units", "systemctl start $(cat /run/it-libvirt)"),
    Group("no libvirt binding", NO_LIBVIRT_BINDING, HIDE % "libvirt.py", SHOW),
    Group("no SELinux binding", NO_SELINUX_BINDING, HIDE % "selinux", SHOW),
    Group("a permissive type", PERMISSIVE_TYPE, lab_fixtures.PERMISSIVE, lab_fixtures.ENFORCING),
)  # fmt: skip
# A wrong value is answered by the same code everywhere: one host after the other takes the next. What a host's state makes
# wrong is asked of every host.
PLACE = {case.name: meant()[number % len(meant())] for number, case in enumerate(VALUES)}
CASES = [(case, host) for group in GROUPS for case in group.cases for host in meant() if PLACE.get(case.name, host) == host]


def tasks_of(group: Group) -> Iterator[Task]:
    yield shell_task(f"before {group.name}", group.before or "true")
    yield snapshot_task(f"snapshot before {group.name}")
    for case in group.cases:
        place = PLACE.get(case.name)
        yield case.task | ({"when": f"inventory_hostname == {place!r}"} if place else {})
    yield snapshot_task(f"snapshot after {group.name}")
    yield shell_task(f"after {group.name}", group.after or "true")


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    names = (NAME, FOREIGN, NEIGHBOUR)
    mend = "; ".join(["setenforce 1", lab_fixtures.ENFORCING, SHOW, "systemctl start $(cat /run/it-libvirt)"])
    tasks = [*sandboxes_gone(names, " first")]
    tasks += [
        {"name": "levels", LABEL: {"sandboxes": [{"name": NAME, "level": LEVEL}, {"name": NEIGHBOUR, "level": OTHER_LEVEL}]}},
        {"name": "content", CONTENT: GOOD[CONTENT]},
    ]
    for group in GROUPS:
        tasks += tasks_of(group)
    tasks += [{"name": f"good {module}", module: GOOD[module], "check_mode": True} for module in (LABEL, CONTENT, SERVICE)]
    try:
        yield lab.play(tasks)
    finally:
        lab.everywhere(f"({mend}) 2>/dev/null; rm -f /etc/systemd/system/{NAME}_sandbox.service; true", timeout=120)
        lab.play(sandboxes_gone(names))


@pytest.mark.parametrize(("case", "host"), CASES, ids=lambda part: getattr(part, "name", part))
def test_the_error_names_what_is_wrong(played: Played, host: str, case: Case) -> None:
    outcome = played.on(host)[case.name]
    assert outcome.failed, outcome.result
    assert "Traceback" not in str(outcome.result), outcome.result
    assert [text for text in case.says if text not in outcome.message] == [], outcome.message


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_nothing_changed(played: Played, host: str, group: Group) -> None:
    outcomes = played.on(host)
    before, after = outcomes[f"snapshot before {group.name}"].snapshot, outcomes[f"snapshot after {group.name}"].snapshot
    assert difference(before, after) == {}
    assert before["entries"], "a snapshot that sees nothing shows nothing"
    for step in ("before", "after"):
        assert not outcomes[f"{step} {group.name}"].failed, outcomes[f"{step} {group.name}"].result


@pytest.mark.parametrize("module", [LABEL, CONTENT, SERVICE])
def test_without_what_is_wrong_it_works(played: Played, host: str, module: str) -> None:
    outcome = played.on(host)[f"good {module}"]
    assert not outcome.failed, outcome.message
    assert outcome.changed == (module == SERVICE)
