# SPDX-License-Identifier: GPL-3.0-or-later
"""Options as fields of dataclasses: one definition gives argument spec, documentation, normal form, comparison and effect."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any, Callable, TypeVar

from .errors import OptionError

T = TypeVar("T")

DEFAULTS = 2
"""The current generation of defaults. It grows with each release that changes one."""


@dataclasses.dataclass(frozen=True)
class Option:
    """What is known of one option of a module.

    ``normal`` turns what Ansible parsed into the one canonical value, or raises ``ValueError`` with what is expected.
    ``effect`` says what a change asks of a running sandbox: ``none`` (nothing runs differently), ``live`` (applied while
    it runs) or ``restart``. ``unset`` is the value where neither the play nor a default gives one. ``earlier`` are defaults
    of the past, each with the last generation that had it, the oldest first. ``help`` is the option's documentation, in
    paragraphs with an empty line between them.
    """

    name: str = ""
    type: str = "str"
    default: Any = None
    required: bool = False
    choices: tuple[str, ...] = ()
    elements: str | None = None
    of: Any = None
    normal: Callable[[Any], Any] | None = None
    effect: str = "none"
    unset: Any = None
    help: str = ""
    earlier: tuple[tuple[int, Any], ...] = ()

    def default_in(self, generation: int) -> Any:
        """The default as of one generation."""
        return next((value for last, value in self.earlier if generation <= last), self.default)

    def argument(self) -> dict[str, Any]:
        """The option as an entry of Ansible's argument spec."""
        spec: dict[str, Any] = {"type": self.type}
        if self.required:
            spec["required"] = True
        elif self.default is not None and not self.earlier:  # Ansible knows of no generation
            spec["default"] = self.default
        if self.choices:
            spec["choices"] = list(self.choices)
        if self.elements:
            spec["elements"] = self.elements
        if self.of:
            spec["options"] = argument_spec(self.of)
        return spec


_field: Callable[..., Any] = dataclasses.field


def option(default: Any = None, **known: Any) -> Any:
    """A field of a dataclass that is an option; the keywords are those of ``Option``."""
    what = Option(default=default, **known)
    metadata = {"option": what}
    if what.of and what.type == "dict":
        return _field(default_factory=what.of, metadata=metadata)
    if isinstance(default, dict):
        return _field(default_factory=dict, metadata=metadata)
    value = tuple(default) if isinstance(default, list) else default
    return _field(default=what.unset if value is None else value, metadata=metadata)


def options(cls: Any) -> tuple[Option, ...]:
    """The options of a dataclass, in the order of its fields."""
    return _options(cls)


@functools.cache
def _options(cls: Any) -> tuple[Option, ...]:
    fields = [field for field in dataclasses.fields(cls) if "option" in field.metadata]
    return tuple(dataclasses.replace(field.metadata["option"], name=field.name) for field in fields)


def names(*classes: type[Any]) -> set[str]:
    """The names of the options of dataclasses."""
    return {known.name for cls in classes for known in options(cls)}


def argument_spec(*classes: type[Any]) -> dict[str, dict[str, Any]]:
    """The argument spec of the options of dataclasses."""
    return {known.name: known.argument() for cls in classes for known in options(cls)}


def build(cls: type[T], parameters: Mapping[str, Any], prefix: str = "", generation: int = DEFAULTS) -> T:
    """The parameters in their one canonical form, with the defaults of one generation filled in.

    Raises ``OptionError`` naming the first option whose value is invalid.
    """
    values = {known.name: _normal(known, parameters.get(known.name), prefix + known.name, generation) for known in options(cls)}
    return cls(**values)


def _normal(known: Option, value: Any, name: str, generation: int) -> Any:
    if value is None and not known.required:
        value = known.default_in(generation)
    if known.of and known.type == "dict":
        return build(known.of, value or {}, f"{name}.", generation)
    if value is None:
        if known.required:
            raise OptionError.said(name, value, "required.")
        return known.unset
    if known.choices and value not in known.choices:
        raise OptionError(name, value, f"one of {', '.join(known.choices)}")
    if known.of:
        return tuple(build(known.of, item, f"{name}[{number}].", generation) for number, item in enumerate(value))
    try:
        value = known.normal(value) if known.normal else value
    except OptionError:
        raise
    except ValueError as error:
        raise OptionError(name, value, str(error)) from error
    return tuple(value) if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """A value of an option, or a whole dataclass of options, as JSON has it: text, numbers, lists and dictionaries."""
    if dataclasses.is_dataclass(value) and options(type(value)):
        return {known.name: plain(getattr(value, known.name)) for known in options(type(value))}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value) or None if value else None


def differences(before: Any, after: Any) -> list[str]:
    """The names of the options that differ between two values of one dataclass."""
    return [known.name for known in options(type(after)) if getattr(before, known.name) != getattr(after, known.name)]


def restart_part(value: Any) -> dict[str, Any]:
    """What of a dataclass of options only a restart brings into a running sandbox, as JSON has it."""
    return dict(_restart_part(value))


def _restart_part(value: Any) -> Iterator[tuple[str, Any]]:
    for known in options(type(value)):
        if known.effect == "restart":
            yield known.name, _without_live(getattr(value, known.name))


def _without_live(value: Any) -> Any:
    """A value without the suboptions that change while the sandbox runs."""
    if isinstance(value, tuple):
        return [_without_live(item) for item in value]
    if dataclasses.is_dataclass(value) and options(type(value)):
        kept = [known for known in options(type(value)) if known.effect != "live"]
        return {known.name: _without_live(getattr(value, known.name)) for known in kept}
    return plain(value)


def recorded_part(cls: type[Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """A part that an earlier release recorded by ``restart_part``, as today's has it.

    What came since has its first default, which changes nothing; what is gone is left out.
    """
    kept = [known for known in options(cls) if known.effect == "restart"]
    return {known.name: _recorded(known, part) for known in kept}


def _recorded(known: Option, part: Mapping[str, Any]) -> Any:
    first = dataclasses.replace(known, required=False)
    value = part[known.name] if known.name in part else plain(_normal(first, None, known.name, 1))
    if not known.of:
        return value
    kept = [inner for inner in options(known.of) if inner.effect != "live"]
    items = [value] if known.type == "dict" else value
    result = [{inner.name: _recorded(inner, item) for inner in kept} for item in items]
    return result[0] if known.type == "dict" else result


def older_defaults(value: Any, generation: int, prefix: str = "") -> list[str]:
    """The options and suboptions that still have the default of an earlier generation where today's is another."""
    result = []
    for known in options(type(value)):
        name, own = prefix + known.name, getattr(value, known.name)
        if known.of and known.type == "dict":
            result += older_defaults(own, generation, f"{name}.")
        elif known.of:
            result += [inner for number, item in enumerate(own) for inner in older_defaults(item, generation, f"{name}[{number}].")]
        elif known.default_in(generation) != known.default and own == _normal(known, None, name, generation):
            result.append(name)
    return result
