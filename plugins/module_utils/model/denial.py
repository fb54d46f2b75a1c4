# SPDX-License-Identifier: GPL-3.0-or-later
"""Denials of SELinux explained: which sandbox, which process, which object, whose level, why, and what to do.

The form of the records: https://github.com/linux-audit/audit-documentation/wiki/SPEC-Audit-Event-Enrichment
"""

from __future__ import annotations

import binascii
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable, NamedTuple

from . import layout
from .mcs import POLICY_RANGE, Level, LevelError, LevelRange
from .spec import FILE_TYPE, PROCESS_TYPE
from .values import printable

# from the line's beginning: what a record quotes may look like another one
_HEAD = re.compile(r"(?:node=\S+ )?type=(AVC|PATH|SYSCALL) msg=audit\(([0-9]{1,12}\.[0-9]{1,9}):([0-9]{1,20})\): ?(.*)")
_AVC = re.compile(r"avc:\s+(denied|granted)\s+\{ ([\w ]*)\}")
# a value in quotes, or one without spaces; text that would break a record is written in hexadecimal digits
_FIELD = re.compile(r'(?<!\w)(\w+)=(?:"([^"]*)"|(\S+))')
_HEX = re.compile(r"(?:[0-9A-F]{2})+\Z")
_TEXTS = ("comm", "name", "path", "exe", "trawcon")

ATTACK = "if nobody meant to do this, it was an attack, and it failed: there is nothing to mend"
# contexts of who acts and of what is acted on, class, permissions -> booleans of which each by itself would grant them: "name on"
Booleans = Callable[[str, str, str, Sequence[str]], Sequence[str]]


class _Reason(NamedTuple):
    why: str
    remedy: str = ""  # for who meant to do it
    attack: bool = True  # it may have been one
    types: bool = True  # booleans decide about types, and not about levels


@dataclasses.dataclass(frozen=True)
class Record:
    """One denial: the AVC record of an event, with what its other records say of it."""

    time: float
    permissions: tuple[str, ...]
    fields: Mapping[str, str]
    permissive: bool = False

    @property
    def source(self) -> str:
        return self.fields.get("scontext", "")

    @property
    def target(self) -> str:
        """The raw context is what is there, where the policy does not know it and took it for unlabeled_t."""
        return self.fields.get("trawcon") or self.fields.get("tcontext", "")

    @property
    def tclass(self) -> str:
        return self.fields.get("tclass", "")

    @property
    def thing(self) -> str:
        """What it was about, as far as the records name it."""
        for key in ("path", "name"):
            if self.fields.get(key):
                return self.fields[key]
        return next((f"port {self.fields[key]}" for key in ("dest", "src") if key in self.fields), "")


@dataclasses.dataclass(frozen=True)
class Explained:
    """What a denial means to an administrator."""

    sandbox: str
    time: float
    process: str
    permissions: Sequence[str]
    tclass: str
    object: str
    context: str
    owner: str
    why: str
    remedy: str
    denied: bool = True  # and not only recorded
    times: int = 1

    def key(self) -> tuple[Any, ...]:
        return (self.sandbox, self.process, self.permissions, self.tclass, self.object, self.context, self.denied)


def parse(lines: Iterable[str]) -> list[Record]:
    """The denials among raw audit records, in order. What belongs to one event has its time and number; numbers begin anew at each boot."""
    denials: list[tuple[tuple[str, str], Record]] = []
    calls: dict[tuple[str, str], Mapping[str, str]] = {}
    paths: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for line in lines:
        head = _HEAD.match(line)
        if not head:
            continue
        kind, when, serial, text = head.groups()
        event, fields = (when, serial), _fields(text)
        if kind == "SYSCALL":
            calls[event] = fields
        elif kind == "PATH":
            paths.setdefault(event, []).append(fields)
        else:
            verdict = _AVC.search(text)
            if verdict and verdict.group(1) == "denied":
                denials.append((event, Record(float(when), tuple(verdict.group(2).split()), fields, fields.get("permissive") == "1")))
    return [
        dataclasses.replace(record, fields=_whole(record.fields, calls.get(event, {}), paths.get(event, ()))) for event, record in denials
    ]


