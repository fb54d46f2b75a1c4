# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of a sandbox, seen from the host, and questions asked inside it."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..model.errors import SandboxError
from ..model.values import printable
from . import enter, sockets
from .cgroup import groups
from .command import lines

# bytes and seconds that a question asked inside may be answered with: it is root inside who answers
_MOST = 1 << 20
_SECONDS = 30
# when a sandbox let a question without an answer, by its name
_silent: dict[str, float] = {}
# seconds that a look at the files of its processes may take, of which root inside makes as many as he may have
_LOOKING = 30
# characters of an answer that a message has
_SHOWN = 1000
# the states of a unit inside that was started with success
UP = ("active", "done", "skipped")
_PROPERTIES = (
    "ActiveState",
    "Type",
    "Result",
    "InactiveExitTimestampMonotonic",
    "ConditionResult",
    "ConditionTimestampMonotonic",
)


def of_sandbox(cgroup: str) -> list[dict[str, Any]]:
    """Every process of the sandbox but libvirt's controller: PID on the host and inside, command, context."""
    processes = []
    for pid in sorted(_pids(cgroup)):
        with contextlib.suppress(OSError):
            inside = _inside_pid(pid)
            if inside:
                processes.append({"pid": pid, "inside": inside, "command": _command(pid), "context": enter.context_of(pid)})
    return processes


def _pids(cgroup: str) -> Iterator[int]:
    for directory in groups(cgroup):
        with contextlib.suppress(OSError), open(os.path.join(directory, "cgroup.procs"), encoding="ascii") as file:
            yield from (int(line) for line in file)


def contexts() -> set[str]:
    """The contexts of all processes of the host, kernel threads included."""
    of_processes = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, enter.EnterError):
                of_processes.add(enter.context_of(int(name)))
    return {context for context in of_processes if context.count(":") >= 3}


def stale(cgroup: str) -> list[dict[str, Any]]:
    """The processes that still run what the host's /usr has replaced since, with those files.

    A package manager replaces a file by renaming another over it, so that the old one has no name any more.
    Raises ``SandboxError`` where the processes have more files than can be looked at within half a minute.
    """
    processes, deadline = [], time.monotonic() + _LOOKING
    for pid in sorted(_pids(cgroup)):
        if time.monotonic() > deadline:
            raise SandboxError(f"the files of its processes cannot be looked at within {_LOOKING} seconds, because they are so many")
        with contextlib.suppress(OSError):
            files = _replaced(pid) if _inside_pid(pid) else []
            if files:
                processes.append({"pid": pid, "command": _command(pid), "files": files})
    return processes


def _replaced(pid: int) -> list[str]:
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
        return replaced_files(file)


def replaced_files(maps: Iterable[str]) -> list[str]:
    """The files of /usr that a process has mapped and that have no name any more."""
    suffix = " (deleted)"
    # address, permissions, offset, device, inode, path
    paths = {line.rstrip("\n").split(None, 5)[-1] for line in maps if line.endswith(suffix + "\n")}
    return sorted(path[: -len(suffix)] for path in paths if path.startswith("/usr/"))


def has_filter(name: str) -> bool | None:
    """Whether a sandbox is under the filter of system calls, by its controller, which nobody inside can change; none if it does not run."""
    with contextlib.suppress(OSError, enter.EnterError), open(f"/proc/{enter.controller(name)}/status", encoding="utf-8") as file:
        return any(line.split() == ["Seccomp:", "2"] for line in file)
    return None


