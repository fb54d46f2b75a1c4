# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a unit can't work inside, what makes the rest of it work there, and what it names that it needs."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping

from . import capabilities
from .spec import NET_PROCESS_TYPE, PROCESS_TYPE
from .unit_file import REQUIRES, UnitFile, required, split_words
from .values import printable

# what the processes of every sandbox may do (the policy says so too); the rest a service may ask for and not get
CAPABILITIES = frozenset(
    {
        "chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "net_bind_service", "ipc_lock", "ipc_owner",
        "sys_chroot", "sys_ptrace", "audit_write", "lease", "setfcap",
    }
)  # fmt: skip
_REMEDY = f"Set process_type: {NET_PROCESS_TYPE}, or type: dhcp or static for an interface"
# the device nodes that libvirt makes, and what systemd puts beside them
DEVICES = frozenset(
    {
        "null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts", "shm", "mqueue", "log", "fd", "initctl",
        "hugepages",
    }
)  # fmt: skip
_CONTAINER = ("yes", "true", "1", "container", "lxc-libvirt")
_READ_ONLY = ("/", "/usr", "/sys", "/proc/sys")

# what of a unit's file view goes beyond hiding and protecting: systemd does not start it without a mount namespace
_OTHER_ROOT = ("RootDirectory", "RootImage", "RootImageOptions", "MountImages", "ExtensionImages", "ExtensionDirectories", "LogNamespace")
_OTHER_NAMESPACE = ("NetworkNamespacePath", "IPCNamespacePath")
_PREFIXES = "@-:+!|"  # of a program, which say how it is run
_COMMANDS = ("ExecCondition", "ExecStartPre", "ExecStart", "ExecStartPost")
_LONGEST_PATH, _LONGEST_NAME = 4096, 255  # bytes
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}\Z")


def programs(unit: UnitFile) -> list[str]:
    """The programs without which it does not start, as far as they are named by paths that files can have."""
    words = [(split_words(command) or [""])[0] for command in unit.all("ExecStart")]
    plain = [word.lstrip(_PREFIXES) for word in words if "-" not in word[: len(word) - len(word.lstrip(_PREFIXES))]]
    return [path for path in plain if path.startswith("/") and not set(path) & set("$%\0") and _may_be(path)]


def _may_be(path: str) -> bool:
    data = path.encode("utf-8", "surrogateescape")
    return len(data) < _LONGEST_PATH and all(len(part) <= _LONGEST_NAME for part in data.split(b"/"))


def obstacle(name: str, units: Mapping[str, UnitFile], process_type: str = "") -> str:
    """Why a unit can't work in a sandbox of this type; nothing where it can, as far as its files tell."""
    for unit_name, way in _required(name, units):
        reason = next(_obstacles(units[unit_name], process_type), "")
        if reason:
            return _sentence(f"{way}it {printable(reason)}.")
    return ""


def missing_program(name: str, units: Mapping[str, UnitFile], missing: Mapping[str, str]) -> str:
    """Which program of a unit, or of one that it needs, is not there; ``missing``: unit -> program."""
    for unit_name, way in _required(name, units):
        program = missing.get(units[unit_name].name)
        if program:
            remedy = "Copy it with private, or mount it with mounts."
            return _sentence(f"{way}it runs {printable(program)}, which neither the host's /usr nor the content has. {remedy}")
    return ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _required(name: str, units: Mapping[str, UnitFile]) -> Iterator[tuple[str, str]]:
    """A unit and all that it needs, as far as they are there, each with the way to it in words."""
    names = {name}
    pending = [(name, "")]
    while pending:
        unit_name, way = pending.pop(0)
        if unit_name in units:
            yield unit_name, way
            others = [other for other in required(units[unit_name]) if other not in names]
            names.update(others)
            pending += [(other, f"{way}it needs {other}: ") for other in others]


def _obstacles(unit: UnitFile, process_type: str) -> Iterator[str]:
    if unit.masked:
        yield f"is masked by {unit.masked}"
    if unit.fault:
        yield f"is not loaded by systemd: {unit.fault}"
    yield from _foreign_units(unit)
    yield from _conditions(unit)
    yield from _namespaces(unit)
    for key, name in _capabilities(unit):
        if _capability(name) in capabilities.OF_NETWORKS and process_type == PROCESS_TYPE:
            yield f"needs {name} ({key}=), which {PROCESS_TYPE} is denied. {_REMEDY}"
        elif _capability(name) not in (*CAPABILITIES, *capabilities.OF_NETWORKS):
            yield f"needs {name} ({key}=), which no sandbox has"
    for key in _COMMANDS:
        for command in unit.all(key):
            program = (split_words(command.lstrip("@:+!|")) or [""])[0]  # one with a dash may fail
            if not program.startswith("-") and program.rpartition("/")[2] in ("modprobe", "insmod"):
                yield f"loads a kernel module ({key}={command}), which no sandbox may"


def _capabilities(unit: UnitFile) -> Iterator[tuple[str, str]]:
    """The capabilities that it asks for, each with the setting. What it limits itself to (CapabilityBoundingSet=) is no demand."""
    for value in unit.all("AmbientCapabilities"):
        for name in () if value.startswith("~") else value.split():
            yield "AmbientCapabilities", name
    for key in ("ConditionCapability", "AssertCapability"):
        for value in unit.all(key):
            if not value.startswith(("|", "!")):
                yield key, value


