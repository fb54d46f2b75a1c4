# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sandbox sees beside its own content: directories and files of the host, images, and memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import layout
from .context import Context
from .errors import OptionError
from .options import option
from .values import file_mode, plain_path, size

if TYPE_CHECKING:
    from .spec import ServiceSpec

# directories that may be covered as a whole, and those only below which something may be mounted
_OPEN = ("/mnt", "/media", "/opt", "/home", "/root", "/srv")
_BELOW = ("/etc", "/var")
# what the collection or libvirt puts there itself
_TAKEN = (
    *layout.FOLLOWED, "/etc/systemd", "/etc/hostname", "/etc/hosts", "/etc/machine-id", "/etc/resolv.conf", "/etc/tmpfiles.d",
    "/etc/passwd", "/etc/group", "/etc/shadow", "/var/run", "/var/lock",
)  # fmt: skip
_NOT_A_SOURCE = (
    "/proc",
    "/sys",
    "/dev",
    layout.HELPER,
    layout.INIT,
    layout.CONTROLLER,
    layout.SECCOMP,
    layout.RUN,
    layout.SPECS,
    layout.CONTENT,
    layout.FILESYSTEMS,
)


def _target(value: str) -> str:
    path = plain_path(value)
    if not any(_within(path, top) for top in _OPEN) and not any(path.startswith(top + "/") for top in _BELOW):
        raise ValueError(f"a path below {', '.join(_BELOW + _OPEN)}")
    for other in _TAKEN:
        if overlap(path, other):
            raise ValueError(f"a path that is not above or below {other}")
    return path


def _mode(value: Any) -> str:
    return file_mode(value).lstrip("0").rjust(3, "0")


@dataclasses.dataclass(frozen=True)
class Mount:
    """Something that is mounted inside a sandbox beside its own content."""

    type: str = option(
        "bind",
        choices=("bind", "image", "ram"),
        help="""
            V(bind) shows a directory or file of the host.

            V(image) mounts the ext4 file system in a file of the host. Everything in it has the sandbox's label, whatever labels
            it has itself. Its set-user-ID bits and device files have no effect.

            V(ram) is memory that is empty at each start. It counts as the sandbox's memory.
            """,
    )
    source: str | None = option(
        normal=plain_path,
        help="""
            The directory, file or image of the host. Required with O(mounts[].type=bind) and O(mounts[].type=image).

            No component of the path may be a symbolic link. The path must not be above or below C(/proc), C(/sys), C(/dev), the
            content of sandboxes, or the collection's own files.

            The label of a directory or file must let the sandbox use it; the kernel is asked. A source for one sandbox needs that
            sandbox's own type and level, which O(mounts[].relabel) gives it. A source that several sandboxes read needs a type
            that all of them may read, such as C(usr_t).

            Only one sandbox can have an image, unless all have it read-only. Its file needs a label that C(mount) may read, such
            as C(mount_loopback_t).
            """,
    )
    target: str = option(
        "",
        required=True,
        normal=_target,
        help="""
            The path inside: C(/mnt), C(/media), C(/opt), C(/home), C(/root), C(/srv), or a path below one of these, C(/etc) or
            C(/var).

            It must not cover, or be below, a path that the collection itself manages, or the target of another mount.
            """,
    )
    read_only: bool = option(
        False,
        type="bool",
        help="""
            Whether the sandbox can only read it. Valid with O(mounts[].type=bind) and O(mounts[].type=image).
            """,
    )
    relabel: bool = option(
        False, type="bool",
        help="""
            Whether everything in the directory O(mounts[].source) gets the sandbox's label, and is kept so by later runs. The
            change is permanent, and whoever could use the directory by its former label no longer can.

            Without it, no label outside the sandbox's own content is changed.
            """,
    )  # fmt: skip
    size: int | None = option(normal=size, help="The maximum size of a mount of O(mounts[].type=ram), such as V(64M). Required for it.")
    mode: str | None = option(
        type="raw", normal=_mode,
        help="""
            The mode of the directory of O(mounts[].type=ram), in octal digits and in quotes. Defaults to V(0755). The owner is
            root.
            """,
    )  # fmt: skip


# which suboptions each type has beside its target; those that it must have first
_REQUIRED = {"bind": ("source",), "image": ("source",), "ram": ("size",)}
_ALLOWED = {"bind": ("source", "read_only", "relabel"), "image": ("source", "read_only"), "ram": ("size", "mode")}


def _within(path: str, top: str) -> bool:
    return path == top or path.startswith(top + "/")


def overlap(path: str, other: str) -> bool:
    """Whether one of two paths is the other or above it."""
    return path == "/" or other == "/" or _within(path, other) or _within(other, path)


def name_of(mount: Mount, name: str) -> str:
    """What an error calls a suboption: their order is of no account, so they have no numbers."""
    return f"mounts[{mount.target}].{name}"


def ordered(mounts: Sequence[Mount], base: str) -> tuple[Mount, ...]:
    """The mounts by target; raises ``OptionError`` where they contradict themselves or each other."""
    for number, mount in enumerate(mounts):
        _check_one(mount, f"mounts[{number}]", base)
    result = sorted(mounts, key=lambda mount: mount.target)
    for number, mount in enumerate(result):
        for other in result[:number]:
            if overlap(mount.target, other.target):
                sentences = f"{mount.target} overlaps with the target {other.target}. Choose another target."
                raise OptionError.said(name_of(mount, "target"), mount.target, sentences)
    images = [mount.source for mount in result if mount.type == "image"]
    for image in images:
        if images.count(image) > 1:
            raise OptionError.said("mounts", image, f"image {image} is mounted more than once. Mount each image once.")
    return tuple(result)