def _inside_pid(pid: int) -> int:
    """Its PID in the sandbox; 0 for a process that has none there: the controller."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("NSpid:"):
                numbers = line.split()[1:]
                return int(numbers[1]) if len(numbers) > 1 else 0
    return 0


def _command(pid: int) -> str:
    """Its name, which root inside gives it."""
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="surrogateescape") as file:
        return printable(file.read().strip())


def inside(name: str, command: Sequence[str], timeout: float = _SECONDS) -> tuple[int, str, str]:
    """Run a command inside: its code, output and errors.

    A sandbox that has just let a question without an answer is not asked for as long as that took: it would hold up those of others.
    """
    asked = f"{name}: {' '.join(command[:2])}"
    if name in _silent and time.monotonic() - _silent[name] < _SECONDS:
        raise SandboxError(f"{asked}: not asked, because the sandbox has just left another question without an answer")
    try:
        done = enter.run(name, command, timeout=timeout, most=_MOST)
    except (enter.EnterError, OSError) as error:
        if isinstance(error, (enter.EnterTimeout, enter.EnterStopped)):
            _silent[name] = time.monotonic()
        raise SandboxError(f"{asked}: {error}") from error
    return done.code, done.output.decode("utf-8", "replace"), _shown(done.errors.decode("utf-8", "replace"))


def _shown(text: str) -> str:
    """What root inside may have written, fit for a message."""
    lines = " / ".join(line.strip() for line in text.split("\n") if line.strip())
    return printable(lines[:_SHOWN]) + ("…" if len(lines) > _SHOWN else "")


def is_up(name: str) -> bool:
    """Whether the sandbox has a first process."""
    try:
        return enter.leader(name) > 0
    except enter.EnterError:
        return False


def units_inside(name: str, units: Sequence[str]) -> dict[str, str]:
    """The state that the sandbox's own systemd reports of each unit.

    Two states are not systemd's, for a unit that is inactive and whose start was a success: ``done`` where all that it has to do
    is done, ``skipped`` where a condition of it is not met.
    """
    _code, out, err = inside(name, ["/usr/bin/systemctl", "show", "--no-pager", "--property=" + ",".join(_PROPERTIES), "--", *units])
    blocks = [dict(line.partition("=")[::2] for line in block.split("\n")) for block in out.strip().split("\n\n")]
    if len(blocks) != len(units) or not all(block.get("ActiveState") for block in blocks):
        raise SandboxError(f"{name}: its systemd does not answer yet ({err or _shown(out)})")
    return {unit: _state(block) for unit, block in zip(units, blocks)}


def _state(shown: Mapping[str, str]) -> str:
    state = printable(shown["ActiveState"])
    if state != "inactive":
        return state
    # both since the sandbox has booted
    if shown.get("ConditionResult") == "no" and _happened(shown, "ConditionTimestampMonotonic"):
        return "skipped"
    ran = _happened(shown, "InactiveExitTimestampMonotonic") and shown.get("Result") == "success"
    return "done" if shown.get("Type") == "oneshot" and ran else state


def _happened(shown: Mapping[str, str], property_name: str) -> bool:
    return shown.get(property_name, "0") not in ("", "0")


def at_rest(name: str) -> bool:
    """Whether the sandbox's own systemd has nothing left to start or stop."""
    code, out, _err = inside(name, ["/usr/bin/systemctl", "list-jobs", "--no-legend", "--no-pager"])
    return code == 0 and not out.strip()


def failed_units(name: str) -> list[str]:
    """The units that the sandbox's own systemd counts as failed."""
    _code, out, _err = inside(name, ["/usr/bin/systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager"])
    return [printable(line.split()[0][:_SHOWN]) for line in out.split("\n") if line.strip()]


def last_words(name: str, unit: str, count: int = 5) -> str:
    """What a unit inside said last, for a message."""
    try:
        _code, out, _err = inside(
            name, ["/usr/bin/journalctl", "--no-pager", "--quiet", "--output=cat", f"--lines={count}", f"--unit={unit}"]
        )
    except SandboxError:
        return ""
    return _shown(out)


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
            raise SandboxError(f"{name}: systemctl {' '.join(command)} inside: {err or _shown(out)}")


def addresses(name: str, declared: Collection[str] = ()) -> list[str]:
    """The addresses of its interfaces that are there to be used; of those that reach no further than the link the declared ones.

    Asked of the kernel by the host's own program in the network of the sandbox, whatever runs inside.
    """
    try:
        pid = enter.leader(name)
        with open(f"/proc/{pid}/ns/net", "rb") as network:
            if enter.leader(name) != pid:  # it ended, and the number may be another's
                return []
            place = f"--net=/proc/{os.getpid()}/fd/{network.fileno()}"
            text = "".join(lines(["nsenter", place, "--", "ip", "--json", "address", "show"], timeout=_SECONDS, longest=_MOST))
    except (enter.EnterError, OSError):
        return []
    try:
        return _addresses(json.loads(text), declared)
    except (ValueError, AttributeError, TypeError) as error:
        raise SandboxError(f"{name}: its addresses cannot be read: {error}") from error


def _addresses(interfaces: Any, declared: Collection[str]) -> list[str]:
    usable_addresses: dict[str, None] = {}
    for entry in (entry for interface in interfaces for entry in interface.get("addr_info", ()) if entry.get("local")):
        address = ipaddress.ip_address(entry["local"])
        # tentative: the kernel is still asking whether another has it
        usable = not (address.is_loopback or entry.get("tentative") or entry.get("dadfailed"))
        if usable and (entry.get("scope") != "link" or str(address) in declared):
            usable_addresses[str(address)] = None
    return list(usable_addresses)
