# SPDX-License-Identifier: GPL-3.0-or-later
"""What is mounted into sandboxes: looked at on the host and inside, labelled with consent, given a place."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping

from ..host import selinux
from ..model.context import Context
from ..model.mounts import Mount, ObservedMount, conflict
from ..model.spec import ServiceSpec
from . import tree
from .tree_fd import READ_AT_ONCE

# where ext4 says what it is
_MAGIC_AT, _MAGIC = 1024 + 56, b"\x53\xef"
# class and permission, of a directory also on the files that will most likely have its label; and what writing adds
_READ = {"directory": ("dir search", "dir read", "file open", "file read"), "file": ("file open", "file read")}
_WRITE = {"directory": ("dir write", "dir add_name", "file write"), "file": ("file write",)}
# who mounts an image for a unit
_MOUNT = "system_u:system_r:mount_t:s0"


def observe(spec: ServiceSpec, root: str, everyone: Iterable[ServiceSpec]) -> dict[str, ObservedMount]:
    """Each mount of a spec as the host and the sandbox's content have it, by its target; ``everyone``: all that are declared."""
    others = [other for other in everyone if other.name != spec.name]
    return {mount.target: _observed(spec, mount, root, others) for mount in spec.mounts}


def _observed(spec: ServiceSpec, mount: Mount, root: str, others: Iterable[ServiceSpec]) -> ObservedMount:
    point = _point(root, mount.target.lstrip("/")) if os.path.isdir(root) else ""
    if mount.type == "ram":
        return ObservedMount(point=point)
    source = mount.source or ""
    kind = _kind(source)
    context = _context(source) if kind else ""
    real = os.path.realpath(source)
    relabelled = mount.relabel and kind == "directory" and real == source
    return ObservedMount(
        source=kind,
        real=real,
        context=context,
        denied="" if mount.relabel else _denied(spec, mount, kind, context),
        mislabelled=_mislabelled(spec, source) if relabelled else 0,
        point=point,
        conflict=conflict(mount, others),
    )


def _kind(path: str) -> str:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return ""
    if not stat.S_ISREG(mode):
        return tree.kind_of(mode)
    try:
        fd = os.open(path, READ_AT_ONCE)
    except BlockingIOError:
        return "file"  # a sandbox that has it has a lease on it
    with os.fdopen(fd, "rb") as file:
        file.seek(_MAGIC_AT)
        return "image" if file.read(len(_MAGIC)) == _MAGIC else "file"


def _context(path: str) -> str:
    try:
        return os.fsdecode(os.getxattr(path, "security.selinux").rstrip(b"\0"))
    except OSError:
        return ""


def _denied(spec: ServiceSpec, mount: Mount, kind: str, context: str) -> str:
    """What the sandbox may not do with a source, or mount with an image, as the kernel says; nothing where there is no SELinux to ask."""
    kind = "file" if kind == "image" else kind
    process = _MOUNT if mount.type == "image" else str(Context.process(spec.process_type, spec.level))
    if kind not in _READ or selinux.mode() == "disabled" or (process == _MOUNT and not selinux.knows(_MOUNT)):
        return ""
    needed = _READ[kind] + (() if mount.read_only else _WRITE[kind])
    if not context:
        return ", ".join(needed)
    return ", ".join(permission for permission in needed if not selinux.decide(process, context, *permission.split())["allowed"])


def _point(root: str, path: str) -> str:
    """What stands at a path inside, or in the way to it."""
    top = tree.open_top(root)
    try:
        kind = ""
        parts = path.split("/")
        for number in range(1, len(parts) + 1):
            kind = tree.kind(top, "/".join(parts[:number]))
            if kind != "directory":
                return kind if not kind or number == len(parts) else f"{kind} in the way to it"
        return kind
    finally:
        os.close(top)


def _mislabelled(spec: ServiceSpec, source: str) -> int:
    context = str(Context.object(spec.file_type, spec.level))
    return sum(map(_otherwise, tree.scan(source, expected=lambda _path, _mode: context).mislabelled))


def _otherwise(entry: tree.Mislabelled) -> bool:
    """Whether a label is wrong in more than its SELinux user, which separates nothing."""
    return not entry.actual or entry.actual.split(":", 1)[-1] != entry.expected.split(":", 1)[-1]


def make_points(root: str, context: str, points: Mapping[str, str]) -> None:
    """The places inside on which something is mounted: empty directories, and empty files for files."""
    top = tree.open_top(root)
    try:
        for target, kind in points.items():
            path = target.lstrip("/")
            parent = os.path.dirname(path)
            if kind == "directory":
                tree.make_dir(top, path, mode=0o755, uid=0, gid=0, context=context, parents=True)
                continue
            tree.make_dir(top, parent, mode=0o755, uid=0, gid=0, context=context, parents=True)
            tree.write_file(top, path, b"", mode=0o644, uid=0, gid=0, context=context)
    finally:
        os.close(top)


def relabel(source: str, context: str) -> None:
    """Give a source that the play says is the sandbox's own the sandbox's label."""
    tree.relabel(source, lambda _path, _mode: context, wanted=_otherwise)
