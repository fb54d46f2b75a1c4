# SPDX-License-Identifier: GPL-3.0-or-later
"""SELinux contexts as values."""

from __future__ import annotations

import dataclasses
import re

from .mcs import Level, LevelError, LevelRange

_NAME = re.compile(r"[A-Za-z0-9_.@-]+", re.ASCII)
_ALLOWED = "a context user:role:type:level, such as system_u:object_r:container_file_t:s0:c1,c2"


@dataclasses.dataclass(frozen=True)
class Context:
    """A full context at sensitivity s0, the only one of the policies that sandboxes run under.

    ``level`` is a range where low and high differ, which only a process can have.
    """

    user: str
    role: str
    type: str
    level: Level | LevelRange

    @classmethod
    def parse(cls, text: str) -> Context:
        """Two spellings of one context give equal values."""
        fields = text.split(":", 3)
        if len(fields) < 4 or not all(map(_NAME.fullmatch, fields[:3])):
            raise LevelError(_ALLOWED)
        user, role, selinux_type, level = fields
        low, dash, high = level.partition("-")
        lower = Level.parse(low)
        upper = Level.parse(high) if dash else lower
        return cls(user, role, selinux_type, lower if lower == upper else LevelRange(lower, upper))

    @classmethod
    def object(cls, selinux_type: str, level: Level) -> Context:
        """The context of a file, a directory or any other thing that is used."""
        return cls("system_u", "object_r", selinux_type, level)

    @classmethod
    def process(cls, selinux_type: str, level: Level) -> Context:
        return cls("system_u", "system_r", selinux_type, level)

    @property
    def low(self) -> Level:
        """The level at which it reads and writes."""
        return self.level.low if isinstance(self.level, LevelRange) else self.level

    @property
    def high(self) -> Level:
        """The level up to which a process is cleared."""
        return self.level.high if isinstance(self.level, LevelRange) else self.level

    def __str__(self) -> str:
        return f"{self.user}:{self.role}:{self.type}:{self.level}"
