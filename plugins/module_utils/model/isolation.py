# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of a policy about the separation of sandboxes, and what its answers mean. Who answers is not known here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Callable

from . import layout
from .context import Context
from .mcs import Level
from .spec import NET_PROCESS_TYPE, PROCESS_TYPE, Separation, ServiceSpec

# (context of who acts, context of what is acted on, class, permissions) -> those of the permissions that are granted
Judge = Callable[[str, str, str, Sequence[str]], Sequence[str]]

# two levels of which neither has anything of the other
_APART = (Level.of((0, 1)), Level.of((2, 3)))

# of another sandbox: which of its labels, class, permissions
_BETWEEN: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("content", "file", ("read", "write", "append", "open", "execute", "map", "create", "unlink", "link", "rename", "getattr", "setattr")),
    ("content", "file", ("relabelfrom", "relabelto", "entrypoint")),
    ("content", "dir", ("read", "search", "open", "write", "add_name", "remove_name", "create", "rmdir", "getattr", "setattr")),
    ("content", "lnk_file", ("read", "create", "unlink", "getattr")),
    ("content", "sock_file", ("write", "create", "unlink", "getattr")),
    ("content", "fifo_file", ("read", "write", "open", "create", "unlink")),
    ("cgroup", "file", ("write", "append", "setattr")),
    ("cgroup", "dir", ("write", "add_name", "remove_name", "create", "rmdir")),
    ("slice", "file", ("write", "append", "setattr")),
    ("terminal", "chr_file", ("read", "write", "open", "ioctl")),
    ("device", "chr_file", ("read", "write", "open", "ioctl")),
    ("device", "dir", ("read", "search", "write", "add_name", "remove_name")),
    ("process", "process", ("signal", "sigkill", "sigstop", "signull", "ptrace", "setsched", "setpgid", "transition", "dyntransition")),
    ("process", "file", ("read", "write", "open")),  # /proc/PID
    ("process", "dir", ("read", "search", "open")),
    ("process", "lnk_file", ("read",)),
    ("process", "unix_stream_socket", ("connectto", "read", "write")),
    ("process", "unix_dgram_socket", ("sendto", "read", "write")),
    ("process", "sem", ("associate", "read", "write", "unix_read", "unix_write", "destroy")),
    ("process", "shm", ("associate", "read", "write", "unix_read", "unix_write", "lock", "destroy")),
    ("process", "msgq", ("associate", "read", "write", "enqueue", "unix_read", "unix_write", "destroy")),
    ("process", "key", ("view", "read", "write", "search", "link", "setattr")),
    ("process", "fd", ("use",)),
    ("process", "fifo_file", ("read", "write")),
)

# of the host: type, class, permissions; a type that the policy does not know is left out
_HOST: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    *((name, "file", ("read", "write", "append", "unlink")) for name in (
        "shadow_t", "sshd_key_t", "var_lib_t", "var_log_t", "auditd_log_t", "user_home_t", "admin_home_t", "virt_var_lib_t", "mysqld_db_t",
        "httpd_sys_content_t",
    )),
    ("etc_t", "file", ("read", "open")),
    *((name, "file", ("write", "append", "unlink", "setattr")) for name in (
        "etc_t", "usr_t", "bin_t", "lib_t", "cgroup_t", "sysctl_kernel_t",
    )),
    ("cgroup_t", "dir", ("write", "add_name", "remove_name", "create")),
    ("fixed_disk_device_t", "blk_file", ("read", "write", "create")),
    ("memory_device_t", "chr_file", ("read", "write", "create")),
    ("security_t", "security", ("setenforce", "load_policy", "setbool", "setsecparam", "setcheckreqprot")),
    ("kernel_t", "system", ("syslog_read", "syslog_mod", "syslog_console", "module_load")),
    *((name, "process", ("signal", "sigkill", "ptrace", "transition", "dyntransition")) for name in (
        "init_t", "sshd_t", "virtd_t", "virtd_lxc_t", "systemd_machined_t", "auditd_t", "kernel_t",
    )),
    *((name, "unix_stream_socket", ("connectto",)) for name in ("init_t", "virtd_t", "virtd_lxc_t", "system_dbusd_t", "auditd_t")),
    *((name, tclass, permissions) for name in ("init_t", "unconfined_t") for tclass, permissions in (
        ("shm", ("read", "write", "associate")), ("sem", ("read", "write", "associate")), ("msgq", ("read", "write", "enqueue")),
        ("key", ("view", "read", "write", "search", "link", "setattr")), ("unix_dgram_socket", ("sendto",)),
    )),
)  # fmt: skip
_OBJECTS = ("file", "blk_file", "chr_file", "dir")
# what a host's process may do with the content of a sandbox
_CONTENT = (("file", ("read", "write")), ("dir", ("search", "add_name")))


