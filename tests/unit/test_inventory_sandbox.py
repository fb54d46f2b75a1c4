# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin: what hosts declare becomes hosts, groups and variables, through Ansible's own inventory manager."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

WEB1 = {
    "ansible_host": "192.0.2.1",
    "ansible_become": True,
    "sandboxes": [
        {"name": "page", "role": "httpd", "level": "s0:c2,c1", "memory": "256M"},
        {"name": "queue", "units": ["redis-server.service"], "password": "{{ lookup('file', '/nowhere') }}"},
        {"name": "old", "role": "httpd", "state": "absent"},
    ],
}
HOSTS = {
    "sandbox_hosts": {
        "hosts": {"web1": WEB1, "web2": {"sandboxes": "{{ common + [{'name': 'own', 'level': own_level}] }}", "own_level": "s0:c7,c8"}},
        "vars": {
            "ansible_user": "{{ who }}",
            "ansible_host_key_checking": False,
            "who": "alice",
            "common": [{"name": "page", "role": "httpd"}],
        },
    },
    "here": {"hosts": {"laptop": {"ansible_connection": "local", "httpd_sandboxes": [{"name": "test"}]}}},
}
SOURCE = {
    "plugin": "virt.sandbox.sandbox",
    "keyed_groups": [
        {"key": "sandbox_host", "prefix": "on"},
        {"key": "sandbox_role", "prefix": "role"},
        {"key": "sandbox_level", "prefix": "level"},
        {"key": "sandbox_units", "prefix": "unit"},
    ],
    "groups": {"limited": "sandbox_options.memory is defined"},
    "compose": {"answer": "sandbox_name ~ '.' ~ sandbox_host"},
}

Inventory = dict[str, Any]


