# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the host: made beside their place and renamed, so that each is whole or not there."""

from __future__ import annotations

import contextlib
import os
from typing import Any


def write_file(path: str, text: str, mode: int, label: bytes | None = None, **_ignored: Any) -> None:
    """A file of the host, whole or not at all; with a label of its own where the directory's would be another."""
    directory, name = os.path.split(path)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    temporary = os.path.join(directory, f".{name}.virt-sandbox-new")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # an interrupted run's
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fchmod(descriptor, mode)
        if label is not None:
            os.setxattr(descriptor, "security.selinux", label)
        os.fsync(descriptor)
    os.rename(temporary, path)


def unlink(path: str, **_ignored: Any) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def link(path: str, target: str, **_ignored: Any) -> None:
    """A symbolic link of the host, in place of another one."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.virt-sandbox-new")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # an interrupted run's
    os.symlink(target, temporary)
    os.rename(temporary, path)
