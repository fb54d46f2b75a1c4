# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's systemd: units' states and files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from ..model import unit_file as model
from ..model.errors import SandboxError
from ..model.unit import HostSystemd
from ..model.values import printable
from .command import run

UNIT_PATHS = ("/usr/lib/systemd/system", "/lib/systemd/system")
# where an administrator says that a unit is not to run
MASKS = (model.ADMINISTRATORS, "/run/systemd/system")
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


def shared_file(unit: str, paths: Sequence[str] = UNIT_PATHS) -> str:
    """The file of a unit in the host's /usr, a template's for an instance; empty if there is none."""
    found = (os.path.join(directory, name) for directory in paths for name in model.spellings(unit))
    return next((path for path in found if os.path.exists(path)), "")


def unit_file(unit: str, paths: Sequence[str] = UNIT_PATHS, administrators: str = model.ADMINISTRATORS) -> str:
    """The same, or else the administrator's own file, not a link: that is another name of a unit, or says that it is not to run."""
    own = shared_file(unit, [administrators])
    return shared_file(unit, paths) or ("" if os.path.islink(own) else own)


def unit_files(units: Iterable[str], paths: Sequence[str] = UNIT_PATHS, masks: Sequence[str] = MASKS) -> dict[str, model.UnitFile]:
    """The named units and all that they bring along, as far as the host has them."""

    def find(name: str) -> model.UnitFile | None:
        path = unit_file(name, paths, masks[0])
        return _unit(name, path, masks) if path else None

    return model.brought(sorted(units), find)


def _unit(name: str, path: str, masks: Sequence[str]) -> model.UnitFile:
    spellings = model.spellings(name)[::-1]
    directory = os.path.dirname(path)
    drop_ins = [os.path.join(place, file) for place in (f"{directory}/{one}.d" for one in spellings) for file in names(place)]
    texts = [read(file) or "" for file in (path, *(file for file in drop_ins if file.endswith(".conf")))]
    wants = [unit for suffix in ("wants", "requires") for one in spellings for unit in names(f"{directory}/{one}.{suffix}")]
    candidates = [path, *(os.path.join(place, one) for place in masks for one in spellings)]
    masked = next((file for file in candidates if os.path.realpath(file) == model.NULL), "")
    return model.parse(name, path, [] if masked == path else texts, wants, masked)


def host_systemd(units: Iterable[str], path: str = UNIT_PATHS[0]) -> HostSystemd:
    """What a systemd would start from the host's /usr, and where the named units are there."""
    wants: dict[str, list[str]] = {}
    for target in _TARGETS:
        found = names(os.path.join(path, f"{target}.target.wants"))
        if found:
            wants[f"{target}.target"] = found
    wanted = list(units)
    return HostSystemd(wants, {unit: unit_file(unit) for unit in wanted}, unit_files(wanted))


def names(directory: str) -> list[str]:
    """The names in a directory of the host; none where it is not there."""
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise SandboxError(f"{directory} cannot be read: {error.strerror}") from error


def host_units(path: str = "/etc/systemd/system") -> list[str]:
    """The sandboxes that have a unit on this host."""
    suffix = "_sandbox.service"
    return [name[: -len(suffix)] for name in names(path) if name.endswith(suffix)]


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
