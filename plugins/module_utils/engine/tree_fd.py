# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptors into a tree whose owner may be hostile: no link is followed, and no mount is entered."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterator
from typing import Union

from ..model.errors import SandboxError
from ..model.values import printable

Identity = tuple[int, int]
Top = Union[str, int]

LEFTOVER = ".vsbx-new-"
"""What the name of an unfinished entry begins with, until it is renamed to what it is to be."""

NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""How the system says that there is nothing at a path, or that the way to it leads through what is no directory."""

READ_AT_ONCE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
"""To open what may be in hostile hands: no fifo and no terminal is waited for, nor a lease, of which a ``BlockingIOError`` tells."""

_PROC = "/proc"

# What statx() says that os.stat() does not: the mount, in the layout that the kernel's interface fixes.
_statx = ctypes.CDLL(None, use_errno=True).statx
_AT_EMPTY_PATH = 0x1000
_STATX_MNT_ID = 0x1000
_STATX_SIZE = 256
_STATX_MASK_AND_MOUNT = struct.Struct("=I140xQ").unpack_from

_WHOLLY_PROTECTED = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys", "/usr")
_PARENTS_OF_PROTECTED = ("/", "/home", "/var", "/var/lib", "/var/lib/libvirt")


class TreeError(SandboxError):
    """A content tree, or an entry of it, that cannot be dealt with."""

    def __init__(self, path: str, reason: str, remedy: str) -> None:
        super().__init__(f"{printable(path)}: {reason}. {remedy}")
        self.path = path
        self.reason = reason


class ProtectedPathError(TreeError):
    """A path that belongs to the host, asked for by mistake."""


class MountError(TreeError):
    """An entry that is on another mount than the tree."""


class Seam:
    """Where a test stands between two system calls: ``at`` is called before each that a hostile owner could race."""

    def at(self, step: str, path: str) -> None:
        """Does nothing, outside a test."""


seam = Seam()


def system_error(path: str, error: OSError, doing: str) -> TreeError:
    """An error of the system as one of ours, with what was being done."""
    return TreeError(path, f"{doing} failed ({error.strerror})", "Resolve the cause and run again.")


def identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def proc_path(fd: int) -> str:
    """The path which leads to exactly what the descriptor holds, be it a link or a device."""
    return f"{_PROC}/self/fd/{fd}"


def mount_id(fd: int) -> int:
    """The mount that a descriptor was opened on; a bind mount of the same filesystem is another one."""
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    if _statx(fd, b"", _AT_EMPTY_PATH, _STATX_MNT_ID, buffer):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    mask, mount = _STATX_MASK_AND_MOUNT(buffer)
    if not mask & _STATX_MNT_ID:
        raise SandboxError("This kernel does not say which mount a file is on. Use Linux 5.8 or later.")
    return int(mount)


def require_proc(fd: int) -> None:
    """Refuse to work where ``/proc`` is absent, or is not the kernel's: changes go through it."""
    remedy = "Mount the kernel's proc there, with nothing on top of it."
    try:
        root, mine, through = os.stat(_PROC), os.stat(f"{_PROC}/self/fd"), os.stat(proc_path(fd))
    except OSError as error:
        raise TreeError(_PROC, f"is not usable ({error.strerror})", remedy) from error
    proc_root_inode = 1
    if root.st_ino != proc_root_inode or mine.st_dev != root.st_dev or identity(through) != identity(os.fstat(fd)):
        raise TreeError(_PROC, "is not the kernel's proc filesystem", remedy)


def components(path: str, relpath: str) -> list[str]:
    """The names of a path within a tree; refuses one that could mean anything else."""
    names = relpath.split("/") if relpath else []
    if any(name in ("", ".", "..") or "\0" in name for name in names):
        raise TreeError(f"{path}/{relpath}", "is not a plain path inside the tree", "Leave out empty names, '.', '..' and NUL.")
    return names


def open_directory(name: str, dir_fd: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)


def open_entry(name: str, dir_fd: int) -> int:
    """Hold an entry, whatever it is, without opening it: no device notices, no fifo blocks, no link is followed."""
    return os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=dir_fd)


def open_path(path: str, visited: list[Identity] | None = None) -> int:
    """Hold the entry at an absolute path none of whose directories is a symbolic link."""
    if not path.startswith("/"):
        raise TreeError(path, "is not an absolute path", "Give the whole path.")
    names = components("", path.strip("/"))
    held = os.open("/", os.O_PATH | os.O_DIRECTORY)
    done = ""
    for name in names:
        if visited is not None:
            visited.append(identity(os.fstat(held)))
        seam.at("component", done or "/")
        try:
            inner = open_entry(name, held)
        except NotADirectoryError as error:
            raise _not_a_directory(path, done, held) from error
        except OSError as error:
            raise system_error(path, error, f"opening {printable(done)}/{printable(name)}") from error
        finally:
            os.close(held)
        held = inner
        done += "/" + name
    if visited is not None:
        visited.append(identity(os.fstat(held)))
    return held


def _not_a_directory(path: str, part: str, held: int) -> TreeError:
    what = "a symbolic link" if stat.S_ISLNK(os.fstat(held).st_mode) else "not a directory"
    return TreeError(path, f"{printable(part)} is {what}", "Give the path of the directory itself.")


