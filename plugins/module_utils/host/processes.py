# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of a sandbox, seen from the host, and questions asked inside it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..model.errors import SandboxError
from . import enter, sockets

# bytes that a question asked inside may be answered with: it is root inside who answers
_MOST = 1 << 20


def of_sandbox(name: str, cgroup: str) -> list[dict[str, Any]]:
    """Every process of the sandbox but libvirt's controller: PID on the host and inside, command, context."""
    del name
    found = []
    for pid in sorted(_pids(cgroup)):
        with contextlib.suppress(OSError):
            inside = _inside_pid(pid)
            if inside:
                found.append({"pid": pid, "inside": inside, "command": _command(pid), "context": enter.context_of(pid)})
    return found


def _pids(cgroup: str) -> Iterator[int]:
    for directory, _names, files in os.walk(cgroup):
        if "cgroup.procs" in files:
            with contextlib.suppress(OSError), open(os.path.join(directory, "cgroup.procs"), encoding="ascii") as file:
                yield from (int(line) for line in file)


def contexts() -> set[str]:
    """The contexts of all processes of the host, kernel threads included."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, enter.EnterError):
                found.add(enter.context_of(int(name)))
    return {context for context in found if context.count(":") >= 3}


def stale(cgroup: str) -> list[dict[str, Any]]:
    """The processes that still run what the host's /usr has replaced since, with those files.

    A package manager replaces a file by renaming another over it, so that the old one has no name any more.
    """
    found = []
    for pid in sorted(_pids(cgroup)):
        with contextlib.suppress(OSError):
            files = _replaced(pid) if _inside_pid(pid) else []
            if files:
                found.append({"pid": pid, "command": _command(pid), "files": files})
    return found


def _replaced(pid: int) -> list[str]:
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
        return replaced_files(file)


def replaced_files(maps: Iterable[str]) -> list[str]:
    """The files of /usr that a process has mapped and that have no name any more."""
    suffix = " (deleted)"
    # address, permissions, offset, device, inode, path
    paths = {line.rstrip("\n").split(None, 5)[-1] for line in maps if line.endswith(suffix + "\n")}
    return sorted(path[: -len(suffix)] for path in paths if path.startswith("/usr/"))


def _inside_pid(pid: int) -> int:
    """Its PID in the sandbox; 0 for a process that has none there: the controller."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("NSpid:"):
                numbers = line.split()[1:]
                return int(numbers[1]) if len(numbers) > 1 else 0
    return 0


def _command(pid: int) -> str:
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip()


def inside(name: str, command: Sequence[str], timeout: float = 30) -> tuple[int, str, str]:
    """Run a command inside: its code, output and errors."""
    try:
        done = enter.run(name, command, timeout=timeout, most=_MOST)
    except (enter.EnterError, OSError) as error:
        raise SandboxError(f"{name}: {' '.join(command)}: {error}") from error
    return done.code, done.output.decode("utf-8", "replace"), done.errors.decode("utf-8", "replace")


def is_up(name: str) -> bool:
    """Whether the sandbox has a first process."""
    try:
        return enter.leader(name) > 0
    except enter.EnterError:
        return False


def units_inside(name: str, units: Sequence[str]) -> dict[str, str]:
    """The state that the sandbox's own systemd reports of each unit."""
    _code, out, err = inside(name, ["/usr/bin/systemctl", "is-active", "--", *units])
    states = out.split()
    if len(states) != len(units):
        raise SandboxError(f"{name}: its systemd does not answer yet ({(err or out).strip()})")
    return dict(zip(units, states))


def at_rest(name: str) -> bool:
    """Whether the sandbox's own systemd has nothing left to start or stop."""
    code, out, _err = inside(name, ["/usr/bin/systemctl", "list-jobs", "--no-legend", "--no-pager"])
    return code == 0 and not out.strip()


def failed_units(name: str) -> list[str]:
    """The units that the sandbox's own systemd counts as failed."""
    _code, out, _err = inside(name, ["/usr/bin/systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager"])
    return [line.split()[0] for line in out.splitlines() if line.strip()]


def last_words(name: str, unit: str, lines: int = 5) -> str:
    """What a unit inside said last, for a message."""
    try:
        _code, out, _err = inside(
            name, ["/usr/bin/journalctl", "--no-pager", "--quiet", "--output=cat", f"--lines={lines}", f"--unit={unit}"]
        )
    except SandboxError:
        return ""
    return " / ".join(line.strip() for line in out.splitlines() if line.strip())


def not_listening(name: str, ports: Iterable[int]) -> list[int]:
    """Those of these TCP ports on which nothing in the sandbox's network listens; read from outside."""
    try:
        open_ports = {port for _address, port in sockets.listening(enter.leader(name))}
    except enter.EnterError:
        return list(ports)
    return [port for port in ports if port not in open_ports]


def start_units_inside(name: str, units: Sequence[str]) -> None:
    """Let the sandbox's own systemd read its files again and start units, which goes on by itself."""
    for command in (["daemon-reload"], ["start", "--no-block", "--", *units]):
        code, out, err = inside(name, ["/usr/bin/systemctl", *command])
        if code:
            raise SandboxError(f"{name}: systemctl {' '.join(command)} inside: {(err or out).strip()}")


def addresses(name: str) -> list[str]:
    """The IPv4 addresses of its interfaces, loopback left out; read from outside, whatever runs inside."""
    try:
        pid = enter.leader(name)
        with open(f"/proc/{pid}/net/fib_trie", encoding="ascii") as file:
            text = file.read()
    except (enter.EnterError, OSError):
        return []
    found, last = [], ""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            last = words[1]
        elif words[:2] == ["/32", "host"] and words[2] == "LOCAL" and not last.startswith("127.") and last not in found:
            found.append(last)
    return found
