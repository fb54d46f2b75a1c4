# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: ext4 file systems in files, and their mounts."""

from __future__ import annotations

import os
import struct

from ..model.errors import SandboxError
from ..model.image import BLOCK, BYTES_PER_INODE, journal_size
from . import selinux
from .command import run

# what the policy lets "mount" read
_CONTEXT = "system_u:object_r:mount_loopback_t:s0"
# of the superblock: its place, and in it the number of blocks, their size, the number's upper half
_SUPERBLOCK, _LENGTH = 1024, 1024
_BLOCKS, _LOG_SIZE, _BLOCKS_HIGH, _MAGIC = 4, 24, 0x150, 0x38


def make(path: str, size: int) -> None:
    """A file with an empty file system, which takes space as it is filled."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, size)
        if selinux.knows(_CONTEXT):
            os.setxattr(fd, "security.selinux", _CONTEXT.encode())
    finally:
        os.close(fd)
    journal = f"size={journal_size(size) >> 20}"
    run(["mkfs.ext4", "-q", "-F", "-b", str(BLOCK), "-i", str(BYTES_PER_INODE), "-m", "0", "-J", journal, "--", path])


def mount(path: str, directory: str) -> None:
    run(["mount", "-t", "ext4", "-o", "loop,nodev", "--", path, directory])
    # a repair makes it anew where it needs it
    os.rmdir(os.path.join(directory, "lost+found"))


def unmount(directory: str) -> None:
    if os.path.ismount(directory):
        run(["umount", "--", directory])


def grow(path: str, directory: str, size: int) -> None:
    """Make a mounted file system larger; again where an interrupted run left it halfway."""
    if os.path.getsize(path) < size:
        os.truncate(path, size)
    device = run(["findmnt", "--noheadings", "--output", "SOURCE", "--mountpoint", directory]).strip()
    run(["losetup", "--set-capacity", device])
    run(["resize2fs", device])
    run(["sync", "--file-system", directory])


def size_of(path: str) -> int:
    """The bytes of the file system in an image; 0 where there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(_SUPERBLOCK)
            block = file.read(_LENGTH)
    except OSError as error:
        raise SandboxError(f"{path} cannot be read: {error.strerror}") from error
    if len(block) < _LENGTH or struct.unpack_from("<H", block, _MAGIC)[0] != 0xEF53:
        return 0
    count = struct.unpack_from("<I", block, _BLOCKS)[0] + (struct.unpack_from("<I", block, _BLOCKS_HIGH)[0] << 32)
    return int(count * (1024 << struct.unpack_from("<I", block, _LOG_SIZE)[0]))
