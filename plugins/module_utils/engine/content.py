# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox's private tree: built whole or not at all, and every entry labelled when it is made."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable

from ..host import quota, ssh, systemd
from ..model import disk, layout
from ..model.content_plan import Observed, foreign, level_of, no_longer_declared
from ..model.content_steps import Labelled, Source, Written
from ..model.disk import Limits
from ..model.errors import OptionError, SandboxError
from ..model.mcs import Level
from ..model.outdated import Accounts
from ..model.private_paths import below
from ..model.spec import ContentSpec, FileEntry
from ..model.values import number_of
from . import outdated, stores, tree
from .discover import NOTHING, Discovered
from .files import write_file
from .observe import content_context, followed, numbers, numbers_in, numbers_of_host

_LARGEST = 1 << 20


def place(spec: ContentSpec, running: bool, owners: Mapping[Level, str]) -> Observed:
    """What stands where the content is to be, without a look into it."""
    paths = spec.paths
    return Observed(
        manifest=record(paths),
        stored=stores.observe(paths),
        half_made=os.path.lexists(paths.building) or os.path.lexists(paths.building_image),
        running=running,
        owners=owners,
        volume=quota.look(spec.path, paths.root),
    )


def observe(
    spec: ContentSpec, running: bool, owners: Mapping[Level, str], source: Source | None = None, discovered: Discovered = NOTHING
) -> Observed:
    """A content tree as it is: read only, and quick where everything is right. ``source``: what it is to be a clone of."""
    paths = spec.paths
    observed = place(spec, running, owners)
    gone = no_longer_declared(spec, observed.manifest)
    observed = dataclasses.replace(
        observed,
        unknown=[path for path in spec.private if not os.path.lexists(path) and (path in gone or not _has(paths.root, path))],
        source=source,
        left_out=discovered.left_out,
        missed=discovered.missed,
    )
    if not observed.exists:
        return _to_be_built(spec, observed)
    if observed.manifest is None or not observed.stored.readable:
        return dataclasses.replace(observed, unknown=(), **_own_accounts(spec, ""))
    return _look_inside(spec, observed, discovered)


def _look_inside(spec: ContentSpec, observed: Observed, discovered: Discovered) -> Observed:
    paths = spec.paths
    report = tree.scan(paths.root, expected=expected(spec))
    files, accounts = outdated.observe(
        paths.root, spec.private, outdated.copied(paths.copied), outdated.without(discovered.left_out, spec.files)
    )
    return dataclasses.replace(
        observed,
        top_context=content_context(paths.root),
        missing=[path for path in spec.private if not _has(paths.root, path)],
        unmounted=[path for path in followed() if not _has(paths.root, path)],
        mislabelled=[Labelled(entry.path, entry.actual, entry.expected) for entry in report.mislabelled if not _same_but_user(entry)],
        foreign_links=report.foreign_links,
        outdated=files,
        accounts=accounts,
        files=_files(paths.root, [file.path for file in spec.files]),
        directories=[file.path for file in spec.files if tree.kind(paths.root, file.path.lstrip("/")) == "directory"],
        **_own_accounts(spec, paths.root, accounts),
    )


def _own_accounts(spec: ContentSpec, root: str, new: Accounts | None = None) -> dict[str, Any]:
    """The users and groups that a sandbox has, or will have from its host, where the play may name any."""
    if not spec.files:
        return {}
    own = numbers(root) if os.path.isdir(root) else numbers_of_host()
    lines = {"users": new.users, "groups": new.groups} if new else {}
    return {kind: {**known, **{line.split(":")[0]: line.split(":")[2] for line in lines.get(kind, ())}} for kind, known in own.items()}


def expected(spec: ContentSpec) -> Callable[[str, int], str]:
    """What label each entry of the content is to carry."""
    return layout.expected_context(spec.file_type, spec.level)


