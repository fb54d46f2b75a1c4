# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry a plan out, step by step. A failure ends that sandbox's steps, never another's."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..host import cgroup, nftables, processes, systemd
from ..host.libvirt_lxc import Lxc
from ..model import layout
from ..model.errors import SandboxError, StepError
from ..model.plan import Plan, Step
from . import hosts_file, mounts, tree
from .files import link, unlink, write_file

Action = Callable[..., Any]

# all that is to go stops first; all files are written before systemd reads them, once; starts come last
PHASES = {
    **dict.fromkeys(("stop", "disable", "ports_down", "release"), 0),
    **dict.fromkeys(("inside", "points", "label", "write", "unlink", "link", "remove_unit"), 1),
    **dict.fromkeys(("reserve", "filter", "hosts", "define", "undefine"), 1),
    "daemon_reload": 2,
    # with the unit: a start brings up what is published by then
    **dict.fromkeys(("enable", "limit", "ports_up"), 3),
    **dict.fromkeys(("start", "start_inside", "restart", "reload"), 4),
}


def apply(plan: Plan, actions: Mapping[str, Action]) -> list[StepError]:
    """Do every step; returns what failed. Steps of one sandbox keep their order and stop at a failure."""
    failed: dict[str, StepError] = {}
    for step in plan:
        if step.sandbox in failed:
            continue
        try:
            actions[step.action](**_arguments(step))
        except (SandboxError, OSError) as error:
            failed[step.sandbox] = StepError(step.sandbox, step.name, str(error))
    return list(failed.values())


def _arguments(step: Step) -> dict[str, Any]:
    return dict(step.arguments, name=step.sandbox)


def remove_unit(path: str, unit: str, **_ignored: Any) -> None:
    """A unit's file, and what systemd would go on to show of it: a slice that is still up, a failure of long ago."""
    systemd.stop([unit])
    systemd.reset_failed([unit])
    unlink(path=path)


def _start(name: str, unit: str, **_ignored: Any) -> None:
    """What is noted of its last end is not of this start's, which may not come so far."""
    unlink(path=layout.Layout(name, layout.FILESYSTEMS).code)
    systemd.start([unit])


def write_inside(root: str, context: str, files: Mapping[str, tuple[str, str]], gone: Iterable[str], **_ignored: Any) -> None:
    """The files inside that the spec determines; what stands in their place goes."""
    top = tree.open_top(root)
    try:
        for path in gone:
            tree.remove(top, path)
        for path, (kind, value) in files.items():
            _write_one(top, path, kind, value, context)
    finally:
        os.close(top)


def _write_one(top: int, path: str, kind: str, value: str, context: str) -> None:
    parent = path.rpartition("/")[0]
    if not tree.exists(top, parent):
        tree.make_dir(top, parent, mode=0o755, uid=0, gid=0, context=context, parents=True)
    if tree.kind(top, path) not in ("", "symlink" if kind == "link" else "file"):
        tree.remove(top, path)
    if kind == "link":
        tree.make_symlink(top, path, value, context=context)
    else:
        tree.write_file(top, path, value.encode(), mode=0o644, uid=0, gid=0, context=context)


def service_actions(lxc: Lxc) -> dict[str, Action]:
    """What the steps of a sandbox's service are."""

    def stop(name: str, unit: str, **_ignored: Any) -> None:
        systemd.stop([unit])
        lxc.destroy(name)  # one that runs behind its unit's back

    reload_once = functools.lru_cache(maxsize=None)(systemd.daemon_reload)
    return {
        "write": write_file,
        "unlink": unlink,
        "link": link,
        "remove_unit": remove_unit,
        "inside": write_inside,
        "points": mounts.make_points,
        "label": mounts.relabel,
        "daemon_reload": lambda **_ignored: reload_once(),
        "define": lambda xml, **_ignored: lxc.define(xml),
        "undefine": lambda name, **_ignored: lxc.undefine(name),
        "limit": lambda path, values, **_ignored: cgroup.limit(path, values),
        "reserve": lambda entries, name, **_ignored: lxc.network_entries(entries, name, add=True),
        "release": lambda entries, name, **_ignored: lxc.network_entries(entries, name, add=False),
        "filter": lambda text, **_ignored: nftables.load(text),
        "hosts": lambda name, addresses, **_ignored: hosts_file.write(name, addresses),
        "ports_down": _close,
        "ports_up": _publish,
        "enable": lambda unit, **_ignored: systemd.enable(unit),
        "disable": lambda unit, **_ignored: systemd.disable(unit),
        "start": _start,
        "start_inside": lambda name, units, **_ignored: processes.start_units_inside(name, units),
        "stop": stop,
        "reload": lambda unit, **_ignored: systemd.reload(unit),
        "restart": _restart,
    }


def _close(units: Iterable[str], **_ignored: Any) -> None:
    units = list(units)
    systemd.disable_all([unit for unit in units if unit.endswith(".socket")])
    systemd.stop(units)


def _publish(units: Iterable[str], owner: str, **_ignored: Any) -> None:
    """From now on with every start of the sandbox; and now, if it runs: a socket would start it."""
    units = list(units)
    for unit in units:
        systemd.enable(unit)
    if systemd.show([owner])[owner]["ActiveState"] == "active":
        systemd.start_now(units)


def _restart(name: str, unit: str, **_ignored: Any) -> None:
    systemd.stop([unit])
    _start(name, unit)


def require_root() -> None:
    if os.geteuid() != 0:
        raise SandboxError("only root can do this; use become: true")


def report_failures(result: dict[str, Any], failures: list[StepError]) -> dict[str, Any]:
    """The result, as a failure that names sandboxes and steps if there was one."""
    if failures:
        result["failed"] = True
        result["msg"] = "; ".join(str(failure) for failure in failures)
        result["failures"] = [{"sandbox": one.sandbox, "step": one.step, "reason": one.reason} for one in failures]
    return result
