# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs sandboxes. libvirt-LXC is one runtime (``host/libvirt_lxc``); another need only do the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from .definition import Definition, Known


class Runtime(Protocol):
    """What runs the sandboxes of a host."""

    def known(self) -> Mapping[str, Known]:
        """Everything that it has, by name: what others made, too."""

    def define(self, definition: Definition) -> None:
        """Make or replace a definition; a running sandbox goes on as it is."""

    def undefine(self, name: str) -> None:
        """Forget a definition; nothing to do where there is none."""

    def destroy(self, name: str) -> None:
        """End a sandbox that runs, without asking it; nothing to do where none does."""
