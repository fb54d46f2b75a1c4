# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of ``sandbox_service``: observe, plan, apply, wait, report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..host import declarations, processes, selinux, sockets, systemd
from ..model import addresses, layout, network, ports, scripts
from ..model.errors import MissingError, OptionError, SandboxError, StepError
from ..model.observed import Host, Observed
from ..model.options import build, option
from ..model.plan import Plan
from ..model.service_plan import check, plan_service, plan_stop
from ..model.spec import UP, Common, Identity, ServiceRequest, ServiceSpec, service_spec
from . import levels, listed, observe
from .apply import apply, report_failures, require_root
from .hands import ServiceHands
from .host import SandboxHost, opened

# seconds for which a unit inside must have been down to be taken for one that will not run
LASTING = 3
# seconds for which a command must have run to be taken for one that does not end at once
BRIEF = 1


@dataclasses.dataclass(frozen=True)
class Run(Common):
    """What holds for a whole run of ``sandbox_service``."""

    timeout: int = option(
        300, type="int",
        help="""
            How many seconds each sandbox may take, from the beginning of its own start, until its units are active and its
            interfaces have their addresses.
            """,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A sandbox as it is to be, and what this run does with it."""

    spec: ServiceSpec
    request: ServiceRequest

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def present(self) -> bool:
        return self.request.state != "absent"


def run(parameters: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """What ``sandbox_service`` returns."""
    require_root()
    settings = build(Run, parameters)
    items = listed.items(parameters)
    with opened(settings.registry) as host:
        wanted = [_wanted(item, parameters, host) for item in items]
        specs = [one.spec for one in wanted if one.present]
        present = levels.filled(specs, host.levels, settings.registry, host.declared.specs, check_mode) if specs else []
        filled = {spec.name: spec for spec in present}
        wanted = [dataclasses.replace(one, spec=filled.get(one.name, one.spec)) for one in wanted]
        for spec in present:
            selinux.require(spec.process_type, spec.file_type, spec.level, enforcing=settings.require_enforcing)
        result = ServiceRun(host, wanted, parameters, settings, check_mode).carried_out()
        result["warnings"] = host.warnings() + result["warnings"]
        return result


def _wanted(item: Mapping[str, Any], parameters: Mapping[str, Any], host: SandboxHost) -> Wanted:
    request = listed.about(item["name"], parameters, build, ServiceRequest, item)
    if request.state == "absent":  # of what goes only its name and place are of account
        identity = listed.about(item["name"], parameters, build, Identity, {**item, "level": None})
        return Wanted(ServiceSpec(name=identity.name, path=identity.path), request)
    return Wanted(listed.about(item["name"], parameters, service_spec, item, _generation(item["name"], request, host)), request)


def _generation(name: str, request: ServiceRequest, host: SandboxHost) -> int:
    """Whose defaults a sandbox gets: those that it was made with, unless the play says otherwise."""
    known = host.declared.specs.get(name)
    return ServiceSpec.defaults if known is None or request.upgrade_defaults else known.defaults


class ServiceRun:
    """A run over sandboxes of one host: observed, checked, planned, carried out, waited for, verified."""

    def __init__(self, host: SandboxHost, wanted: Sequence[Wanted], parameters: Mapping[str, Any], settings: Run, check_mode: bool) -> None:
        self.host, self.wanted, self.settings, self.check_mode = host, wanted, settings, check_mode
        self.parameters = parameters
        self.present = [one.spec for one in wanted if one.present]
        self.warnings: list[str] = []
        self.failures: list[StepError] = []
        self.facts = self._facts()
        self.seen: dict[str, Observed] = {}

    def _facts(self) -> Host:
        """What of the host counts, with the addresses of the sandboxes; refuses addresses that others have."""
        declared, names = self.host.declared.specs, {one.name for one in self.wanted}
        others = [spec for name, spec in declared.items() if name not in names]
        before = [spec for name, spec in declared.items() if name in names]
        facts = observe.facts(self.present, self.host)
        return dataclasses.replace(facts, resolved=addresses.resolve(self.present, others, facts.networks, before))

    def carried_out(self) -> dict[str, Any]:
        self._check_scripts()
        self._observe()
        self._check()
        plan = self._plan()
        result: dict[str, Any] = {"changed": plan.changed, "diff": plan.diff(), "steps": plan.summary(), "sandboxes": {}}
        result["warnings"] = self.warnings
        if self.check_mode:
            return report_failures(result, self.failures)
        self.failures += apply(plan.in_phases(), ServiceHands(self.host))
        broken = {failure.sandbox for failure in self.failures}
        up = [one for one in self.wanted if one.request.state in UP and one.name not in broken]
        waits = [_Wait(one.spec, self.facts.addresses(one.name), one.request.wait.ports) for one in up]
        self.failures += wait_until_up(waits, self.settings.timeout)
        result["sandboxes"] = {wait.spec.name: report(wait.spec, wait.units) for wait in waits}
        self.failures += wrong_labels([one.spec for one in up], result["sandboxes"])
        return report_failures(result, self.failures)

    def _check_scripts(self) -> None:
        lacking = scripts.missing(self.present, self.facts.scripts)
        if lacking and not self.check_mode:
            raise SandboxError(lacking)
        self.warnings += [listed.not_yet(lacking)] if lacking else []

    def _observe(self) -> None:
        stale = {one.name for one in self.wanted if one.request.stale == "restart"}
        going = {one.name for one in self.wanted if not one.present}
        look = observe.Look(self.facts, stale, going)
        self.seen, lost = observe.sandboxes([one.spec for one in self.wanted], self.host, look)
        self.failures += lost
        others = [spec for name, spec in self.host.declared.specs.items() if name not in self.seen]
        listening = [socket for seen in self.seen.values() for socket in seen.ports_open]
        ports.check(self.present, others, sockets.listening(), listening)

    def _check(self) -> None:
        """Refuse what cannot work; what only the content of one sandbox stands in the way of is that one's failure, not the run's.

        In check mode what is not in the content may be what another task has only announced: that is a warning.
        """
        for one in self.wanted:
            if not one.present or one.name not in self.seen:
                continue
            changed = declarations.changed(one.name, one.request.declaration)
            seen = self.seen[one.name]
            if changed:
                self.failures.append(StepError(one.name, "check", changed))
            elif seen.unreadable:
                self.failures.append(StepError(one.name, "observe", seen.unreadable))
            else:
                self._check_one(one.spec, seen)

    def _check_one(self, spec: ServiceSpec, seen: Observed) -> None:
        try:
            listed.about(spec.name, self.parameters, check, spec, seen, self.facts, self.check_mode)
        except OptionError as error:
            if self.check_mode and isinstance(error, MissingError) and seen.content_context is not None:
                self.warnings.append(listed.not_yet(error))
                without = dataclasses.replace(seen, content_context=None)
                listed.about(spec.name, self.parameters, check, spec, without, self.facts, True)
                self.seen[spec.name] = seen.with_announced(self.facts)
            elif _is_of_the_content(spec, seen, self.facts, error):
                self.failures.append(StepError(spec.name, "check", str(error)))
            else:
                raise

    def _plan(self) -> Plan:
        refused = {failure.sandbox for failure in self.failures}
        plan = Plan()
        for one in self.wanted:
            seen = self.seen.get(one.name)
            if seen is None:
                continue
            if one.spec.units and one.request.state in ("started", "reloaded") and seen.active is not None:
                seen = dataclasses.replace(seen, down=down(one.spec))
            if one.name not in refused:
                plan.extend(plan_service(one.spec, one.request.state, seen, self.facts))
            elif one.request.state == "stopped":
                plan.extend(plan_stop(one.spec, seen))  # whatever root inside has done to be refused
        return plan


def _is_of_the_content(spec: ServiceSpec, seen: Observed, facts: Host, error: OptionError) -> bool:
    """Whether it was root inside who brought the error about: without what is his there is none, or the unit was there before."""
    without = seen.without_content()
    if seen.content_context is None or without == seen:
        return False
    known = seen.spec is not None and error.value in seen.spec.units
    if isinstance(error, MissingError):
        return known
    try:
        check(spec, without, facts, True)
    except MissingError:
        return known
    except OptionError:
        return False
    return True


def down(spec: ServiceSpec) -> dict[str, str]:
    """The units of a running sandbox that neither are active nor will be; none where it does not answer yet."""
    try:
        states = processes.units_inside(spec.name, spec.units)
    except SandboxError:
        return {}
    return {unit: state for unit, state in states.items() if state in ("inactive", "failed")}


def wait_until_up(waiting_for: Sequence[_Wait], timeout: float) -> list[StepError]:
    """Until every sandbox's unit and the units inside are active and its ports open, or say what is not."""
    deadline = time.monotonic() + timeout
    waiting = {one.spec.name: one for one in waiting_for}
    failures: list[StepError] = []
    while waiting:
        began = time.monotonic()
        shown = systemd.show([one.spec.paths.unit for one in waiting.values()])
        for name, one in list(waiting.items()):
            failure = one.look(shown[one.spec.paths.unit])
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

    def __init__(self, spec: ServiceSpec, resolved: addresses.Resolved, listening: Sequence[int]) -> None:
        self.spec = spec
        self._sockets = [unit for unit in ports.units(spec, resolved) if unit.endswith(".socket")]
        self._addresses = [text for one in resolved for text in one]
        self._unknown = sum(not one for one in resolved)
        self.up = False
        self.missing = ""
        # the states of the units inside, as they were last seen
        self.units: dict[str, str] = {}
        self._ports = listening
        self._down_since: dict[str, float] = {}
        self._ran_since: float | None = None

    def look(self, unit: Mapping[str, str]) -> StepError | None:
        """What is missing now; a failure that will not mend itself is returned."""
        name = self.spec.name
        if unit["ActiveState"] == "failed":
            return StepError(name, "start", f"its unit failed ({_why(unit)}); see journalctl -u {self.spec.paths.unit}")
        if self.spec.command and _ended(unit, self.spec.paths):
            self.up = True
            return None
        states = self._states() if unit["ActiveState"] == "active" else {self.spec.paths.unit: unit["ActiveState"]}
        down = {one: state for one, state in states.items() if state not in processes.UP}
        self.missing = ", ".join(f"{one} is {state}" for one, state in down.items()) or self._not_yet() or self._brief()
        self.up = not self.missing
        if self.up:
            return self._unpublished()
        return self._failure([one for one, state in down.items() if state in ("failed", "inactive")])

    def _brief(self) -> str:
        """Why a command that has only just begun does not count as up: it may end at once."""
        now = time.monotonic()
        self._ran_since = now if self._ran_since is None else self._ran_since
        return "its command has only begun" if self.spec.command and now - self._ran_since < BRIEF else ""

    def _unpublished(self) -> StepError | None:
        """A port of the host that it does not have: something else was quicker."""
        failed = [unit for unit, shown in systemd.show(self._sockets).items() if shown["ActiveState"] == "failed"]
        reason = f"{', '.join(failed)} failed; something else may listen there, see journalctl -u {failed[0]}" if failed else ""
        return StepError(self.spec.name, "publish ports", reason) if failed else None

    def _states(self) -> dict[str, str]:
        """Of the units inside; a sandbox that is starting cannot be entered."""
        name = self.spec.name
        if self.spec.command:
            return {"its first process": "active" if processes.is_up(name) else "missing"}
        try:
            self.units = processes.units_inside(name, self.spec.units)
            return self.units
        except SandboxError as error:
            return {"its systemd": f"silent ({error})"}

    def _not_yet(self) -> str:
        name = self.spec.name
        try:
            there = processes.addresses(name, self._addresses) if self._addresses or self._unknown else []
        except SandboxError as error:
            return str(error)
        missing = [text for text in self._addresses if text not in there]
        # DHCP gives what is not known before, and nothing of IPv6
        given = [text for text in there if text not in self._addresses and ":" not in text]
        if missing or len(given) < self._unknown:
            return f"it has no address yet{' (' + ', '.join(missing) + ')' if missing else ''}"
        closed = processes.not_listening(name, self._ports)
        return f"nothing listens on port {', '.join(map(str, closed))}" if closed else ""

    def _failure(self, down: Sequence[str]) -> StepError | None:
        """A unit that stays down while nothing inside is about to start it; it, or what it needs, has failed."""
        now, name = time.monotonic(), self.spec.name
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


def report(spec: ServiceSpec, units: Mapping[str, str]) -> dict[str, Any]:
    """What a user wants to know of a running sandbox."""
    return {
        "level": str(spec.level),
        "addresses": observe.addresses(spec),
        "units": dict(units),
        "processes": processes.of_sandbox(spec.paths.cgroup),
        "macs": [network.mac_of(spec.name, number, one) for number, one in enumerate(spec.network)],
    }


def wrong_labels(specs: Sequence[ServiceSpec], reports: Mapping[str, Mapping[str, Any]]) -> list[StepError]:
    """Processes that do not carry the declared type and level: then it is no sandbox."""
    failures = []
    for spec in specs if selinux.mode() != "disabled" else ():
        wrong = _mislabelled(spec, reports[spec.name]["processes"])
        if wrong:
            # one of libvirt's may be on its way in: it gets its label when it executes the sandbox's first program
            time.sleep(1)
            lasting = _mislabelled(spec, processes.of_sandbox(spec.paths.cgroup))
            failures += [StepError(spec.name, "verify labels", lasting[pid]) for pid in wrong if pid in lasting][:1]
    return failures


def _mislabelled(spec: ServiceSpec, found: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    """By PID, what is to be said of each process at another type or level than the declared ones."""
    declared = f"{spec.process_type}:{spec.level}"
    return {
        one["pid"]: f"process {one['pid']} ({one['command']}) is {one['context']}, not {declared}"
        for one in found if one["context"].split(":", 2)[-1] != declared
    }  # fmt: skip
