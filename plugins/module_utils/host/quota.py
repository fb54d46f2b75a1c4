# SPDX-License-Identifier: GPL-3.0-or-later
"""Project quotas of ext4 and XFS, by the kernel's own calls: the same ones for both, which its tools use too.

Sources: quotactl(2), ioctl_fs(2), linux/dqblk_xfs.h, linux/fs.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import fcntl
import functools
import os
import re
import struct
from collections.abc import Iterator

from ..model.disk import FIRST_PROJECT, Limits, Volume

# quotactl_fd(2), the same on all architectures, since Linux 5.14
_QUOTACTL_FD = 443
_PROJECTS = 2
_PROJECTS_OF_OURS = 1 << 20
_Q_GETQUOTA, _Q_SETQUOTA, _Q_XGETQSTAT = 0x800007, 0x800008, 0x5805
_ENFORCED = 1 << 5
# limits of blocks (hard, soft), bytes used, limits of inodes (hard, soft), inodes used, two times of grace, what is valid
_QUOTA = struct.Struct("=8QI4x")
_LIMITS_VALID = 1 | 4
_BLOCK = 1024
_STATE_SIZE = 160
# flags, two figures of XFS, the project
_GET_ATTRIBUTES, _SET_ATTRIBUTES = 0x801C581F, 0x401C5820
_ATTRIBUTES = struct.Struct("=4I12x")
_INHERIT = 0x200
# what says that a file system or the kernel has none of this
_NONE = (errno.ESRCH, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOENT, errno.EPERM)
# how mountinfo writes a space in a path
_ESCAPED = re.compile(r"\\([0-7]{3})")
_library = ctypes.CDLL(None, use_errno=True)


def look(directory: str, root: str) -> Volume:
    """The file system of a directory, and what it counts of the content at ``root`` in it, if there is any."""
    with _opened(os.path.realpath(_existing(directory))) as fd:
        place, kind = _mount(os.path.realpath(f"/proc/self/fd/{fd}"))
        status = os.fstatvfs(fd)
        volume = Volume(place, kind, _enforces(fd), _inherited(fd), Limits(status.f_blocks * status.f_frsize, status.f_files))
        project = project_of(root) if volume.enforces else 0
        return _counted(volume, fd, project) if project else volume


def used(root: str) -> tuple[Limits, Limits]:
    """The limits of content, and what it takes of them; that of an image is its file system."""
    if os.path.ismount(root):
        status = os.statvfs(root)
        free = Limits(status.f_bfree * status.f_frsize, status.f_ffree)
        size = Limits(status.f_blocks * status.f_frsize, status.f_files)
        return size, Limits(size.disk - free.disk, size.inodes - free.inodes)
    volume = look(os.path.dirname(root), root)
    return volume.limits, volume.used


def begin(directory: str, limits: Limits) -> None:
    """Have all that is made in an empty directory belong to a new project, which has limits from the first file on."""
    project = new_project(directory, limits)
    with _opened(directory) as fd:
        assign(fd, project)


def new_project(directory: str, limits: Limits) -> int:
    """The number of a project that has nothing yet, with limits."""
    with _opened(directory) as fd:
        project = next(number for number in range(FIRST_PROJECT, FIRST_PROJECT + _PROJECTS_OF_OURS) if not any(_uses(_read(fd, number))))
        _limit(fd, project, limits)
    return project


def change(root: str, limits: Limits) -> None:
    """Other limits for content that is counted."""
    with _opened(root) as fd:
        _limit(fd, _project(fd), limits)


def forget(directory: str, project: int) -> None:
    """Take the limits of content that is gone from the file system of the directory that it was in."""
    if project:
        with _opened(directory) as fd:
            _limit(fd, project, Limits())


def _limit(fd: int, project: int, limits: Limits) -> None:
    blocks = -(-limits.disk // _BLOCK)
    _quotactl(fd, _Q_SETQUOTA, project, _buffer(_QUOTA.pack(blocks, 0, 0, limits.inodes, 0, 0, 0, 0, _LIMITS_VALID)))


def assign(fd: int, project: int) -> None:
    """Have a file belong to a project; with a directory, all that is made in it from now on."""
    flags, extent, extents, _project_before = _attributes(fd)
    inherit = _INHERIT if os.path.isdir(f"/proc/self/fd/{fd}") else 0
    fcntl.ioctl(fd, _SET_ATTRIBUTES, _ATTRIBUTES.pack(flags | inherit, extent, extents, project))


def project_of(root: str) -> int:
    """The project of ours that content belongs to; 0 where there is none."""
    try:
        with _opened(root) as fd:
            return _project(fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return 0
        raise


def _project(fd: int) -> int:
    project = _inherited(fd)
    return project if project >= FIRST_PROJECT else 0


def _inherited(fd: int) -> int:
    """The project that everything made in a directory belongs to; 0 where there is none."""
    try:
        flags, _extent, _extents, project = _attributes(fd)
    except OSError as error:
        if error.errno in _NONE:
            return 0
        raise
    return project if flags & _INHERIT else 0


def _attributes(fd: int) -> tuple[int, ...]:
    return _ATTRIBUTES.unpack(fcntl.ioctl(fd, _GET_ATTRIBUTES, bytes(_ATTRIBUTES.size)))


def _counted(volume: Volume, fd: int, project: int) -> Volume:
    quota = _read(fd, project)
    return dataclasses.replace(volume, project=project, limits=Limits(quota[0] * _BLOCK, quota[3]), used=Limits(*_uses(quota)))


def _uses(quota: tuple[int, ...]) -> tuple[int, int]:
    return quota[2], quota[5]


def _read(fd: int, project: int) -> tuple[int, ...]:
    buffer = _buffer(bytes(_QUOTA.size))
    try:
        _quotactl(fd, _Q_GETQUOTA, project, buffer)
    except OSError as error:
        if error.errno != errno.ENOENT:  # XFS knows nothing of a project that has nothing
            raise
    return _QUOTA.unpack(buffer.raw[: _QUOTA.size])


def _enforces(fd: int) -> bool:
    """Whether the file system of a descriptor enforces limits of projects, now."""
    buffer = _buffer(bytes(_STATE_SIZE))
    try:
        _quotactl(fd, _Q_XGETQSTAT, 0, buffer)
    except OSError as error:
        if error.errno in _NONE:
            return False
        raise
    return bool(struct.unpack_from("=H", buffer, 2)[0] & _ENFORCED)


def _quotactl(fd: int, command: int, project: int, buffer: ctypes.Array[ctypes.c_char]) -> None:
    arguments = (ctypes.c_long(_QUOTACTL_FD), ctypes.c_uint(fd), ctypes.c_uint(command << 8 | _PROJECTS), ctypes.c_uint(project), buffer)
    if _library.syscall(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "quotactl")


def _buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, len(data))


@contextlib.contextmanager
def _opened(directory: str) -> Iterator[int]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _existing(path: str) -> str:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


@functools.cache
def _mount(path: str) -> tuple[str, str]:
    """Where the file system of a path is mounted, and of which kind it is. Each sandbox that runs has many mounts: read once for a run."""
    best = ("", "")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            words = line.split()
            place = _ESCAPED.sub(lambda match: chr(int(match.group(1), 8)), words[4])
            if len(place) >= len(best[0]) and os.path.commonpath([place, path]) == place:
                best = place, words[words.index("-") + 1]
    return best
