# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of ``sandbox_service``: observe, plan, apply, wait, report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..host import processes, selinux, sockets, systemd
from ..host.libvirt_lxc import Lxc
from ..model import addresses, layout, network, ports, scripts
from ..model.errors import MissingError, OptionError, SandboxError, StepError
from ..model.observed import Host, Observed
from ..model.plan import Plan
from ..model.service_plan import check, plan_service, plan_stop
from ..model.spec import service_spec
from . import listed, observe
from .apply import PHASES, apply, report_failures, require_root, service_actions
from .declared import declared_specs

_UP = ("started", "restarted", "reloaded")
# seconds for which a unit inside must have been down to be taken for one that will not run
LASTING = 3
# seconds for which a command must have run to be taken for one that does not end at once
BRIEF = 1


def run(parameters: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """What ``sandbox_service`` returns."""
    require_root()
    wanted = [(listed.about(item["name"], parameters, _spec, item), item["state"]) for item in listed.items(parameters)]
    present = [spec for spec, state in wanted if state != "absent"]
    listed.fill_levels(present, parameters["registry"], check_mode)
    if parameters["require_enforcing"]:
        for spec in present:
            selinux.require(spec["process_type"], spec["file_type"], spec["level"])
    lxc = Lxc()
    try:
        return _run(wanted, parameters, check_mode, lxc)
    finally:
        lxc.close()


def _spec(item: Mapping[str, Any]) -> dict[str, Any]:
    if item["state"] == "absent":
        # of what goes only its name and place are of account
        what = {"name": item["name"], "path": item["path"], "level": item["level"] or "s0:c0,c1", "units": ["none.service"]}
        return service_spec(what)
    return service_spec(item)


def _run(wanted: Sequence[tuple[dict[str, Any], str]], parameters: Mapping[str, Any], check_mode: bool, lxc: Lxc) -> dict[str, Any]:
    present = [spec for spec, state in wanted if state != "absent"]
    facts, declared = _facts(wanted, present, lxc)
    lacking = scripts.missing(present, facts.scripts)
    if lacking and not check_mode:
        raise SandboxError(lacking)
    stale = {item["name"] for item in listed.items(parameters) if item["stale"] == "restart"}
    going = {spec["name"] for spec, state in wanted if state == "absent"}
    seen = observe.sandboxes([spec for spec, _state in wanted], lxc.domains(), facts, declared, stale, going)
    others = [spec for name, spec in declared.items() if name not in seen]
    ports.check(present, others, sockets.listening(), [socket for one in seen.values() for socket in one.ports_open])
    refused, not_yet = _check(present, seen, facts, parameters, check_mode)
    not_yet += [listed.not_yet(lacking)] if lacking else []
    for spec, state in wanted:
        if spec["units"] and state in ("started", "reloaded") and seen[spec["name"]].active is not None:
            seen[spec["name"]] = dataclasses.replace(seen[spec["name"]], down=down(spec))
    plan = Plan()
    for spec, state in wanted:
        one = seen[spec["name"]]
        if spec["name"] not in refused:
            plan.extend(plan_service(spec, state, one, facts))
        elif state == "stopped":
            plan.extend(plan_stop(spec, one))  # whatever root inside has done to be refused
    result: dict[str, Any] = {"changed": plan.changed, "diff": plan.diff(), "steps": plan.summary(), "sandboxes": {}, "warnings": not_yet}
    if check_mode:
        return report_failures(result, list(refused.values()))
    failures = list(refused.values()) + apply(plan.in_phases(PHASES), service_actions(lxc))
    broken = {failure.sandbox for failure in failures}
    up = [spec for spec, state in wanted if state in _UP and spec["name"] not in broken]
    awaited = {item["name"]: (item["wait"] or {}).get("ports") or [] for item in listed.items(parameters)}
    failures += wait_until_up([_Wait(spec, facts.addresses(spec["name"]), awaited[spec["name"]]) for spec in up], parameters["timeout"])
    result["sandboxes"] = {spec["name"]: report(spec, lxc) for spec in up}
    failures += wrong_labels(up, result["sandboxes"])
    return report_failures(result, failures)


def _check(
    present: Sequence[Mapping[str, Any]], seen: dict[str, Observed], facts: Host, parameters: Mapping[str, Any], predicted: bool
) -> tuple[dict[str, StepError], list[str]]:
    """Refuse what cannot work; what only the content of one sandbox stands in the way of is that one's failure, not the run's.

    In check mode what is not in the content may be what another task has only announced: that is a warning.
    """
    refused, not_yet = {}, []
    for spec in present:
        one = seen[spec["name"]]
        if one.unreadable:
            refused[spec["name"]] = StepError(spec["name"], "observe", one.unreadable)
            continue
        try:
            listed.about(spec["name"], parameters, check, spec, one, facts, predicted)
        except OptionError as error:
            if predicted and isinstance(error, MissingError) and one.content_context is not None:
                not_yet.append(listed.not_yet(error))
                listed.about(spec["name"], parameters, check, spec, dataclasses.replace(one, content_context=None), facts, True)
                seen[spec["name"]] = one.with_announced(facts)
            elif _is_of_the_content(spec, one, facts, error):
                refused[spec["name"]] = StepError(spec["name"], "check", str(error))
            else:
                raise
    return refused, not_yet


def _is_of_the_content(spec: Mapping[str, Any], seen: Observed, facts: Host, error: OptionError) -> bool:
    """Whether it was root inside who brought the error about: without what is his there is none, or the unit was there before."""
    without = seen.without_content()
    if seen.content_context is None or without == seen:
        return False
    known = seen.spec is not None and error.value in seen.spec["units"]
    if isinstance(error, MissingError):
        return known
    try:
        check(spec, without, facts, True)
    except MissingError:
        return known
    except OptionError:
        return False
    return True


def _facts(
    wanted: Sequence[tuple[dict[str, Any], str]], present: Sequence[dict[str, Any]], lxc: Lxc
) -> tuple[Host, dict[str, dict[str, Any]]]:
    """What of the host counts, with the addresses of the sandboxes, and what is declared there; refuses addresses that others have."""
    facts = observe.host(present, lxc)
    declared = declared_specs()
    named = {spec["name"] for spec, _state in wanted}
    others = [spec for name, spec in declared.items() if name not in named]
    before = [spec for name, spec in declared.items() if name in named]
    return dataclasses.replace(facts, resolved=addresses.resolve(present, others, facts.networks, before)), declared


def down(spec: Mapping[str, Any]) -> dict[str, str]:
    """The units of a running sandbox that neither are active nor will be; none where it does not answer yet."""
    try:
        states = processes.units_inside(spec["name"], spec["units"])
    except SandboxError:
        return {}
    return {unit: state for unit, state in states.items() if state in ("inactive", "failed")}


def wait_until_up(waiting_for: Sequence[_Wait], timeout: float) -> list[StepError]:
    """Until every sandbox's unit and the units inside are active and its ports open, or say what is not."""
    deadline = time.monotonic() + timeout
    waiting = {one.spec["name"]: one for one in waiting_for}
    failures: list[StepError] = []
    while waiting:
        began = time.monotonic()
        shown = systemd.show([layout.of(one.spec).unit for one in waiting.values()])
        for name, one in list(waiting.items()):
            failure = one.look(shown[layout.of(one.spec).unit])
            failures += [failure] if failure else []
            if failure or one.up:
                del waiting[name]
        now = time.monotonic()
        if waiting and now > deadline:
            return failures + [StepError(name, "wait", f"not up after {timeout:g} s: {one.missing}") for name, one in waiting.items()]
        if waiting:
            # what is asked inside costs processor time that the sandboxes need to start
            time.sleep(max(0.25, 2 * (now - began)))
    return failures


class _Wait:
    """One sandbox that is waited for."""

    def __init__(self, spec: Mapping[str, Any], resolved: addresses.Resolved, listening: Sequence[int]) -> None:
        self.spec = spec
        self._sockets = [unit for unit in ports.units(spec, resolved) if unit.endswith(".socket")]
        self._addresses = [text for one in resolved for text in one if ":" not in text]
        self._unknown = sum(not one for one in resolved)
        self.up = False
        self.missing = ""
        self._ports = listening
        self._down_since: dict[str, float] = {}
        self._ran_since: float | None = None

    def look(self, unit: Mapping[str, str]) -> StepError | None:
        """What is missing now; a failure that will not mend itself is returned."""
        name = self.spec["name"]
        if unit["ActiveState"] == "failed":
            return StepError(name, "start", f"its unit failed ({_why(unit)}); see journalctl -u {layout.of(self.spec).unit}")
        if self.spec["command"] and _ended(unit, layout.of(self.spec)):
            self.up = True
            return None
        states = self._states() if unit["ActiveState"] == "active" else {layout.of(self.spec).unit: unit["ActiveState"]}
        down = {one: state for one, state in states.items() if state != "active"}
        self.missing = ", ".join(f"{one} is {state}" for one, state in down.items()) or self._not_yet() or self._brief()
        self.up = not self.missing
        if self.up:
            return self._unpublished()
        return self._failure([one for one, state in down.items() if state in ("failed", "inactive")])

    def _brief(self) -> str:
        """Why a command that has only just begun does not count as up: it may end at once."""
        now = time.monotonic()
        self._ran_since = now if self._ran_since is None else self._ran_since
        return "its command has only begun" if self.spec["command"] and now - self._ran_since < BRIEF else ""

    def _unpublished(self) -> StepError | None:
        """A port of the host that it does not have: something else was quicker."""
        failed = [unit for unit, shown in systemd.show(self._sockets).items() if shown["ActiveState"] == "failed"]
        reason = f"{', '.join(failed)} failed; something else may listen there, see journalctl -u {failed[0]}" if failed else ""
        return StepError(self.spec["name"], "publish ports", reason) if failed else None

    def _states(self) -> dict[str, str]:
        """Of the units inside; a sandbox that is starting cannot be entered."""
        name = self.spec["name"]
        if self.spec["command"]:
            return {"its first process": "active" if processes.is_up(name) else "missing"}
        try:
            return processes.units_inside(name, self.spec["units"])
        except SandboxError as error:
            return {"its systemd": f"silent ({error})"}

    def _not_yet(self) -> str:
        name = self.spec["name"]
        there = processes.addresses(name)
        missing = [text for text in self._addresses if text not in there]
        if missing or len(there) < len(self._addresses) + self._unknown:
            return f"it has no address yet{' (' + ', '.join(missing) + ')' if missing else ''}"
        closed = processes.not_listening(name, self._ports)
        return f"nothing listens on port {', '.join(map(str, closed))}" if closed else ""

    def _failure(self, down: Sequence[str]) -> StepError | None:
        """A unit that stays down while nothing inside is about to start it; it, or what it needs, has failed."""
        now, name = time.monotonic(), self.spec["name"]
        self._down_since = {unit: self._down_since.get(unit, now) for unit in down}
        lasting = [unit for unit, since in self._down_since.items() if now - since > LASTING]
        try:
            if not lasting or not processes.at_rest(name):
                return None
            failed = processes.failed_units(name)
        except SandboxError:
            return None
        unit = lasting[0] if lasting[0] in failed or not failed else failed[0]
        said = processes.last_words(name, unit) or "it said nothing"
        return StepError(name, "wait", f"{unit} {'failed' if failed else 'has ended'} inside: {said}")


def _why(unit: Mapping[str, str]) -> str:
    code = f", code {unit['ExecMainStatus']}" if unit.get("Result") == "exit-code" else ""
    return unit["Result"] + code


def _ended(unit: Mapping[str, str], paths: layout.Layout) -> bool:
    """Whether a command has ended in success, as opposed to one that was not started: the unit's helper has noted its code."""
    return unit["ActiveState"] == "inactive" and unit.get("Job", "0") in ("", "0") and systemd.read(paths.code) is not None


def report(spec: Mapping[str, Any], lxc: Lxc) -> dict[str, Any]:
    """What a user wants to know of a running sandbox."""
    del lxc
    return {
        "level": spec["level"],
        "addresses": processes.addresses(spec["name"]),
        "processes": processes.of_sandbox(spec["name"], layout.of(spec).cgroup),
        "macs": [network.mac_of(spec["name"], number, one) for number, one in enumerate(spec["network"])],
    }


def wrong_labels(specs: Sequence[Mapping[str, Any]], reports: Mapping[str, Mapping[str, Any]]) -> list[StepError]:
    """Processes that do not carry the declared type and level: then it is no sandbox."""
    failures = []
    for spec in specs if selinux.mode() != "disabled" else ():
        wrong = _mislabelled(spec, reports[spec["name"]]["processes"])
        if wrong:
            # one of libvirt's may be on its way in: it gets its label when it executes the sandbox's first program
            time.sleep(1)
            lasting = _mislabelled(spec, processes.of_sandbox(spec["name"], layout.of(spec).cgroup))
            failures += [StepError(spec["name"], "verify labels", lasting[pid]) for pid in wrong if pid in lasting][:1]
    return failures


def _mislabelled(spec: Mapping[str, Any], found: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    """By PID, what is to be said of each process at another type or level than the declared ones."""
    declared = f"{spec['process_type']}:{spec['level']}"
    return {
        one["pid"]: f"process {one['pid']} ({one['command']}) is {one['context']}, not {declared}"
        for one in found if one["context"].split(":", 2)[-1] != declared
    }  # fmt: skip