def _foreign_units(unit: UnitFile) -> Iterator[str]:
    for name in unit.units(*REQUIRES):
        if name.endswith(".device"):
            yield f"needs the device {name}, and a sandbox has none of the host's"
        elif name.endswith((".mount", ".automount", ".swap")) and name != "-.mount":
            yield f"needs {name}, and a sandbox mounts nothing itself"
        elif name.startswith("modprobe@"):
            yield f"needs the kernel module of {name}, and a sandbox loads none"


def _conditions(unit: UnitFile) -> Iterator[str]:
    """Conditions that no sandbox meets; those with a bar need only one of them to hold, and are left alone."""
    for kind in ("Condition", "Assert"):
        for value in unit.all(f"{kind}Virtualization"):
            if not value.startswith("|") and (value.lstrip("!").lower() in _CONTAINER) == value.startswith("!"):
                yield f"does not run in containers ({kind}Virtualization={value})"
        for test in ("PathExists", "FileNotEmpty", "PathIsReadWrite"):
            for value in unit.all(f"{kind}{test}"):
                if value.startswith("/dev/") and not _is_there(value):
                    yield f"needs {value} ({kind}{test}=), and a sandbox has no device of the host's"
                elif test == "PathIsReadWrite" and value in _READ_ONLY:
                    yield f"needs {value} writable ({kind}{test}=), and a sandbox has it read-only"


def _is_there(path: str) -> bool:
    return path.split("/")[2] in DEVICES


def _namespaces(unit: UnitFile) -> Iterator[str]:
    for key in _OTHER_ROOT + _OTHER_NAMESPACE:
        if unit.last(key):
            yield f"needs namespaces of its own ({key}={unit.last(key)}), which no sandbox may make"
    for key in ("BindPaths", "BindReadOnlyPaths"):
        for word in unit.words(key):
            source, _colon, target = word.lstrip("-").partition(":")
            if target and target.partition(":")[0] != source:
                yield f"needs a mount namespace of its own ({key}={word}), which no sandbox may make"
    for key, prefix in (("DynamicUser", "User"), ("DynamicUser", "Group")):
        if unit.yes(key) and not _USER.match(unit.last(prefix) or dynamic_user(unit)):
            yield f"runs as a user whose name is invalid here ({prefix}={unit.last(prefix)})"


def _capability(name: str) -> str:
    return name.lower().removeprefix("cap_")


def dynamic_user(unit: UnitFile) -> str:
    """The user that systemd would make for a unit with ``DynamicUser=``."""
    return unit.last("User") or unit.name.rpartition(".")[0].partition("@")[0].replace(".", "-").lower()


# what makes a unit ask for a filter of system calls: the kernel takes one only of a process that gains no privileges
_FILTERS = (
    "SystemCallFilter", "SystemCallArchitectures", "SystemCallLog", "RestrictAddressFamilies", "RestrictNamespaces",
    "MemoryDenyWriteExecute", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality",
)  # fmt: skip


def drop_in(unit: UnitFile) -> str:
    """What a unit needs to run inside as it would on the host; nothing for most."""
    lines = []
    if unit.yes("DynamicUser"):
        # a user that lasts: systemd insists on a mount namespace for one that does not
        user = dynamic_user(unit)
        lines += ["DynamicUser=no", f"User={user}", f"Group={unit.last('Group') or user}", "RestrictSUIDSGID=yes", "RemoveIPC=yes"]
    if lines or (any(_asks(unit, key) for key in _FILTERS) and not unit.yes("NoNewPrivileges")):
        lines.append("NoNewPrivileges=yes")
    lines += _priorities(unit)
    return "[Service]\n" + "\n".join(lines) + "\n" if lines else ""


_ORDINARY = {"CPUSchedulingPolicy": ("", "other", "batch", "idle"), "IOSchedulingClass": ("", "best-effort", "idle", "2", "3")}


def _priorities(unit: UnitFile) -> Iterator[str]:
    """Priorities above the ordinary one, which no sandbox has, so that its limits hold, are taken away."""
    if unit.last("Nice").startswith("-"):
        yield "Nice="
    for key, ordinary in _ORDINARY.items():
        if unit.last(key).lower() not in ordinary:
            yield f"{key}="


def _asks(unit: UnitFile, key: str) -> bool:
    return unit.last(key).lower() not in ("", "0", "no", "false", "off", "n", "f")


def users(units: Iterable[UnitFile]) -> list[str]:
    """The users that systemd would make while such a unit runs, and that a sandbox has for good."""
    return sorted({dynamic_user(unit) for unit in units if unit.yes("DynamicUser")})


_DIRECTORIES = {
    "StateDirectory": "/var/lib",
    "CacheDirectory": "/var/cache",
    "LogsDirectory": "/var/log",
    "ConfigurationDirectory": "/etc",
}


def paths(unit: UnitFile) -> list[str]:
    """The paths that a unit names: where its configuration is, and where it keeps its data."""
    named = [word.lstrip("-+") for word in unit.words("ReadWritePaths", "ReadOnlyPaths", "WorkingDirectory")]
    named += [value.lstrip("-") for value in unit.all("EnvironmentFile")]
    named += [value.lstrip("|!") for key in ("PathExists", "FileNotEmpty", "PathIsDirectory") for value in unit.all(f"Condition{key}")]
    named += [value.lstrip("|!") for value in unit.all("AssertPathExists")]
    for key, base in _DIRECTORIES.items():
        named += [f"{base}/{word.partition(':')[0]}" for word in unit.words(key)]
    for key in _COMMANDS:
        for command in unit.all(key):
            named += [word.rpartition("=")[2] for word in split_words(command.lstrip(_PREFIXES))]
    plain = ["/" + posixpath.normpath(path).lstrip("/") for path in named if path.startswith("/") and "$" not in path and "%" not in path]
    return list(dict.fromkeys(plain))
