# SPDX-License-Identifier: GPL-3.0-or-later
"""The example fleet: made from its inventory, entered through it, and taken out of service."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.tests.lab_fixtures import CHECKOUT, Lab, Played, sandboxes_gone

FLEET = CHECKOUT / "playbooks" / "inventory" / "fleet"
NAMES = ("blog", "shop", "tidy")
SITE: dict[str, Any] = {"import_playbook": "virt.sandbox.site"}
RETIRE: dict[str, Any] = {"import_playbook": "virt.sandbox.retire"}
RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)
ARCHIVES = "/var/lib/virt-sandbox/archives"
# what a host has of sandboxes, and what the web servers answer
LOOK = """
for name in blog shop tidy; do
  echo "$name state $(systemctl is-active ${name}_sandbox.service)"
  echo "$name page $(virt-sandbox exec $name -- curl -s -o /dev/null -w '%{http_code}' http://localhost/author/ 2>/dev/null)"
  for path in /etc/libvirt-sandbox/services/$name.sandbox /var/lib/virt-sandbox/content/$name.json; do
    test -e $path && echo "$name ${path##*.}"
  done
  test -d /var/lib/libvirt/filesystems/$name && echo "$name content"
done
true
"""
RESTORE = f"tar -C / --extract --gzip --numeric-owner --acls --xattrs --xattrs-include='*' --file {ARCHIVES}/shop-*.tar.gz"
CONFLICT = [{"name": "one", "level": "s0:c101,c102"}, {"name": "two", "level": "s0:c102,c101"}]

# as an ordinary role for a host of its own would be
ROLE = """
- name: Check that the facts are the machine's own
  ansible.builtin.assert:
    that:
      - ansible_facts['hostname'] == sandbox_name
      - ansible_facts['virtualization_role'] == 'guest' or ansible_facts['processor_count'] > 0
- name: Create a user of its own
  ansible.builtin.user:
    name: author
    uid: 4321
    home: /srv/author
- name: Let the web server in
  ansible.builtin.file:
    path: /srv/author
    state: directory
    mode: "0755"
- name: Write pages
  ansible.builtin.template:
    src: page.j2
    dest: /srv/author/index.html
    owner: author
    mode: "0644"
- name: Serve them
  ansible.builtin.copy:
    content: |
      Alias /author /srv/author
      <Directory /srv/author>
        Require all granted
      </Directory>
    dest: /etc/apache2/conf-enabled/author.conf
    mode: "0644"
  notify: Reload the web server
- name: Look as that user
  ansible.builtin.command: id -un
  become: true
  become_user: author
  register: me
  changed_when: false
  failed_when: me.stdout != 'author'
"""
HANDLERS = """
- name: Reload the web server
  ansible.builtin.systemd_service:
    name: apache2
    state: reloaded
"""


@dataclasses.dataclass(frozen=True)
class Recap:
    changed: int
    unreachable: int
    failed: int


def recap(played: Played) -> dict[str, Recap]:
    return {name: Recap(*map(int, counts)) for name, *counts in RECAP.findall(played.output)}


def inside(role: Path) -> dict[str, Any]:
    return {"hosts": "role_httpd", "become": True, "roles": [str(role)]}


@pytest.fixture(scope="module")
def role(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("roles") / "author"
    for name, text in (
        ("tasks/main.yml", ROLE),
        ("handlers/main.yml", HANDLERS),
        ("templates/page.j2", "by {{ ansible_facts['hostname'] }}"),
    ):
        (place / name).parent.mkdir(parents=True)
        (place / name).write_text(text)
    return place


class Fleet:
    """Runs of the playbooks, and looks at the hosts between them, each under a name."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.runs: dict[str, Played] = {}
        self.looks: dict[str, dict[str, set[str]]] = {}

    def run(self, name: str, play: dict[str, Any], *arguments: str, **variables: Any) -> None:
        more = ["-i", str(FLEET), "-e", json.dumps(variables), *arguments]
        self.runs[name] = self.lab.playbook([play], arguments=more)

    def look(self, name: str) -> None:
        self.looks[name] = {host: set(done.stdout.splitlines()) for host, done in self.lab.everywhere(LOOK).items()}


