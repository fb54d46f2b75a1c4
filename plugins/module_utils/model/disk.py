# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sandbox may keep on its host's disk: the limits of a project of the file system, to which all of its content belongs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from .errors import ContentError, OptionError, SandboxError
from .values import UNLIMITED, percentage, size_from, whole

if TYPE_CHECKING:
    from .spec import ContentSpec

FIRST_PROJECT = 0x76620000
"""The numbers of our projects begin here, above those that people choose."""

# the kernel counts disk space in these
_UNIT = 1024
# kind of a file system -> how it comes to enforce project quotas
_ENABLED = {
    "ext4": "Enable them while it is not mounted: first tune2fs -O project -Q prjquota, then the mount option prjquota.",
    "xfs": "Mount it anew with the option prjquota.",
}
# content of which a play says nothing
_SHARE = 50
# in less than this not even the content of an empty sandbox fits
DISK = size_from(32 << 20, "a size from 32M, such as 10G")
INODES = whole("a number of files and directories", 2000, 1 << 40)


@dataclasses.dataclass(frozen=True)
class Limits:
    """The most that content takes: bytes, and inodes; 0 is no limit."""

    disk: int = 0
    inodes: int = 0

    def shown(self) -> dict[str, int | str]:
        """The limits for a reader."""
        return {"disk": self.disk or UNLIMITED, "inodes": self.inodes or UNLIMITED}


@dataclasses.dataclass(frozen=True)
class Volume:
    """The file system of a sandbox's content, and what it counts of that."""

    place: str = "/"  # where it is mounted
    kind: str = "ext4"
    enforces: bool = False  # limits of projects
    inherited: int = 0  # the project that everything in the directory of the content belongs to, content or not
    size: Limits = Limits()  # what it has in all
    project: int = 0  # that of the content; 0 is none of ours
    limits: Limits = Limits()
    used: Limits = Limits()


def check_options(spec: ContentSpec) -> None:
    """An image has its size."""
    for name in ("disk", "inodes"):
        if spec.method != "directory" and getattr(spec, name) not in (None, UNLIMITED):
            raise OptionError.said(name, getattr(spec, name), "only valid when method is directory. The size of an image bounds it.")


def wanted(spec: ContentSpec, volume: Volume, exists: bool) -> Limits:
    """The limits that the content is to have. Without a declaration it keeps those that it has, and an image has none but its size."""
    if exists:
        unset = volume.limits
    elif spec.method == "directory" and can(volume):
        unset = Limits(_share(_SHARE, volume.size.disk), volume.size.inodes * _SHARE // 100)
    else:
        unset = Limits()
    disk, inodes = unset.disk, unset.inodes
    if spec.disk is not None:
        share = percentage(spec.disk)
        disk = _share(share, volume.size.disk) if share else _number(spec.disk) // _UNIT * _UNIT
    if spec.inodes is not None:
        inodes = _number(spec.inodes)
    return Limits(disk, inodes)


def _share(share: int, whole_disk: int) -> int:
    return whole_disk * share // 100 // _UNIT * _UNIT


def _number(value: int | str) -> int:
    return value if isinstance(value, int) else 0


def is_declared(spec: ContentSpec) -> bool:
    """Whether a play limits the content."""
    return not {spec.disk, spec.inodes} <= {None, UNLIMITED}


def check(spec: ContentSpec, volume: Volume, exists: bool, running: bool, needed: Limits) -> None:
    """Refuse, before anything changes, limits that nothing would enforce, and those that the content exceeds; ``needed``: what it takes."""
    limits = wanted(spec, volume, exists)
    for name in ("disk", "inodes"):
        declared, limit = getattr(spec, name), getattr(limits, name)
        if declared in (None, UNLIMITED):
            continue
        if not can(volume):
            raise OptionError.said(name, declared, f"not possible in {spec.path}. {why_not(volume)}")
        least = getattr(volume.used if exists and volume.project else needed, name)
        if limit < least:
            error = ContentError if exists else OptionError
            raise error(name, declared, f"at least {least}, which the content of {spec.name} takes")
    if exists and running and not volume.project and limits != volume.limits:
        name = "inodes" if spec.disk in (None, UNLIMITED) else "disk"
        raise OptionError.said(
            name, getattr(spec, name), f"{spec.name} has no limit yet, and gets its first one while it is stopped. Stop the sandbox first."
        )


def is_unbounded(spec: ContentSpec, volume: Volume) -> bool:
    """Whether content would be made without a limit of its disk space that nobody has declared to have none."""
    return spec.method == "directory" and spec.disk is None and not can(volume)


def require_room(limits: Limits, taken: Limits) -> None:
    """Refuse limits below what content takes."""
    for name in ("disk", "inodes"):
        if 0 < getattr(limits, name) < getattr(taken, name):
            raise SandboxError(f"{name}: expected at least {getattr(taken, name)}, which the content takes.")


def can(volume: Volume) -> bool:
    """Whether content there can have a project of its own."""
    return volume.enforces and not volume.inherited


def why_not(volume: Volume) -> str:
    """Why nothing bounds content, and how that is mended, in whole sentences."""
    if volume.enforces:
        what = f"Everything there belongs to project {volume.inherited} of the file system at {volume.place} already. Use another path."
    else:
        what = f"The file system at {volume.place} ({volume.kind}) enforces no project quotas."
        what += f" {_ENABLED.get(volume.kind, 'ext4 and XFS can.')} See docs/guides/disk.md."
    return f"{what} Or use method: image."
