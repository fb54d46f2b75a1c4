# SPDX-License-Identifier: GPL-3.0-or-later
"""What the files of a systemd unit say: what it needs, what of it can't work inside, and what makes the rest of it work there."""

from __future__ import annotations

import dataclasses
import posixpath
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

NULL = "/dev/null"
# the units of an administrator: of the host's, which a sandbox has a copy of, and of its own
ADMINISTRATORS = "/etc/systemd/system"

WHERE = f"a unit that the host has in /usr/lib/systemd/system or {ADMINISTRATORS}, or the sandbox in the latter; is its package installed?"

# what a sandbox's processes may do (the policy says so too); the rest a service may ask for and not get
CAPABILITIES = frozenset(
    {
        "chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "net_bind_service", "net_admin", "net_raw",
        "ipc_lock", "ipc_owner", "sys_chroot", "sys_ptrace", "sys_resource", "audit_write", "lease", "setfcap",
    }
)  # fmt: skip
# the device nodes that libvirt makes, and what systemd puts beside them
DEVICES = frozenset(
    {
        "null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts", "shm", "mqueue", "log", "fd", "initctl",
        "hugepages",
    }
)  # fmt: skip
_CONTAINER = ("yes", "true", "1", "container", "lxc-libvirt")
_READ_ONLY = ("/", "/usr", "/sys", "/proc/sys")

_REQUIRES = ("Requires", "Requisite", "BindsTo")
_WANTS = ("Wants", "Upholds")
_FOLLOWED = (".service", ".socket", ".timer", ".path")
# what of a unit's file view goes beyond hiding and protecting: systemd does not start it without a mount namespace
_OTHER_ROOT = ("RootDirectory", "RootImage", "RootImageOptions", "MountImages", "ExtensionImages", "ExtensionDirectories", "LogNamespace")
_OTHER_NAMESPACE = ("NetworkNamespacePath", "IPCNamespacePath")
_PREFIXES = "@-:+!|"  # of a program, which say how it is run
_COMMANDS = ("ExecCondition", "ExecStartPre", "ExecStart", "ExecStartPost")
_NAME = re.compile(r"[A-Za-z0-9:_.@\\-]{1,200}\Z")
_LONGEST_PATH, _LONGEST_NAME = 4096, 255  # bytes
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}\Z")


@dataclasses.dataclass(frozen=True)
class UnitFile:
    """One unit as it is in effect: its file and its drop-ins, the last word on each setting."""

    name: str
    path: str
    texts: Sequence[str] = ()
    settings: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    wants: Sequence[str] = ()  # of NAME.wants and NAME.requires beside it
    masked: str = ""  # the file that makes it one that can't be started

    def all(self, key: str) -> Sequence[str]:
        return self.settings.get(key, ())

    def one(self, key: str) -> str:
        found = self.all(key)
        return found[-1] if found else ""

    def words(self, *keys: str) -> list[str]:
        return [word for key in keys for value in self.all(key) for word in value.split()]

    def yes(self, key: str) -> bool:
        return self.one(key).lower() in ("1", "yes", "true", "on", "y", "t")


def parse(name: str, path: str, texts: Sequence[str], wants: Sequence[str] = (), masked: str = "") -> UnitFile:
    """The unit that these files make, in the order in which systemd reads them."""
    settings: dict[str, list[str]] = {}
    for text in texts:
        for key, value in _assignments(text):
            if value:
                settings.setdefault(key, []).append(_specified(value, name))
            else:
                settings[key] = []
    return UnitFile(name, path, texts, settings, wants, masked)


def is_administrators(unit: UnitFile) -> bool:
    """Whether it is in /etc, which is the sandbox's own, and not in /usr."""
    return unit.path.startswith(ADMINISTRATORS + "/")


def with_drop_ins(unit: UnitFile, texts: Sequence[str]) -> UnitFile:
    """The unit as these further drop-ins make it."""
    return parse(unit.name, unit.path, (*unit.texts, *texts), unit.wants, unit.masked) if texts else unit


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    held = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith(("#", ";")) or (not line and not held):
            continue
        line = held + line
        if line.endswith("\\"):
            held = line[:-1] + " "
            continue
        held = ""
        key, equals, value = line.partition("=")
        if equals and not line.startswith("["):
            yield key.strip(), value.strip()


