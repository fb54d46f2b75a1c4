# SPDX-License-Identifier: GPL-3.0-or-later
"""The scripts that the role host installs, and the versions of them that this collection needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from . import layout
from .spec import ServiceSpec

EXPECTED = {layout.HELPER: 4, layout.CONTROLLER: 1, layout.SECCOMP: 1, layout.INIT: 1}
# of a sandbox that runs a command; the others are of every sandbox
_OF_COMMANDS = {layout.INIT}

_VERSION = re.compile(r"^# VERSION=([0-9]{1,9})$", re.MULTILINE)


def version(text: str | None) -> int | None:
    """The version of a script; none where it is missing. The helper of virt.sandbox 0.1.0 has no number and is version 1."""
    if text is None:
        return None
    match = _VERSION.search(text)
    return int(match.group(1)) if match else 1


def missing(specs: Iterable[ServiceSpec], installed: Mapping[str, int | None]) -> str:
    """Which script the sandboxes lack on this host, and what to do; empty where they lack none."""
    for spec in specs:
        for path, expected in EXPECTED.items():
            number = installed.get(path)
            if path in _OF_COMMANDS and not spec.command:
                continue
            if number is None:
                return f"{spec.name}: {path} is missing, expected version {expected}. Run the role virt.sandbox.host."
            if number < expected:
                return f"{spec.name}: {path} is of version {number}, expected {expected}. Run the role virt.sandbox.host."
    return ""
