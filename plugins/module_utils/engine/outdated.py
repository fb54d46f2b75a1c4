# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a private /etc the host has otherwise than it was copied: found, taken over, or left as it is."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from ..host import systemd
from ..model import layout
from ..model.errors import SandboxError
from ..model.outdated import Accounts, Copied, Outdated, compare, new_accounts, system_names, with_accounts
from ..model.private_paths import below
from ..model.spec import FileEntry
from ..model.values import printable
from . import tree
from .observe import followed

# a configuration file is smaller
_LARGEST = 16 << 20
_ACCOUNTS = ("etc/passwd", "etc/group")
NO_PASSWORD = "*:19000:0:99999:7:::"


def sources(private: Iterable[str]) -> list[str]:
    """The paths of the host's /etc of which a sandbox with these private paths has copies."""
    paths = [f"/etc/{path}" for path in layout.BASE_ETC if f"etc/{path}" not in _ACCOUNTS]
    return paths + [path for path in private if path.startswith("/etc/")]


def without(left_out: Iterable[str], files: Iterable[FileEntry]) -> frozenset[str]:
    """Paths of the tree that do not follow the host's: what stays outside, and files that a play declares."""
    return frozenset(path.lstrip("/") for path in (*left_out, *(file.path for file in files)))


def _kept(path: str, not_the_hosts: Collection[str]) -> bool:
    return path not in not_the_hosts and not below(path, not_the_hosts)


def host_files(private: Iterable[str], not_the_hosts: Collection[str] = ()) -> dict[str, str]:
    """The signature of each file and link below these paths, by its path in the tree."""
    elsewhere = tuple(followed())
    signatures: dict[str, str] = {}
    for source in sources(private):
        signatures.update(_signatures(source, elsewhere))
    return {path: signature for path, signature in signatures.items() if _kept(path, not_the_hosts)}


@functools.cache
def _signatures(source: str, elsewhere: tuple[str, ...]) -> dict[str, str]:
    """Cached: a run asks about the same paths for each of its sandboxes."""
    paths = [source]
    if os.path.isdir(source) and not os.path.islink(source):
        paths = [os.path.join(directory, name) for directory, names, files in os.walk(source) for name in [*names, *files]]
    signed = {path: _of_host(path) for path in paths if not any(path == other or path.startswith(other + "/") for other in elsewhere)}
    return {path.lstrip("/"): signature for path, signature in signed.items() if signature is not None}


def _of_host(path: str) -> str | None:
    try:
        if os.path.islink(path):
            return _link(os.readlink(path))
        if not os.path.isfile(path) or os.path.getsize(path) > _LARGEST:
            return None
        with open(path, "rb") as file:
            return _file(file.read())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SandboxError(f"{printable(path)} cannot be read: {error.strerror}") from error


def _of_tree(top: tree.Top, path: str) -> str | None:
    """The same of an entry of the tree; nothing where there is none, some text where it is something else."""
    status = tree.lstat(top, path)
    if status is None:
        return None
    kind = tree.kind_of(status.st_mode)
    if kind == "symlink":
        return _link(tree.read_link(top, path))
    if kind == "file" and status.st_size <= _LARGEST:
        return _file(tree.read_file(top, path, _LARGEST) or b"")
    return kind


def _link(target: str) -> str:
    return f"link {target}"


def _file(data: bytes) -> str:
    return f"file {hashlib.sha256(data).hexdigest()}"


def copied(path: str) -> Copied:
    """What was recorded; of a tree that an earlier version built, nothing."""
    known = systemd.read_record(path)
    if known is None:
        return Copied()
    try:
        return Copied(known["files"], known["users"], known["groups"])
    except KeyError as error:
        raise SandboxError(f"{path} is damaged: it has no {error}. Restore it from a backup.") from error


def dump(known: Copied) -> str:
    """The record's text."""
    return json.dumps({"files": dict(known.files), "users": list(known.users), "groups": list(known.groups)}, sort_keys=True) + "\n"


