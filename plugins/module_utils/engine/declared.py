# SPDX-License-Identifier: GPL-3.0-or-later
"""The specs of the sandboxes of this host, which ``sandbox_service`` wrote."""

from __future__ import annotations

import os
from typing import Any

from ..host import systemd
from ..model import layout
from ..model.errors import SandboxError
from ..model.spec import load


def declared_specs(strict: bool = True) -> dict[str, dict[str, Any]]:
    """The specs of this host's sandboxes, by name; one that is none is an error, or left out."""
    suffix = ".sandbox"
    names = [name[: -len(suffix)] for name in systemd.names(layout.SPECS) if name.endswith(suffix)]
    found = {}
    for name in names:
        path = os.path.join(layout.SPECS, name + suffix)
        try:
            found[name] = load(systemd.read(path), path)
        except SandboxError:
            if strict:
                raise
    return found
