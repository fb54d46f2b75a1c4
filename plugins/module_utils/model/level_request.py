# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task asks of a registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .mcs import POLICY_RANGE, CategoryRange, Level
from .options import build, option
from .spec import REGISTRY
from .spec import name as sandbox_name

MOST_CATEGORIES = 8


def _levels(values: list[str]) -> list[Level]:
    return [Level.for_sandbox(value) for value in values]


def _size(value: int) -> int:
    if not 1 <= value <= MOST_CATEGORIES:
        raise ValueError(f"1 to {MOST_CATEGORIES}")
    return value


@dataclasses.dataclass(frozen=True)
class OwnerOptions:
    """What ``mcs_label`` is asked for one owner."""

    name: str = option("", required=True, normal=sandbox_name, help="Name of the sandbox that owns the level.")
    state: str = option("present", choices=("present", "absent"), help="""
        V(present) makes sure that the owner has a level.

        V(absent) releases the level of the owner into quarantine.
        """)  # fmt: skip
    level: Level = option(normal=Level.for_sandbox, unset=Level(), help="""
        Exactly this level, such as V(s0:c1,c2), in any spelling that the kernel takes.

        A level without categories, with all of them, or with a pair of equal ones is rejected, and so is a level that is not
        separate from that of another owner or of something else on the host. The error names who is in the way.

        It may have another number of categories than O(category_count), and need not be within O(category_range).

        Without it, the owner keeps the level it has, or is given a free one.
        """)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RegistryOptions:
    """Which registry, and from which categories it gives levels."""

    category_count: int | None = option(type="int", normal=_size, help=f"""
        The number of categories of an allocated level, from 1 to {MOST_CATEGORIES}. It is the same for all levels of a registry.

        Defaults to the number that the registry has, and to 2 for a registry that has allocated no level yet.
        """)  # fmt: skip
    category_range: CategoryRange = option(str(POLICY_RANGE), normal=CategoryRange.parse, help="""
        The categories from which levels are allocated.

        A later run may name another range. Owners keep the levels they have.
        """)  # fmt: skip
    registry: str = option(REGISTRY, help="""
        Where the levels are recorded, as a URL. V(sqlite:////var/lib/virt-sandbox/labels.db) is a file on the host.

        The file and its directory are created, the directories above it are not. A file that users other than root can change
        or replace is rejected, and so is one that was truncated.

        V(yaml:////srv/infra/levels.lock.yml) is a file on the controller, and V(postgresql://levels@db.example.org/levels) a
        database that the controller reaches, without a password. Several hosts can share these. Owners are C(HOST/NAME) there,
        with the host's name in the inventory. What is decided is recorded on the host as well, in its default registry.
        """)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class InfoOptions:
    """Which registry, and what ``mcs_label_info`` looks for."""

    category_range: CategoryRange = option(
        str(POLICY_RANGE), normal=CategoryRange.parse, help="The categories for which RV(free) is counted.",
    )  # fmt: skip
    registry: str = option(REGISTRY, help="Where the levels are recorded, see O(virt.sandbox.mcs_label#module:registry).")
    search: tuple[Level, ...] = option(
        [], type="list", elements="str", normal=_levels,
        help="Levels to look for in the content of sandboxes, besides those in quarantine.",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Request:
    """What is wanted for one owner: a level of its own, that one level exactly, or none."""

    owner: str
    present: bool = True
    level: Level | None = None


def host_of(owner: str) -> str:
    """The host of an owner in a registry that hosts share, ``HOST/NAME``; nothing in a host's own."""
    return owner.rpartition("/")[0]


def request_of(item: Mapping[str, Any]) -> Request:
    """The request for one owner, from a module's parameters for it."""
    owner = build(OwnerOptions, item)
    return Request(owner.name, owner.state == "present", owner.level or None)