def _specified(value: str, name: str) -> str:
    """The specifiers that depend on nothing but the unit's name."""
    whole = name.rpartition(".")[0]
    prefix, _at, instance = whole.partition("@")
    known = {"n": name, "N": whole, "p": prefix, "P": unescape(prefix), "i": instance, "I": unescape(instance), "%": "%", "t": "/run"}
    known.update(S="/var/lib", C="/var/cache", L="/var/log", E="/etc", T="/tmp", V="/var/tmp")
    return re.sub("%(.)", lambda match: known.get(match.group(1), match.group(0)), value)


def unescape(text: str) -> str:
    """``systemd-escape --unescape``."""
    return re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match.group(1), 16)), text.replace("-", "/"))


def instance_of(unit: str, name: str) -> str:
    """A template as the instance that bears the sandbox's name; anything else as it is."""
    prefix, at, rest = unit.partition("@")
    return f"{prefix}@{name}{rest}" if at and rest.rfind(".") == 0 else unit


def spellings(unit: str) -> list[str]:
    """The names under which its files are looked for: its own, then that of the template that it is an instance of."""
    prefix, at, rest = unit.partition("@")
    return list(dict.fromkeys([unit, f"{prefix}@.{rest.rpartition('.')[2]}"])) if at else [unit]


def administrators(unit: str) -> list[str]:
    """Where an administrator has the file of a unit."""
    return [f"{ADMINISTRATORS}/{one}" for one in spellings(unit)]


def needed(unit: UnitFile) -> list[str]:
    """The units that it brings along: they run inside too, where the sandbox has them."""
    return [
        name
        for name in dict.fromkeys((*required(unit), *unit.words(*_WANTS), *unit.wants))
        if name.endswith(_FOLLOWED) and _NAME.match(name)
    ]


def brought(names: Iterable[str], find: Callable[[str], UnitFile | None]) -> dict[str, UnitFile]:
    """The named units and all that they bring along, as far as ``find`` knows them."""
    found: dict[str, UnitFile] = {}
    pending = list(names)
    while pending:
        name = pending.pop(0)
        unit = find(name) if name not in found else None
        if unit:
            found[name] = unit
            pending += needed(unit)
    return found


def required(unit: UnitFile) -> list[str]:
    """The units without which it does not run."""
    names = unit.words(*_REQUIRES)
    if unit.name.endswith(".socket"):
        names.append(unit.one("Service") or _activated(unit))
    elif unit.name.endswith((".timer", ".path")):
        names.append(unit.one("Unit") or f"{unit.name.rpartition('.')[0]}.service")
    return list(dict.fromkeys([*names, *unit.words("Sockets")]))


def _activated(socket: UnitFile) -> str:
    base = socket.name.rpartition(".")[0]
    # one process for each connection: an instance without a name stands for all of them
    return f"{base}@.service" if socket.yes("Accept") and "@" not in base else f"{base}.service"


def programs(unit: UnitFile) -> list[str]:
    """The programs without which it does not start, as far as they are named by paths that files can have."""
    words = [(command.split() or [""])[0] for command in unit.all("ExecStart")]
    plain = [word.lstrip(_PREFIXES) for word in words if "-" not in word[: len(word) - len(word.lstrip(_PREFIXES))]]
    return [path for path in plain if path.startswith("/") and not set(path) & set("$%\\\"'\0") and _may_be(path)]


def _may_be(path: str) -> bool:
    return len(path.encode()) < _LONGEST_PATH and all(len(part.encode()) <= _LONGEST_NAME for part in path.split("/"))


def obstacle(name: str, units: Mapping[str, UnitFile]) -> str:
    """Why a unit can't work in a sandbox; nothing where it can, as far as its files tell."""
    for one, way in _required(name, units):
        reason = next(_obstacles(units[one]), "")
        if reason:
            return f"{way}it {reason}"
    return ""


def nowhere(name: str, units: Mapping[str, UnitFile], missing: Mapping[str, str]) -> str:
    """Which program of a unit, or of one that it needs, is not there; ``missing``: unit -> program."""
    for one, way in _required(name, units):
        if one in missing:
            remedy = "copy it with private, or mount it (mounts)"
            return f"{way}it runs {missing[one]}, which neither the host's /usr has nor the content; {remedy}"
    return ""


def _required(name: str, units: Mapping[str, UnitFile]) -> Iterator[tuple[str, str]]:
    """A unit and all that it needs, as far as they are there, each with the way to it in words."""
    seen = {name}
    pending = [(name, "")]
    while pending:
        one, way = pending.pop(0)
        if one in units:
            yield one, way
            others = [other for other in required(units[one]) if other not in seen]
            seen.update(others)
            pending += [(other, f"{way}it needs {other}: ") for other in others]


