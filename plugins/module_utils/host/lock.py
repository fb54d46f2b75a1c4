# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time on a host: a lock that ends with the process that holds it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator

from ..model import layout
from ..model.errors import SandboxError

PATH = f"{layout.RUN}/.lock"


@contextlib.contextmanager
def held(path: str = PATH, patience: float = 1800) -> Iterator[float]:
    """Hold the lock; the seconds that were waited for it are given. Raises ``SandboxError`` when patience, in seconds, is over."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        began = time.monotonic()
        while not _taken(descriptor):
            if time.monotonic() - began > patience:
                raise SandboxError(f"Another run has held {path} for {patience:g} s. Wait for it to end, or end it.")
            time.sleep(0.1)
        yield time.monotonic() - began
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        # no child has it too, and root inside can keep one from ending
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True
