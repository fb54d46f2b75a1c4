# SPDX-License-Identifier: GPL-3.0-or-later
"""The host of a run: what is asked more than once is read once, over one connection, under one lock."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from ..host import libvirt, lock, nftables
from ..host.libvirt_lxc import Lxc
from ..host.libvirt_networks import Networks
from ..model.addresses import LibvirtNetwork
from ..model.definition import Known
from ..model.runtime import Runtime
from . import levels
from .declared import Declared, declared


class SandboxHost:
    """One host as one run sees it. What is read stays as it was read, unless its name says ``now``."""

    def __init__(self, registry: str, waited: float = 0) -> None:
        self.registry = registry
        self.waited = waited
        """The seconds for which another run was waited for."""

    @functools.cached_property
    def _connection(self) -> Any:
        return libvirt.opened()

    @functools.cached_property
    def runtime(self) -> Runtime:
        return Lxc(self._connection)

    @functools.cached_property
    def networks(self) -> Networks:
        return Networks(self._connection)

    @functools.cached_property
    def running_networks(self) -> dict[str, LibvirtNetwork]:
        return self.networks.running()

    @functools.cached_property
    def rules(self) -> str:
        """The nftables rules for sandboxes as the run finds them."""
        return nftables.table()

    @functools.cached_property
    def known(self) -> dict[str, Known]:
        """What the runtime has, by name."""
        return dict(self.runtime.known())

    @property
    def running(self) -> set[str]:
        return {name for name, known in self.known.items() if known.running}

    def running_now(self) -> set[str]:
        return {name for name, known in self.runtime.known().items() if known.running}

    @functools.cached_property
    def declared(self) -> Declared:
        return declared()

    @functools.cached_property
    def levels(self) -> levels.Levels:
        return levels.registered(self.registry)

    def warnings(self) -> list[str]:
        waited = [f"Waited {self.waited:.0f} s for another run of this collection on this host."] if self.waited >= 1 else []
        return waited + self.declared.warnings()

    def close(self) -> None:
        if "_connection" in vars(self):
            libvirt.close(self._connection)


@contextlib.contextmanager
def opened(registry: str, locked: bool = True) -> Iterator[SandboxHost]:
    """The host, for one run alone if it changes anything."""
    with lock.held() if locked else contextlib.nullcontext(0.0) as waited:
        host = SandboxHost(registry, waited)
        try:
            yield host
        finally:
            host.close()