@dataclasses.dataclass(frozen=True)
class Subject:
    """A sandbox as a policy sees it."""

    name: str
    level: Level
    process_type: str
    file_type: str

    @classmethod
    def of(cls, spec: ServiceSpec | Separation) -> list[Subject]:
        """A sandbox at its type; where that is not said, at each that sandboxes have by default."""
        types = [spec.process_type] if spec.process_type else [PROCESS_TYPE, NET_PROCESS_TYPE]
        return [cls(spec.name, spec.level, process_type, spec.file_type) for process_type in types]

    def label(self, which: str, level: Level | None = None) -> str:
        """The context of its process, content, cgroup, slice, terminal or device, at its own level or another."""
        level = self.level if level is None else level
        if which == "process":
            return str(Context.process(self.process_type, level))
        types = {
            "content": self.file_type, "cgroup": layout.CGROUP_TYPE, "slice": layout.SLICE_TYPE,
            "terminal": layout.TERMINAL_TYPE, "device": layout.DEVICE_TYPE,
        }  # fmt: skip
        return str(Context.object(types[which], level))


@dataclasses.dataclass(frozen=True)
class Leak:
    """Something that the policy grants and that separation forbids."""

    source: str  # the sandbox that may, or the context of the host's that may
    target: str  # whose it is: a sandbox, or the host's context
    label: str
    tclass: str
    permissions: tuple[str, ...]
    why: str
    of_types: bool = True  # and not of levels

    def grants(self, process_type: str) -> list[tuple[str, str, str, str]]:
        """What the types grant: the type of who acts, that of what is acted on, class and permission."""
        return [(process_type, self.label.split(":")[2], self.tclass, permission) for permission in self.permissions]

    def while_booleans(self, expressions: Sequence[str]) -> Leak:
        """The same with booleans as the reason, if each of the permissions hangs on some."""
        if not expressions or not all(expressions):
            return self
        states = " and ".join(sorted(set(expressions)))
        return dataclasses.replace(self, why=f"boolean: it is granted while {states}; setsebool changes that")

    def shown(self) -> dict[str, Any]:
        return {
            "from": self.source,
            "to": self.target,
            "context": self.label,
            "class": self.tclass,
            "permissions": list(self.permissions),
            "why": self.why,
        }


def between(source: Subject, target: Subject, judge: Judge) -> Iterator[Leak]:
    """What one sandbox may do with another."""
    for which, tclass, permissions in _BETWEEN:
        label = target.label(which)
        granted = judge(source.label("process"), label, tclass, permissions)
        if granted:
            # the levels, or the types: these are asked at levels that have nothing of each other
            apart = judge(source.label("process", _APART[0]), target.label(which, _APART[1]), tclass, granted)
            of_types = list(apart) == list(granted)
            unconstrained = f"unconstrained: the policy holds {source.process_type} to no level in class {tclass}"
            why = unconstrained if of_types else _levels(source, target)
            yield Leak(source.name, target.name, label, tclass, tuple(granted), why, of_types)


def _levels(source: Subject, target: Subject) -> str:
    mine, theirs = source.level, target.level
    relation = "is" if mine == theirs else "dominates" if mine > theirs else "is dominated by" if mine < theirs else "is apart from"
    return f"dominance: {source.level} {relation} {target.level}"


def against_host(source: Subject, judge: Judge, known: Callable[[str], bool]) -> Iterator[Leak]:
    """What a sandbox may do with what is the host's alone."""
    for name, tclass, permissions in _HOST:
        make = Context.object if tclass in _OBJECTS or tclass == "security" else Context.process
        label = str(make(name, Level()))
        granted = judge(source.label("process"), label, tclass, permissions) if known(label) else ()
        if granted:
            yield Leak(source.name, "host", label, tclass, tuple(granted), f"type: {source.process_type} is granted it on {name}")


def content_for(context: str, target: Subject, judge: Judge) -> list[str]:
    """What a process of the host may do with a sandbox's content, as ``class permission``."""
    label = target.label("content")
    return [f"{tclass} {permission}" for tclass, permissions in _CONTENT for permission in judge(context, label, tclass, permissions)]


def held(subject: Subject, judge: Judge) -> bool:
    """Whether the policy holds the process type to its level at all: it reads its own content, and not that of a level apart."""
    process = subject.label("process", _APART[0])
    own, other = (judge(process, subject.label("content", level), "file", ("read",)) for level in _APART)
    return bool(own) and not other


def matrix(names: Iterable[str], pairs: Iterable[tuple[Subject, Subject]], leaks: Iterable[Leak]) -> dict[str, dict[str, int]]:
    """How many permissions the first of each pair has on the second one: 0 is separate. Each of the names is there."""
    table: dict[str, dict[str, int]] = {name: {} for name in names}
    for subject, other in pairs:
        table.setdefault(subject.name, {})[other.name] = 0
    for leak in leaks:
        if leak.target in table.get(leak.source, ()):
            table[leak.source][leak.target] += len(leak.permissions)
    return table


def questions(pairs: int, subjects: int) -> int:
    """How many classes are asked about for so many pairs, and so many sandboxes beside the host."""
    return pairs * len(_BETWEEN) + subjects * len(_HOST)
