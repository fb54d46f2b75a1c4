# SPDX-License-Identifier: GPL-3.0-or-later
"""One sandbox or many in a run, and their levels from the registry."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.virt.sandbox.plugins.module_utils.engine import levels, listed
from ansible_collections.virt.sandbox.plugins.module_utils.host import level_store
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import ConflictError, OptionError, SandboxError
from ansible_collections.virt.sandbox.plugins.module_utils.model.level_request import Request
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import POLICY_RANGE, InUse, Level
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import build, option
from ansible_collections.virt.sandbox.plugins.module_utils.model.registry import Registry
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import Identity, ServiceSpec

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
    monkeypatch.setattr(levels.levels_in_use, "observe", lambda: found)
    return found


def spec(name: str, level: str | None = None) -> Identity:
    return Identity(name=name, level=Level.parse(level) if level else Level())


DECLARED = {"there": ServiceSpec(name="there", level=Level.parse("s0:c7,c8"))}


def filled(specs: list[Identity], url: str, check_mode: bool = False) -> dict[str, str]:
    """The levels of the sandboxes of a run, on a host that has one sandbox already."""
    return {one.name: str(one.level) for one in levels.filled(specs, levels.registered(url), url, DECLARED, check_mode)}


def whose(specs: dict[str, Identity], url: str) -> dict[str, str]:
    return {str(level): owner for level, owner in levels.known(url).whose(specs).items()}


@dataclasses.dataclass(frozen=True)
class Thing:
    name: str = option("", required=True)
    size: int = option(1, type="int")
    state: str = option("present", choices=("present", "absent"))


@dataclasses.dataclass(frozen=True)
class Run:
    registry: str = option("here")


def test_the_options_are_there_once_for_one_and_once_for_many() -> None:
    """What an item does not say is said for all items, so items have no defaults of their own."""
    keywords = listed.arguments([Thing], [Run])
    assert keywords["argument_spec"] == {
        "name": {"type": "str", "required": False},
        "size": {"type": "int", "default": 1},
        "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
        "sandboxes": {
            "type": "list",
            "elements": "dict",
            "options": {
                "name": {"type": "str", "required": True},
                "size": {"type": "int"},
                "state": {"type": "str", "choices": ["present", "absent"]},
            },
        },
        "registry": {"type": "str", "default": "here"},
    }
    assert keywords["required_one_of"] == keywords["mutually_exclusive"] == [("name", "sandboxes")]
    assert keywords["supports_check_mode"] is True


def test_what_is_said_beside_the_sandboxes_holds_for_each_that_says_nothing_else() -> None:
    parameters = {
        "name": None, "size": 1, "state": "absent", "registry": "here",
        "sandboxes": [{"name": "a", "size": None, "state": None}, {"name": "b", "size": 7, "state": "present"}],
    }  # fmt: skip
    assert [build(Thing, item) for item in listed.items(parameters)] == [Thing("a", 1, "absent"), Thing("b", 7, "present")]
    assert [build(Thing, item) for item in listed.items({**parameters, "name": "c", "sandboxes": None})] == [Thing("c", 1, "absent")]
    # a value that only looks like none is one
    assert [item["size"] for item in listed.items({**parameters, "sandboxes": [{"name": "a", "size": 0}]})] == [0]


@pytest.mark.parametrize("module", ["sandbox_content", "sandbox_service"])
def test_a_list_of_names_is_removed_with_one_state_beside_it(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ansible itself parses what a task says."""
    main = importlib.import_module(f"ansible_collections.virt.sandbox.plugins.modules.{module}")
    asked: list[Any] = []
    monkeypatch.setattr(main, "run_module", lambda keywords, _run: asked.append(keywords))
    main.main()
    validated = ArgumentSpecValidator(
        asked[0]["argument_spec"], asked[0]["mutually_exclusive"], required_one_of=asked[0]["required_one_of"]
    ).validate({"sandboxes": [{"name": "a"}, {"name": "b", "state": "present"}], "state": "absent"})
    assert not validated.error_messages
    assert [(item["name"], item["state"]) for item in listed.items(validated.validated_parameters)] == [("a", "absent"), ("b", "present")]


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
    assert str(caught.value) == "sandboxes: sandbox a is listed more than once. List each sandbox once."