def of_new_tree(top: tree.Top, private: Iterable[str], cloned: Copied | None = None, not_the_hosts: Collection[str] = ()) -> Copied:
    """What a tree that was just built has from the host; of a clone, what its source had."""
    known = dict(cloned.files) if cloned else {}
    for path in host_files(private, not_the_hosts):
        own = _of_tree(top, path) if path not in known else None
        if own is not None:
            known[path] = own
    if cloned:
        return Copied(known, cloned.users, cloned.groups)
    users, groups = (system_names(_read(f"/{path}")) for path in _ACCOUNTS)
    return Copied(known, users, groups)


def with_path(known: Copied, source: str, root: str, not_the_hosts: Collection[str] = ()) -> Copied:
    """The same with one more private path of the host."""
    files = dict(known.files)
    if source.startswith("/etc/"):
        paths = [path for path in _signatures(source, tuple(followed())) if _kept(path, not_the_hosts)]
        files.update({path: own for path in paths if (own := _of_tree(root, path)) is not None})
    return Copied(files, known.users, known.groups)


def observe(root: str, private: Iterable[str], known: Copied, not_the_hosts: Collection[str] = ()) -> tuple[list[Outdated], Accounts]:
    """The files of a tree that the host has otherwise than they were copied, and the accounts that it got."""
    top = tree.open_top(root)
    try:
        then = {path: signature for path, signature in known.files.items() if _kept(path, not_the_hosts)}
        files = compare(then, host_files(_existing(top, private), not_the_hosts), lambda path: _of_tree(top, path))
        inside = [_text(top, path) for path in _ACCOUNTS]
        accounts = new_accounts(known, (_read("/etc/passwd"), _read("/etc/group")), (inside[0], inside[1]))
        return files, accounts
    finally:
        os.close(top)


def _existing(top: tree.Top, private: Iterable[str]) -> Iterator[str]:
    """What the tree is still to get is missing, and no file of it outdated."""
    return (path for path in private if tree.exists(top, path.lstrip("/")))


def _read(path: str) -> str:
    return systemd.read(path) or ""


def _text(top: tree.Top, path: str) -> str:
    return (tree.read_file(top, path, _LARGEST) or b"").decode("utf-8", "surrogateescape")


def take(root: str, copied_path: str, expected: Any, files: Iterable[Outdated]) -> Copied:
    """Bring in what the host has; a file that meanwhile is another inside than was seen is left, and an error."""
    known = copied(copied_path)
    signatures = dict(known.files)
    top = tree.open_top(root)
    try:
        for entry in files:
            path = entry.path
            if _of_tree(top, path) != entry.inside:
                raise SandboxError(f"/{path} is being changed inside the sandbox. Run again.")
            if os.path.lexists(f"/{path}"):
                tree.copy_into(top, path, f"/{path}", context=expected, replace=True)
                signatures[path] = _of_tree(top, path) or ""
            else:
                tree.remove(top, path)
                signatures.pop(path, None)
    finally:
        os.close(top)
    return Copied(signatures, known.users, known.groups)


def keep(copied_path: str, paths: Iterable[str]) -> Copied:
    """Take the host's files as known, without bringing them in."""
    known = copied(copied_path)
    signatures = dict(known.files)
    for path in paths:
        signature = _of_host(f"/{path}")
        if signature is None:
            signatures.pop(path, None)
        else:
            signatures[path] = signature
    return Copied(signatures, known.users, known.groups)


def add_accounts(root: str, expected: Any, accounts: Accounts) -> None:
    """New system accounts of the host, without a password."""
    top = tree.open_top(root)
    try:
        for path, mode, lines in (
            ("etc/group", 0o644, accounts.groups),
            ("etc/shadow", 0o640, [f"{line.split(':')[0]}:{NO_PASSWORD}" for line in accounts.users]),
            ("etc/passwd", 0o644, accounts.users),
        ):
            own = _text(top, path)
            text = with_accounts(own, lines, accounts.members if path == "etc/group" else ())
            if text != own:
                status = tree.lstat(top, path)
                uid, gid = (status.st_uid, status.st_gid) if status else (0, 0)
                tree.write_file(top, path, text.encode("utf-8", "surrogateescape"), mode=mode, uid=uid, gid=gid, context=expected(path, 0))
    finally:
        os.close(top)
