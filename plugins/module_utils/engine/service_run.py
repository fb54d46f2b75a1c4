# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of ``sandbox_service``: observe, plan, apply, wait, report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..host import declarations, processes, selinux, sockets
from ..model import addresses, network, ports, scripts
from ..model.errors import MissingError, OptionError, SandboxError, StepError
from ..model.observed import Host, Observed
from ..model.options import build, option
from ..model.plan import Plan
from ..model.service_plan import check, check_ours, plan_service, plan_stop
from ..model.spec import UP, Common, Identity, ServiceRequest, ServiceSpec, service_spec
from . import levels, listed, observe
from .apply import apply, report_failures, require_root
from .hands import ServiceHands
from .host import SandboxHost, opened
from .wait import Wait, down, wait_until_up


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
    with opened(settings.registry, locked=not check_mode) as host:
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
        self.overtaken: set[str] = set()  # by another run

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
        for one in self.wanted:
            if not one.present:  # another run that has given it content since it began is to know
                declarations.record(one.name, one.request.declaration or "absent")
        broken = {failure.sandbox for failure in self.failures}
        up = [one for one in self.wanted if one.request.state in UP and one.name not in broken]
        waits = [Wait(one.spec, self.facts.addresses(one.name), one.request.wait.ports) for one in up]
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
        names = {one.name for one in self.wanted}
        others = [spec for name, spec in self.host.declared.specs.items() if name not in names]
        listening = [socket for seen in self.seen.values() for socket in seen.ports_open]
        # one that could not be looked at is a failure already
        ports.check([spec for spec in self.present if spec.name in self.seen], others, sockets.listening(), listening)

    def _check(self) -> None:
        """Refuse what cannot work; what only the content of one sandbox stands in the way of is that one's failure, not the run's.

        In check mode what is not in the content may be what another task has only announced: that is a warning.
        """
        for one in self.wanted:
            if not one.present or one.name not in self.seen:
                continue
            # a run that is only predicted has recorded nothing
            changed = "" if self.check_mode else declarations.changed(one.name, one.request.declaration)
            seen = self.seen[one.name]
            if changed:
                self.overtaken.add(one.name)
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
            elif one.request.state == "stopped" and one.name not in self.overtaken:
                check_ours(one.spec, seen)
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
