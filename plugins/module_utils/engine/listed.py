# SPDX-License-Identifier: GPL-3.0-or-later
"""One sandbox (``name``) or many in one run (``sandboxes``): the same options either way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Callable, TypeVar

from ..model.errors import OptionError
from ..model.options import argument_spec

T = TypeVar("T")


def arguments(objects: Iterable[type[Any]], run: Iterable[type[Any]]) -> dict[str, Any]:
    """The keywords of the ``AnsibleModule``: the options of the objects twice, and what holds for the run.

    What an item of ``sandboxes`` does not say, the option of the same name beside ``sandboxes`` says for all of them.
    """
    objects = tuple(objects)
    items = {name: _without_default(entry) for name, entry in argument_spec(*objects).items()}
    many = {"sandboxes": {"type": "list", "elements": "dict", "options": items}}
    alone = {key: dict(value, required=False) if value.get("required") else value for key, value in argument_spec(*objects).items()}
    return {
        "argument_spec": {**alone, **many, **argument_spec(*run)},
        "required_one_of": [("name", "sandboxes")],
        "mutually_exclusive": [("name", "sandboxes")],
        "supports_check_mode": True,
    }


def _without_default(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "default"}


def items(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sandboxes of a run, each with all of its options; raises ``OptionError`` where one is named twice."""
    if parameters.get("name") is not None:
        return [dict(parameters)]
    if parameters.get("level") is not None:
        raise OptionError("level", parameters["level"], "no level beside sandboxes", "Set it in each of them.")
    for_all = {key: value for key, value in parameters.items() if key not in ("name", "sandboxes")}
    sandboxes = [
        {**for_all, **{key: value for key, value in item.items() if value is not None}} for item in parameters.get("sandboxes") or ()
    ]
    check_once(item["name"] for item in sandboxes)
    return sandboxes


def about(name: str, parameters: Mapping[str, Any], function: Callable[..., T], *arguments: Any) -> T:
    """What the function returns; in a run over many sandboxes its refusal says which of them it is about."""
    try:
        return function(*arguments)
    except OptionError as error:
        if parameters.get("name") is not None:
            raise
        raise error.about(name) from error


def not_yet(reason: object) -> str:
    """The warning of a run that is only predicted, where another task may have announced what it lacks."""
    return f"This run would fail, unless an earlier task provides what is missing: {reason}"


def check_once(names: Iterable[str]) -> None:
    """Raise ``OptionError`` where one of a run's sandboxes is named twice."""
    earlier: set[str] = set()
    for name in names:
        if name in earlier:
            raise OptionError.said("sandboxes", name, f"sandbox {name} is listed more than once. List each sandbox once.")
        earlier.add(name)


def chosen(name: str | None, known: Collection[str], place: str = "this host") -> list[str]:
    """The one sandbox that is named, or all; raises ``OptionError`` for a name that is not known."""
    if name is not None and name not in known:
        raise OptionError("name", name, f"a sandbox of {place} ({', '.join(known) or 'it has none'})")
    return list(known) if name is None else [name]
