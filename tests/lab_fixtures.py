# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts for the tests: plays run by Ansible itself, and looks at a host that know nothing of the collection.

One start of Ansible costs seconds, whatever it does. So a module of tests has one play for what it does to the hosts, all
of them at once, and each test looks at one result of one host. ``VSBX_HOSTS`` names the hosts that are meant, if not all: with a
run for each, no host waits for another. On these hosts a Python takes half a second to start, so what a play does is done by
Mitogen, which starts one for all of its tasks; plays that are like a user's (``playbook``) run as Ansible itself runs them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from ansible_mitogen import plugins as mitogen

CHECKOUT = Path(__file__).resolve().parent.parent
INVENTORY = Path(os.environ.get("VSBX_INVENTORY", CHECKOUT / "playbooks" / "inventory" / "lab.yml"))
SNAPSHOT = "/run/vsbx-snapshot.py"
# of the domain virt_sandbox_t: as after "semanage permissive -a" and "-d"
PERMISSIVE, ENFORCING = "python3 /run/vsbx-permissive.py virt_sandbox_t", "load_policy"
STRATEGIES = Path(mitogen.__path__[0]) / "strategy"
# a process for each task, as without Mitogen: modules keep for their run what they have read
FORKED = "mitogen_task_isolation=fork"
# of a look at a host, and of a play
LOOK, PLAY = 60, 1800

Task = dict[str, Any]
Result = TypeVar("Result")


@functools.cache
def inventory() -> tuple[tuple[str, ...], str]:
    """The hosts of the group lab, and the ssh configuration that lab_up wrote for them."""
    document = yaml.safe_load(INVENTORY.read_text(encoding="utf-8"))["lab"]
    return tuple(document["hosts"]), f"/run/{document['vars']['lab_name']}/ssh_config"


def meant() -> tuple[str, ...]:
    """The hosts of the lab that this run is about."""
    hosts, names = inventory()[0], os.environ.get("VSBX_HOSTS", "").split()
    if set(names) - set(hosts):
        raise pytest.UsageError(f"VSBX_HOSTS: {' '.join(names)} is invalid: expected some of {' '.join(hosts)}")
    return tuple(host for host in hosts if host in names) or hosts


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One task on one host."""

    state: str
    result: Mapping[str, Any]

    @property
    def failed(self) -> bool:
        return self.state in ("failed", "unreachable")

    @property
    def changed(self) -> bool:
        return bool(self.result.get("changed"))

    @property
    def message(self) -> str:
        return str(self.result.get("msg", ""))

    def steps(self, sandbox: str) -> list[str]:
        return list(self.result["steps"].get(sandbox, []))

    @property
    def stdout(self) -> str:
        return str(self.result.get("stdout", ""))

    @property
    def snapshot(self) -> dict[str, Any]:
        assert not self.failed, self.result
        shown: dict[str, Any] = json.loads(self.stdout)
        return shown


@dataclasses.dataclass
class Played:
    """What a play did: the outcome of each task, by host and by the task's name."""

    outcomes: dict[str, dict[str, Outcome]]
    output: str

    def on(self, host: str) -> dict[str, Outcome]:
        return self.outcomes[host]


def snapshot_task(name: str) -> Task:
    return {"name": name, "ansible.builtin.command": f"python3 {SNAPSHOT}", "changed_when": False, "check_mode": False}


def shell_task(name: str, script: str, **keywords: Any) -> Task:
    return {"name": name, "ansible.builtin.shell": script, **keywords}


