# SPDX-License-Identifier: GPL-3.0-or-later
"""The specs of the sandboxes of this host, which ``sandbox_service`` wrote."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from ..host import systemd
from ..model import layout
from ..model.errors import SandboxError
from ..model.spec import ServiceSpec, load
from .apply import unexpected

_SUFFIX = ".sandbox"


@dataclasses.dataclass(frozen=True)
class Declared:
    """The specs by name, and of those that cannot be read the reason."""

    specs: Mapping[str, ServiceSpec]
    damaged: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def warnings(self) -> list[str]:
        """What a run over other sandboxes does not know."""
        return [
            f"{name}: its level, addresses and ports were not compared with others, because its spec cannot be read: {reason}"
            for name, reason in self.damaged.items()
        ]


def declared() -> Declared:
    """All specs of this host. One that cannot be read is that sandbox's trouble alone."""
    specs, damaged = {}, {}
    for file in systemd.names(layout.SPECS):
        if file.endswith(_SUFFIX):
            name, path = file[: -len(_SUFFIX)], os.path.join(layout.SPECS, file)
            try:
                text = systemd.read(path)
                if text is not None:
                    specs[name] = load(text, path)
            except (SandboxError, OSError, UnicodeDecodeError) as error:
                damaged[name] = str(error)
            except Exception as error:  # whatever it is, the other sandboxes go on
                damaged[name] = unexpected(error)
    return Declared(specs, damaged)
