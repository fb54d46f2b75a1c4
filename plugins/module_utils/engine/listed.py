# SPDX-License-Identifier: GPL-3.0-or-later
"""One sandbox (``name``) or many in one run (``sandboxes``): the same options either way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Callable, TypeVar

from ..host import level_store, levels_in_use
from ..model.errors import ConflictError, OptionError, SandboxError
from ..model.level_conflicts import conflicts, in_the_way
from ..model.mcs import POLICY_RANGE, Level, disturbing
from ..model.options import Option, argument_spec
from ..model.registry import Registry
from .declared import declared_specs

T = TypeVar("T")


def arguments(options: Iterable[Option], common: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of the ``AnsibleModule``: an object's options twice, and what holds for the run."""
    one = argument_spec(options)
    many = {"sandboxes": {"type": "list", "elements": "dict", "options": one}}
    alone = {key: dict(value, required=False) if value.get("required") else value for key, value in one.items()}
    return {
        "argument_spec": {**alone, **many, **common},
        "required_one_of": [("name", "sandboxes")],
        "mutually_exclusive": [("name", "sandboxes")],
        "supports_check_mode": True,
    }


def items(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sandboxes of a run; raises ``OptionError`` where one is named twice."""
    found = [dict(parameters)] if parameters.get("name") is not None else [dict(item) for item in parameters.get("sandboxes") or ()]
    check_once(item["name"] for item in found)
    return found


def about(name: str, parameters: Mapping[str, Any], function: Callable[..., T], *arguments: Any) -> T:
    """What the function returns; in a run over many sandboxes its refusal says which of them it is about."""
    try:
        return function(*arguments)
    except OptionError as error:
        if parameters["name"] is not None:
            raise
        raise error.about(name) from error


def not_yet(reason: object) -> str:
    """The warning of a run that is only predicted, where another task may have announced what it lacks."""
    return f"this would fail, unless a task before it brings what is missing: {reason}"


def check_once(names: Iterable[str]) -> None:
    """Raise ``OptionError`` where one of a run's sandboxes is named twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise OptionError("sandboxes", name, "each sandbox once")
        seen.add(name)


def chosen(name: str | None, known: Collection[str], place: str = "this host") -> list[str]:
    """The one sandbox that is named, or all; raises ``OptionError`` for a name that is not known."""
    if name is not None and name not in known:
        raise OptionError("name", name, f"a sandbox of {place} ({', '.join(known) or 'it has none'})")
    return list(known) if name is None else [name]


def with_levels(specs: list[dict[str, Any]], url: str, check_mode: bool = False) -> dict[str, str]:
    """As ``fill_levels``; returns whose each level is."""
    owners, resting = fill_levels(specs, url, check_mode)
    return _whose(owners, resting, [*declared_specs(strict=False).items(), *((spec["name"], spec) for spec in specs)])


def fill_levels(specs: list[dict[str, Any]], url: str, check_mode: bool = False) -> tuple[dict[str, str], dict[Level, str]]:
    """Fill in the levels that the registry knows and the play does not name; returns the owners' levels, and those that rest.

    In check mode a level that rests may be one that ``mcs_label`` has just announced.
    """
    owners, resting = _registered(url)
    taken = dict(owners)
    for spec in specs:
        if spec["level"] is None:
            if spec["name"] not in owners:
                raise OptionError("level", None, f"a level, or a sandbox that has one in {url}: mcs_label gives {spec['name']} one")
            spec["level"] = owners[spec["name"]]
        elif owners.get(spec["name"], spec["level"]) != spec["level"]:
            raise OptionError("level", spec["level"], f"the level that {url} has for {spec['name']}: {owners[spec['name']]}")
        elif spec["name"] not in owners:
            _check_separate(spec, taken)
            taken[spec["name"]] = spec["level"]
    _check_on_host({name: level for name, level in taken.items() if name not in owners}, {} if check_mode else resting)
    return owners, resting


def level_owners(specs: Mapping[str, Mapping[str, Any]], url: str) -> dict[str, str]:
    """Whose each level is: a sandbox's of this host, by its spec or the registry, or a former one's for which it rests.

    A registry that cannot be read says nothing.
    """
    try:
        owners, resting = _registered(url)
    except SandboxError:
        owners, resting = {}, {}
    return _whose(owners, resting, specs.items())


def _registered(url: str) -> tuple[dict[str, str], dict[Level, str]]:
    """The owners' levels, and the levels that rest with who had them."""
    with level_store.open_store(level_store.on_host(url), create=False) as store:
        registry = Registry(store, None, POLICY_RANGE)
        return {name: str(level) for name, level in registry.owners().items()}, registry.quarantine()


def _whose(owners: Mapping[str, str], resting: Mapping[Level, str], specs: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    former = {str(level): f"former {name}" for level, name in resting.items()}
    return {**former, **{level: name for name, level in owners.items()}, **{spec["level"]: name for name, spec in specs}}


def _check_separate(spec: Mapping[str, Any], taken: Mapping[str, str]) -> None:
    """A level that the registry has not given, beside those that it has and the others of the run."""
    level = Level.parse(spec["level"])
    for owner, text in taken.items():
        if level.conflicts(Level.parse(text)):
            raise ConflictError(f"level: {level} of {spec['name']} and {text} of {owner} are not separate; mcs_label gives one that is")


def _check_on_host(named: Mapping[str, str], resting: Mapping[Level, str]) -> None:
    """Levels that the registry has not given, beside all that the host carries; those that a sandbox has already were looked at."""
    there = declared_specs() if named else {}
    new = {name: Level.parse(text) for name, text in named.items() if name not in there or there[name]["level"] != text}
    for name, rest in disturbing(new, resting):
        raise ConflictError(f"level: {new[name]} of {name} and {rest} are not separate; mcs_label gives one that is")
    in_use = in_the_way(levels_in_use.observe()) if new else []
    found = [one for one in conflicts(new, in_use) if not one.other.belongs_to(one.owner)]
    if found:
        raise ConflictError(f"level: {found[0]}; mcs_label gives one that is")