def test_a_level_that_is_not_named_is_the_registrys(give: Give) -> None:
    specs, url = [spec("web"), spec("db", "s0:c3,c4")], give(web="s0:c1,c2", db="s0:c3,c4", other="s0:c5,c6")
    assert filled(specs, url) == {"web": "s0:c1,c2", "db": "s0:c3,c4"}
    assert whose(DECLARED, url) == {"s0:c1,c2": "web", "s0:c3,c4": "db", "s0:c5,c6": "other", "s0:c7,c8": "there"}


def test_a_level_of_which_the_registry_knows_nothing_may_be_named(give: Give) -> None:
    specs = [spec("web", "s0:c7,c8"), spec("db", "s0:c8,c9")]
    assert filled(specs, give(other="s0:c5,c6")) == {"web": "s0:c7,c8", "db": "s0:c8,c9"}


def test_a_registry_that_is_not_there_is_empty_and_stays_away(tmp_path: Path) -> None:
    assert filled([spec("web", "s0:c5,c6")], f"sqlite:///{tmp_path}/none.db") == {"web": "s0:c5,c6"}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("specs", "error", "message"),
    [
        pytest.param([spec("web")], OptionError, "level: expected a level, or one that ", id="none"),
        pytest.param([spec("db", "s0:c1,c2")], OptionError, "level: 's0:c1,c2' is invalid: expected s0:", id="another"),
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
    give: Give, specs: list[Identity], error: type[SandboxError], message: str
) -> None:
    with pytest.raises(error) as caught:
        filled(specs, give(db="s0:c3,c4"))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("use", [InUse(Level.parse("s0:c7,c8"), "spec", "db"), InUse(Level.parse("s0:c7"), "machine", "vm")])
def test_a_level_that_the_host_carries_already_is_refused(give: Give, carried: list[InUse], use: InUse) -> None:
    carried.append(use)
    with pytest.raises(ConflictError, match=rf"level: web \(s0:c7,c8\) is not separated from .*{use.holder}.*\. Run mcs_label to allocate"):
        filled([spec("web", "s0:c7,c8")], give(other="s0:c5,c6"))
    # who has the level already was looked at before
    filled([spec("there", "s0:c7,c8")], give(other="s0:c5,c6"))


def test_what_carries_a_level_for_its_own_sandbox_is_in_nobodys_way(give: Give, carried: list[InUse]) -> None:
    carried += [InUse(Level.parse("s0:c7,c8"), kind, "web") for kind in ("content", "domain", "process", "spec")]
    filled([spec("web", "s0:c7,c8")], give(other="s0:c5,c6"))


def test_whose_a_level_is_the_registry_says_and_the_specs_and_quarantine(give: Give) -> None:
    url = give(web="s0:c1,c2", old="s0:c3,c4", moved="s0:c5,c6")
    with level_store.open_store(url, create=True) as store:
        Registry(store, None, POLICY_RANGE).apply([Request("old", False)], [InUse(Level.parse("s0:c3,c4"), "content", "old")])
    known = {"s0:c1,c2": "web", "s0:c3,c4": "former old", "s0:c5,c6": "moved"}
    assert whose({"there": spec("there", "s0:c7,c8")}, url) == {**known, "s0:c7,c8": "there"}
    assert whose({**DECLARED, "new": spec("new", "s0:c9,c10")}, url) == {**known, "s0:c7,c8": "there", "s0:c9,c10": "new"}
    # what runs on this host at a level is what is declared there
    assert whose({"there": spec("there", "s0:c3,c4")}, url) == {**known, "s0:c3,c4": "there"}


def test_a_level_that_rests_is_its_former_owners_only(give: Give) -> None:
    url = give(old="s0:c7,c8")
    with level_store.open_store(url, create=True) as store:
        Registry(store, None, POLICY_RANGE).apply([Request("old", False)], [InUse(Level.parse("s0:c7,c8"), "content", "old")])
    with pytest.raises(ConflictError, match="level: s0:c7 of web and s0:c7,c8, which rests until nothing of old carries it any more"):
        filled([spec("web", "s0:c7")], url)
    filled([spec("old", "s0:c7,c8")], url)
    # one that mcs_label has only announced
    filled([spec("web", "s0:c7")], url, check_mode=True)