def open_top(path: str) -> int:
    """A descriptor of a tree's top directory; refuses what is the host's own, and a path through a symbolic link."""
    _refuse_protected_name(path)
    visited: list[Identity] = []
    held = open_path(path, visited)
    try:
        _refuse_protected_inode(path, visited)
        seam.at("top", path)
        return open_directory(".", held)
    except NotADirectoryError as error:
        raise _not_a_directory(path, path, held) from error
    except OSError as error:
        raise system_error(path, error, "opening it") from error
    finally:
        os.close(held)


def _protected(path: str) -> ProtectedPathError:
    remedy = "Name a directory of the sandbox's own, such as /var/lib/libvirt/filesystems/NAME."
    return ProtectedPathError(path, "belongs to the host", remedy)


def _refuse_protected_name(path: str) -> None:
    names = [name for name in path.split("/") if name]
    plain = "/" + "/".join(names)
    parent = "/" + "/".join(names[:-1])
    if parent in _PARENTS_OF_PROTECTED or any(plain == top or plain.startswith(top + "/") for top in _WHOLLY_PROTECTED):
        raise _protected(path)


def _refuse_protected_inode(path: str, visited: list[Identity]) -> None:
    """The same by inode, for a bind mount gives the host's directories other names."""
    if _identities(_WHOLLY_PROTECTED) & set(visited) or _identities(_PARENTS_OF_PROTECTED) & set(visited[-2:]):
        raise _protected(path)


def _identities(paths: tuple[str, ...]) -> set[Identity]:
    identities = set()
    for path in paths:
        with contextlib.suppress(OSError):
            identities.add(identity(os.stat(path)))
    return identities


class Tree:
    """An opened tree: its top, and the mount that tells an entry of it from one of elsewhere.

    The mount is what counts: two filesystems are two mounts, and so are two views of one filesystem.
    """

    def __init__(self, fd: int, path: str) -> None:
        require_proc(fd)
        self.fd = fd
        self.path = path
        self.mount = mount_id(fd)

    def full(self, relpath: str) -> str:
        return f"{self.path}/{relpath}" if relpath else self.path

    def require_inside(self, fd: int, relpath: str) -> None:
        seam.at("mount", relpath)
        if mount_id(fd) != self.mount:
            raise MountError(self.full(relpath), "is another mount", "Unmount it, or leave it out.")

    def directory(self, name: str, dir_fd: int, relpath: str) -> int:
        """Open a directory by its name in an opened one."""
        seam.at("open-directory", relpath)
        fd = open_directory(name, dir_fd)
        try:
            self.require_inside(fd, relpath)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def entry(self, name: str, dir_fd: int, relpath: str) -> int:
        """Hold an entry by its name in an opened directory."""
        seam.at("open", relpath)
        fd = open_entry(name, dir_fd)
        try:
            self.require_inside(fd, relpath)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def directory_at(self, relpath: str) -> int:
        """Open a directory by its path from the top, one name after the other."""
        held = os.dup(self.fd)
        done = ""
        for name in components(self.path, relpath):
            done = f"{done}/{name}" if done else name
            try:
                inner = self.directory(name, held, done)
            finally:
                os.close(held)
            held = inner
        return held

    def find(self, relpath: str) -> int:
        """Hold an entry by its path from the top, and leave it to the system's error to say what is not there."""
        names = components(self.path, relpath)
        if not names:
            return os.dup(self.fd)
        with closing(self.directory_at(relpath.rpartition("/")[0])) as dir_fd:
            return self.entry(names[-1], dir_fd, relpath)

    def status(self, relpath: str) -> os.stat_result | None:
        """What is at a path; none where there is nothing, or no way to it."""
        try:
            with closing(self.find(relpath)) as fd:
                return os.fstat(fd)
        except OSError as error:
            if error.errno in NOT_THERE:
                return None
            raise system_error(self.full(relpath), error, "opening it") from error

    @contextlib.contextmanager
    def parent(self, relpath: str) -> Iterator[tuple[int, str]]:
        """The opened directory that an entry is in, or is to be made in, and its name there."""
        if not components(self.path, relpath):
            raise TreeError(self.path, "is the top of the tree itself", "Name an entry inside it.")
        where, _slash, name = relpath.rpartition("/")
        try:
            fd = self.directory_at(where)
        except FileNotFoundError as error:
            raise TreeError(self.full(where), "does not exist", "Create this directory first.") from error
        except OSError as error:
            if error.errno in NOT_THERE:
                raise TreeError(
                    self.full(relpath),
                    f"{printable(where)} is not a directory, or leads through something that is not one",
                    "Nothing is written through a link. Remove it, or name another path.",
                ) from error
            raise system_error(self.full(where), error, "opening it") from error
        try:
            yield fd, name
        finally:
            os.close(fd)


@contextlib.contextmanager
def opened(top: Top) -> Iterator[Tree]:
    """A tree by its path, or by a descriptor from ``open_top``, which stays open."""
    if isinstance(top, int):
        path, fd = os.readlink(proc_path(top)), os.dup(top)
    else:
        path, fd = top.rstrip("/"), open_top(top)
    try:
        yield Tree(fd, path)
    except OSError as error:
        raise system_error(path, error, "working in it") from error
    finally:
        os.close(fd)


@contextlib.contextmanager
def closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)
