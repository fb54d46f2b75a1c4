# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the content of a sandbox is kept: each way checks what it can take, and plans what makes the content available."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from . import image
from .content_steps import GrowImage, MountImage, UnmountImage
from .errors import OptionError
from .plan import Step
from .spec import ContentSpec
from .steps import ReloadSystemd, RemoveFile, WriteFile


@dataclasses.dataclass(frozen=True)
class Stored:
    """What is kept of a sandbox's content, and how."""

    method: str = "directory"
    exists: bool = False
    readable: bool = True  # whether it can be looked into
    size: int = 0  # of the file system that it has for itself
    mounted: bool = False
    enabled: bool = False  # whether it is mounted at boot
    unit_text: str | None = None


class Backend(Protocol):
    """One way to keep content."""

    def check(self, spec: ContentSpec, stored: Stored, needed: int) -> None:
        """Refuse, before anything changes, what it cannot do; ``needed``: bytes of the content that is to be made."""

    def described(self, spec: ContentSpec) -> dict[str, Any]:
        """What it adds to the description of content that is to be made."""

    def plan_available(self, spec: ContentSpec, stored: Stored) -> list[Step]:
        """The steps after which the content that is there, or has just been made, can be used."""

    def plan_absent(self, spec: ContentSpec, stored: Stored) -> list[Step]:
        """The steps before the content is removed."""


class Directory:
    """A directory of the host's file system."""

    def check(self, spec: ContentSpec, stored: Stored, needed: int) -> None:
        """A directory takes everything."""

    def described(self, spec: ContentSpec) -> dict[str, Any]:
        return {}

    def plan_available(self, spec: ContentSpec, stored: Stored) -> list[Step]:
        return []

    def plan_absent(self, spec: ContentSpec, stored: Stored) -> list[Step]:
        return []


class Image:
    """An ext4 file system in a file, mounted by a unit of the host."""

    def check(self, spec: ContentSpec, stored: Stored, needed: int) -> None:
        name, size = spec.name, spec.size
        if size is None:
            if not stored.exists:
                raise OptionError.said("size", None, "required when an image is created. Set a size such as 512M.")
            return
        if stored.exists and size < stored.size:
            raise OptionError("size", size, f"at least {stored.size} bytes, the size of the image of {name}", "An image only grows.")
        if not stored.exists and needed > image.capacity(size):
            raise OptionError("size", size, f"at least {image.size_for(needed)}M for the {needed} bytes of content of {name}")

    def described(self, spec: ContentSpec) -> dict[str, Any]:
        return {"method": spec.method, "size": spec.size}

    def plan_available(self, spec: ContentSpec, stored: Stored) -> list[Step]:
        steps: list[Step] = []
        text = image.mount_unit(spec.paths)
        if stored.unit_text != text:
            steps += [
                WriteFile(spec.name, "the mount unit", spec.paths.mount_path, text, before=stored.unit_text),
                ReloadSystemd(spec.name),
            ]
        if not (stored.mounted and stored.enabled):
            steps.append(MountImage(spec.name, spec, "not mounted at boot" if stored.mounted else "not mounted"))
        # a last group of blocks that is too small for its own tables stays unused
        if stored.size and spec.size is not None and spec.size - stored.size >= image.UNUSED:
            steps.append(GrowImage(spec.name, spec, stored.size, spec.size))
        return steps

    def plan_absent(self, spec: ContentSpec, stored: Stored) -> list[Step]:
        if stored.unit_text is None:
            return []
        return [
            UnmountImage(spec.name, spec.paths.mount, stored.mounted),
            RemoveFile(spec.name, "the mount unit", spec.paths.mount_path, stored.unit_text),
            ReloadSystemd(spec.name),
        ]


BACKENDS: dict[str, Backend] = {"directory": Directory(), image.METHOD: Image()}
