# SPDX-License-Identifier: GPL-3.0-or-later
"""Single entries of a tree: made under a temporary name and renamed, read without being blocked."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator

from ..model.errors import ConflictError
from ..model.values import printable
from .tree_fd import (
    LEFTOVER,
    NOT_THERE,
    READ_AT_ONCE,
    Top,
    Tree,
    TreeError,
    closing,
    components,
    opened,
    proc_path,
    seam,
    system_error,
)
from .tree_label import get_label, kind_of, set_label
from .tree_remove import remove_entry

_INHERITED = ("system.posix_acl_access", "system.posix_acl_default")


class ExchangedError(TreeError):
    """An entry that whoever owns the tree took away or exchanged while it was being made."""


def temporary_name() -> str:
    return LEFTOVER + secrets.token_hex(8)


def drop_inherited_acl(target: int | str) -> None:
    """A new entry takes the access list that its directory's owner chose for it; it is to have its own."""
    for name in _INHERITED:
        try:
            os.removexattr(target, name)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOTSUP):
                raise


def make_regular(tree: Tree, dir_fd: int, name: str, relpath: str, context: str) -> int:
    """Make a file that nobody may open yet, and give it its context before it has any content."""
    seam.at("make", relpath)
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0, dir_fd=dir_fd)
    try:
        set_label(fd, context, tree.full(relpath), relpath)
    except BaseException:
        os.close(fd)
        raise
    return fd


def make_directory(tree: Tree, dir_fd: int, name: str, relpath: str, context: str) -> int:
    """Make a directory that only root may enter yet, and open it."""
    seam.at("make", relpath)
    os.mkdir(name, 0o700, dir_fd=dir_fd)
    try:
        fd = tree.directory(name, dir_fd, relpath)
    except OSError as error:
        raise _exchanged(tree, relpath) from error
    try:
        set_label(fd, context, tree.full(relpath), relpath)
    except BaseException:
        os.close(fd)
        raise
    return fd


def make_other(tree: Tree, dir_fd: int, name: str, relpath: str, context: str, target: str | None) -> int:
    """Make a symbolic link, or a fifo where there is no target, and hold it."""
    seam.at("make", relpath)
    if target is None:
        os.mkfifo(name, 0, dir_fd=dir_fd)
    else:
        os.symlink(target, name, dir_fd=dir_fd)
    try:
        fd = tree.entry(name, dir_fd, relpath)
    except OSError as error:
        raise _exchanged(tree, relpath) from error
    try:
        status = os.fstat(fd)
        kind = stat.S_IFIFO if target is None else stat.S_IFLNK
        if stat.S_IFMT(status.st_mode) != kind or status.st_nlink != 1:
            raise _exchanged(tree, relpath)
        set_label(proc_path(fd), context, tree.full(relpath), relpath)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _exchanged(tree: Tree, relpath: str) -> ExchangedError:
    return ExchangedError(tree.full(relpath), "was exchanged while it was being made", "Stop the sandbox and run again.")


@contextlib.contextmanager
def in_place(tree: Tree, dir_fd: int, name: str, relpath: str) -> Iterator[str]:
    """A temporary name in the directory, renamed to the real one at the end, or removed if it comes to no end."""
    temporary = temporary_name()
    try:
        yield temporary
        seam.at("rename", relpath)
        os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException as error:
        with contextlib.suppress(OSError, TreeError):
            remove_entry(tree, dir_fd, temporary, relpath)
        if isinstance(error, OSError):
            raise system_error(tree.full(relpath), error, "making it") from error
        raise


def write_file(top: Top, relpath: str, data: bytes, *, mode: int, uid: int, gid: int, context: str) -> bool:
    """Give a file its content and attributes at once; false if it has them all already."""
    with opened(top) as tree, tree.parent(relpath) as (dir_fd, name):
        if _same_file(tree, dir_fd, name, relpath, data, (mode, uid, gid, context)):
            return False
        with (
            in_place(tree, dir_fd, name, relpath) as temporary,
            closing(make_regular(tree, dir_fd, temporary, relpath, context)) as fd,
        ):
            drop_inherited_acl(fd)
            write_all(fd, data)
            os.chown(fd, uid, gid)
            os.chmod(fd, mode)
        return True


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _same_file(tree: Tree, dir_fd: int, name: str, relpath: str, data: bytes, attributes: tuple[int, int, int, str]) -> bool:
    try:
        fd = tree.entry(name, dir_fd, relpath)
    except FileNotFoundError:
        return False
    with closing(fd):
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise ConflictError(f"{printable(tree.full(relpath))}: is a directory. Remove it, or name another file.")
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_size != len(data):
            return False
        has = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, get_label(proc_path(fd), relpath))
        return has == attributes and _content(fd, len(data)) == data