def _whole(fields: Mapping[str, str], call: Mapping[str, str], paths: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The fields of an AVC record with the program and the path that the event's other records name."""
    more = {"exe": call.get("exe", ""), "path": _path_of(fields, paths)}
    return {**{key: text for key, text in more.items() if text not in ("", "(null)")}, **fields}


def _path_of(fields: Mapping[str, str], paths: Sequence[Mapping[str, str]]) -> str:
    """The whole path, of which an AVC record may have the last part only, or nothing."""
    name = fields.get("name")
    whole = [item for item in paths if item.get("name", "").startswith("/")]
    if name is None:
        fit = [item for item in whole if item.get("nametype") != "PARENT"]
        return fit[0]["name"] if len(fit) == 1 else ""
    fit = [item for item in whole if item["name"].rstrip("/").rpartition("/")[2] == name]
    fit.sort(key=lambda item: (item.get("inode") != fields.get("ino"), item.get("nametype") == "PARENT"))
    return fit[0]["name"].rstrip("/") if fit else ""


def _fields(text: str) -> dict[str, str]:
    fields = {}
    for key, quoted, plain in _FIELD.findall(text):
        hidden = key in _TEXTS and plain and _HEX.match(plain)
        fields[key] = printable(_unhidden(binascii.unhexlify(plain)) if hidden else quoted or plain)
    return fields


def _unhidden(text: bytes) -> str:
    """A text that was written in hexadecimal digits; an abstract socket's address as systemd and ss write it."""
    text = text.replace(b"\0", b"@") if text.startswith(b"\0") else text.split(b"\0")[0]
    return text.decode("utf-8", "surrogateescape")


def explain(
    records: Iterable[Record],
    owners: Mapping[str, str],
    types: Iterable[str] = (PROCESS_TYPE,),
    booleans: Booleans = lambda *_asked: (),
) -> list[Explained]:
    """The denials of sandboxes; ``owners``: level -> sandbox. The same denial again is counted, with its last time."""
    known, asks = set(types), _once(booleans)
    explanations: dict[tuple[Any, ...], Explained] = {}
    for record in records:
        if _type(record.source) in known:
            explained = _explained(record, owners, asks)
            before = explanations.pop(explained.key(), None)
            explanations[explained.key()] = dataclasses.replace(explained, times=before.times + 1) if before else explained
    return list(explanations.values())


def _once(booleans: Booleans) -> Callable[[Record], Sequence[str]]:
    """Asks once about each pair of types, class and permissions; whose level it is has no part in it."""
    known: dict[tuple[Any, ...], Sequence[str]] = {}

    def ask(record: Record) -> Sequence[str]:
        own = _level(record.target) == _level(record.source)
        key = (_type(record.source), _type(record.target), own, record.tclass, record.permissions)
        if key not in known:
            known[key] = booleans(record.source, record.target, record.tclass, record.permissions)
        return known[key]

    return ask


def _explained(record: Record, owners: Mapping[str, str], booleans: Callable[[Record], Sequence[str]]) -> Explained:
    own = _level(record.source)
    reason = next(_reasons(record, own, owners))
    return Explained(
        sandbox=owners.get(str(own), "") if own else "",
        time=record.time,
        process=record.fields.get("exe") or record.fields.get("comm", ""),
        permissions=record.permissions,
        tclass=record.tclass,
        object=record.thing,
        context=record.target,
        owner=_owner(record.target, owners),
        why=reason.why,
        remedy="; ".join(_remedies(record, reason, booleans(record) if reason.types else ())),
        denied=not record.permissive,
    )


def _remedies(record: Record, reason: _Reason, booleans: Sequence[str]) -> Iterator[str]:
    if booleans:
        settings = " or ".join(f"setsebool -P {boolean}" for boolean in booleans)
        yield f"a boolean of the policy would grant it to every sandbox of type {_type(record.source)}: {settings}"
    if reason.remedy:
        yield reason.remedy
    if record.permissive:
        source = _type(record.source)
        yield (
            "if nobody meant to do this, it was an attack, and it was not stopped, only recorded, for SELinux or the type was permissive: "
            f"setenforce 1, or semanage permissive -d {source}, ends that"
        )
    elif reason.attack:
        yield ATTACK


def _level(context: str) -> Level | None:
    """The level that something is at, whatever it is cleared for. To have all categories is the host's, as it is to have none."""
    try:
        level = LevelRange.of_context(context).low
    except LevelError:
        return None
    if level not in POLICY_RANGE:
        return None
    return Level() if level.mask == POLICY_RANGE.mask else level


def _type(context: str) -> str:
    parts = context.split(":")
    return parts[2] if len(parts) > 2 else ""


def _owner(context: str, owners: Mapping[str, str]) -> str:
    """Whose the object is: another sandbox by its level, else the host."""
    level = _level(context)
    return "host" if level == Level() else owners.get(str(level), "")


def _reasons(record: Record, own: Level | None, owners: Mapping[str, str]) -> Iterator[_Reason]:
    """Why, and what to do: the first that fits is it."""
    target, level = _type(record.target), _level(record.target)
    if "trawcon" in record.fields:
        yield _Reason(
            f"the loaded policy knows no context {record.target}",
            "install a policy that does (role virt.sandbox.host), or have sandbox_content give the content its labels",
            attack=False,
            types=False,
        )
    if record.tclass in ("capability", "capability2", "cap_userns", "cap2_userns"):
        yield _capability(record)
    if record.tclass == "security" or target == "security_t":
        looks = "systemd inside looks for it at each start and does without" if set(record.permissions) <= _LOOKING else ""
        yield _Reason("no sandbox may see or change SELinux itself", looks)
    if _LABELLING & set(record.permissions) and level == own:
        yield _Reason(
            "no sandbox changes labels, those of its own neither",
            "programs that restore labels, such as tar with --selinux, are to be told not to: what is made inside has its label from the "
            "start, and what was moved in gets it from sandbox_content",
        )
    if record.tclass in _OF_THE_KERNEL:
        yield _Reason(f"no sandbox may use {record.tclass} ({', '.join(record.permissions)}), which is the whole kernel's")
    if record.tclass == "filesystem" or {"mounton", "mount", "unmount", "remount"} & set(record.permissions):
        yield _Reason(
            "no sandbox mounts anything itself",
            "a service that needs a file view of its own has it in the sandbox already; what is to be mounted is declared in mounts",
        )
    if target == layout.SLICE_TYPE and level == own:
        yield _Reason("a sandbox's limits are set from the host alone", "declare memory, cpus, tasks_max or io of sandbox_service")
    if target == "container_file_t" and level == own:
        yield _Reason("only libvirt makes files of this type, for the /dev of a sandbox")
    yield from _of_another(record, own, level, owners)
    yield from _of_the_host(record, target, level)
    yield _Reason(f"the policy grants {_type(record.source)} no {', '.join(record.permissions)} on {target} ({record.tclass})")


_LOOKING = {"getattr", "search", "read", "open"}
_LABELLING = {"relabelfrom", "relabelto", "setfscreate", "setcurrent", "setexec", "setkeycreate", "setsockcreate"}
_OF_THE_KERNEL = (
    "bpf", "user_namespace", "system", "module_request", "io_uring", "perf_event", "lockdown", "netlink_audit_socket",
    "netlink_selinux_socket",
)  # fmt: skip


def _capability(record: Record) -> _Reason:
    return _Reason(
        f"no sandbox has the capability {', '.join(record.permissions)}",
        "a service that works without it may be told not to ask (CapabilityBoundingSet=, AmbientCapabilities=); no option gives it",
    )


def _of_another(record: Record, own: Level | None, level: Level | None, owners: Mapping[str, str]) -> Iterator[_Reason]:
    """What carries categories that are not the sandbox's."""
    if not level or level == own:
        return
    owner = owners.get(str(level))
    if record.tclass in _FILES and _type(record.target) not in (layout.SLICE_TYPE, layout.CGROUP_TYPE):
        whose = f"the level of {owner}" if owner else "a level that no sandbox of this host has"
        yield _Reason(
            f"it is at {level}, {whose}; the sandbox is at {own}",
            "move it out of the content, or give it the sandbox's level, if it is the sandbox's own: sandbox_content with foreign: fix, or "
            "relabel: true of the mount that it is in",
            types=False,
        )
    yield _Reason(f"it belongs to {owner or 'something'} at {level}; the sandbox is at {own}", types=False)


_FILES = ("file", "dir", "lnk_file", "sock_file", "fifo_file", "chr_file", "blk_file")


def _of_the_host(record: Record, target: str, level: Level | None) -> Iterator[_Reason]:
    """What carries no category: the host's, or content that lost its label."""
    if level != Level():
        return
    if target in (FILE_TYPE, layout.ROOT_TYPE):
        yield _Reason(
            "it has the type of content and no categories, so it is nobody's",
            "it was restored or moved in without its label: the next run of sandbox_content gives it that, or, in a mount with "
            "relabel: true, of sandbox_service",
            attack=False,
            types=False,
        )
    if target == "cgroup_t" or target == layout.SLICE_TYPE:
        yield _Reason(
            "limits and cgroups outside of the sandbox's own are the host's", "systemd inside tries at each start and does without"
        )
    if record.tclass in ("blk_file", "chr_file"):
        yield _Reason("no sandbox has the host's devices")
    if record.tclass in ("file", "dir", "lnk_file") and target.startswith(
        ("proc", "sysctl", "sysfs", "debugfs", "tracefs", "securityfs", "unlabeled")
    ):
        yield _Reason(f"{target} is the kernel's, and not the sandbox's to use so", "a service does without in most cases")
    if record.tclass in _FILES:
        yield _Reason(
            f"it is the host's ({target})",
            "what a sandbox is to use of the host is declared in mounts, with relabel: true if it is to be this sandbox's alone",
        )
    if record.tclass in ("process", "unix_stream_socket", "unix_dgram_socket", "key", "fd", "sem", "shm", "msgq"):
        yield _Reason(f"it is a process of the host's or belongs to one ({target})")
    if {"name_bind", "name_connect", "node_bind"} & set(record.permissions):
        yield _Reason(f"the policy lets {_type(record.source)} use no port of the type {target}", "let the service use another port")
