# SPDX-License-Identifier: GPL-3.0-or-later
"""One table of options: the argument spec, the normal form and the comparison that come from it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError, SandboxError, StepError
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import Option, argument_spec, differences, normalise


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("an even number")
    return value


def _precise(value: str) -> str:
    raise OptionError("from deep inside", value, "nothing")


TABLE = (
    Option("name", required=True),
    Option("size", type="int", default=2, normalise=_even, effect="restart"),
    Option("mode", default="a", choices=("a", "b")),
    Option("parts", type="list", elements="dict", default=[], suboptions=(Option("size", type="int", normalise=_even),)),
    Option("place", type="dict", suboptions=(Option("size", type="int", normalise=_even),)),
    Option("words", type="list", elements="str"),
    Option("secret", no_log=True),
    Option("precise", normalise=_precise),
)


def test_the_argument_spec_says_no_more_than_the_table() -> None:
    assert argument_spec(TABLE) == {
        "name": {"type": "str", "required": True},
        "size": {"type": "int", "default": 2},
        "mode": {"type": "str", "default": "a", "choices": ["a", "b"]},
        "parts": {"type": "list", "elements": "dict", "default": [], "options": {"size": {"type": "int"}}},
        "place": {"type": "dict", "options": {"size": {"type": "int"}}},
        "words": {"type": "list", "elements": "str"},
        "secret": {"type": "str", "no_log": True},
        "precise": {"type": "str"},
    }


def test_what_is_not_said_has_its_default() -> None:
    assert normalise(TABLE, {"name": "x", "size": None, "unknown": 1}) == {
        "name": "x",
        "size": 2,
        "mode": "a",
        "parts": [],
        "place": None,
        "words": None,
        "secret": None,
        "precise": None,
    }


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        pytest.param({}, "name: expected a value is required", id="required"),
        pytest.param({"size": 3}, "size: 3 is invalid: expected an even number", id="value"),
        pytest.param({"mode": "c"}, "mode: 'c' is invalid: expected one of a, b", id="choice"),
        pytest.param({"parts": [{"size": 2}, {"size": 5}]}, "parts[1].size: 5 is invalid: expected an even number", id="in a list"),
        pytest.param({"place": {"size": 7}}, "place.size: 7 is invalid: expected an even number", id="in a dictionary"),
        pytest.param({"precise": "p"}, "from deep inside: 'p' is invalid: expected nothing", id="named by the option itself"),
    ],
)
def test_a_bad_value_is_named_with_its_option_and_what_is_allowed(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        normalise(TABLE, {"name": "x", **parameters} if parameters else {})
    assert str(caught.value) == message


def test_differences_are_the_options_that_differ_in_the_order_of_the_table() -> None:
    before = normalise(TABLE, {"name": "x", "words": ["a"]})
    after = normalise(TABLE, {"name": "x", "words": ["b"], "size": 4})
    assert [option.name for option in differences(TABLE, before, after)] == ["size", "words"]
    assert differences(TABLE, before, dict(before)) == []


def test_a_failed_step_says_which_sandbox_and_which_step() -> None:
    error = StepError("web", "start", "no answer")
    assert isinstance(error, SandboxError)
    assert str(error) == "web: start: no answer"
