# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox that runs one command instead of a systemd with units, and what either gets as its environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import layout
from .errors import OptionError
from .values import LARGEST_ID, account_number, number_of, plain_path

if TYPE_CHECKING:
    from .spec import ServiceSpec

SHELL = "/usr/bin/sh"
# inside, made by the unit's helper at each start: the command's output, for the journal of the unit; and its exit code. The scripts
# of the role host name both
OUTPUT, EXIT = "/run/virt-sandbox-output", "/run/virt-sandbox-exit"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_IDENTITY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\Z", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)


def words(value: list[str]) -> list[str]:
    for word in value:
        if not word or not all(character.isprintable() or character in "\n\t" for character in word):
            raise ValueError(f"words that are not empty and have no control characters, not {word!r}")
    if value and "=" in plain_path(value[0]):
        raise ValueError(f"a program without '=' in its path, not {value[0]!r}")
    return value


def identity(value: str) -> str:
    if not _IDENTITY.match(value) or (value.isdigit() and account_number(value) is None):
        raise ValueError(f"the name of a user or group, or a number from 0 to {LARGEST_ID}")
    return value


def variables(value: Mapping[Any, Any]) -> dict[str, str]:
    for name, text in value.items():
        if not isinstance(name, str) or not _VARIABLE.match(name):
            raise ValueError(f"names of letters, digits and '_', not {name!r}")
        if isinstance(text, bool) or not isinstance(text, (str, int, float)) or not str(text).isprintable():
            raise ValueError(f"a text of one line without control characters for {name} (quote true and false)")
    return {name: str(text) for name, text in sorted(value.items())}


def check(spec: ServiceSpec) -> None:
    """Units or a command, and nothing that only the other has."""
    if spec.command and spec.units:
        raise OptionError("command", spec.command, "no value together with units", "A sandbox runs either units or a command.")
    if not spec.command:
        if not spec.units:
            raise OptionError("units", spec.units, "at least one systemd unit, or set command")
        for name in ("user", "group", "home"):
            if getattr(spec, name) is not None:
                raise OptionError.said(name, getattr(spec, name), f"only valid together with command. Units name their own {name}.")
    for number, network in enumerate(spec.network):
        if spec.command and network.type == "dhcp":
            raise OptionError(f"network[{number}].type", "dhcp", "managed or static, because no DHCP client runs beside a command")


def check_inside(spec: ServiceSpec, users: Mapping[str, str], groups: Mapping[str, str]) -> None:
    """Refuse a user or group that the sandbox does not have; by name -> number, of its own /etc."""
    for name, known, file in (("user", users, "/etc/passwd"), ("group", groups, "/etc/group")):
        value = getattr(spec, name)
        if value is not None and number_of(value, known) is None:
            raise OptionError(name, value, f"a number, or a name in the sandbox's own {file}")


def init(spec: ServiceSpec) -> list[str]:
    """The first process of a sandbox that runs a command."""
    assignments = [f"{name}={text}" for name, text in spec.env.items()]
    return [SHELL, layout.INIT, spec.user or "root", spec.group or "-", spec.home or "-", *assignments, *spec.command]


def manager_environment(spec: ServiceSpec) -> str:
    """The same for all services of a systemd, as its configuration has it."""
    lines = [f'DefaultEnvironment="{name}={_quoted(text)}"' for name, text in spec.env.items()]
    return "\n".join(["[Manager]", *lines]) + "\n"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
