# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandboxes' lines in the host's ``/etc/hosts``; every other line stays as it is."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator

from .files import write_file

PATH = "/etc/hosts"
LOCK = "/run/virt-sandbox/.hosts"
_MARK = "# virt.sandbox"
_LABEL = "security.selinux"


def read(path: str = PATH) -> dict[str, list[str]]:
    """The addresses of each sandbox that the file names."""
    found: dict[str, list[str]] = {}
    for line in _lines(path):
        name = _ours(line)
        if name:
            found.setdefault(name, []).append(line.split()[0])
    return found


def write(name: str, addresses: Iterable[str], path: str = PATH, lock: str = LOCK) -> None:
    """Have these addresses, and no others, for a sandbox."""
    with _locked(lock):
        kept = [line for line in _lines(path) if _ours(line) != name]
        text = "".join(line + "\n" for line in [*kept, *(f"{address}\t{name}\t{_MARK}" for address in addresses)])
        label = _label(path)
        write_file(path, text, os.stat(path).st_mode & 0o777 if os.path.exists(path) else 0o644, label=label)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def _ours(line: str) -> str:
    """The sandbox that a line of ours names."""
    words = line.split()
    return words[1] if line.endswith(_MARK) and len(words) == len(_MARK.split()) + 2 else ""


def _label(path: str) -> bytes | None:
    with contextlib.suppress(OSError):
        return os.getxattr(path, _LABEL)
    return None


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