def record(paths: layout.Layout) -> dict[str, Any] | None:
    """What was recorded of a tree when it was made; nothing where none is ours."""
    return systemd.read_record(paths.manifest)


def _to_be_built(spec: ContentSpec, observed: Observed) -> Observed:
    """What is known of content before it is there."""
    origin = observed.source.root if observed.source else None
    unknown = [path for path in observed.unknown if not (origin and _has(origin, path))]
    copied = [file.path for file in spec.files if below(file.path, spec.private) or file.path in spec.private]
    needed = Limits()
    if stores.STORES[spec.method].bounded or disk.is_declared(spec):
        base = [origin] if origin else [f"/etc/{path}" for path in layout.BASE_ETC]
        needed = _needed(path for path in [*base, *spec.private] if path and os.path.lexists(path))
    directories = [path for path in copied if os.path.isdir(path)]
    return dataclasses.replace(observed, unknown=unknown, needed=needed, directories=directories, **_own_accounts(spec, origin or ""))


def _needed(tops: Iterable[str]) -> Limits:
    """The bytes and inodes that paths take in a file system, roughly: what is to be copied by then may be another."""
    sizes = [_size(path) for top in tops for path in _all_below(top)]
    return Limits(sum(sizes), len(sizes))


def _all_below(top: str) -> Iterator[str]:
    yield top
    for directory, names, files in os.walk(top):
        yield from (os.path.join(directory, name) for name in [*names, *files])


