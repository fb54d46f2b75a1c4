# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 (a table is read by lines)
"""Services that no role is written for, of different make, each asked by a real client.

Nothing is said of their private paths: these are found from the packages of their units.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Played, Task, sandboxes_gone, shell_task

SERVICE, CONTENT = "virt.sandbox.sandbox_service", "virt.sandbox.sandbox_content"


@dataclasses.dataclass(frozen=True)
class Case:
    """One service: what the play says of it, what a client asks (``$address``), and what it is to answer."""

    make: str
    package: str
    unit: str
    ask: str
    answer: str
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    runs: str = ""  # the unit that runs inside, where it is another one

    @property
    def name(self) -> str:
        known_by = self.package.split("-")[-1] or self.unit.partition(".")[0].partition("@")[0]
        return "it-" + known_by + ("-x" if "@" in self.unit else "")

    @property
    def sandbox(self) -> dict[str, Any]:
        return {"name": self.name, "units": [self.unit], "files": [{"path": path, "content": text} for path, text in self.files.items()]}


HAPROXY = """\
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
frontend f
  bind :80
  http-request return status 200 content-type text/plain string "words of haproxy"
"""
NO_BIND = "[Service]\nBindReadOnlyPaths=\n"
# two units of an administrator's: a template on the host with what belongs to it, and one that only the play has
TEMPLATE = """\
[Unit]
Description=Greet as %i
[Service]
DynamicUser=yes
EnvironmentFile=/etc/greeter/%i.env
WorkingDirectory=/srv/greeter
ExecStart=/usr/bin/python3 -m http.server $PORT
"""
HOSTS_OWN = f"""
mkdir -p /etc/greeter /srv/greeter /etc/systemd/system/greeter@.service.d
echo PORT=8080 >/etc/greeter/it-greeter-x.env
echo words of the host >/srv/greeter/page
printf '[Service]\\nUMask=0027\\n' >/etc/systemd/system/greeter@.service.d/10-mask.conf
cat >/etc/systemd/system/greeter@.service <<'END'
{TEMPLATE}END
"""
HOSTS_OWN_GONE = "rm -rf /etc/greeter /srv/greeter /etc/systemd/system/greeter@.service /etc/systemd/system/greeter@.service.d"
PLAYS_OWN = "[Service]\nExecStart=/usr/bin/python3 -m http.server --directory /srv 80\nProtectSystem=strict\n"
SERVICES = (
    Case("a forking daemon", "nginx", "nginx.service", "curl -s http://$address/page", "words of nginx",
         {"/var/www/html/page": "words of nginx\n"}),
    Case("socket-activated, with DynamicUser= and PrivateNetwork=", "systemd-journal-remote", "systemd-journal-gatewayd.socket",
         "curl -s http://$address:19531/machine", '"hostname" : "it-remote"'),
    Case("a template", "redis-server", "redis-server@",
         "virt-sandbox exec it-server-x -- redis-cli -p 6380 set words template; virt-sandbox exec it-server-x -- redis-cli -p 6380 get words", "template",
         {"/etc/redis/redis-it-server-x.conf": "include /etc/redis/redis.conf\nport 6380\n"}, "redis-server@it-server-x.service"),
    Case("one that protects itself in every way that there is", "redis-server", "redis-server.service",
         "virt-sandbox exec it-server -- redis-cli set words itself; virt-sandbox exec it-server -- redis-cli get words", "itself"),
    Case("one with filters and namespaces of its own", "memcached", "memcached.service",
         "bash -c \"exec 3<>/dev/tcp/$address/11211; printf 'set w 0 0 5\\r\\nwords\\r\\nget w\\r\\nquit\\r\\n' >&3; timeout 5 cat <&3\"", "words",
         {"/etc/memcached.conf": "-l 0.0.0.0\n-u memcache\n-m 16\n"}),
    Case("one that clones and jails its children", "vsftpd", "vsftpd.service", "curl -s ftp://$address/file", "words of vsftpd",
         {"/etc/vsftpd.conf": "listen=YES\nanonymous_enable=YES\nsecure_chroot_dir=/var/run/vsftpd/empty\n", "/srv/ftp/file": "words of vsftpd\n"}),
    Case("one whose need of a bind mount is taken away", "haproxy", "haproxy.service", "curl -s http://$address/", "words of haproxy",
         {"/etc/haproxy/haproxy.cfg": HAPROXY, "/etc/systemd/system/haproxy.service.d/10-log.conf": NO_BIND}),
    Case("a template of the host's administrator", "", "greeter@", "curl -s http://$address:8080/page", "words of the host",
         runs="greeter@it-greeter-x.service"),
    Case("one that only the play has", "", "player.service", "curl -s http://$address/page", "words of the play",
         {"/etc/systemd/system/player.service": PLAYS_OWN, "/srv/page": "words of the play\n"}),
)  # fmt: skip
NAMES = [one.name for one in SERVICES]
# whatever a host has where packages keep secrets: a key, a log, a changed configuration that not all may read
SECRETS = "umask 077; echo SECRET >/etc/redis/key; echo SECRET >/var/log/redis/old.log; chown redis /var/log/redis/old.log"
FIND = "cd /var/lib/libvirt/filesystems; grep -rlF SECRET it-server/etc it-server/var; test -e it-server/etc/redis/redis.conf && echo configuration"


def packages() -> list[dict[str, Any]]:
    return [{"package": name, "units": units_of(name)} for name in sorted({one.package for one in SERVICES if one.package})]


def units_of(package: str) -> list[str]:
    """What of a package is not to run on the host."""
    return sorted({one.unit for one in SERVICES if one.package == package and "@" not in one.unit})


def ask(one: Case) -> Task:
    leader = f"$(pgrep -o -P $(cat /run/libvirt/lxc/{one.name}.pid))"
    script = f"""
