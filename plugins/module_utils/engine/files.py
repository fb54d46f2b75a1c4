# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the host: made beside their place and renamed, so that each is whole or not there."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import time
from collections.abc import Iterator
from typing import BinaryIO

# what the names of files end with that are to replace another, and seconds after which such a file is of a run that was killed
_NEW = ".virt-sandbox-new"
_ABANDONED = 3600
# the attributes that a file has besides owner and mode
_KEPT = frozenset({"security.selinux", "system.posix_acl_access"})


def write_file(path: str, text: str, mode: int) -> None:
    """A file of the host, whole or not at all."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with _replacing(path) as temporary, _new_file(temporary) as file:
        os.fchmod(file.fileno(), mode)
        file.write(text.encode("utf-8", "surrogateescape"))


def rewrite(path: str, data: bytes) -> None:
    """New content for a file that is not ours: owner, mode and labels stay, and so does a link that leads to it."""
    path = os.path.realpath(path)
    with _replacing(path) as temporary, _new_file(temporary) as file:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            os.fchmod(file.fileno(), 0o644)
        else:
            os.fchown(file.fileno(), status.st_uid, status.st_gid)
            os.fchmod(file.fileno(), status.st_mode & 0o7777)
            _copy_attributes(path, file.fileno())
        file.write(data)


def _copy_attributes(path: str, descriptor: int) -> None:
    for name in _KEPT.intersection(os.listxattr(path)):
        os.setxattr(descriptor, name, os.getxattr(path, name))


@contextlib.contextmanager
def _new_file(path: str) -> Iterator[BinaryIO]:
    """A file that nobody else may open yet, on the disk at the end."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _replacing(path: str) -> Iterator[str]:
    """A name of this run's own beside the path; what is made there takes its place at the end, or goes if it comes to no end."""
    directory, name = os.path.split(path)
    _clean(directory, name)
    temporary = os.path.join(directory, f".{name}.{secrets.token_hex(8)}{_NEW}")
    try:
        yield temporary
        os.rename(temporary, path)
    except BaseException:
        unlink(temporary)
        raise


def _clean(directory: str, name: str) -> None:
    """Remove what killed runs left; a file that is still being written is younger."""
    for left in glob.glob(f"{glob.escape(os.path.join(directory, '.' + name))}.*{_NEW[1:]}"):
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(left).st_mtime < time.time() - _ABANDONED:
                os.unlink(left)


def unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def link(path: str, target: str) -> None:
    """A symbolic link of the host, in place of another one."""
    with _replacing(path) as temporary:
        os.symlink(target, temporary)
