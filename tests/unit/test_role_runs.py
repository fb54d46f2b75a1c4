# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles for services as Ansible runs them, with modules that only return what they are given: variables, tags, facts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
MODULE = """\
#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule
taken = "name registry declaration foreign update timeout sandboxes argv cmd stdin user"
module = AnsibleModule(argument_spec={name: {"type": "raw"} for name in taken.split()}, supports_check_mode=True)
names = [item["name"] for item in module.params["sandboxes"] or []]
sandboxes = {name: {"addresses": []} for name in names}
module.exit_json(labels=dict.fromkeys(names, "s0:c1,c2"), sandboxes=sandboxes, given=module.params, rc=0, stdout="")
"""
PACKAGES = "- name: Install\n  ansible.builtin.debug:\n    msg: '{{ host_service_packages }}'\n  tags: [packages]\n"
LEVELS, CONTENT, UNITS = "Give each sandbox a level of its own", "Build and label the content", "Run the units"
PHASES = {"Install": "packages", LEVELS: "levels", CONTENT: "content", UNITS: "units"}
FACTS = {"os_family": "Debian", "distribution": "Debian", "distribution_version": "13", "distribution_major_version": "13"}
DEBIAN = {"ansible_facts": FACTS}
HTTPD = {"httpd_sandboxes": [{"name": "httpd1"}], "httpd_check": False}
SERVICES = ("httpd", "mysql", "postgresql", "dovecot")


class Ran(NamedTuple):
    """The results of the tasks that were run, by name, those of one name in order."""

    code: int
    tasks: dict[str, list[dict[str, Any]]]
    output: str

    def given(self, task: str) -> list[dict[str, Any]]:
        assert task in self.tasks, self.output
        return [result["given"] for result in self.tasks[task]]


Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This collection with modules that do nothing, and a role host that only shows the packages."""
    top = tmp_path_factory.mktemp("collections")
    copy = top / "ansible_collections" / "virt" / "sandbox"
    (copy / "plugins" / "modules").mkdir(parents=True)
    (copy / "roles" / "host" / "tasks").mkdir(parents=True)
    for name in ("galaxy.yml", "meta", "plugins/filter", "plugins/module_utils", *(f"roles/{role}" for role in ("service", *SERVICES))):
        (copy / name).symlink_to(CHECKOUT / name)
    (copy / "roles" / "host" / "tasks" / "package.yml").write_text(PACKAGES)
    for name in ("mcs_label", "sandbox_content", "sandbox_service", "sandbox_exec"):
        (copy / "plugins" / "modules" / f"{name}.py").write_text(MODULE)
    return top


@pytest.fixture
def run(collections: Path, tmp_path: Path) -> Run:
    """Run roles on this machine."""

    def play(roles: tuple[str, ...], variables: dict[str, Any], *arguments: str) -> Ran:
        included = [{"ansible.builtin.include_role": {"name": f"virt.sandbox.{role}"}} for role in roles]
        tasks = [{"name": "Run a role", "tags": "always", **task} for task in included]
        (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        python = {"ansible_become": False, "ansible_python_interpreter": sys.executable}
        (tmp_path / "variables.json").write_text(json.dumps({**python, **variables}))
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_CALLBACK_PLUGINS": str(CHECKOUT / "tests" / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "VSBX_RECORD": str(tmp_path / "record"),
        }
        environment.pop("PYTHONPATH", None)
        command = ["ansible-playbook", "--connection=local", "--inventory=localhost,", "--extra-vars=@variables.json"]
        done = subprocess.run(
            [*command, *arguments, "play.yml"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        results: dict[str, list[dict[str, Any]]] = {}
        for line in map(json.loads, (tmp_path / "record").read_text().splitlines()):
            if line["state"] in ("ok", "failed"):
                results.setdefault(line["task"].rpartition(" : ")[2], []).append(line["result"])
        return Ran(done.returncode, results, done.stdout)

    return play


def test_the_variables_of_each_role_reach_the_modules(run: Run) -> None:
    passwords = {"mysql_password": "x", "postgresql_password": "x"}
    variables: dict[str, Any] = {**DEBIAN, **passwords, "httpd_check": False, "service_update": "keep"}
    for role in SERVICES:
        own = {"registry": f"sqlite:////{role}.db", "foreign": "fix", "update": "take", "stale": "restart", "timeout": 7}
        variables.update({f"{role}_{name}": value for name, value in own.items()}, **{f"{role}_sandboxes": [{"name": f"{role}1"}]})
    ran = run(SERVICES, variables)
    assert ran.code == 0, ran.output
    for task in (LEVELS, CONTENT, UNITS):
        assert [given["registry"] for given in ran.given(task)] == [f"sqlite:////{role}.db" for role in SERVICES]
    assert [(given["foreign"], given["update"]) for given in ran.given(CONTENT)] == [("fix", "take")] * 4
    assert [(str(given["timeout"]), given["sandboxes"][0]["stale"]) for given in ran.given(UNITS)] == [("7", "restart")] * 4


def test_facts_are_gathered_and_what_is_set_for_the_role_service_holds(run: Run) -> None:
    ran = run(("httpd",), {**HTTPD, "service_update": "take", "service_files": [{"path": "/etc/x", "content": ""}]})
    assert ran.code == 0, ran.output
    assert "Gather the facts about the distribution" in ran.tasks
    assert ran.given(UNITS)[0]["sandboxes"][0]["units"] in (["apache2.service"], ["httpd.service"])
    (content,) = ran.given(CONTENT)
    assert (content["update"], content["foreign"]) == ("take", "report")
    assert content["sandboxes"][0]["files"] == [{"path": "/etc/x", "content": ""}]
    assert "units" not in content["sandboxes"][0]  # nothing is discovered from them


@pytest.mark.parametrize(
    ("arguments", "phases"),
    [
        (["--tags=content"], ["content"]),
        (["--tags=httpd"], ["packages", "levels", "content", "units"]),
        (["--skip-tags=packages,levels"], ["content", "units"]),
        (["--skip-tags=httpd"], []),
    ],
    ids=["one phase", "the role", "without two phases", "without the role"],
)
def test_tags_choose_what_a_role_does(run: Run, arguments: list[str], phases: list[str]) -> None:
    ran = run(("httpd",), {**DEBIAN, **HTTPD}, *arguments)
    assert ran.code == 0, ran.output
    assert [phase for task, phase in PHASES.items() if task in ran.tasks] == phases


def test_an_unknown_family_is_refused_with_what_to_do(run: Run) -> None:
    ran = run(("httpd",), {**HTTPD, "ansible_facts": {**FACTS, "os_family": "Suse", "distribution": "SLES"}})
    assert ran.code != 0
    said = ran.tasks["Check that the including role knows this OS family"][0]["msg"]
    assert "SLES is of the OS family Suse, which the role virt.sandbox.httpd does not know. Known families: Debian, RedHat." in said
    assert "use the role virt.sandbox.service" in said
