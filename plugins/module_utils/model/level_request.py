# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task asks of a registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .errors import OptionError
from .mcs import POLICY_RANGE, CategoryRange, Level
from .options import Option, normalise
from .spec import REGISTRY
from .spec import name as sandbox_name

MOST_CATEGORIES = 8


def _levels(values: list[str]) -> list[Level]:
    return [Level.for_sandbox(value) for value in values]


def _size(value: int) -> int:
    if not 1 <= value <= MOST_CATEGORIES:
        raise ValueError(f"1 to {MOST_CATEGORIES}")
    return value


OWNER_OPTIONS = (
    Option("name", required=True, normalise=sandbox_name),
    Option("state", default="present", choices=("present", "absent")),
    Option("level", normalise=Level.for_sandbox),
)
REGISTRY_OPTIONS = (
    Option("category_count", type="int", normalise=_size),
    Option("category_range", default=str(POLICY_RANGE), normalise=CategoryRange.parse),
    Option("registry", default=REGISTRY),
)
INFO_OPTIONS = (*REGISTRY_OPTIONS[1:], Option("search", type="list", elements="str", default=[], normalise=_levels))


@dataclasses.dataclass(frozen=True)
class Request:
    """What is wanted for one owner: a level of its own, that one level exactly, or none."""

    owner: str
    present: bool = True
    level: Level | None = None


def host_of(owner: str) -> str:
    """The host of an owner in a registry that hosts share, ``HOST/NAME``; nothing in a host's own."""
    return owner.rpartition("/")[0]


def requests_of(parameters: Mapping[str, Any]) -> list[Request]:
    """The requests of a module's parameters, in the form ``name`` or ``sandboxes``."""
    if parameters.get("name") is not None:
        items = [normalise(OWNER_OPTIONS, parameters)]
    elif parameters.get("level") is not None:
        raise OptionError("level", parameters["level"], "no level beside sandboxes", "Set it in each of them.")
    else:
        entries = parameters.get("sandboxes") or []
        items = [normalise(OWNER_OPTIONS, item, f"sandboxes[{n}].") for n, item in enumerate(entries)]
    names: set[str] = set()
    for item in items:
        if item["name"] in names:
            raise OptionError("sandboxes", item["name"], "each name once")
        names.add(item["name"])
    return [Request(item["name"], item["state"] == "present", item["level"]) for item in items]
