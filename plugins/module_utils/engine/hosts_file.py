# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's ``/etc/hosts``, read, and changed by one run after the other."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator

from ..model.errors import SandboxError
from ..model.hosts_file import with_sandbox
from .files import rewrite

PATH = "/etc/hosts"
LOCK = "/run/virt-sandbox/.hosts"


def read(path: str = PATH) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SandboxError(f"{path} cannot be read: {error.strerror}") from error


def write(name: str, addresses: Iterable[str], path: str = PATH, lock: str = LOCK) -> None:
    """Have these addresses, and no others, for a sandbox."""
    with _locked(lock):
        rewrite(path, with_sandbox(read(path), name, addresses))


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Two plays on one host write one after the other."""
    os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
