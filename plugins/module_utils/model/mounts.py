# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sandbox sees beside its own content: directories and files of the host, images, and memory."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import layout
from .errors import OptionError
from .options import Option
from .values import plain_path, quoted_mode, size

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
    layout.RUN,
    layout.SPECS,
    layout.CONTENT,
    layout.FILESYSTEMS,
)
_MODE = re.compile(r"0?[01]?[0-7]{3}\Z")


def _target(value: str) -> str:
    path = plain_path(value)
    if not any(_within(path, top) for top in _OPEN) and not any(path.startswith(top + "/") for top in _BELOW):
        raise ValueError(f"a path below {', '.join(_BELOW + _OPEN)}; what is elsewhere is the host's or is made at each start")
    for other in _TAKEN:
        if overlap(path, other):
            raise ValueError(f"a path that does not cover {other} and is not below it")
    return path


def _mode(value: Any) -> str:
    text = quoted_mode(value)
    if not _MODE.match(text):
        raise ValueError("a mode in octal digits, such as '0755' or '1777'")
    return text.lstrip("0").rjust(3, "0")


MOUNT: tuple[Option, ...] = (
    Option("type", default="bind", choices=("bind", "image", "ram")),
    Option("source", normalise=plain_path),
    Option("target", required=True, normalise=_target),
    Option("read_only", type="bool", default=False),
    Option("relabel", type="bool", default=False),
    Option("size", normalise=size),
    Option("mode", type="raw", normalise=_mode),
)
# which suboptions each type has beside its target; those that it must have first
_REQUIRED = {"bind": ("source",), "image": ("source",), "ram": ("size",)}
_ALLOWED = {"bind": ("source", "read_only", "relabel"), "image": ("source", "read_only"), "ram": ("size", "mode")}


def _within(path: str, top: str) -> bool:
    return path == top or path.startswith(top + "/")


def overlap(one: str, other: str) -> bool:
    """Whether one of two paths is the other or above it."""
    return one == "/" or other == "/" or _within(one, other) or _within(other, one)


def option(mount: Mapping[str, Any], name: str) -> str:
    """What an error calls a suboption: their order is of no account, so they have no numbers."""
    return f"mounts[{mount['target']}].{name}"


def ordered(mounts: Sequence[Mapping[str, Any]], base: str) -> list[Mapping[str, Any]]:
    """The mounts by target; raises ``OptionError`` where they contradict themselves or each other."""
    for mount in mounts:
        _check_one(mount, base)
    result = sorted(mounts, key=lambda mount: str(mount["target"]))
    for number, mount in enumerate(result):
        for other in result[:number]:
            if overlap(mount["target"], other["target"]):
                allowed = f"a path that is neither that of another ({other['target']}) nor below it"
                raise OptionError(option(mount, "target"), mount["target"], allowed)
    images = [mount["source"] for mount in result if mount["type"] == "image"]
    for image in images:
        if images.count(image) > 1:
            raise OptionError("mounts", image, "each image once")
    return result


def _check_one(mount: Mapping[str, Any], base: str) -> None:
    kind = mount["type"]
    for name in _REQUIRED[kind]:
        if mount[name] is None:
            raise OptionError(option(mount, name), None, f"a value: type {kind} needs one")
    for name in ("source", "size", "mode", "read_only", "relabel"):
        if mount[name] and name not in _ALLOWED[kind]:
            raise OptionError(option(mount, name), mount[name], f"none for type {kind}, which has {', '.join(_ALLOWED[kind])}")
    for place in (*_NOT_A_SOURCE, base):
        if mount["source"] and overlap(mount["source"], place):
            raise OptionError(option(mount, "source"), mount["source"], f"a path that is not above or below {place}")


@dataclasses.dataclass(frozen=True)
class Seen:
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
    # what it would have to be, for the sake of another sandbox; "" where none is in the way
    taken: str = ""


