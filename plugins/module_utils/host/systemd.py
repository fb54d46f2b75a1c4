# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's systemd: units' states and files."""

from __future__ import annotations

import functools
import json
import os
import stat
from collections.abc import Iterable, Sequence
from typing import Any

from ..model import unit_file as model
from ..model import unit_tree
from ..model.errors import SandboxError
from ..model.unit import HostSystemd
from ..model.values import printable
from .command import run

# where an administrator, or a program for the time being, says that a unit is not to run
_RUNTIME = "/run/systemd/system"
_PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "Result",
    "NeedDaemonReload",
    "StatusText",
    "Job",
    "ExecMainCode",
    "ExecMainStatus",
)
# targets that a boot inside goes through
_TARGETS = (
    "sysinit",
    "sockets",
    "basic",
    "local-fs",
    "remote-fs",
    "multi-user",
    "graphical",
    "timers",
    "paths",
    "getty",
    "machines",
)


def show(units: Sequence[str]) -> dict[str, dict[str, str]]:
    """The state of units, by name, in one call."""
    if not units:
        return {}
    text = run(["systemctl", "show", "--no-pager", "--property=" + ",".join(_PROPERTIES), "--", *units])
    blocks = [dict(line.partition("=")[::2] for line in block.split("\n")) for block in text.strip().split("\n\n")]
    if len(blocks) != len(units):
        raise SandboxError(f"systemctl show: expected the state of {len(units)} units, got {len(blocks)}")
    return dict(zip(units, blocks))


def daemon_reload() -> None:
    run(["systemctl", "daemon-reload"])


def start(units: Iterable[str]) -> None:
    """Queue the starts, all at once; ``show`` tells when they are done."""
    reset_failed(units)
    run(["systemctl", "start", "--no-block", "--", *units])


def reset_failed(units: Iterable[str]) -> None:
    run(["systemctl", "reset-failed", "--", *units], accept=(0, 1, 5))


def start_now(units: Iterable[str]) -> None:
    """Start units and wait until they have started; raises ``SandboxError`` if one does not."""
    run(["systemctl", "start", "--", *units], timeout=60)


def stop(units: Iterable[str], timeout: float = 120) -> None:
    run(["systemctl", "stop", "--", *units], timeout=timeout, accept=(0, 5))


def reload(unit: str) -> None:
    run(["systemctl", "reload", "--", unit])


def enable(units: Iterable[str]) -> None:
    """All in one call, for in each systemd reads every unit again, with all generators."""
    _change("enable", units)


def disable(units: Iterable[str]) -> None:
    _change("disable", units)


def _change(verb: str, units: Iterable[str]) -> None:
    names = list(units)
    if names:
        run(["systemctl", verb, "--quiet", "--", *names])


def enable_now(unit: str) -> None:
    run(["systemctl", "enable", "--quiet", "--now", "--", unit])


def disable_now(unit: str) -> None:
    run(["systemctl", "disable", "--quiet", "--now", "--", unit])


class Place:
    """A directory of units of the host, whose parts are read once."""

    def __init__(self, path: str, hidden: frozenset[str] = frozenset()) -> None:
        self.path = path
        self.names = functools.cache(lambda directory="": [name for name in names(os.path.join(path, directory)) if name not in hidden])
        self.link = functools.cache(self._link)
        self.empty = functools.cache(self._empty)
        self.text = functools.cache(self._text)

    def _link(self, path: str) -> str:
        """The links on the way to a link's target are followed, the target itself is not."""
        own = os.path.join(self.path, path)
        if not os.path.islink(own):
            return ""
        directory, name = os.path.split(os.path.join(os.path.dirname(own), os.readlink(own)))
        return os.path.join(os.path.realpath(directory), name)

    def _empty(self, path: str) -> bool:
        try:
            status = os.stat(os.path.join(self.path, path))
        except OSError:
            return False
        return stat.S_ISCHR(status.st_mode) or (stat.S_ISREG(status.st_mode) and not status.st_size)

    def _text(self, path: str) -> str | None:
        try:
            with open(os.path.join(self.path, path), encoding="utf-8", errors="surrogateescape", newline="") as file:
                return file.read()
        except OSError:
            return None


def units_in(shared: Sequence[str], administrators: str, runtime: str) -> unit_tree.HostUnits:
    """The units in these directories; what is said of all units of a type is the host's own."""
    own = Place(administrators, hidden=unit_tree.TYPE_WIDE)
    return unit_tree.HostUnits([Place(path) for path in shared], own, Place(runtime))


@functools.cache
def units() -> unit_tree.HostUnits:
    """The host's units, read once."""
    return units_in(unit_tree.SHARED, model.ADMINISTRATORS, _RUNTIME)


def host_systemd(names: Iterable[str], known: unit_tree.HostUnits | None = None) -> HostSystemd:
    """What a systemd would start from the host's /usr, and where the named units are there."""
    known, sought = known or units(), sorted(names)
    wants = {f"{target}.target": known.wants(f"{target}.target") for target in _TARGETS}
    brought = model.brought(sought, known.find)
    paths = {name: brought[name].path if name in brought else "" for name in sought}
    return HostSystemd({target: wanted for target, wanted in wants.items() if wanted}, paths, brought, known)


def names(directory: str) -> list[str]:
    """The names in a directory of the host; none where it is not there."""
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise SandboxError(f"{directory} cannot be read: {error.strerror}") from error


def read(path: str) -> Any:
    """A file's text, or nothing; bytes that are no text stay what they are when it is encoded as it was decoded."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SandboxError(f"{printable(path)} cannot be read: {error.strerror}") from error


def read_record(path: str) -> dict[str, Any] | None:
    """What a file of this collection has in JSON, or nothing."""
    text = read(path)
    if not text:
        return None
    try:
        known = json.loads(text)
    except ValueError as error:
        raise SandboxError(f"{path} is damaged: {error}. Restore it from a backup.") from error
    if not isinstance(known, dict):
        raise SandboxError(f"{path} is damaged: expected an object. Restore it from a backup.")
    return known