def make_dir(top: Top, relpath: str, *, mode: int, uid: int, gid: int, context: str, parents: bool = False) -> bool:
    """A directory with these attributes, made if it is not there; false if it is there and has them all.

    With ``parents``, missing directories above it are made too, root's, mode 0755.
    """
    with opened(top) as tree:
        changed = False
        names = components(tree.path, relpath)
        if parents:
            for depth in range(1, len(names)):
                changed |= _one_dir(tree, "/".join(names[:depth]), (0o755, 0, 0, context), keep=True)
        return _one_dir(tree, relpath, (mode, uid, gid, context), keep=False) or changed


def _one_dir(tree: Tree, relpath: str, attributes: tuple[int, int, int, str], *, keep: bool) -> bool:
    with tree.parent(relpath) as (dir_fd, name):
        try:
            fd = tree.directory(name, dir_fd, relpath)
        except FileNotFoundError:
            with (
                in_place(tree, dir_fd, name, relpath) as temporary,
                closing(make_directory(tree, dir_fd, temporary, relpath, attributes[3])) as fd,
            ):
                drop_inherited_acl(fd)
                _set_attributes(tree, fd, relpath, attributes)
            return True
        except NotADirectoryError as error:
            raise ConflictError(
                f"{printable(tree.full(relpath))}: exists and is not a directory. Remove it, or name another directory."
            ) from error
        with closing(fd):
            return not keep and _set_attributes(tree, fd, relpath, attributes)


def _set_attributes(tree: Tree, fd: int, relpath: str, attributes: tuple[int, int, int, str]) -> bool:
    mode, uid, gid, context = attributes
    full = tree.full(relpath)
    status = os.fstat(fd)
    if (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, get_label(fd, full)) == attributes:
        return False
    set_label(fd, context, full, relpath)
    os.chown(fd, uid, gid)
    os.chmod(fd, mode)
    return True


def make_symlink(top: Top, relpath: str, target: str, *, context: str) -> bool:
    """A symbolic link to the target; false if it is there already."""
    with opened(top) as tree, tree.parent(relpath) as (dir_fd, name):
        try:
            with closing(tree.entry(name, dir_fd, relpath)) as fd:
                mode = os.fstat(fd).st_mode
                if stat.S_ISDIR(mode):
                    raise ConflictError(f"{printable(tree.full(relpath))}: is a directory. Remove it first.")
                same = stat.S_ISLNK(mode) and os.readlink("", dir_fd=fd) == target
                if same and get_label(proc_path(fd), tree.full(relpath)) == context:
                    return False
        except FileNotFoundError:
            pass
        with in_place(tree, dir_fd, name, relpath) as temporary:
            os.close(make_other(tree, dir_fd, temporary, relpath, context, target))
        return True


def lstat(top: Top, relpath: str) -> os.stat_result | None:
    """What is at a path of the tree, no link followed; none where there is nothing, or no way to it."""
    with opened(top) as tree:
        return tree.status(relpath)


def kind(top: Top, relpath: str) -> str:
    """What stands at a path of the tree, as ``kind_of`` calls it; no text where nothing does."""
    status = lstat(top, relpath)
    return kind_of(status.st_mode) if status is not None else ""


def exists(top: Top, relpath: str) -> bool:
    return lstat(top, relpath) is not None


def read_file(top: Top, relpath: str, limit: int) -> bytes | None:
    """The content of a regular file of at most ``limit`` bytes; none where there is nothing, or no way to it."""
    with opened(top) as tree:
        try:
            fd = tree.find(relpath)
        except OSError as error:
            if error.errno in NOT_THERE:
                return None
            raise
        with closing(fd):
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise TreeError(tree.full(relpath), "is not a regular file", "It was not read. Find out what put it there.")
            data = _content(fd, limit)
        if len(data) > limit:
            raise TreeError(tree.full(relpath), f"is larger than {limit} bytes", "It was not read. Find out what made it grow.")
        return data


def _content(held: int, limit: int) -> bytes:
    """Up to one byte more than the limit of what a descriptor holds, which must be known to be a regular file."""
    try:
        fd = os.open(proc_path(held), READ_AT_ONCE)
    except BlockingIOError as error:
        raise TreeError(
            os.readlink(proc_path(held)), "is held by a lease of a process inside", "Stop the sandbox, or run again."
        ) from error
    with closing(fd):
        chunks, left = [], limit + 1
        while left:
            chunk = os.read(fd, min(left, 1 << 20))
            if not chunk:
                break
            chunks.append(chunk)
            left -= len(chunk)
        return b"".join(chunks)
