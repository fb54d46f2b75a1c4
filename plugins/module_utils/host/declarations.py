# SPDX-License-Identifier: GPL-3.0-or-later
"""Which run has declared a sandbox last: content and service of a sandbox are set by two tasks, between which another run may come."""

from __future__ import annotations

import contextlib
import os

from ..model.layout import RUN


def _path(name: str, run: str) -> str:
    return os.path.join(run, f"{name}.declaration")


def record(name: str, declaration: str | None, run: str = RUN) -> None:
    """Note who declares the sandbox; nothing to do where the play has no id."""
    if declaration is None:
        return
    os.makedirs(run, mode=0o755, exist_ok=True)
    with open(_path(name, run), "w", encoding="utf-8") as file:
        file.write(declaration)


def changed(name: str, declaration: str | None, run: str = RUN) -> str:
    """What is wrong where another run has declared the sandbox since this one began; no text where none has."""
    with contextlib.suppress(FileNotFoundError), open(_path(name, run), encoding="utf-8", errors="replace") as file:
        if declaration is not None and file.read() != declaration:
            return f"{name} was changed by another run since this one began. Run it again."
    return ""
