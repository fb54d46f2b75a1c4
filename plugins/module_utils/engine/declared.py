# SPDX-License-Identifier: GPL-3.0-or-later
"""The specs of the sandboxes of this host, which ``sandbox_service`` wrote."""

from __future__ import annotations

import os
from typing import Any

from ..host import systemd
from ..model import layout
from ..model.spec import load


def declared_specs() -> dict[str, dict[str, Any]]:
    """The specs of this host's sandboxes, by name."""
    suffix = ".sandbox"
    names = [name[: -len(suffix)] for name in systemd.names(layout.SPECS) if name.endswith(suffix)]
    paths = {name: os.path.join(layout.SPECS, name + suffix) for name in names}
    return {name: load(systemd.read(path), path) for name, path in paths.items()}
