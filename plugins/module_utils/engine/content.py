# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox's private tree: built whole or not at all, and every entry labelled when it is made."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

from ..host import file_contexts, ssh, systemd
from ..host import image as images
from ..model import layout
from ..model.content_plan import Image, Labelled, Observed, Source, foreign, level_of, no_longer_declared
from ..model.errors import OptionError, SandboxError
from ..model.private_paths import below
from . import outdated, tree
from .apply import Action
from .discover import NOTHING, Discovered
from .files import unlink, write_file
from .observe import content_context, followed

_LARGEST = 1 << 20


def place(spec: Mapping[str, Any], running: bool, owners: Mapping[str, str]) -> Observed:
    """What stands where the content is to be, without a look into it."""
    paths = layout.of(spec)
    image = observe_image(paths)
    return Observed(
        manifest=record(paths),
        exists=os.path.lexists(paths.image if image else paths.root),
        half_made=os.path.lexists(paths.building) or os.path.lexists(paths.building_image),
        image=image,
        running=running,
        owners=owners,
    )


def observe(
    spec: Mapping[str, Any], running: bool, owners: Mapping[str, str], source: Source | None = None, discovered: Discovered = NOTHING
) -> Observed:
    """A content tree as it is: read only, and quick where everything is right. ``source``: what it is to be a clone of."""
    paths = layout.of(spec)
    seen = place(spec, running, owners)
    gone = no_longer_declared(spec, seen.manifest)
    seen = dataclasses.replace(
        seen,
        unknown=[path for path in spec["private"] if not os.path.lexists(path) and (path in gone or not _has(paths.root, path))],
        source=source,
        left_out=discovered.left_out,
        missed=discovered.missed,
    )
    if not seen.exists:
        return _to_be_built(spec, seen)
    if seen.manifest is None or (seen.image and not seen.image.mounted):
        return dataclasses.replace(seen, unknown=())
    report = tree.scan(paths.root, expected=layout.expected_context(spec["file_type"], spec["level"]))
    files, accounts = outdated.observe(
        paths.root, spec["private"], outdated.copied(paths.copied), outdated.without(discovered.left_out, spec["files"])
    )
    return dataclasses.replace(
        seen,
        top_context=content_context(paths.root),
        missing=[path for path in spec["private"] if not _has(paths.root, path)],
        unmounted=[path for path in followed() if not _has(paths.root, path)],
        mislabelled=[Labelled(entry.path, entry.actual, entry.expected) for entry in report.mislabelled if not _same_but_user(entry)],
        foreign_links=report.foreign_links,
        outdated=files,
        accounts=accounts,
        files=_files(paths.root, [file["path"] for file in spec["files"]]),
        directories=[file["path"] for file in spec["files"] if tree.kind(paths.root, file["path"].lstrip("/")) == "directory"],
    )


def record(paths: layout.Layout) -> dict[str, Any] | None:
    """What was recorded of a tree when it was made; nothing where none is ours."""
    return systemd.read_record(paths.manifest)


def observe_image(paths: layout.Layout) -> Image | None:
    """The image that the content is in, or what is left of one; nothing where it is a directory."""
    text = systemd.read(paths.mount_path)
    there = os.path.lexists(paths.image)
    if text is None and not there:
        return None
    enabled = systemd.show([paths.mount])[paths.mount].get("UnitFileState") == "enabled"
    return Image(images.size_of(paths.image) if there else 0, os.path.ismount(paths.root), enabled, text)


def _to_be_built(spec: Mapping[str, Any], seen: Observed) -> Observed:
    """What is known of content before it is there."""
    origin = seen.source.root if seen.source else None
    unknown = [path for path in seen.unknown if not (origin and _has(origin, path))]
    copied = [file["path"] for file in spec["files"] if below(file["path"], spec["private"]) or file["path"] in spec["private"]]
    needed = 0
    if spec["method"] == "image":
        base = [origin] if origin else [f"/etc/{path}" for path in layout.BASE_ETC]
        needed = sum(_blocks(path) for path in [*base, *spec["private"]] if path and os.path.lexists(path))
    return dataclasses.replace(seen, unknown=unknown, needed=needed, directories=[path for path in copied if os.path.isdir(path)])


def _blocks(top: str) -> int:
    """The bytes that a path takes in a file system, roughly: what is to be copied by then may be another."""
    total = _size(top)
    for directory, names, files in os.walk(top):
        for name in [*names, *files]:
            total += _size(os.path.join(directory, name))
    return total


