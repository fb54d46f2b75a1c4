# SPDX-License-Identifier: GPL-3.0-or-later
"""One table of options per object: it gives the argument spec, the normal form and the comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Callable

from .errors import OptionError


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a module, said once.

    ``normalise`` turns what Ansible parsed into the one canonical value, or raises ``ValueError``
    with what is allowed. ``effect`` says what a change asks of a running sandbox:
    ``none`` (nothing runs differently), ``live`` (applied while it runs) or ``restart``.
    """

    name: str
    type: str = "str"
    default: Any = None
    required: bool = False
    choices: tuple[str, ...] = ()
    elements: str | None = None
    suboptions: tuple[Option, ...] = ()
    no_log: bool = False
    normalise: Callable[[Any], Any] | None = None
    effect: str = "none"

    def argument(self) -> dict[str, Any]:
        """The option as an entry of Ansible's argument spec."""
        spec: dict[str, Any] = {"type": self.type}
        if self.required:
            spec["required"] = True
        elif self.default is not None:
            spec["default"] = self.default
        if self.choices:
            spec["choices"] = list(self.choices)
        if self.elements:
            spec["elements"] = self.elements
        if self.suboptions:
            spec["options"] = argument_spec(self.suboptions)
        if self.no_log:
            spec["no_log"] = True
        return spec


def argument_spec(options: Iterable[Option]) -> dict[str, dict[str, Any]]:
    """The argument spec of a table of options."""
    return {option.name: option.argument() for option in options}


def normalise(options: Iterable[Option], parameters: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The parameters in their one canonical form, defaults filled in.

    Raises ``OptionError`` naming the first option whose value is invalid.
    """
    return {option.name: _normal(option, parameters.get(option.name), prefix + option.name) for option in options}


def _normal(option: Option, value: Any, name: str) -> Any:
    if value is None:
        value = option.default
    if value is None:
        if option.required:
            raise OptionError(name, value, "a value is required")
        return None
    if option.choices and value not in option.choices:
        raise OptionError(name, value, f"one of {', '.join(option.choices)}")
    if option.suboptions:
        if option.elements == "dict":
            return [normalise(option.suboptions, item, f"{name}[{n}].") for n, item in enumerate(value)]
        return normalise(option.suboptions, value, f"{name}.")
    if option.normalise is None:
        return value
    try:
        return option.normalise(value)
    except OptionError:
        raise
    except ValueError as error:
        raise OptionError(name, value, str(error)) from error


def differences(options: Iterable[Option], before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Option]:
    """The options whose normalised values differ, in the table's order."""
    return [option for option in options if before.get(option.name) != after.get(option.name)]