def _check_one(mount: Mount, option: str, base: str) -> None:
    kind = mount.type
    for name in _REQUIRED[kind]:
        if getattr(mount, name) is None:
            raise OptionError.said(f"{option}.{name}", None, f"required when type is {kind}.")
    for name in ("source", "size", "mode", "read_only", "relabel"):
        if getattr(mount, name) and name not in _ALLOWED[kind]:
            types = " or ".join(other for other in _ALLOWED if name in _ALLOWED[other])
            raise OptionError.said(f"{option}.{name}", getattr(mount, name), f"only valid when type is {types}.")
    for place in (*_NOT_A_SOURCE, base):
        if mount.source and overlap(mount.source, place):
            raise OptionError(f"{option}.source", mount.source, f"a path that is not above or below {place}")


@dataclasses.dataclass(frozen=True)
class ObservedMount:
    """One mount as its host has it: what its source is, and what stands at its place inside."""

    # "directory", "file", "image", or what else it is; "" if there is nothing
    source: str = ""
    real: str = ""
    context: str = ""
    # what the sandbox could not do with it, or mount with an image, as class and permission
    denied: str = ""
    # entries that are to be relabelled
    mislabelled: int = 0
    # "directory", "file" or what else stands there; "" if there is nothing
    point: str = ""
    # which other sandbox is in the way, in sentences; "" where none is
    conflict: str = ""


def conflict(mount: Mount, others: Iterable[ServiceSpec]) -> str:
    """Which other sandbox is in the way of a source, in sentences; no text where none is."""
    for other in others:
        if overlap(mount.source or "", other.paths.root):
            return f"{mount.source} is above or below the content of sandbox {other.name}. Choose another path."
        for other_mount in other.mounts:
            if not other_mount.source or not overlap(mount.source or "", other_mount.source):
                continue
            if mount.type == other_mount.type == "image" and not (mount.read_only and other_mount.read_only):
                return f"sandbox {other.name} mounts this image too. Set read_only: true in both, or choose another image."
            if mount.relabel and other_mount.relabel:
                return f"sandbox {other.name} relabels {other_mount.source}. Set relabel: true for one sandbox only."
    return ""


def point_kind(actual: ObservedMount) -> str:
    """What stands at the place inside: a file for a file."""
    return "file" if actual.source == "file" else "directory"


def check(spec: ServiceSpec, observed: Mapping[str, ObservedMount], predicted: bool) -> None:
    """Refuse what could not be mounted, or not be used."""
    for mount in spec.mounts:
        actual = observed[mount.target]
        if mount.type != "ram":
            _check_source(mount, actual)
        if mount.type == "bind":
            _check_label(spec, mount, actual)
        elif actual.denied:
            advice = f"Its label {actual.context} denies {actual.denied}. Allow it with chcon -t mount_loopback_t."
            raise OptionError(name_of(mount, "source"), mount.source, "an image that mount may use", advice)
        if not predicted and actual.point not in ("", point_kind(actual) if mount.type == "bind" else "directory"):
            kind = point_kind(actual) if mount.type == "bind" else "directory"
            raise OptionError(name_of(mount, "target"), mount.target, f"a {kind} inside or nothing, not a {actual.point}")


def _check_source(mount: Mount, actual: ObservedMount) -> None:
    source, name = mount.source, name_of(mount, "source")
    if not actual.source:
        raise OptionError(name, source, "a path that exists on the host")
    if actual.real != source:
        raise OptionError(name, source, "a path without symbolic links", f"Its real path is {actual.real}.")
    if mount.type == "image" and actual.source != "image":
        raise OptionError(name, source, "a file that is a raw ext4 file system, as mkfs.ext4 makes it")
    if mount.type == "bind" and actual.source not in ("directory", "file", "image"):
        raise OptionError(name, source, f"a directory or a file, not a {actual.source}")
    if actual.conflict:
        raise OptionError.said(name, source, actual.conflict)


def _check_label(spec: ServiceSpec, mount: Mount, actual: ObservedMount) -> None:
    if mount.relabel:
        if actual.source != "directory":
            raise OptionError.said(name_of(mount, "relabel"), True, "only valid when source is a directory. Relabel a file with chcon.")
        return
    if actual.denied:
        wanted = Context.object(spec.file_type, spec.level)
        raise OptionError(
            name_of(mount, "source"),
            mount.source,
            "a source that the sandbox may use",
            f"Its label {actual.context} denies {actual.denied}. Set relabel: true to give everything in it the label of the sandbox "
            f"({wanted}), which takes it from others.",
        )


def domain_mounts(spec: ServiceSpec) -> list[tuple[str, str, bool]]:
    """(host path, path inside, read-only) of each."""
    paths = spec.paths
    return [
        ((mount.source or "") if mount.type == "bind" else paths.mounted(number), mount.target, mount.read_only)
        for number, mount in enumerate(spec.mounts)
    ]


def unit_arguments(spec: ServiceSpec) -> list[str]:
    """What the unit's helper is to check and to mount at each start."""
    paths = spec.paths
    # libvirt and mount follow links
    words = [f"source:{source}" for source in host_paths(spec)]
    for number, mount in enumerate(spec.mounts):
        if mount.type == "ram":
            words.append(f"ram:{paths.mounted(number)}:{mount.size}:{mount.mode or '755'}")
        elif mount.type == "image":
            words.append(f"image:{paths.mounted(number)}:{'ro' if mount.read_only else 'rw'}:{mount.source}")
        # libvirt follows links there, and makes what is missing
        words.append(f"point:{paths.root}{mount.target}")
    return words


def host_paths(spec: ServiceSpec) -> Iterable[str]:
    """What of the host must be mounted before the sandbox starts."""
    return [mount.source for mount in spec.mounts if mount.source]