def _size(path: str) -> int:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return 0
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return 0
    return min(-(-status.st_size // 4096) * 4096, max(status.st_blocks * 512, 4096) if status.st_size else 0)


def observe_source(name: str, running: bool, owners: Mapping[str, str]) -> Source:
    """The content that is to be cloned, by the name of its sandbox."""
    suffix = ".json"
    known = [entry[: -len(suffix)] for entry in systemd.names(layout.CONTENT) if entry.endswith(suffix) and entry.count(".") == 1]
    root = (systemd.read_record(f"{layout.CONTENT}/{name}{suffix}") or {}).get("path")
    if root is None or not os.path.isdir(root):
        return Source(known=known)
    level = level_of(content_context(root))
    if not level:
        return Source(root, strangers=["/"], known=known)
    owner = {"name": name, "path": os.path.dirname(root), "level": str(level)}
    file_type = (tree.read_label(root, "etc") or ":::").split(":")[2]
    report = tree.scan(root, expected=layout.expected_context(file_type, str(level)))
    entries = [Labelled(entry.path, entry.actual, entry.expected) for entry in report.mislabelled]
    strangers = [entry["path"] for entry in foreign(owner, entries, owners)] + [f"/{path}" for path in report.foreign_links]
    return Source(root, layout.of(owner).copied, running, strangers, known)


def _files(root: str, paths: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Content and mode of those that are root's plain files; anything else, and what cannot be read, counts as something to replace."""
    found = {}
    for path in paths:
        inside = path.lstrip("/")
        status = tree.lstat(root, inside)
        if status is not None and tree.kind_of(status.st_mode) == "file" and (status.st_uid, status.st_gid) == (0, 0):
            with contextlib.suppress(tree.TreeError):
                data = tree.read_file(root, inside, _LARGEST) if status.st_size <= _LARGEST else None
                if data is not None:
                    found[path] = data.decode("utf-8", "replace"), f"{status.st_mode & 0o7777:04o}"
    return found


def _same_but_user(entry: Any) -> bool:
    """Whether a label is right but for its SELinux user, which is whoever made the file and separates nothing."""
    return bool(entry.actual) and entry.actual.split(":", 1)[-1] == entry.expected.split(":", 1)[-1]


def _has(root: str, path: str) -> bool:
    return os.path.isdir(root) and tree.exists(root, path.lstrip("/"))


def actions(running: Callable[[], set[str]]) -> dict[str, Action]:
    """What the steps of a sandbox's content are; ``running`` tells which sandboxes run by now."""

    def build_or_clone(source_name: str | None = None, **arguments: Any) -> None:
        make = build_image if "image" in arguments else build_directory
        make(**arguments, check=lambda: _require_stopped(source_name, running))

    return {
        "write": write_file,
        "forget": forget,
        "build": build_or_clone,
        "daemon_reload": lambda **_ignored: systemd.daemon_reload(),
        "mount": mount,
        "unmount": lambda unit, **_ignored: systemd.disable_now(unit),
        "unlink": unlink,
        "grow": lambda image, root, size, **_ignored: images.grow(image, root, size),
        "copy": copy,
        "files": write_files,
        "remove_files": remove_files,
        "mount_point": mount_point,
        "relabel": relabel,
        "rules": lambda add, remove, **_ignored: file_contexts.change(add, remove),
        "accounts": accounts,
        "take": take,
        "keep": keep,
        "remove": remove,
    }


def _require_stopped(name: str | None, running: Callable[[], set[str]]) -> None:
    if name is not None and name in running():
        raise OptionError("clone_of", name, f"a sandbox that is stopped; {name} was started meanwhile")


def build_directory(building: str, root: str, **arguments: Any) -> None:
    """Make the tree beside its place, and move it there when it is whole."""
    _begin(building)
    build(building, **arguments)
    os.rename(building, root)


def build_image(building: str, building_image: str, root: str, image: str, size: int, **arguments: Any) -> None:
    """The same in an image, which takes its name when it is whole; nothing is left of one that is too small."""
    remove([building, building_image])
    _begin(building)
    try:
        images.make(building_image, size)
        images.mount(building_image, building)
        try:
            build(building, **arguments)
        except (SandboxError, OSError) as error:
            if _no_space(error):
                raise OptionError("size", size, f"a size that the content fits in ({error})") from error
            raise
        images.unmount(building)
        os.rmdir(building)
    except BaseException:
        remove([building, building_image])
        raise
    os.rename(building_image, image)
    os.makedirs(root, mode=0o700, exist_ok=True)


def _no_space(error: BaseException | None) -> bool:
    while error is not None and getattr(error, "errno", None) != errno.ENOSPC:
        error = error.__cause__ or error.__context__
    return error is not None


def _begin(building: str) -> None:
    """An empty place, whatever an interrupted run has left there."""
    remove([building])
    os.makedirs(os.path.dirname(building), mode=0o700, exist_ok=True)
    os.mkdir(building, 0o700)


def mount(root: str, unit: str, **_ignored: Any) -> None:
    os.makedirs(root, mode=0o700, exist_ok=True)
    systemd.enable_now(unit)


def build(
    building: str, name: str, private: Sequence[str], without: Sequence[str], files: Sequence[Mapping[str, str]],
    file_type: str, level: str, copied: str,
    source: str | None = None, source_copied: str = "", check: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Fill the empty place of a tree, and label it."""
    expected = layout.expected_context(file_type, level)
    os.setxattr(building, "security.selinux", expected("", 0).encode())
    os.chmod(building, 0o755)
    top = tree.open_top(building)
    try:
        check()
        if source:
            _clone(top, name, source, expected)
        else:
            _from_host(top, expected)
        for path in followed():
            if not tree.exists(top, path.lstrip("/")):
                _mount_point(top, path, expected)
        for path in private:
            _copy(top, path, expected, required=True, without=frozenset(without))
        not_the_hosts = outdated.without(without, files)
        known = outdated.of_new_tree(top, private, outdated.copied(source_copied) if source else None, not_the_hosts)
        _write_files(top, files, expected)
    finally:
        os.close(top)
    check()
    write_file(copied, outdated.dump(known), 0o600)


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


def copy(root: str, source: str, without: Sequence[str], file_type: str, level: str, copied: str, **_ignored: Any) -> None:
    """One more private path of the host, into a tree that exists."""
    top = tree.open_top(root)
    try:
        tree.clean_leftovers(top)
        _copy(top, source, layout.expected_context(file_type, level), required=True, without=frozenset(without))
    finally:
        os.close(top)
    known = outdated.with_path(outdated.copied(copied), source, root, outdated.without(without, ()))
    write_file(copied, outdated.dump(known), 0o600)


def write_files(root: str, files: Iterable[Mapping[str, str]], file_type: str, level: str, **_ignored: Any) -> None:
    """The files that a play declares."""
    top = tree.open_top(root)
    try:
        _write_files(top, files, layout.expected_context(file_type, level))
    finally:
        os.close(top)


def _write_files(top: int, files: Iterable[Mapping[str, str]], expected: Any) -> None:
    for file in files:
        path = file["path"].lstrip("/")
        parent = os.path.dirname(path)
        if not tree.exists(top, parent):
            tree.make_dir(top, parent, mode=0o755, uid=0, gid=0, context=expected(parent, 0), parents=True)
        if tree.kind(top, path) not in ("", "file", "directory"):
            tree.remove(top, path)
        tree.write_file(top, path, file["content"].encode(), mode=int(file["mode"], 8), uid=0, gid=0, context=expected(path, 0))


def remove_files(root: str, paths: Iterable[str], **_ignored: Any) -> None:
    top = tree.open_top(root)
    try:
        for path in paths:
            # a directory that stands there by now is not what was declared
            if tree.kind(top, path.lstrip("/")) != "directory":
                tree.remove(top, path.lstrip("/"))
    finally:
        os.close(top)


def accounts(root: str, file_type: str, level: str, users: Any, groups: Any, members: Any, **_ignored: Any) -> None:
    """The host's new system accounts."""
    outdated.add_accounts(root, layout.expected_context(file_type, level), users, groups, members)


def take(root: str, copied: str, file_type: str, level: str, files: Iterable[Mapping[str, Any]], **_ignored: Any) -> None:
    """What the host has newer, in place of what was copied from it before."""
    write_file(copied, outdated.dump(outdated.take(root, copied, layout.expected_context(file_type, level), files)), 0o600)


def keep(copied: str, paths: Iterable[str], **_ignored: Any) -> None:
    write_file(copied, outdated.dump(outdated.keep(copied, paths)), 0o600)


def mount_point(root: str, source: str, file_type: str, level: str, **_ignored: Any) -> None:
    """The place of one more path of the host that the sandbox's /etc follows."""
    top = tree.open_top(root)
    try:
        _mount_point(top, source, layout.expected_context(file_type, level))
    finally:
        os.close(top)


def relabel(root: str, file_type: str, level: str, paths: Iterable[str], **_ignored: Any) -> None:
    """Give the named entries their context; what else is wrong by now is the next run's."""
    wanted = frozenset(paths)
    tree.relabel(root, layout.expected_context(file_type, level), wanted=lambda entry: entry.path in wanted)


def forget(paths: Iterable[str], **_ignored: Any) -> None:
    for path in paths:
        unlink(path)


def remove(paths: Iterable[str], **_ignored: Any) -> None:
    """Trees, and images with what is mounted of them."""
    for path in paths:
        if os.path.lexists(f"{path}.img"):
            images.unmount(path)
        if os.path.isdir(path) and not os.path.islink(path):
            tree.remove_tree(path)
        else:
            unlink(path)