def _obstacles(unit: UnitFile) -> Iterator[str]:
    if unit.masked:
        yield f"is masked by {unit.masked}"
    yield from _foreign_units(unit)
    yield from _conditions(unit)
    yield from _namespaces(unit)
    for value in unit.all("AmbientCapabilities"):
        for name in () if value.startswith("~") else value.split():
            if _capability(name) not in CAPABILITIES:
                yield f"needs {name} (AmbientCapabilities=), which no sandbox has"
    for key in _COMMANDS:
        for command in unit.all(key):
            program = (command.lstrip("@:+!|").split() or [""])[0]  # one with a dash may fail
            if not program.startswith("-") and program.rpartition("/")[2] in ("modprobe", "insmod"):
                yield f"loads a kernel module ({key}={command}), which no sandbox may"


def _foreign_units(unit: UnitFile) -> Iterator[str]:
    for name in unit.words(*_REQUIRES):
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
        for value in unit.all(f"{kind}Capability"):
            if not value.startswith(("|", "!")) and _capability(value) not in CAPABILITIES:
                yield f"needs {value} ({kind}Capability=), which no sandbox has"
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
        if unit.one(key):
            yield f"needs namespaces of its own ({key}={unit.one(key)}), which no sandbox may make"
    for key in ("BindPaths", "BindReadOnlyPaths"):
        for word in unit.words(key):
            source, _colon, target = word.lstrip("-").partition(":")
            if target and target.partition(":")[0] != source:
                yield f"needs a mount namespace of its own ({key}={word}), which no sandbox may make"
    for key, prefix in (("DynamicUser", "User"), ("DynamicUser", "Group")):
        if unit.yes(key) and not _USER.match(unit.one(prefix) or dynamic_user(unit)):
            yield f"runs as a user whose name is none here ({prefix}={unit.one(prefix)})"


def _capability(name: str) -> str:
    return name.lower().removeprefix("cap_")


def dynamic_user(unit: UnitFile) -> str:
    """The user that systemd would make for a unit with ``DynamicUser=``."""
    return unit.one("User") or unit.name.rpartition(".")[0].partition("@")[0].replace(".", "-").lower()


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
        lines += ["DynamicUser=no", f"User={user}", f"Group={unit.one('Group') or user}", "RestrictSUIDSGID=yes", "RemoveIPC=yes"]
    if lines or (any(_asks(unit, key) for key in _FILTERS) and not unit.yes("NoNewPrivileges")):
        lines.append("NoNewPrivileges=yes")
    lines += _priorities(unit)
    return "[Service]\n" + "\n".join(lines) + "\n" if lines else ""


_ORDINARY = {"CPUSchedulingPolicy": ("", "other", "batch", "idle"), "IOSchedulingClass": ("", "best-effort", "idle", "2", "3")}


def _priorities(unit: UnitFile) -> Iterator[str]:
    """Priorities above the ordinary one, which no sandbox has, so that its limits hold, are taken away."""
    if unit.one("Nice").startswith("-"):
        yield "Nice="
    for key, ordinary in _ORDINARY.items():
        if unit.one(key).lower() not in ordinary:
            yield f"{key}="


def _asks(unit: UnitFile, key: str) -> bool:
    return unit.one(key).lower() not in ("", "0", "no", "false", "off", "n", "f")


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
    named = [word.lstrip("-+") for word in unit.words("ReadWritePaths", "ReadOnlyPaths", "ReadWriteDirectories", "WorkingDirectory")]
    named += [value.lstrip("-") for value in unit.all("EnvironmentFile")]
    named += [value.lstrip("|!") for key in ("PathExists", "FileNotEmpty", "PathIsDirectory") for value in unit.all(f"Condition{key}")]
    named += [value.lstrip("|!") for value in unit.all("AssertPathExists")]
    for key, base in _DIRECTORIES.items():
        named += [f"{base}/{word.partition(':')[0]}" for word in unit.words(key)]
    for key in _COMMANDS:
        for command in unit.all(key):
            named += [word.rpartition("=")[2] for word in _split(command.lstrip(_PREFIXES))]
    plain = ["/" + posixpath.normpath(path).lstrip("/") for path in named if path.startswith("/") and "$" not in path and "%" not in path]
    return list(dict.fromkeys(plain))


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()