@pytest.fixture(scope="module")
def fleet(lab: Lab, role: Path) -> Iterator[Fleet]:
    lab.play(sandboxes_gone(NAMES))
    lab.everywhere(f"rm -rf {ARCHIVES}")
    done = Fleet(lab)
    done.run("contradiction", SITE, sandboxes=CONFLICT)
    done.run("predicted", SITE, "--check")
    done.look("predicted")
    done.run("made", SITE)
    done.run("made again", SITE)
    done.run("role", inside(role))
    done.run("role again", inside(role))
    done.look("made")
    done.run("no consent", RETIRE, retire_sandboxes="all", retire_content="remove")
    done.run("no such content", RETIRE, retire_sandboxes=["shop"], retire_content="burn")
    done.look("refused")
    done.run("archived in check mode", RETIRE, "--check", retire_sandboxes=["shop"], retire_content="archive")
    done.run("archived", RETIRE, retire_sandboxes=["shop"], retire_content="archive")
    done.run("kept", RETIRE, retire_sandboxes=["blog"])
    done.look("retired")
    lab.everywhere(RESTORE)
    done.run("back", SITE)
    done.look("back")
    done.run("removed", RETIRE, retire_sandboxes="all", retire_content="remove", retire_consent=True)
    done.run("removed again", RETIRE, retire_sandboxes="all", retire_content="remove", retire_consent=True)
    done.look("removed")
    yield done
    lab.everywhere(f"rm -rf {ARCHIVES}")
    lab.play(sandboxes_gone(NAMES))


RUNNING = {
    *("blog state active", "shop state active", "tidy state active"),
    *("blog page 200", "shop page 200", "tidy page 000"),
    *(f"{name} {what}" for name in NAMES for what in ("sandbox", "json", "content")),
}
GONE = {f"{name} {what}" for name in NAMES for what in ("state inactive", "page ")}


def counted(fleet: Fleet, run: str, name: str) -> Recap:
    found = recap(fleet.runs[run])
    assert name in found, fleet.runs[run].output[-3000:]
    return found[name]


@pytest.mark.parametrize("run", ["predicted", "made", "archived in check mode", "archived", "kept", "back", "removed"])
def test_it_runs_and_changes_something(fleet: Fleet, host: str, run: str) -> None:
    count = counted(fleet, run, host)
    assert (count.unreachable, count.failed) == (0, 0), fleet.runs[run].output[-4000:]
    assert count.changed


@pytest.mark.parametrize("run", ["made again", "removed again"])
def test_again_changes_nothing(fleet: Fleet, host: str, run: str) -> None:
    assert counted(fleet, run, host) == Recap(0, 0, 0), fleet.runs[run].output[-4000:]


def test_a_contradiction_ends_the_run_before_a_host_is_touched(fleet: Fleet, host: str) -> None:
    output = fleet.runs["contradiction"].output
    assert f"{host}: two: level: 's0:c101,c102' is invalid: expected a level that is separate from s0:c101,c102, which one has" in output
    assert "Make the hosts ready" not in output


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("no consent", "retire_consent: the content of all on HOST would be lost; true allows it"),
        ("no such content", "retire_content: burn is invalid: expected one of keep, archive, remove"),
    ],
)
def test_what_is_refused_is_named(fleet: Fleet, host: str, run: str, message: str) -> None:
    output = fleet.runs[run].output
    assert message.replace("HOST", host) in " ".join(output.split())
    assert "Retire the sandboxes" not in output
    assert fleet.looks["refused"][host] == RUNNING


@pytest.mark.parametrize("name", ["shop", "blog"])
def test_an_ordinary_role_runs_inside(fleet: Fleet, host: str, name: str) -> None:
    count = counted(fleet, "role", f"{host}_{name}")
    # where homes are closed to others there is one thing more to do
    changes = {"debian12": 4, "debian13": 5}[host]
    assert (count.changed, count.unreachable, count.failed) == (changes, 0, 0), fleet.runs["role"].output[-4000:]
    assert counted(fleet, "role again", f"{host}_{name}") == Recap(0, 0, 0), fleet.runs["role again"].output[-4000:]


def test_what_it_made_is_inside_and_answers(fleet: Fleet, lab: Lab, host: str) -> None:
    assert fleet.looks["made"][host] == RUNNING
    assert lab.ssh(host, "getent passwd author; ls -d /srv/author", check=False).stdout == ""


@pytest.mark.parametrize(
    ("look", "shows"),
    [
        ("predicted", GONE),
        (
            "retired",
            {
                *("blog state inactive", "blog page ", "blog json", "blog content"),
                *("shop state inactive", "shop page "),
                *("tidy state active", "tidy page 000", "tidy sandbox", "tidy json", "tidy content"),
            },
        ),
        ("back", RUNNING),
        ("removed", GONE),
    ],
)
def test_what_the_host_has(fleet: Fleet, host: str, look: str, shows: set[str]) -> None:
    assert fleet.looks[look][host] == shows


def test_the_archive_is_for_root_alone(fleet: Fleet, lab: Lab, host: str) -> None:
    modes = lab.ssh(host, f"stat -c '%a %U' {ARCHIVES} {ARCHIVES}/*").stdout.splitlines()
    assert modes == ["700 root", "600 root"]
