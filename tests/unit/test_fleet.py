# SPDX-License-Identifier: GPL-3.0-or-later
"""A declared fleet: sorted by roles, and refused where it cannot come true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.virt.sandbox.plugins.filter import sandbox as filters

Item = dict[str, Any]
fleet = filters.FilterModule().filters()["sandbox_fleet"]
CHECKOUT = Path(__file__).resolve().parents[2]


def test_by_role_in_the_order_of_the_first_that_names_it() -> None:
    web, queue, more = (
        {"name": "web", "role": "httpd", "level": "s0:c1,c2"},
        {"name": "queue", "units": ["redis"], "cpus": "0.5"},
        {"name": "more", "role": "virt.sandbox.httpd"},
    )
    assert fleet([web, queue, more], "lab1") == [
        {"role": "virt.sandbox.httpd", "sandboxes": [{"name": "web", "level": "s0:c1,c2"}, {"name": "more"}]},
        {"role": "virt.sandbox.service", "sandboxes": [{"name": "queue", "units": ["redis"], "cpus": "0.5"}]},
    ]


def test_no_sandboxes_no_roles() -> None:
    assert fleet([], "lab1") == []


def static(*addresses: str, **more: str) -> list[Item]:
    return [{"type": "static", "addresses": list(addresses), **more}]


@pytest.mark.parametrize(
    "items",
    [
        pytest.param([{"name": "a", "level": "s0:c1,c2"}, {"name": "b", "level": "s0:c1,c3"}], id="levels with a common category"),
        pytest.param([{"name": "a", "level": "s0:c1,c2"}, {"name": "b", "level": "s0:c2,c1", "state": "absent"}], id="one is absent"),
        pytest.param([{"name": "a", "level": "s0:c1,c2"}, {"name": "b"}], id="one has no level yet"),
        pytest.param([{"name": "a", "network": static("10.0.0.2/24")}, {"name": "b", "network": static("10.0.0.3/24")}], id="addresses"),
        pytest.param([{"name": "a", "command": ["/usr/bin/true"], "network": []}], id="a command"),
    ],
)
def test_what_can_come_true(items: list[Item]) -> None:
    (found,) = fleet(items, "lab1")
    assert found["sandboxes"] == items


@pytest.mark.parametrize(
    ("items", "message"),
    [
        pytest.param("web", "lab1: sandboxes: 'web' is invalid: expected a list of sandboxes", id="no list"),
        pytest.param([{"name": "Web"}], "lab1: sandboxes[0].name: 'Web' is invalid: expected 1 to 50 lower-case", id="no name"),
        pytest.param(
            [{"name": "a"}, {"name": "a"}],
            "lab1: sandboxes[1].name: sandbox a is declared twice. Declare each sandbox of a host once.",
            id="twice",
        ),
        pytest.param(
            [{"name": "a", "role": "nothing"}], "lab1: a: role: 'nothing' is invalid: expected a role of virt.sandbox", id="no role"
        ),
        pytest.param([{"name": "a", "role": "host"}], "lab1: a: role: 'host' is invalid", id="a role that makes no sandboxes"),
        pytest.param([{"name": "a", "role": "../httpd"}], "lab1: a: role: '../httpd' is invalid", id="a path"),
        pytest.param([{"name": "a", "role": "no.such.role"}], "lab1: a: role: 'no.such.role' is invalid", id="no collection"),
        pytest.param([{"name": "a", "role": ["httpd"]}], "lab1: a: role: ['httpd'] is invalid", id="a list as role"),
        pytest.param(
            [{"name": "a", "memry": "1G"}], "lab1: a: 'memry' is invalid: expected an option of the role virt.sandbox.service", id="option"
        ),
        pytest.param([{"name": "a", "state": "up"}], "lab1: role virt.sandbox.service: value of state must be one of", id="a bad choice"),
        pytest.param([{"name": "a", "cpus": "many"}], "lab1: role virt.sandbox.service: ", id="a bad type"),
        pytest.param([{"name": "a", "memory": "1 furlong"}], "lab1: a: memory: '1 furlong' is invalid: expected a size", id="a bad value"),
        pytest.param([{"name": "a", "size": "512M"}], "lab1: a: size: only valid when method is image.", id="content"),
        pytest.param([{"name": "a", "level": "s0"}], "lab1: a: level: 's0' is invalid", id="a bad level"),
        pytest.param(
            [{"name": "a", "role": "httpd", "level": "s0:c1,c2"}, {"name": "b", "level": "s0:c2,c1"}],
            "lab1: b: level: 's0:c1,c2' is invalid: expected a level that is separate from s0:c1,c2, which a has",
            id="the same level, of sandboxes of two roles",
        ),
        pytest.param(
            [{"name": "a", "level": "s0:c1.c3"}, {"name": "b", "level": "s0:c1,c2"}],
            "lab1: b: level: 's0:c1,c2' is invalid: expected a level that is separate from s0:c1.c3, which a has",
            id="one level dominates the other",
        ),
        pytest.param(
            [{"name": "a", "network": static("10.0.0.2/24")}, {"name": "b", "network": static("10.0.0.2/16")}],
            "lab1: b: network: sandbox a has the address 10.0.0.2 in default already.",
            id="the same address",
        ),
        pytest.param(
            [{"name": "a", "network": [{"lease": "10.0.0.2"}]}, {"name": "b", "network": static("10.0.0.2/16")}],
            "lab1: b: network: sandbox a has the address 10.0.0.2 in default already.",
            id="a lease and an address",
        ),
        pytest.param(
            [
                {"name": "a", "network": [{"ports": [{"host_port": 80}]}]},
                {"name": "b", "network": [{"ports": [{"host_port": 80, "sandbox_port": 8}]}]},
            ],
            "lab1: b: network: host port 80 is already published by sandbox a.",
            id="the same port",
        ),
        pytest.param(
            [{"name": "a", "network": [{"mac": "52-54-00-00-00-01"}]}, {"name": "b", "network": [{"mac": "52:54:00:00:00:01"}]}],
            "lab1: b: network: sandbox a has the MAC address 52:54:00:00:00:01 in default already.",
            id="the same MAC address",
        ),
    ],
)
def test_what_cannot_is_named(items: Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError) as raised:
        fleet(items, "lab1")
    assert str(raised.value).startswith(f"sandbox_fleet: {message}")


def test_the_playbook_hands_its_sandboxes_to_each_role_that_makes_some() -> None:
    roles = [path.parents[1].name for path in sorted((CHECKOUT / "roles").glob("*/meta/argument_specs.yml"))]
    variables = [f"{role}_sandboxes" for role in roles if f"{role}_sandboxes" in filters._options(CHECKOUT / "roles" / role)]
    plays = yaml.safe_load((CHECKOUT / "playbooks" / "site.yml").read_text())
    tasks = [task for play in plays for task in play["tasks"] if "fleet_sandboxes" in task.get("vars", {})]
    assert [set(variables) - task["vars"].keys() for task in tasks] == [set()]
