# SPDX-License-Identifier: GPL-3.0-or-later
"""Which levels the host carries already, and what carries them: nothing here changes anything."""

from __future__ import annotations

import errno
import glob
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Callable

from ..model.errors import SandboxError
from ..model.layout import CONTENT, COPIED_SUFFIX, FILESYSTEMS, SPECS
from ..model.mcs import POLICY_RANGE, InUse, Level, LevelError, LevelRange
from ..model.values import printable
from . import libvirt
from .binding import required

_SPEC_SUFFIX = ".sandbox"

_ATTRIBUTE = "security.selinux"

DomainLabels = Callable[[str], Mapping[str, Iterable[str]]]

Labels = Iterator[tuple[str, object]]
"""What a file of a runtime says: the containers, by name or nothing where the file is of one only, each with a field's value."""


def _podman(text: str) -> Labels:
    for container in json.loads(text):
        name = (container.get("names") or [container["id"]])[0]
        flags = container.get("flags") or {}
        yield from ((name, flags.get(field)) for field in ("MountLabel", "ProcessLabel"))


def _oci(text: str) -> Labels:
    document = json.loads(text)
    yield "", (document.get("process") or {}).get("selinuxLabel")
    yield "", (document.get("linux") or {}).get("mountLabel")


def _docker(text: str) -> Labels:
    document = json.loads(text)
    yield from (("", document.get(field)) for field in ("MountLabel", "ProcessLabel"))
    for option in document.get("SecurityOpt") or []:
        match = _DOCKER_OPTION.match(option)
        if match:
            yield "", f":::{option[match.end() :]}"


def _lxc(text: str) -> Labels:
    for line in text.splitlines():
        match = _LXC_LINE.match(line)
        if match:
            yield "", match.group(1)


def _incus(text: str) -> Labels:
    for config in _mappings(required("yaml", "python3-yaml").safe_load(text)):
        yield from _lxc(str(config.get("raw.lxc") or ""))


def _mappings(value: object) -> Iterator[Mapping[str, object]]:
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _mappings(part)


_DOCKER_OPTION = re.compile(r"label[=:]level[=:]")
_LXC_LINE = re.compile(r"\s*lxc\.(?:selinux\.context(?:\.keyring)?|se_context)\s*=\s*(\S+)")

# Where the runtimes that hand out levels of their own keep them, and the reader of the fields that are labels. What else is in
# there was chosen by whoever made an image.
_CONTAINER_FILES: tuple[tuple[str, Callable[[str], Labels]], ...] = (
    ("/var/lib/containers/storage/*-containers/*/userdata/config.json", _oci),
    ("/var/lib/containers/storage/*-containers/containers.json", _podman),
    ("/var/lib/containers/storage/*-containers/volatile-containers.json", _podman),
    ("/var/lib/docker/containers/*/config.v2.json", _docker),
    ("/var/lib/docker/containers/*/hostconfig.json", _docker),
    ("/var/lib/incus/storage-pools/*/containers/*/backup.yaml", _incus),
    ("/var/lib/lxd/storage-pools/*/containers/*/backup.yaml", _incus),
    ("/var/lib/lxc/*/config", _lxc),
)
_CONTEXT = re.compile(r"[\w.-]+:[\w.-]+:[\w.-]+:s[0-9]+(?:-s[0-9]+)?:c[0-9.,c]*[0-9](?:-s[0-9]+(?::c[0-9.,c]*[0-9])?)?", re.ASCII)

# The path of a sandbox's processes, as libvirt makes it in the partition that is the sandbox's slice.
_CGROUP = re.compile(
    r"[^:]*:[^:]*:/machine\.slice/machine-(?:virt_sandbox\.slice/machine-virt_sandbox-)?([^/]+)\.slice/machine-lxc\\x2d[^/]+\.scope(?:/|$)"
)
_HALF_MADE = re.compile(r"\.(.+)\.new")
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")


def read_context(path: str) -> str | None:
    """The raw context of an entry itself, never of what it links to; none where there is none, or nothing."""
    try:
        return os.fsdecode(os.getxattr(path, _ATTRIBUTE, follow_symlinks=False).rstrip(b"\0"))
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP, errno.ENOENT, errno.ENOTDIR):
            return None
        raise SandboxError(f"{path}: its context cannot be read ({error.strerror}). Run as root.") from error


def levels_of(context: str, container: bool = False) -> set[Level]:
    """The levels that a context uses, but for those that no policy has, and that nothing can carry then.

    A process that is cleared for everything while being at ``s0`` uses none: that is the host itself, unless it is a container's.
    """
    try:
        level_range = LevelRange.of_context(context)
    except LevelError:
        return set()
    cleared_for_all = level_range.low != level_range.high and level_range.high.mask == POLICY_RANGE.mask and not container
    levels = {level_range.low} if cleared_for_all else {level_range.low, level_range.high}
    return {level for level in levels if level and level in POLICY_RANGE}


