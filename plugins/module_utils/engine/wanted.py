# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandboxes of a run as they are to be, with the levels that the registry has for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Callable, Generic, Protocol, TypeVar

from ..host import selinux
from ..model.spec import Common, Identity
from . import levels
from .host import SandboxHost


class _Request(Protocol):
    """What is asked about one sandbox."""

    @property
    def state(self) -> str: ...


Spec = TypeVar("Spec", bound=Identity)
Request = TypeVar("Request", bound=_Request)


@dataclasses.dataclass(frozen=True)
class Wanted(Generic[Spec, Request]):
    """A sandbox, or its content, as it is to be, and what this run does with it."""

    spec: Spec
    request: Request

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def present(self) -> bool:
        return self.request.state != "absent"


def with_levels(
    wanted: Sequence[Wanted[Spec, Request]], host: SandboxHost, settings: Common, check_mode: bool, process_type: Callable[[Spec], str]
) -> list[Wanted[Spec, Request]]:
    """The same with the levels that the registry knows and the play does not name; refuses a host on which one would not be separate.

    What goes stays as it is. ``process_type``: at which type the processes of a sandbox run.
    """
    present = [sandbox.spec for sandbox in wanted if sandbox.present]
    filled = levels.filled(present, host.levels, settings.registry, host.declared.specs, check_mode) if present else []
    for spec in filled:
        selinux.require(process_type(spec), spec.file_type, spec.level, enforcing=settings.require_enforcing)
    named = {spec.name: spec for spec in filled}
    return [dataclasses.replace(sandbox, spec=named.get(sandbox.name, sandbox.spec)) for sandbox in wanted]