address=$(nsenter -n -t {leader} ip -4 -o address show dev eth0 | awk '{{split($4, a, "/"); print a[1]}}')
{one.ask}
echo
virt-sandbox exec {one.name} -- systemctl is-active {one.runs or one.unit}
"""
    return shell_task(f"ask {one.name}", script, changed_when=False)


def tasks() -> Iterator[Task]:
    yield {
        "name": "packages",
        "ansible.builtin.include_role": {"name": "virt.sandbox.host", "tasks_from": "package.yml"},
        "vars": {"host_service_packages": packages()},
    }
    yield shell_task("packages there", "dpkg-query --show " + " ".join(one["package"] for one in packages()), changed_when=False)
    yield shell_task("secrets", SECRETS)
    yield shell_task("a unit of the administrator's", HOSTS_OWN)
    yield {"name": "levels", "virt.sandbox.mcs_label": {"sandboxes": [{"name": name} for name in [*NAMES, "it-bare"]]}}
    content = {"sandboxes": [one.sandbox for one in SERVICES]}
    yield {"name": "content: in check mode", CONTENT: content, "check_mode": True, "diff": True}
    yield {"name": "content", CONTENT: content, "diff": True}
    yield {"name": "content again", CONTENT: content}
    services = {
        "timeout": 240,
        "sandboxes": [{"name": one.name, "units": [one.unit], "network": [{"type": "managed"}]} for one in SERVICES],
    }
    yield {"name": "started: in check mode", SERVICE: services, "check_mode": True}
    yield {"name": "started", SERVICE: services}
    yield {"name": "started again", SERVICE: services}
    for one in SERVICES:
        yield ask(one)
    yield shell_task("secrets inside", FIND, changed_when=False)
    yield shell_task("denials", "ausearch -m avc -i --input-logs 2>/dev/null | grep virt_sandbox_t | tail -n 60", changed_when=False)
    gone = {"path": "/etc/systemd/system/gone.service", "content": "[Service]\nExecStart=/opt/gone/run\n"}
    yield {"name": "bare content", CONTENT: {"name": "it-bare", "files": [gone]}}
    yield {"name": "a program that is nowhere", SERVICE: {"name": "it-bare", "units": ["gone.service"]}}
    yield {"name": "haproxy as it is", SERVICE: {"name": "it-bare", "units": ["haproxy.service"]}, "check_mode": True}


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    names = [*NAMES, "it-bare"]
    yield lab.play([*sandboxes_gone(names, " first"), *tasks()], timeout=1500, gather_facts=True)
    lab.play([*sandboxes_gone(names), shell_task("secrets gone", f"rm -f /etc/redis/key /var/log/redis/old.log; {HOSTS_OWN_GONE}")])


each = pytest.mark.parametrize("one", SERVICES, ids=lambda one: one.make)


@pytest.mark.parametrize("step", ["packages there", "levels", "content", "started"])
def test_every_step_is_done(played: Played, host: str, step: str) -> None:
    outcome = played.on(host)[step]
    assert not outcome.failed, outcome.result


@each
def test_it_answers_a_client(played: Played, host: str, one: Case) -> None:
    outcome = played.on(host)[f"ask {one.name}"]
    lines = outcome.stdout.splitlines()
    assert one.answer in outcome.stdout, outcome.result
    assert lines[-1] == "active", lines


@each
def test_its_processes_are_in_the_sandbox(played: Played, host: str, one: Case) -> None:
    contexts = {process["context"].split(":", 2)[2] for process in played.on(host)["started"].result["sandboxes"][one.name]["processes"]}
    level = played.on(host)["levels"].result["levels"][one.name]
    assert contexts == {f"virt_sandbox_t:{level}"}


@pytest.mark.parametrize("step", ["content", "started"])
def test_check_mode_predicts_and_again_changes_nothing(played: Played, host: str, step: str) -> None:
    outcomes = played.on(host)
    assert outcomes[f"{step}: in check mode"].result["steps"] == outcomes[step].result["steps"]
    assert not outcomes[f"{step} again"].failed, outcomes[f"{step} again"].message
    assert not outcomes[f"{step} again"].changed, outcomes[f"{step} again"].result["steps"]


def test_private_paths_are_found(played: Played, host: str) -> None:
    private = played.on(host)["content"].result["private"]
    assert {"/etc/redis", "/var/lib/redis", "/var/log/redis", "/etc/default/redis-server"} <= set(private["it-server"])
    assert "/etc/vsftpd.conf" in private["it-vsftpd"]
    assert {"/etc/nginx", "/var/lib/nginx", "/var/log/nginx"} <= set(private["it-nginx"])
    assert "/etc/memcached.conf" in private["it-memcached"]
    units = [f"/etc/systemd/system/greeter@.service{suffix}" for suffix in ("", ".d")]
    assert private["it-greeter-x"] == ["/etc/greeter/it-greeter-x.env", *units, "/srv/greeter"]
    assert private["it-player"] == []


def test_no_secret_of_the_host_is_inside(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["secrets inside"].stdout.split() == ["configuration"]
    left_out = outcomes["content"].result["left_out"]["it-server"]
    assert "/etc/redis/key" in left_out
    assert any(path.startswith("/var/log/redis") for path in left_out)


def test_a_unit_whose_program_is_nowhere_is_refused(played: Played, host: str) -> None:
    outcome = played.on(host)["a program that is nowhere"]
    assert outcome.failed
    assert "runs /opt/gone/run, which neither the host's /usr nor the content has" in outcome.message


def test_what_needs_a_bind_mount_is_refused(played: Played, host: str) -> None:
    outcome = played.on(host)["haproxy as it is"]
    assert outcome.failed
    assert (
        "units: 'haproxy.service' is invalid: expected a unit that works in a sandbox. It needs a mount namespace of its own"
        in outcome.message
    )
