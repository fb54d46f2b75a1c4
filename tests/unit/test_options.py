# SPDX-License-Identifier: GPL-3.0-or-later
"""Options as fields of dataclasses: the argument spec, the normal form and the comparison that come from them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError, SandboxError, StepError
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import Level
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import (
    DEFAULTS,
    argument_spec,
    build,
    differences,
    names,
    older_defaults,
    option,
    options,
    plain,
    restart_part,
)


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("an even number")
    return value


def _precise(value: str) -> str:
    raise OptionError("from deep inside", value, "nothing")


@dataclasses.dataclass(frozen=True)
class Part:
    size: int | None = option(type="int", normal=_even)
    speed: int | None = option(type="int", effect="live")


@dataclasses.dataclass(frozen=True)
class Thing:
    name: str = option("", required=True)
    size: int = option(2, type="int", normal=_even, effect="restart", earlier=((DEFAULTS - 3, 8), (DEFAULTS - 1, 4)))
    mode: str = option("a", choices=("a", "b"), help="Which of both.")
    parts: tuple[Part, ...] = option([], type="list", elements="dict", of=Part, effect="restart")
    place: Part = option({}, type="dict", of=Part)
    words: tuple[str, ...] | None = option(type="list", elements="str")
    precise: str | None = option(normal=_precise)
    level: Level = option(normal=Level.for_sandbox, unset=Level())
    env: Mapping[str, str] = option({}, type="dict")

    made_with: int = 5
    """A field that is no option."""


PART = {"size": {"type": "int"}, "speed": {"type": "int"}}


def test_the_argument_spec_says_no_more_than_the_fields() -> None:
    assert argument_spec(Thing) == {
        "name": {"type": "str", "required": True},
        "size": {"type": "int"},  # whose default depends on when the sandbox was made
        "mode": {"type": "str", "default": "a", "choices": ["a", "b"]},
        "parts": {"type": "list", "elements": "dict", "default": [], "options": PART},
        "place": {"type": "dict", "default": {}, "options": PART},
        "words": {"type": "list", "elements": "str"},
        "precise": {"type": "str"},
        "level": {"type": "str"},
        "env": {"type": "dict", "default": {}},
    }
    assert argument_spec(Part, Thing) == {**PART, **argument_spec(Thing)}
    assert names(Thing) == {known.name for known in options(Thing)} == argument_spec(Thing).keys()


def test_what_is_not_said_has_its_default() -> None:
    thing = build(Thing, {"name": "x", "size": None, "unknown": 1})
    assert thing == Thing("x", 2, "a", (), Part(None, None), None, None, Level(), {})
    assert thing == Thing("x"), "what is made without a play has the same defaults"
    assert build(Thing, {"name": "x", "parts": [{}], "place": None, "words": ["a"]}).parts == (Part(),)


@pytest.mark.parametrize(("generation", "size"), [(DEFAULTS - 3, 8), (DEFAULTS - 2, 4), (DEFAULTS - 1, 4), (DEFAULTS, 2)])
def test_an_older_generation_keeps_its_defaults(generation: int, size: int) -> None:
    thing = build(Thing, {"name": "x"}, generation=generation)
    assert thing.size == size
    assert older_defaults(thing, generation) == (["size"] if size != 2 else [])
    # who says it himself has no default
    assert build(Thing, {"name": "x", "size": 6}, generation=generation).size == 6
    assert older_defaults(build(Thing, {"name": "x", "size": 6}, generation=generation), generation) == []


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        pytest.param({}, "name: required", id="required"),
        pytest.param({"size": 3}, "size: 3 is invalid: expected an even number", id="value"),
        pytest.param({"mode": "c"}, "mode: 'c' is invalid: expected one of a, b", id="choice"),
        pytest.param({"parts": [{"size": 2}, {"size": 5}]}, "parts[1].size: 5 is invalid: expected an even number", id="in a list"),
        pytest.param({"place": {"size": 7}}, "place.size: 7 is invalid: expected an even number", id="in a dictionary"),
        pytest.param({"precise": "p"}, "from deep inside: 'p' is invalid: expected nothing", id="named by the option itself"),
    ],
)
def test_a_bad_value_is_named_with_its_option_and_what_is_allowed(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        build(Thing, {"name": "x", **parameters} if parameters else {})
    assert str(caught.value) == f"{message}."


def test_differences_are_the_options_that_differ_in_the_order_of_the_fields() -> None:
    before = build(Thing, {"name": "x", "words": ["a"]})
    after = build(Thing, {"name": "x", "words": ["b"], "size": 4, "place": {"speed": 1}})
    assert differences(before, after) == ["size", "place", "words"]
    assert differences(before, dataclasses.replace(before, made_with=6)) == []


def test_a_plain_value_is_what_json_has_and_is_read_again_as_the_same() -> None:
    thing = build(Thing, {"name": "x", "parts": [{"size": 4}], "words": ["a"], "level": "s0:c2,c1", "env": {"A": "1"}})
    assert plain(thing) == json.loads(json.dumps(plain(thing)))
    assert plain(thing)["level"] == "s0:c1,c2"
    assert plain(thing)["parts"] == [{"size": 4, "speed": None}]
    assert plain(build(Thing, {"name": "x"}))["level"] is None
    assert build(Thing, plain(thing)) == thing


def test_only_what_asks_for_a_restart_is_in_the_part_that_does() -> None:
    thing = build(Thing, {"name": "x", "parts": [{"size": 4, "speed": 9}], "words": ["a"]})
    assert restart_part(thing) == {"size": 2, "parts": [{"size": 4}]}


def test_a_failed_step_says_which_sandbox_and_which_step() -> None:
    error = StepError("web", "start", "no answer")
    assert isinstance(error, SandboxError)
    assert str(error) == "web: start: no answer"