class Lab:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hosts, self.ssh_config = meant(), inventory()[1]

    def play(self, tasks: Sequence[Task], *, limit: Sequence[str] | None = None, timeout: float = PLAY, **keywords: Any) -> Played:
        """Run the tasks on every host, each host at its own pace; a task that fails does not end the play."""
        names = [task["name"] for task in tasks]
        assert len(set(names)) == len(names), "each task has a name of its own"
        play = {"hosts": ",".join(limit or self.hosts), "gather_facts": False, "become": True, "strategy": "mitogen_free"}
        play.update(keywords, ignore_errors=True, tasks=list(tasks))
        return self.playbook([play], timeout=timeout)

    def playbook(self, plays: Sequence[Mapping[str, Any]], *, arguments: Sequence[str] = (), timeout: float = PLAY) -> Played:
        with tempfile.TemporaryDirectory(dir=self.directory, prefix="play-") as place:
            path, record = Path(place, "play.yml"), Path(place, "record")
            path.write_text(yaml.safe_dump(list(plays), sort_keys=False), encoding="utf-8")
            record.touch()
            environment = {
                **os.environ,
                "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
                "ANSIBLE_CALLBACK_PLUGINS": str(CHECKOUT / "tests" / "callback_plugins"),
                "ANSIBLE_CALLBACKS_ENABLED": "record",
                "ANSIBLE_STRATEGY_PLUGINS": str(STRATEGIES),
                "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
                "ANSIBLE_NOCOLOR": "1",
                "VSBX_RECORD": str(record),
            }
            limit = [] if self.hosts == inventory()[0] else [f"--limit={','.join(self.hosts)}"]
            command = ["ansible-playbook", "-i", str(INVENTORY), "-e", FORKED, *limit, *arguments, str(path)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
            output = done.stdout + done.stderr
            outcomes: dict[str, dict[str, Outcome]] = {host: {} for host in self.hosts}
            for line in record.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                outcomes.setdefault(entry["host"], {})[entry["task"]] = Outcome(entry["state"], entry["result"])
        if not any(outcomes.values()) or "UNREACHABLE" in output:
            pytest.fail(f"the play did not run on {', '.join(self.hosts)}; is the lab up (make lab)?\n{output[-3000:]}", pytrace=False)
        return Played(outcomes, output)

    def ssh(self, host: str, script: str, *, check: bool = True, timeout: float = LOOK) -> subprocess.CompletedProcess[str]:
        """Run a script of the shell on a host as root."""
        command = ["ssh", "-F", self.ssh_config, "-o", "BatchMode=yes", f"root@{host}", "sh -s"]
        done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=timeout, check=False)
        if check and done.returncode:
            pytest.fail(f"{host}: {script}\ncode {done.returncode}\n{done.stdout}{done.stderr}", pytrace=False)
        return done

    def everywhere(self, script: str, *, timeout: float = LOOK, check: bool = True) -> dict[str, subprocess.CompletedProcess[str]]:
        """The same on every host, all at once."""
        return self.each(lambda host: self.ssh(host, script, check=check, timeout=timeout))

    def each(self, work: Callable[[str], Result]) -> dict[str, Result]:
        """What work on each host has come to, all hosts at once."""
        with ThreadPoolExecutor(len(self.hosts)) as pool:
            return dict(zip(self.hosts, pool.map(work, self.hosts)))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The running lab, with what tests run on its hosts."""
    found = Lab(tmp_path_factory.mktemp("lab"))
    if not Path(found.ssh_config).exists():
        pytest.fail(f"no lab runs for {INVENTORY} ({found.ssh_config} is missing); start it: make lab", pytrace=False)
    scripts = {name: (CHECKOUT / "tests" / f"{name}.py").read_text(encoding="utf-8") for name in ("snapshot", "permissive")}
    found.everywhere("".join(f"cat >/run/vsbx-{name}.py <<'END-OF-SCRIPT'\n{text}\nEND-OF-SCRIPT\n" for name, text in scripts.items()))
    return found


@pytest.fixture(params=meant())
def host(request: pytest.FixtureRequest) -> str:
    """Each host of the lab in turn."""
    name: str = request.param
    return name


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What two snapshots disagree on, by path."""
    found: dict[str, tuple[Any, Any]] = {}
    for part in before.keys() | after.keys():
        old, new = before.get(part), after.get(part)
        if isinstance(old, dict) and isinstance(new, dict):
            found.update({f"{part} {key}": (old.get(key), new.get(key)) for key in old.keys() | new.keys() if old.get(key) != new.get(key)})
        elif old != new:
            found[part] = (old, new)
    return found


def in_domain(level: str, command: str, before: str = "") -> str:
    """A script that runs a command on the host in the domain of a sandbox, where only that guards, and shows the file that it writes.

    The command gets the file as its last argument: the domain may not write to the caller's pipe. ``before``: what the shell does first.
    """
    return f"""
    output=$(mktemp -p /run) && chcon system_u:object_r:virt_sandbox_file_t:{level} $output
    {before}
    cd /; runcon "$(id -Z | cut -d: -f1,2):virt_sandbox_t:{level}" {command} $output
    cat $output; rm $output
    """


def sandboxes_gone(names: Sequence[str], before: str = "", path: str = "/var/lib/libvirt/filesystems") -> list[Task]:
    """Tasks that leave nothing of the sandboxes, whatever state a test left them in; ``path``: where their content is."""
    listed = [{"name": name, "path": path, "state": "absent"} for name in names]
    labels = [{"name": name, "state": "absent"} for name in names]
    clear = [shell_task(f"clean up{before}: what tests did by hand", _by_hand(names, path))]
    return clear + [
        {"name": f"clean up{before}: the sandboxes", "virt.sandbox.sandbox_service": {"sandboxes": listed}},
        {"name": f"clean up{before}: their content", "virt.sandbox.sandbox_content": {"sandboxes": listed}},
        {"name": f"clean up{before}: their levels", "virt.sandbox.mcs_label": {"sandboxes": labels}},
    ]


def _by_hand(names: Sequence[str], path: str) -> str:
    """Stops them behind the collection's back, in a few calls for all, and removes trees that are not known to it."""
    units = " ".join(f"{shlex.quote(name)}_sandbox.service" for name in names)
    return f"""
    setenforce 1
    systemctl stop {units} 2>/dev/null
    running=$(virsh -q -c lxc:///system list --name)
    for name in {shlex.join(names)}; do
        case " $(echo $running) " in *" $name "*) virsh -q -c lxc:///system destroy "$name" ;; esac
        test -e "/var/lib/virt-sandbox/content/$name.json" || rm -rf "{path}/$name"
    done
    true
    """