def _size(path: str) -> int:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return 0
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return 0
    return min(-(-status.st_size // 4096) * 4096, max(status.st_blocks * 512, 4096) if status.st_size else 0)


def observe_source(name: str, running: bool, owners: Mapping[Level, str]) -> Source:
    """The content that is to be cloned, by the name of its sandbox."""
    suffix = ".json"
    known = [entry[: -len(suffix)] for entry in systemd.names(layout.CONTENT) if entry.endswith(suffix) and entry.count(".") == 1]
    root = (record(layout.Layout(name, layout.FILESYSTEMS)) or {}).get("path")
    if root is None or not os.path.isdir(root):
        return Source(name, known=known)
    level = level_of(content_context(root))
    if not level:
        return Source(name, root, strangers=["/"], known=known)
    file_type = (tree.read_label(root, "etc") or ":::").split(":")[2]
    owner = ContentSpec(name=name, path=os.path.dirname(root), level=level, file_type=file_type)
    report = tree.scan(root, expected=expected(owner))
    entries = [Labelled(entry.path, entry.actual, entry.expected) for entry in report.mislabelled]
    strangers = [entry["path"] for entry in foreign(owner, entries, owners)] + [f"/{path}" for path in report.foreign_links]
    return Source(name, root, owner.paths.copied, running, strangers, known)


def _files(root: str, paths: Iterable[str]) -> dict[str, Written]:
    """Those that are plain files; anything else, and what cannot be read, counts as something to replace."""
    written = {}
    for path in paths:
        inside = path.lstrip("/")
        status = tree.lstat(root, inside)
        if status is not None and tree.kind_of(status.st_mode) == "file":
            with contextlib.suppress(tree.TreeError):
                data = tree.read_file(root, inside, _LARGEST) if status.st_size <= _LARGEST else None
                if data is not None:
                    text = data.decode("utf-8", "replace")
                    written[path] = Written(text, f"{status.st_mode & 0o7777:04o}", status.st_uid, status.st_gid)
    return written


def _same_but_user(entry: Any) -> bool:
    """Whether a label is right but for its SELinux user, which is whoever made the file and separates nothing."""
    return bool(entry.actual) and entry.actual.split(":", 1)[-1] == entry.expected.split(":", 1)[-1]


def _has(root: str, path: str) -> bool:
    return os.path.isdir(root) and tree.exists(root, path.lstrip("/"))


def require_stopped(source: Source | None, running: Collection[str]) -> None:
    """What is cloned must not have been started since it was looked at."""
    if source is not None and source.name in running:
        raise OptionError(
            "clone_of", source.name, "a stopped sandbox", f"Sandbox {source.name} was started during the run. Stop it and run again."
        )


def build(place: str, spec: ContentSpec, source: Source | None, without: Sequence[str], check: Callable[[], None]) -> None:
    """Fill the empty place of a tree, and label it; ``check`` is called before anything is read, and after."""
    label = expected(spec)
    os.setxattr(place, "security.selinux", label("", 0).encode())
    os.chmod(place, 0o755)
    top = tree.open_top(place)
    try:
        check()
        if source and source.root:
            _clone(top, spec.name, source.root, label)
        else:
            _from_host(top, label)
        for path in followed():
            if not tree.exists(top, path.lstrip("/")):
                _mount_point(top, path, label)
        for path in spec.private:
            _copy(top, path, label, required=True, without=frozenset(without))
        not_the_hosts = outdated.without(without, spec.files)
        known = outdated.of_new_tree(top, spec.private, outdated.copied(source.copied) if source else None, not_the_hosts)
        _write_files(top, spec.files, label)
    finally:
        os.close(top)
    check()
    write_file(spec.paths.copied, outdated.dump(known), 0o600)


def _from_host(top: int, expected: Any) -> None:
    _skeleton(top, expected)
    for path in layout.BASE_ETC:
        _copy(top, f"/etc/{path}", expected)
    _shadow(top, expected)


def _clone(top: int, name: str, source: str, expected: Any) -> None:
    """All that another tree has, but for what it is known by."""
    held = tree.open_top(source)
    try:
        entries = [path.lstrip("/") for path in tree.names(held, "")]
        keys = [path for path in tree.names(held, "etc/ssh") if layout.is_host_key(path)]
    finally:
        os.close(held)
    for entry in entries:
        tree.copy_into(top, entry, f"{source}/{entry}", context=expected, without=layout.is_identity)
    for path in keys:
        for suffix, mode, data in zip(("", ".pub"), (0o600, 0o644), ssh.new_host_key(layout.is_host_key(path), f"root@{name}")):
            tree.write_file(top, path + suffix, data, mode=mode, uid=0, gid=0, context=expected(path, 0))


def _skeleton(top: int, expected: Any) -> None:
    directories = [(path, mode) for path, mode, link in layout.root_entries() if not link]
    for path, mode in [*directories, *layout.DIRECTORIES.items()]:
        tree.make_dir(top, path, mode=mode, uid=0, gid=0, context=expected(path, 0), parents=True)
    for path, target in [*layout.LINKS.items(), *layout.SYMLINKS.items()]:
        tree.make_symlink(top, path, target, context=expected(path, 0))
    for path in layout.EMPTY_FILES:
        tree.write_file(top, path, b"", mode=0o644, uid=0, gid=0, context=expected(path, 0))


def _shadow(top: int, expected: Any) -> None:
    """Accounts without the host's passwords: none can log in with one until the sandbox sets it."""
    passwd = tree.read_file(top, "etc/passwd", 1 << 20) or b""
    lines = [b"%s:%s\n" % (line.split(b":")[0], outdated.NO_PASSWORD.encode()) for line in passwd.split(b"\n") if b":" in line]
    tree.write_file(top, "etc/shadow", b"".join(lines), mode=0o640, uid=0, gid=0, context=expected("etc/shadow", 0))


def _mount_point(top: int, source: str, expected: Any) -> None:
    """Where a path of the host is bound: an empty directory, or an empty file."""
    path = source.lstrip("/")
    if os.path.isdir(source):
        tree.make_dir(top, path, mode=0o755, uid=0, gid=0, context=expected(path, 0), parents=True)
    else:
        _parents(top, os.path.dirname(path), expected)
        tree.write_file(top, path, b"", mode=0o644, uid=0, gid=0, context=expected(path, 0))


def _copy(top: int, source: str, expected: Any, required: bool = False, without: frozenset[str] = frozenset()) -> None:
    if source in without or (not required and not os.path.lexists(source)):
        return
    path = source.lstrip("/")
    parent = os.path.dirname(path)
    if not tree.exists(top, parent):
        _parents(top, parent, expected)
    if not tree.exists(top, path):
        tree.copy_into(top, path, source, context=expected, without=(lambda path: f"/{path}" in without) if without else None)


def _parents(top: int, relpath: str, expected: Any) -> None:
    """The directories above a private path, with the owner and mode that they have on the host."""
    done = ""
    for part in relpath.split("/"):
        done = f"{done}/{part}".lstrip("/")
        if not tree.exists(top, done):
            status = os.stat("/" + done)
            tree.make_dir(top, done, mode=status.st_mode & 0o7777, uid=status.st_uid, gid=status.st_gid, context=expected(done, 0))


@contextlib.contextmanager
def _opened(spec: ContentSpec) -> Iterator[int]:
    top = tree.open_top(spec.paths.root)
    try:
        yield top
    finally:
        os.close(top)


def copy(spec: ContentSpec, source: str, without: Sequence[str]) -> None:
    """One more private path of the host, into a tree that exists."""
    with _opened(spec) as top:
        tree.clean_leftovers(top)
        _copy(top, source, expected(spec), required=True, without=frozenset(without))
    paths = spec.paths
    known = outdated.with_path(outdated.copied(paths.copied), source, paths.root, outdated.without(without, ()))
    write_file(paths.copied, outdated.dump(known), 0o600)


def write_files(spec: ContentSpec, files: Iterable[FileEntry]) -> None:
    """The files that a play declares."""
    with _opened(spec) as top:
        _write_files(top, files, expected(spec))


def _write_files(top: int, files: Iterable[FileEntry], label: Any) -> None:
    known = numbers_in(top)
    for file in files:
        path = file.path.lstrip("/")
        parent = os.path.dirname(path)
        if not tree.exists(top, parent):
            tree.make_dir(top, parent, mode=0o755, uid=0, gid=0, context=label(parent, 0), parents=True)
        if tree.kind(top, path) not in ("", "file", "directory"):
            tree.remove(top, path)
        uid, gid = (_number(value, known[kind], path) for value, kind in ((file.owner, "users"), (file.group, "groups")))
        tree.write_file(top, path, file.content.encode(), mode=int(file.mode, 8), uid=uid, gid=gid, context=label(path, 0))


def _number(value: str, known: Mapping[str, str], path: str) -> int:
    number = number_of(value, known)
    if number is None:
        raise SandboxError(f"/{path}: the sandbox no longer has {value} among its users and groups")
    return number


def remove_files(root: str, paths: Iterable[str]) -> None:
    top = tree.open_top(root)
    try:
        for path in paths:
            # a directory that stands there by now is not what was declared
            if tree.kind(top, path.lstrip("/")) != "directory":
                tree.remove(top, path.lstrip("/"))
    finally:
        os.close(top)


def make_place(spec: ContentSpec, source: str) -> None:
    """The place of one more path of the host that the sandbox's /etc follows."""
    with _opened(spec) as top:
        _mount_point(top, source, expected(spec))


def count(spec: ContentSpec, limits: Limits, running: Collection[str]) -> None:
    """Have content be counted that has not been; a failure leaves it counted, and without limits."""
    if spec.name in running:
        raise SandboxError(f"{spec.name} was started during the run. Stop it and run again.")
    root = spec.paths.root
    tree.give_project(root, quota.new_project(root, Limits()))
    disk.require_room(limits, quota.used(root)[1])


def relabel(spec: ContentSpec, paths: Iterable[str]) -> None:
    """Give the named entries their context; what else is wrong by now is the next run's."""
    wanted = frozenset(paths)
    tree.relabel(spec.paths.root, expected(spec), wanted=lambda entry: entry.path in wanted)