def ansible_inventory(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["ansible-inventory", "-i", str(place), *arguments]
    environment = {**os.environ, "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true", "ANSIBLE_NOCOLOR": "1", "COLUMNS": "2000"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def write(place: Path, hosts: Mapping[str, Any], source: Mapping[str, Any]) -> None:
    (place / "hosts.yml").write_text(yaml.safe_dump(dict(hosts)))
    (place / "sandbox.yml").write_text(yaml.safe_dump(dict(source)))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    place = tmp_path_factory.mktemp("inventory")
    write(place, HOSTS, {**SOURCE, "variables": ["sandboxes", "httpd_sandboxes"]})
    (place / "host_vars").mkdir()
    (place / "group_vars").mkdir()
    (place / "host_vars" / "laptop.yml").write_text("sandboxes: [{name: more, units: [a, b.timer]}]\n")
    done = ansible_inventory(place, "--list")
    assert done.returncode == 0, done.stderr
    found: Inventory = json.loads(done.stdout, object_hook=plain)
    return found


def plain(value: dict[str, Any]) -> Any:
    """A text that is not to be templated again is marked so in the output."""
    return value.get("__ansible_unsafe", value)


def of(shown: Inventory, name: str) -> dict[str, Any]:
    variables: dict[str, Any] = shown["_meta"]["hostvars"][name]
    return variables


def test_each_declared_sandbox_is_a_host(shown: Inventory) -> None:
    assert sorted(shown["sandboxes"]["hosts"]) == ["laptop_more", "laptop_test", "web1_page", "web1_queue", "web2_own", "web2_page"]


def test_hosts_stay_what_they_were(shown: Inventory) -> None:
    assert sorted(shown["sandbox_hosts"]["hosts"]) == ["web1", "web2"]
    assert of(shown, "web1")["ansible_host"] == "192.0.2.1"


@pytest.mark.parametrize(
    ("group", "hosts"),
    [
        ("on_web1", ["web1_page", "web1_queue"]),
        ("on_web2", ["web2_own", "web2_page"]),
        ("role_httpd", ["laptop_test", "web1_page", "web2_page"]),
        ("role_service", ["laptop_more", "web1_queue", "web2_own"]),
        ("level_s0_c1_c2", ["web1_page"]),
        ("level_s0_c7_c8", ["web2_own"]),
        ("unit_redis_server_service", ["web1_queue"]),
        ("unit_b_timer", ["laptop_more"]),
        ("limited", ["web1_page"]),
    ],
)
def test_groups(shown: Inventory, group: str, hosts: list[str]) -> None:
    assert sorted(shown[group]["hosts"]) == hosts


def test_what_is_known_of_a_sandbox(shown: Inventory) -> None:
    found = of(shown, "web1_page")
    assert {key: found[key] for key in found if not key.startswith("ansible_")} == {
        "answer": "page.web1",
        "sandbox_name": "page",
        "sandbox_host": "web1",
        "sandbox_role": "httpd",
        "sandbox_level": "s0:c1,c2",
        "sandbox_units": [],
        "sandbox_options": {"name": "page", "role": "httpd", "level": "s0:c1,c2", "memory": "256M"},
    }


def test_what_may_be_secret_is_not_told(shown: Inventory) -> None:
    assert of(shown, "web1_queue")["sandbox_options"] == {"name": "queue", "role": "service", "units": ["redis-server.service"]}


def test_the_way_in_is_that_of_the_host_by_reference(shown: Inventory) -> None:
    found = {key: value for key, value in of(shown, "web1_page").items() if key.startswith("ansible_")}
    address = found.pop("ansible_sandbox_host")
    assert found == {
        "ansible_connection": "virt.sandbox.sandbox",
        "ansible_become_method": "ansible.builtin.su",
        "ansible_sandbox_name": "page",
        "ansible_host_key_checking": "{{ hostvars['web1']['ansible_host_key_checking'] }}",
        "ansible_user": "{{ hostvars['web1']['ansible_user'] }}",
    }
    assert "hostvars['web1'].ansible_host" in address


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the references come to in a task on each sandbox, run by a connection that goes nowhere."""
    place = tmp_path_factory.mktemp("rendered")
    write(place, HOSTS, {**SOURCE, "variables": ["sandboxes", "httpd_sandboxes"]})
    text = "{{ ansible_sandbox_host }} {{ ansible_user | default('-') }} {{ ansible_connection }}"
    command = ["ansible", "-i", str(place), "sandboxes", "-m", "ansible.builtin.debug", "-a", f"msg='{text}'", "-o"]
    done = subprocess.run(command, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (line.partition(" | SUCCESS => ") for line in done.stdout.splitlines())
    return {name: json.loads(result)["msg"] for name, arrow, result in lines if arrow}


@pytest.mark.parametrize(
    ("name", "way"),
    [
        pytest.param("web1_page", "192.0.2.1 alice virt.sandbox.sandbox", id="the host's address and user"),
        pytest.param("web2_own", "web2 alice virt.sandbox.sandbox", id="the host's name"),
        pytest.param("laptop_test", "localhost - virt.sandbox.sandbox", id="this machine"),
    ],
)
def test_the_references_lead_to_the_host(rendered: dict[str, str], name: str, way: str) -> None:
    assert rendered[name] == way


def declare(value: Any) -> dict[str, Any]:
    return {"all": {"hosts": {"web1": {"sandboxes": value}}}}


ONE = [{"name": "page"}]


@pytest.mark.parametrize(
    ("hosts", "source", "message"),
    [
        pytest.param(declare({"page": {}}), {}, "web1: sandboxes: {'page': {}} is invalid: expected a list of sandboxes", id="no list"),
        pytest.param(declare("{{ nothing }}"), {}, "web1: sandboxes: 'nothing' is undefined", id="undefined"),
        pytest.param(
            declare(["page"]), {}, "web1: sandboxes[0]: 'page' is invalid: expected a mapping with the name of a sandbox", id="no mapping"
        ),
        pytest.param(declare([{"role": "httpd"}]), {}, "web1: sandboxes[0].name: expected 1 to 50", id="no name"),
        pytest.param(declare([*ONE, {"name": "A"}]), {}, "web1: sandboxes[1].name: 'A' is invalid: expected 1 to 50", id="a bad name"),
        pytest.param(
            declare([*ONE, *ONE]),
            {},
            "web1: sandboxes[1].name: sandbox page is declared twice. Declare each sandbox of a host once",
            id="twice",
        ),
        pytest.param(declare([{"name": "page", "level": "s0"}]), {}, "web1: sandboxes: page: level: 's0' is invalid", id="a bad level"),
        pytest.param(
            declare([{"name": "page", "units": ["{{ nothing }}"]}]),
            {},
            "web1: sandboxes: page: units: 'nothing' is undefined",
            id="an undefined option",
        ),
        pytest.param(
            declare(ONE), {"hosts": ["nowhere"]}, "hosts: 'nowhere' is invalid: expected a group or a host", id="an unknown group"
        ),
        pytest.param(
            declare(ONE), {"hostname": "web1"}, "hostname: the inventory has a host or group web1 already.", id="a name that is taken"
        ),
        pytest.param(declare(ONE), {"hostname": "{{ nothing }}"}, "hostname: 'nothing' is undefined", id="no name to be had"),
    ],
)
def test_errors_name_host_and_option(tmp_path: Path, hosts: Mapping[str, Any], source: Mapping[str, Any], message: str) -> None:
    write(tmp_path, hosts, {**SOURCE, **source})
    done = ansible_inventory(tmp_path, "--list")
    assert done.returncode != 0
    assert message in done.stderr
    assert str(tmp_path / "sandbox.yml") in done.stderr


@pytest.fixture
def graph(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(**source: Any) -> subprocess.CompletedProcess[str]:
        write(tmp_path, HOSTS, {**SOURCE, **source})
        return ansible_inventory(tmp_path, "--graph")

    return run


def test_names_groups_and_hosts_of_ones_own(graph: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = graph(hosts=["web2"], hostname="{{ sandbox_name }}.{{ sandbox_host }}", group="boxes")
    assert done.returncode == 0, done.stderr
    _before, _group, after = done.stdout.partition("@boxes:\n")
    assert after.split("@")[0].split() == ["|", "|--page.web2", "|", "|--own.web2", "|--"]


def test_an_inventory_without_sandboxes_says_what_may_be_wrong(graph: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = graph(variables=["boxes"])
    assert done.returncode == 0
    assert "no host declares a sandbox (variables: boxes). Name the source of the hosts before this one." in done.stderr