def observe(
    root: str = "",
    domain_labels: DomainLabels = libvirt.domain_labels,
    context_of: Callable[[str], str | None] = read_context,
) -> list[InUse]:
    """Every level in use on the host whose files are below ``root``, each with what carries it, sorted."""
    in_use: set[InUse] = set()
    in_use.update(_domains(domain_labels))
    in_use.update(_processes(f"{root}/proc"))
    in_use.update(_containers(root))
    in_use.update(_specs(root + SPECS))
    for name, path in content_roots(root).items():
        for level in levels_of(context_of(path) or ""):
            in_use.add(InUse(level, "content", _owner_of_content(name)))
    return sorted(in_use, key=lambda use: (use.kind, use.holder, str(use.level)))


def content_roots(root: str = "") -> dict[str, str]:
    """The top of each content tree, by the name of the sandbox or of the directory."""
    tops = {name: f"{root}{FILESYSTEMS}/{name}" for name in _names(root + FILESYSTEMS)}
    for name, record in _documents(root + CONTENT, ".json"):
        path = record.get("path")
        if isinstance(path, str) and path.startswith("/"):
            tops[name] = root + path
    return tops


def _owner_of_content(name: str) -> str:
    """What is half made belongs to whom it is made for."""
    half_made = _HALF_MADE.fullmatch(name)
    return half_made.group(1) if half_made else printable(name)


def declared(root: str = "") -> set[str]:
    """The names of the sandboxes that have a spec or content on this host."""
    specs = {name[: -len(_SPEC_SUFFIX)] for name in _names(root + SPECS) if name.endswith(_SPEC_SUFFIX)}
    return specs | {_owner_of_content(name) for name in content_roots(root)}


def _domains(domain_labels: DomainLabels) -> Iterator[InUse]:
    for uri, kind in ((libvirt.LXC_URI, "domain"), ("qemu:///system", "machine")):
        for name, labels in domain_labels(uri).items():
            for label in labels:
                for level in levels_of(label):
                    yield InUse(level, kind, name)


def _processes(proc: str) -> Iterator[InUse]:
    """One entry for each sandbox and level, or for each level and program outside of sandboxes."""
    reported = set()
    for pid in filter(str.isdigit, _names(proc)):
        levels = levels_of(_text(f"{proc}/{pid}/attr/current").rstrip("\0\n"))
        if not levels:
            continue
        sandbox = _sandbox_of(_text(f"{proc}/{pid}/cgroup"))
        program = printable(_text(f"{proc}/{pid}/comm").strip())
        for level in levels:
            if (level, sandbox or program) not in reported:
                reported.add((level, sandbox or program))
                yield InUse(level, "process", sandbox or f"{program} (PID {pid})")


def _sandbox_of(cgroups: str) -> str:
    """The sandbox whose slice a process is in; below its scope, a sandbox makes cgroups of any name."""
    for line in cgroups.splitlines():
        match = _CGROUP.match(line)
        if match:
            return _ESCAPE.sub(lambda escape: chr(int(escape.group(1), 16)), match.group(1))
    return ""


def _containers(root: str) -> Iterator[InUse]:
    for pattern, read in _CONTAINER_FILES:
        for path in glob.glob(root + pattern):
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    text = file.read()
            except (FileNotFoundError, IsADirectoryError):
                continue
            except OSError as error:
                raise SandboxError(f"{path}: cannot be read ({error.strerror}). Run as root.") from error
            parts = path[len(root) :].split("/")
            holder = parts[-3] if parts[-2] == "userdata" else parts[-2]
            for name, label in _labels(read, text):
                for level in levels_of(label, container=True):
                    yield InUse(level, "container", printable(name or holder))


def _labels(read: Callable[[str], Labels], text: str) -> Iterable[tuple[str, str]]:
    """The labels in a file of a runtime; of one whose form is another, whatever looks like a context, for any of that may be one."""
    try:
        return [(str(name), label) for name, label in read(text) if isinstance(label, str)]
    except Exception:  # a version of the runtime that nobody knows yet must not end the run
        return [("", context) for context in _CONTEXT.findall(text)]


def _specs(directory: str) -> Iterator[InUse]:
    for name, document in _documents(directory, _SPEC_SUFFIX):
        spec = document.get("sandbox")
        level = spec.get("level") if isinstance(spec, dict) else None
        for value in levels_of(f":::{level}"):
            yield InUse(value, "spec", name)


def _documents(directory: str, suffix: str) -> Iterator[tuple[str, dict[str, object]]]:
    for name in _names(directory):
        # beside the record of a content is the list of what was copied into it, which names no level
        if not name.endswith(suffix) or name.startswith(".") or name.endswith(COPIED_SUFFIX):
            continue
        path = f"{directory}/{name}"
        try:
            with open(path, encoding="utf-8") as file:
                document = json.load(file)
        except FileNotFoundError:
            continue
        except (ValueError, RecursionError) as error:
            raise SandboxError(f"{path}: cannot be read ({error}). Restore it from a backup, or remove it.") from error
        except OSError as error:
            raise SandboxError(f"{path}: cannot be read ({error.strerror}). Run as root, and check what it is.") from error
        if isinstance(document, dict):
            yield name[: -len(suffix)], document


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise SandboxError(f"{directory}: cannot be read ({error.strerror}). Run as root.") from error


def _text(path: str) -> str:
    """What a process's file says; nothing if the process is gone, or the kernel keeps no labels."""
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read())
    except OSError:
        return ""
