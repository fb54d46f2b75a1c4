# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that Python does not bring itself: the distributions package them for the system's Python."""

from __future__ import annotations

import importlib
from typing import Any

from ..model.errors import SandboxError


def required(module: str, package: str) -> Any:
    """The module; raises ``SandboxError`` naming the package that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SandboxError(f"No Python on this host has the module {module} ({error}). Install {package}.") from error