def taken(mount: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> str:
    """What a source would have to be, for the sake of the other sandboxes; no text where none is in the way."""
    for other in others:
        if overlap(mount["source"], layout.of(other).root):
            return f"a path that is not above or below the content of {other['name']}"
        for one in other["mounts"]:
            if not one["source"] or not overlap(mount["source"], one["source"]):
                continue
            if mount["type"] == one["type"] == "image" and not (mount["read_only"] and one["read_only"]):
                return f"an image of one sandbox only, unless all have it read-only; {other['name']} has it"
            if mount["relabel"] and one["relabel"]:
                return f"a source of one sandbox only where relabel is true; {other['name']} has {one['source']}"
    return ""


def point_kind(seen: Seen) -> str:
    """What stands at the place inside: a file for a file."""
    return "file" if seen.source == "file" else "directory"


def check(spec: Mapping[str, Any], seen: Mapping[str, Seen], predicted: bool) -> None:
    """Refuse what could not be mounted, or not be used."""
    for mount in spec["mounts"]:
        one = seen[mount["target"]]
        if mount["type"] != "ram":
            _check_source(mount, one)
        if mount["type"] == "bind":
            _check_label(spec, mount, one)
        elif one.denied:
            allowed = f"an image that mount may use; its label {one.context} denies {one.denied}, and chcon -t mount_loopback_t allows it"
            raise OptionError(option(mount, "source"), mount["source"], allowed)
        if not predicted and one.point not in ("", point_kind(one) if mount["type"] == "bind" else "directory"):
            kind = point_kind(one) if mount["type"] == "bind" else "directory"
            raise OptionError(option(mount, "target"), mount["target"], f"a {kind} inside, or nothing; there is a {one.point}")


def _check_source(mount: Mapping[str, Any], seen: Seen) -> None:
    source, name = mount["source"], option(mount, "source")
    if not seen.source:
        raise OptionError(name, source, "a path that the host has")
    if seen.real != source:
        raise OptionError(name, source, f"a path without symbolic links; it leads to {seen.real}")
    if mount["type"] == "image" and seen.source != "image":
        raise OptionError(name, source, "a file that is a raw ext4 file system, as mkfs.ext4 makes it")
    if mount["type"] == "bind" and seen.source not in ("directory", "file", "image"):
        raise OptionError(name, source, f"a directory or a file; it is a {seen.source}")
    if seen.taken:
        raise OptionError(name, source, seen.taken)


def _check_label(spec: Mapping[str, Any], mount: Mapping[str, Any], seen: Seen) -> None:
    if mount["relabel"]:
        if seen.source != "directory":
            raise OptionError(option(mount, "relabel"), True, "a directory as source; a file is relabelled with chcon")
        return
    if seen.denied:
        wanted = layout.object_context(spec["file_type"], spec["level"])
        raise OptionError(
            option(mount, "source"),
            mount["source"],
            f"a source that the sandbox may use; its label {seen.context} denies {seen.denied}. "
            f"relabel: true gives all in it the sandbox's label ({wanted}), and takes it from others",
        )


def domain_mounts(spec: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """(host path, path inside, read-only) of each."""
    paths = layout.of(spec)
    return [
        (mount["source"] if mount["type"] == "bind" else paths.mounted(number), mount["target"], mount["read_only"])
        for number, mount in enumerate(spec["mounts"])
    ]


def unit_arguments(spec: Mapping[str, Any]) -> list[str]:
    """What the unit's helper is to check and to mount at each start."""
    paths = layout.of(spec)
    # libvirt and mount follow links
    words = [f"source:{source}" for source in host_paths(spec)]
    for number, mount in enumerate(spec["mounts"]):
        if mount["type"] == "ram":
            words.append(f"ram:{paths.mounted(number)}:{mount['size']}:{mount['mode'] or '755'}")
        elif mount["type"] == "image":
            words.append(f"image:{paths.mounted(number)}:{'ro' if mount['read_only'] else 'rw'}:{mount['source']}")
        # libvirt follows links there, and makes what is missing
        words.append(f"point:{paths.root}{mount['target']}")
    return words


def host_paths(spec: Mapping[str, Any]) -> Iterable[str]:
    """What of the host must be mounted before the sandbox starts."""
    return [mount["source"] for mount in spec["mounts"] if mount["source"]]
