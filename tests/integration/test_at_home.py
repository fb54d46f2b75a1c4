# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 (scripts are read by lines)
"""A sandbox as any service of its host: systemctl, journalctl, machinectl, log rotation, and a real reboot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.virt.sandbox.tests.cycle import CONTENT, LABEL, SERVICE
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Played, Task, sandboxes_gone, shell_task

NAME, ASLEEP = "it-home", "it-asleep"
UNIT = f"{NAME}_sandbox.service"
PRIVATE = [
    "/etc/apache2",
    "/etc/logrotate.d/apache2",
    "/etc/mime.types",
    "/var/cache/apache2",
    "/var/lib/apache2",
    "/var/log/apache2",
    "/var/www",
]
ADDRESS = "192.168.122.86"
OPTIONS: dict[str, Any] = {
    "name": NAME,
    "units": ["apache2.service"],
    "network": [{"lease": ADDRESS, "ports": [{"host_port": 18086, "sandbox_port": 80}]}],
}
CODE = f"curl -s -o /dev/null -m 10 -w '%{{http_code}}' http://{ADDRESS}/"

TASKS: dict[str, str] = {
    "status": f"systemctl status --no-pager {UNIT} | head -n 5; systemctl is-active {UNIT}; systemctl is-enabled {UNIT}",
    "machines": "machinectl list --no-legend --no-pager",
    "reload": f"""
        virt-sandbox exec {NAME} -- sh -c 'echo "Alias /alias /var/www/html" >/etc/apache2/conf-enabled/it-home.conf'
        main() {{ virt-sandbox exec {NAME} -- systemctl show --value --property=MainPID apache2.service; }}
        before=$(main); curl -s -o /dev/null -m 10 -w '%{{http_code}}\\n' http://{ADDRESS}/alias/
        systemctl reload {UNIT}; sleep 2; curl -s -o /dev/null -m 10 -w '%{{http_code}}\\n' http://{ADDRESS}/alias/
        test "$before" = "$(main)" && echo the same process
    """,
    "journal": f"""
        virt-sandbox exec {NAME} -- logger -t it-home words of the sandbox; sleep 1
        virt-sandbox exec {NAME} -- journalctl --sync
        journalctl --merge --no-pager --output=cat -t it-home _HOSTNAME={NAME} | tail -n 1
        journalctl --merge --no-pager --output=cat _HOSTNAME={NAME} | grep -c 'Started apache2.service'
    """,
    "rotation": f"""
        virt-sandbox exec {NAME} -- systemctl is-active logrotate.timer
        {CODE} >/dev/null; virt-sandbox exec {NAME} -- sh -c 'logrotate --force /etc/logrotate.conf; ls /var/log/apache2/access.log.1'
        ls /var/log/apache2/access.log.1 2>/dev/null || echo not the host
    """,
    "stop": f"""
        systemctl stop {UNIT}; systemctl is-active {UNIT}; virsh -q -c lxc:///system domstate {NAME} | head -n 1
        journalctl --directory=/var/lib/libvirt/filesystems/{NAME}/var/log/journal --no-pager --output=cat | grep -c 'Stopped apache2.service'
    """,
    "start": f'systemctl start {UNIT}; for n in $(seq 60); do test "$({CODE})" = 200 && break; sleep 1; done; {CODE}',
    "crash": f"""
        kill -9 $(cat /run/libvirt/lxc/{NAME}.pid); for n in $(seq 30); do systemctl -q is-failed {UNIT} && break; sleep 1; done
        systemctl is-active {UNIT}; systemctl reset-failed {UNIT}; systemctl start {UNIT}
    """,
}
AFTER_BOOT = f"""
for n in $(seq 120); do test "$({CODE})" = 200 && systemctl -q is-active {UNIT} && break; sleep 1; done; {CODE}; echo
systemctl is-active {UNIT}; systemctl is-active {ASLEEP}_sandbox.service
curl -s -o /dev/null -m 10 -w '%{{http_code}}' http://127.0.0.1:18086/; echo
journalctl --no-pager --output=cat -b -1 -u {UNIT} | tail -n 5 | grep -c 'Stopped {UNIT}'
journalctl --directory=/var/lib/libvirt/filesystems/{NAME}/var/log/journal --no-pager --output=cat | grep -c 'Stopped apache2.service'
stat -c %C /sys/fs/cgroup/machine.slice/machine-virt_sandbox.slice/machine-virt_sandbox-it\\\\x2dhome.slice; getenforce
ps -o label= -p $(pgrep -o -P $(cat /run/libvirt/lxc/{NAME}.pid))
"""
BESIDE = "/srv/it-beside"
LABELS = f"find /var/lib/libvirt/filesystems/{NAME}/etc /var/lib/libvirt/filesystems/{NAME}/srv -printf '%Z %p\\n' | sort | sha256sum"


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    names = [NAME, ASLEEP]
    asleep = {"name": ASLEEP, "units": ["systemd-tmpfiles-clean.timer"], "autostart": False, "state": "present"}
    tasks: list[Task] = [
        *sandboxes_gone(names, " first"),
        {"name": "labels", LABEL: {"sandboxes": [{"name": NAME}, {"name": ASLEEP}]}},
        {"name": "content", CONTENT: {"sandboxes": [{"name": NAME, "private": PRIVATE}, {"name": ASLEEP}]}},
        {"name": "run", SERVICE: {**OPTIONS, "wait": {"ports": [80]}}},
        {"name": "have another", SERVICE: asleep},
        *(shell_task(name, script, changed_when=False) for name, script in TASKS.items()),
        # not by shutdown(8), which logind records in a directory that the policy of Debian 12 lets it make no file in
        {"name": "reboot", "ansible.builtin.reboot": {"reboot_timeout": 300, "reboot_command": "systemctl reboot"}},
        shell_task("after the boot", AFTER_BOOT, changed_when=False),
        {"name": "run again", SERVICE: OPTIONS},
        shell_task("labels before", LABELS, changed_when=False),
        shell_task("ask for a relabel", f"touch {BESIDE}; chcon -t etc_t {BESIDE}; fixfiles -F onboot"),
        {"name": "relabel", "ansible.builtin.reboot": {"reboot_timeout": 900, "reboot_command": "systemctl reboot"}},
        shell_task("labels after", LABELS, changed_when=False),
        shell_task("beside", f"stat -c %C {BESIDE}; ls /.autorelabel; rm {BESIDE}", changed_when=False),
    ]
    yield lab.play(tasks, timeout=2400)
    lab.play(sandboxes_gone(names))


def said(played: Played, host: str, task: str) -> list[str]:
    return played.on(host)[task].stdout.splitlines()


def test_systemctl_shows_it(played: Played, host: str) -> None:
    assert not played.on(host)["run"].failed, played.on(host)["run"].message
    first, *_rest, active, enabled = said(played, host, "status")
    assert f"{UNIT} - Sandbox {NAME}" in first
    assert (active, enabled) == ("active", "enabled")


def test_machinectl_lists_it(played: Played, host: str) -> None:
    assert [line.split()[1:3] for line in said(played, host, "machines") if NAME in line] == [["container", "libvirt-lxc"]]


def test_systemctl_reloads_what_is_inside(played: Played, host: str) -> None:
    assert said(played, host, "reload") == ["404", "200", "the same process"]


def test_the_hosts_journalctl_has_its_journal(played: Played, host: str) -> None:
    words, started = said(played, host, "journal")
    assert words == "words of the sandbox"
    assert int(started) >= 1


def test_its_logs_are_rotated_inside(played: Played, host: str) -> None:
    assert said(played, host, "rotation") == ["active", "/var/log/apache2/access.log.1", "not the host"]


def test_stop_tells_the_services_inside(played: Played, host: str) -> None:
    active, domain, stopped = said(played, host, "stop")
    assert (active, domain) == ("inactive", "shut off")
    assert int(stopped) >= 1
    assert said(played, host, "start") == ["200"]


def test_one_that_dies_shows_as_failed(played: Played, host: str) -> None:
    assert said(played, host, "crash") == ["failed"]


def test_it_is_stopped_at_the_hosts_shutdown_and_started_at_its_boot(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert not outcomes["reboot"].failed, outcomes["reboot"].message
    code, active, asleep, port, stopped, inside, label, mode, process = said(played, host, "after the boot")
    assert (code, active, asleep, port, stopped, mode) == ("200", "active", "inactive", "200", "1", "Enforcing")
    # once by hand, once by the shutdown
    assert int(inside) >= 2
    assert ":virt_sandbox_slice_t:" in label
    assert process.split(":", 3)[3] == label.split(":", 3)[3]
    assert not outcomes["run again"].changed, outcomes["run again"].result["steps"]


def test_threat_17_a_relabel_at_boot_leaves_its_labels(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert not outcomes["relabel"].failed, outcomes["relabel"].message
    assert ":var_t:" in outcomes["beside"].stdout
    assert ".autorelabel" not in outcomes["beside"].stdout
    assert outcomes["labels after"].stdout == outcomes["labels before"].stdout
