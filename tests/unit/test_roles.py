# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles for services: each family of distributions has the same variables, and what they make of them is well formed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import content_spec, service_spec

try:
    from ansible.template import trust_as_template
except ImportError:  # before ansible-core 2.19
    trust_as_template = None

ROLES = Path(__file__).resolve().parents[2] / "roles"
SERVICES = ("httpd", "mysql", "postgresql", "dovecot")
TAGS = {
    "host": {"audit", "host", "selinux", "packages", "files", "libvirt", "network", "policy"},
    "service": {"service", "packages", "levels", "content", "units"},
}
HEADINGS = ["Example", "Variables", "Tags", "Distributions"]
DISTRIBUTIONS = {"debian12": ("Debian", "12"), "debian13": ("Debian", "13"), "fedora": ("RedHat", "42")}


def trusted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: trusted(one) for key, one in value.items()}
    if isinstance(value, list):
        return [trusted(one) for one in value]
    return trust_as_template(value) if isinstance(value, str) and trust_as_template else value


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text()) if path.exists() else {}


def variables(role: str, distribution: str) -> Templar:
    family, major = DISTRIBUTIONS[distribution]
    raw: dict[str, Any] = {"ansible_facts": {"os_family": family, "distribution_major_version": major}}
    for file in ("defaults/main.yml", "vars/main.yml", f"vars/{family}.yml"):
        raw.update(read(ROLES / role / file))
    return Templar(loader=DataLoader(), variables=trusted(raw))


def shown(templar: Templar, name: str) -> Any:
    return templar.template(trusted("{{ " + name + " }}"))


@pytest.mark.parametrize("role", SERVICES)
def test_each_family_has_the_same_variables(role: str) -> None:
    assert read(ROLES / role / "vars" / "Debian.yml").keys() == read(ROLES / role / "vars" / "RedHat.yml").keys()


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("role", SERVICES[1:])
def test_what_a_role_declares_is_a_sandbox(role: str, distribution: str) -> None:
    templar = variables(role, distribution)
    files = shown(templar, f"__{role}_files")
    private = shown(templar, f"__{role}_private") if role != "dovecot" else []
    spec = content_spec({"name": "x", "files": files, "private": private})
    assert [file.path for file in spec.files] == [file["path"] for file in files]
    assert service_spec({"name": "x", "units": [shown(templar, f"__{role}_unit")]}).units[0].endswith(".service")
    assert all(package["package"] for package in shown(templar, f"__{role}_packages"))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("role", SERVICES[1:])
def test_scripts_are_scripts_and_every_text_is_whole(role: str, distribution: str) -> None:
    files = shown(variables(role, distribution), f"__{role}_files")
    scripts = [file["content"] for file in files if file.get("mode") == "0755"]
    assert scripts
    for script in scripts:
        assert script.startswith("#!/bin/sh\n")
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    for file in files:
        assert "{{" not in file["content"], file["path"]
        assert file["content"].endswith("\n"), file["path"]


@pytest.mark.parametrize(("distribution", "unit"), [("debian12", "postgresql@15-main.service"), ("debian13", "postgresql@17-main.service")])
def test_the_cluster_is_of_the_distributions_version(distribution: str, unit: str) -> None:
    assert shown(variables("postgresql", distribution), "__postgresql_unit") == unit


@pytest.mark.parametrize(
    ("distribution", "first", "setting"),
    [
        ("debian12", "# Made by virt.sandbox; changes are overwritten.", "mail_location = maildir:~/Maildir"),
        ("debian13", "dovecot_config_version = 2.4.0", "mail_path = ~/Maildir"),
    ],
)
def test_dovecot_is_configured_in_its_versions_form(distribution: str, first: str, setting: str) -> None:
    text = shown(variables("dovecot", distribution), "__dovecot_text")
    assert text.splitlines()[0] == first
    assert setting in text.splitlines()


@pytest.mark.parametrize("role", SERVICES[1:])
def test_every_task_that_has_a_password_is_silent(role: str) -> None:
    for path in (ROLES / role / "tasks").glob("*.yml"):
        for task in yaml.safe_load(path.read_text()):
            if "virt.sandbox.sandbox_exec" in task:
                assert task.get("no_log") is True, f"{path}: {task['name']}"
                assert "password" not in str(task["virt.sandbox.sandbox_exec"].get("argv", "")).replace("--password", "")


@pytest.mark.parametrize("role", ["host", "service", *SERVICES])
def test_every_variable_is_described_and_has_its_default(role: str) -> None:
    described = read(ROLES / role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = read(ROLES / role / "defaults" / "main.yml")
    assert described.keys() == defaults.keys()
    templar = Templar(loader=DataLoader(), variables=trusted(defaults))
    texts = {name: str(option["default"]) for name, option in described.items() if "default" in option}
    assert {name: str(shown(templar, name)) for name in texts} == texts


@pytest.mark.parametrize("role", SERVICES)
def test_a_role_has_the_variables_of_the_role_service_as_that_describes_them(role: str) -> None:
    of_service = read(ROLES / "service" / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    described = read(ROLES / role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    for name in ("state", "network", "keep_content", "foreign", "update", "stale", "registry", "timeout"):
        expected = {key: value for key, value in of_service[f"service_{name}"].items() if key != "description"}
        assert {key: value for key, value in described[f"{role}_{name}"].items() if key != "description"} == expected, name


@pytest.mark.parametrize("role", ["host", "service", *SERVICES])
def test_the_readme_has_every_variable_and_tag(role: str) -> None:
    text = (ROLES / role / "README.md").read_text()
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert [heading for heading in headings if heading in HEADINGS] == HEADINGS
    table = text.partition("## Variables\n")[2].partition("\n## ")[0]
    assert [name for name in read(ROLES / role / "defaults" / "main.yml") if f"`{name}`" not in table] == []
    listed = text.partition("## Tags\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"(?m)^\| `([a-z]+)` \|", listed)) == TAGS.get(role, {role, *TAGS["service"]})


def untagged(role: str, file: str, inherited: frozenset[str] = frozenset()) -> list[str]:
    """The tasks that no tag but ``always`` and the role's leads to, or not the role's; as Ansible hands tags on to what is included."""
    missing = []
    for task in read_tasks(ROLES / role / "tasks" / file):
        own = inherited | set(task.get("tags", ()))
        included = task.get("ansible.builtin.include_tasks")
        if role not in own or len(own) < 2:
            missing.append(f"{file}: {task['name']}")
        if included:
            given = set(included["apply"]["tags"]) if isinstance(included, dict) else set()
            missing += untagged(role, included["file"] if isinstance(included, dict) else included, inherited | given)
    return missing


@pytest.mark.parametrize("role", TAGS)
def test_no_other_tag_is_used(role: str) -> None:
    """The roles ``service`` and ``host`` are one run: the packages are installed by the latter."""
    used = {tag for path in (ROLES / role / "tasks").glob("*.yml") for task in read_tasks(path) for tag in task.get("tags", ())}
    assert used | {"packages"} == TAGS[role] | {"always"}


def read_tasks(path: Path) -> list[dict[str, Any]]:
    """The tasks of a file, those of blocks too, which have nothing of their own for tags."""
    return [task for entry in yaml.safe_load(path.read_text()) for task in entry.get("block", [entry])]


@pytest.mark.parametrize("entry", ["host main", "host package", "service main", "service family", *(f"{role} main" for role in SERVICES)])
def test_every_task_has_the_roles_tag_and_another(entry: str) -> None:
    role, file = entry.split()
    assert untagged(role, f"{file}.yml") == []
