# SPDX-License-Identifier: GPL-3.0-or-later
"""One sandbox or many in a run, and their levels from the registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import listed
from ansible_collections.virt.sandbox.plugins.module_utils.host import level_store
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import ConflictError, OptionError, SandboxError
from ansible_collections.virt.sandbox.plugins.module_utils.model.level_request import Request
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import POLICY_RANGE, InUse, Level
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import Option
from ansible_collections.virt.sandbox.plugins.module_utils.model.registry import Registry

Give = Callable[..., str]


@pytest.fixture
def give(tmp_path: Path) -> Give:
    """A registry that has given these levels."""

    def make(**levels: str) -> str:
        url = f"sqlite:///{tmp_path}/labels.db"
        with level_store.open_store(url, create=True) as store:
            requests = [Request(owner, True, Level.parse(text)) for owner, text in levels.items()]
            Registry(store, None, POLICY_RANGE).apply(requests, [])
        return url

    return make


@pytest.fixture(autouse=True)
def carried(monkeypatch: pytest.MonkeyPatch) -> list[InUse]:
    """What the host carries: nothing, until a test says more."""
    found: list[InUse] = []
    monkeypatch.setattr(listed.levels_in_use, "observe", lambda: found)
    monkeypatch.setattr(listed, "declared_specs", lambda strict=True: {"there": {"level": "s0:c7,c8"}})
    return found


def spec(name: str, level: str | None = None) -> dict[str, Any]:
    return {"name": name, "level": level}


def test_the_options_are_there_once_for_one_and_once_for_many() -> None:
    table = (Option("name", required=True), Option("size", type="int", default=1))
    keywords = listed.arguments(table, {"registry": {"type": "str"}})
    assert keywords["argument_spec"] == {
        "name": {"type": "str", "required": False},
        "size": {"type": "int", "default": 1},
        "sandboxes": {
            "type": "list",
            "elements": "dict",
            "options": {"name": {"type": "str", "required": True}, "size": {"type": "int", "default": 1}},
        },
        "registry": {"type": "str"},
    }
    assert keywords["required_one_of"] == keywords["mutually_exclusive"] == [("name", "sandboxes")]
    assert keywords["supports_check_mode"] is True


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        pytest.param({"name": "a", "sandboxes": None}, ["a"], id="one"),
        pytest.param({"name": None, "sandboxes": [{"name": "b"}, {"name": "a"}]}, ["b", "a"], id="many, in order"),
        pytest.param({"name": None, "sandboxes": []}, [], id="an empty list"),
        pytest.param({"name": "", "sandboxes": None}, [""], id="an empty name, which the option table refuses"),
        pytest.param({"name": None, "sandboxes": None}, [], id="both said to be nothing"),
    ],
)
def test_the_sandboxes_of_a_run(parameters: dict[str, Any], names: list[str]) -> None:
    assert [item["name"] for item in listed.items(parameters)] == names


def test_a_sandbox_named_twice_is_refused() -> None:
    with pytest.raises(OptionError) as caught:
        listed.items({"sandboxes": [{"name": "a"}, {"name": "b"}, {"name": "a"}]})
    assert str(caught.value) == "sandboxes: 'a' is invalid: expected each sandbox once"


def test_a_level_that_is_not_named_is_the_registrys(give: Give) -> None:
    specs = [spec("web"), spec("db", "s0:c3,c4")]
    owners = listed.with_levels(specs, give(web="s0:c1,c2", db="s0:c3,c4", other="s0:c5,c6"))
    assert [one["level"] for one in specs] == ["s0:c1,c2", "s0:c3,c4"]
    assert owners == {"s0:c1,c2": "web", "s0:c3,c4": "db", "s0:c5,c6": "other", "s0:c7,c8": "there"}


def test_a_level_of_which_the_registry_knows_nothing_may_be_named(give: Give) -> None:
    specs = [spec("web", "s0:c7,c8"), spec("db", "s0:c8,c9")]
    listed.with_levels(specs, give(other="s0:c5,c6"))
    assert [one["level"] for one in specs] == ["s0:c7,c8", "s0:c8,c9"]


def test_a_registry_that_is_not_there_is_empty_and_stays_away(tmp_path: Path) -> None:
    assert listed.with_levels([spec("web", "s0:c5,c6")], f"sqlite:///{tmp_path}/none.db") == {"s0:c5,c6": "web", "s0:c7,c8": "there"}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("specs", "error", "message"),
    [
        pytest.param([spec("web")], OptionError, "level: expected a level, or a sandbox that has one in ", id="none"),
        pytest.param([spec("db", "s0:c1,c2")], OptionError, "level: 's0:c1,c2' is invalid: expected the level that ", id="another"),
        pytest.param(
            [spec("web", "s0:c3,c4")], ConflictError, "level: s0:c3,c4 of web and s0:c3,c4 of db are not separate", id="somebody's"
        ),
        pytest.param([spec("web", "s0:c3")], ConflictError, "level: s0:c3 of web and s0:c3,c4 of db are not separate", id="dominated"),
        pytest.param(
            [spec("web", "s0:c2.c4")], ConflictError, "level: s0:c2.c4 of web and s0:c3,c4 of db are not separate", id="dominates"
        ),
        pytest.param(
            [spec("web", "s0:c7,c8"), spec("mail", "s0:c7")],
            ConflictError,
            "level: s0:c7 of mail and s0:c7,c8 of web are not separate",
            id="two of one run",
        ),
    ],
)
def test_levels_that_are_not_the_sandboxes_own_are_refused(
    give: Give, specs: list[dict[str, Any]], error: type[SandboxError], message: str
) -> None:
    with pytest.raises(error) as caught:
        listed.with_levels([dict(one) for one in specs], give(db="s0:c3,c4"))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("use", [InUse(Level.parse("s0:c7,c8"), "spec", "db"), InUse(Level.parse("s0:c7"), "machine", "vm")])
def test_a_level_that_the_host_carries_already_is_refused(give: Give, carried: list[InUse], use: InUse) -> None:
    carried.append(use)
    with pytest.raises(ConflictError, match=rf"level: web \(s0:c7,c8\) is not separated from .*{use.holder}.*; mcs_label gives"):
        listed.with_levels([spec("web", "s0:c7,c8")], give(other="s0:c5,c6"))
    # who has the level already was looked at before
    listed.with_levels([spec("there", "s0:c7,c8")], give(other="s0:c5,c6"))


def test_what_carries_a_level_for_its_own_sandbox_is_in_nobodys_way(give: Give, carried: list[InUse]) -> None:
    carried += [InUse(Level.parse("s0:c7,c8"), kind, "web") for kind in ("content", "domain", "process", "spec")]
    listed.with_levels([spec("web", "s0:c7,c8")], give(other="s0:c5,c6"))


def test_whose_a_level_is_the_registry_says_and_the_specs_and_quarantine(give: Give) -> None:
    url = give(web="s0:c1,c2", old="s0:c3,c4", moved="s0:c5,c6")
    with level_store.open_store(url, create=True) as store:
        Registry(store, None, POLICY_RANGE).apply([Request("old", False)], [InUse(Level.parse("s0:c3,c4"), "content", "old")])
    known = {"s0:c1,c2": "web", "s0:c3,c4": "former old", "s0:c5,c6": "moved"}
    assert listed.level_owners({"there": spec("there", "s0:c7,c8")}, url) == {**known, "s0:c7,c8": "there"}
    assert listed.with_levels([spec("web"), spec("new", "s0:c9,c10")], url) == {**known, "s0:c7,c8": "there", "s0:c9,c10": "new"}
    # what runs on this host at a level is what is declared there
    assert listed.level_owners({"there": spec("there", "s0:c3,c4")}, url) == {**known, "s0:c3,c4": "there"}


def test_a_level_that_rests_is_its_former_owners_only(give: Give) -> None:
    url = give(old="s0:c7,c8")
    with level_store.open_store(url, create=True) as store:
        Registry(store, None, POLICY_RANGE).apply([Request("old", False)], [InUse(Level.parse("s0:c7,c8"), "content", "old")])
    with pytest.raises(ConflictError, match="level: s0:c7 of web and s0:c7,c8, which rests until nothing of old carries it any more"):
        listed.with_levels([spec("web", "s0:c7")], url)
    listed.with_levels([spec("old", "s0:c7,c8")], url)
    # one that mcs_label has only announced
    listed.with_levels([spec("web", "s0:c7")], url, check_mode=True)
