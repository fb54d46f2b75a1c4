# SPDX-License-Identifier: GPL-3.0-or-later
"""Where content is kept, on this host: each way looks at what is there, and makes a place that is whole or not there at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import Callable, Protocol

from ..host import image, systemd
from ..model.backend import Stored
from ..model.errors import OptionError, SandboxError
from ..model.image import METHOD
from ..model.layout import Layout
from ..model.spec import ContentSpec
from . import tree
from .files import unlink


class Store(Protocol):
    """One way to keep content, as ``model.backend`` has it."""

    bounded: bool
    """Whether it has a size, for which the content must be measured."""

    def observe(self, paths: Layout) -> Stored | None:
        """What is there of it; nothing where the content is kept in another way, or not at all."""

    def build(self, spec: ContentSpec, fill: Callable[[str], None]) -> None:
        """Have content filled in beside its place, and move it there when it is whole."""


class DirectoryStore:
    """A directory of the host's file system."""

    bounded = False

    def observe(self, paths: Layout) -> Stored | None:
        return Stored(exists=True) if os.path.lexists(paths.root) else None

    def build(self, spec: ContentSpec, fill: Callable[[str], None]) -> None:
        _begin(spec.paths.building)
        fill(spec.paths.building)
        os.rename(spec.paths.building, spec.paths.root)


class ImageStore:
    """An ext4 file system in a file, mounted by a unit of the host."""

    bounded = True

    def observe(self, paths: Layout) -> Stored | None:
        text = systemd.read(paths.mount_path)
        exists = os.path.lexists(paths.image)
        if text is None and not exists:
            return None
        enabled = systemd.show([paths.mount])[paths.mount].get("UnitFileState") == "enabled"
        mounted = os.path.ismount(paths.root)
        return Stored(METHOD, exists, mounted, image.size_of(paths.image) if exists else 0, mounted, enabled, text)

    def build(self, spec: ContentSpec, fill: Callable[[str], None]) -> None:
        """Nothing is left of an image that is too small."""
        paths, size = spec.paths, spec.size or 0
        remove([paths.building, paths.building_image])
        _begin(paths.building)
        try:
            image.make(paths.building_image, size)
            image.mount(paths.building_image, paths.building)
            try:
                fill(paths.building)
            except (SandboxError, OSError) as error:
                if _no_space(error):
                    raise OptionError(
                        "size", size, "a size that the content fits in", "The image was full before all was written."
                    ) from error
                raise
            image.unmount(paths.building)
            os.rmdir(paths.building)
        except BaseException:
            remove([paths.building, paths.building_image])
            raise
        os.rename(paths.building_image, paths.image)
        os.makedirs(paths.root, mode=0o700, exist_ok=True)


# an image is mounted where a directory would be
STORES: dict[str, Store] = {METHOD: ImageStore(), "directory": DirectoryStore()}


def observe(paths: Layout) -> Stored:
    """How the content is kept, if there is any."""
    return next((stored for store in STORES.values() if (stored := store.observe(paths))), Stored())


def remove(paths: Iterable[str]) -> None:
    """Trees, and images with what is mounted of them."""
    for path in paths:
        if os.path.lexists(f"{path}.img"):
            image.unmount(path)
        if os.path.isdir(path) and not os.path.islink(path):
            tree.remove_tree(path)
        else:
            unlink(path)


def _no_space(error: BaseException | None) -> bool:
    while error is not None and getattr(error, "errno", None) != errno.ENOSPC:
        error = error.__cause__ or error.__context__
    return error is not None


def _begin(building: str) -> None:
    """An empty place, whatever an interrupted run has left there."""
    remove([building])
    os.makedirs(os.path.dirname(building), mode=0o700, exist_ok=True)
    os.mkdir(building, 0o700)
