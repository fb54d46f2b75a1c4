# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters about declared sandboxes: what each module takes of them, and the levels that they were given."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.virt.sandbox.plugins.filter.sandbox import FilterModule
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import names
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ContentSpec, ServiceSpec

FILTERS = FilterModule().filters()
DECLARED = {**{name: f"a {name}" for name in names(ContentSpec, ServiceSpec)}, "state": "started", "comment": "x"}


@pytest.mark.parametrize(
    ("module", "taken"),
    [
        ("label", {"name", "level"}),
        ("content", names(ContentSpec)),
        ("service", names(ServiceSpec) | {"state"}),
    ],
)
def test_each_module_is_given_what_it_takes(module: str, taken: set[str]) -> None:
    (item,) = FILTERS["sandbox_options"]([{**DECLARED, "discover": True}], module)
    assert item == {key: DECLARED[key] for key in taken}


@pytest.mark.parametrize("discover", [{}, {"discover": False}])
def test_content_is_found_from_units_only_where_a_sandbox_says_so(discover: dict[str, bool]) -> None:
    declared = [{"name": "a", "units": ["x"], "private": [], **discover}]
    assert FILTERS["sandbox_options"](declared, "content") == [{"name": "a", "private": []}]
    assert FILTERS["sandbox_options"](declared, "service") == [{"name": "a", "units": ["x"]}]
    assert FILTERS["sandbox_options"](declared, "role") == declared
    assert FILTERS["sandbox_options"]([{**declared[0], "process_type": "a_t"}], "isolation") == [{"name": "a", "process_type": "a_t"}]
    assert FILTERS["sandbox_options"]([{"name": "a", "state": "absent"}], "isolation") == []


def test_what_is_not_declared_is_not_given() -> None:
    assert FILTERS["sandbox_options"]([{"name": "a"}, {"name": "b", "units": ["x"]}], "service") == [
        {"name": "a"},
        {"name": "b", "units": ["x"]},
    ]
    assert FILTERS["sandbox_options"]([], "label") == []


def test_another_module_is_refused() -> None:
    with pytest.raises(
        AnsibleFilterError, match="sandbox_options: 'info' is invalid: expected one of label, content, service, isolation, role"
    ):
        FILTERS["sandbox_options"]([], "info")


def test_each_sandbox_has_the_level_that_it_was_given() -> None:
    declared = [{"name": "web", "level": "s0:c9,c8"}, {"name": "db", "units": ["x"]}]
    assert FILTERS["sandbox_levels"](declared, {"web": "s0:c8,c9", "db": "s0:c1,c2", "other": "s0:c3,c4"}) == [
        {"name": "web", "level": "s0:c8,c9"},
        {"name": "db", "units": ["x"], "level": "s0:c1,c2"},
    ]
    assert "level" not in declared[1]


@pytest.mark.parametrize(
    ("item", "levels", "message"),
    [
        pytest.param(
            {"name": "db"}, {"web": "s0:c1,c2"}, "sandbox_levels: 'db' is invalid: expected a sandbox with a level \\(web\\)", id="no level"
        ),
        pytest.param(
            {"name": "db"},
            {},
            "sandbox_levels: 'db' is invalid: expected a sandbox with a level \\(there is none\\)",
            id="no levels at all",
        ),
        pytest.param(
            {"units": ["x"]},
            {"web": "s0:c1,c2"},
            "sandbox_levels: None is invalid: expected a sandbox with a level \\(web\\)",
            id="no name",
        ),
    ],
)
def test_a_sandbox_without_a_level_is_named(item: dict[str, Any], levels: dict[str, str], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        FILTERS["sandbox_levels"]([item], levels)


def test_a_role_adds_to_what_a_sandbox_declares_and_hands_no_secret_on() -> None:
    declared = [{"name": "db", "password": "x", "units": ["apache2"], "files": [{"path": "/etc/a", "content": "own"}]}, {"name": "two"}]
    more = {"units": ["mariadb", "apache2"], "private": ["/etc/mysql"], "files": [{"path": "/etc/a"}, {"path": "/etc/b"}]}
    assert FILTERS["sandbox_adding"](declared, **more) == [
        {
            "name": "db",
            "units": ["mariadb", "apache2"],
            "private": ["/etc/mysql"],
            "files": [{"path": "/etc/b"}, {"path": "/etc/a", "content": "own"}],
        },
        {"name": "two", **more},
    ]
    with pytest.raises(AnsibleFilterError, match="sandbox_adding: 'memory' is invalid: expected one of units, private, files"):
        FILTERS["sandbox_adding"](declared, memory=["1G"])
