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
from . import listed, observe
from .apply import apply, report_failures, require_root
from .hands import ServiceHands
from .host import SandboxHost, opened
from .wait import Wait, down, wait_until_up
from .wanted import Wanted, with_levels


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


Sandbox = Wanted[ServiceSpec, ServiceRequest]


def run(parameters: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """What ``sandbox_service`` returns."""
    require_root()
    settings = build(Run, parameters)
    items = listed.items(parameters)
    with opened(settings.registry, locked=not check_mode) as host:
        wanted = [_wanted(item, parameters, host) for item in items]
        wanted = with_levels(wanted, host, settings, check_mode, lambda spec: spec.process_type)
        result = ServiceRun(host, wanted, parameters, settings, check_mode).carried_out()
        result["warnings"] = host.warnings() + result["warnings"]
        return result


def _wanted(item: Mapping[str, Any], parameters: Mapping[str, Any], host: SandboxHost) -> Sandbox:
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

    def __init__(
        self, host: SandboxHost, wanted: Sequence[Sandbox], parameters: Mapping[str, Any], settings: Run, check_mode: bool
    ) -> None:
        self.host, self.wanted, self.settings, self.check_mode = host, wanted, settings, check_mode
        self.parameters = parameters
        self.present = [sandbox.spec for sandbox in wanted if sandbox.present]
        self.warnings: list[str] = []
        self.failures: list[StepError] = []
        self.facts = self._facts()
        self.observed: dict[str, Observed] = {}
        self.overtaken: set[str] = set()  # by another run

    def _facts(self) -> Host:
        """What of the host counts, with the addresses of the sandboxes; refuses addresses that others have."""
        declared, names = self.host.declared.specs, {sandbox.name for sandbox in self.wanted}
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
        for sandbox in self.wanted:
            if not sandbox.present:  # another run that has given it content since it began is to know
                declarations.record(sandbox.name, sandbox.request.declaration or "absent")
        broken = {failure.sandbox for failure in self.failures}
        up = [sandbox for sandbox in self.wanted if sandbox.request.state in UP and sandbox.name not in broken]
        waits = [Wait(sandbox.spec, self.facts.addresses(sandbox.name), sandbox.request.wait.ports) for sandbox in up]
        self.failures += wait_until_up(waits, self.settings.timeout)
        result["sandboxes"] = {wait.spec.name: report(wait.spec, wait.units) for wait in waits}
        self.failures += wrong_labels([sandbox.spec for sandbox in up], result["sandboxes"])
        return report_failures(result, self.failures)

    def _check_scripts(self) -> None:
        lacking = scripts.missing(self.present, self.facts.scripts)
        if lacking and not self.check_mode:
            raise SandboxError(lacking)
        self.warnings += [listed.not_yet(lacking)] if lacking else []

    def _observe(self) -> None:
        stale = {sandbox.name for sandbox in self.wanted if sandbox.request.stale == "restart"}
        going = {sandbox.name for sandbox in self.wanted if not sandbox.present}
        look = observe.Look(self.facts, stale, going)
        self.observed, lost = observe.sandboxes([sandbox.spec for sandbox in self.wanted], self.host, look)
        self.failures += lost
        names = {sandbox.name for sandbox in self.wanted}
        others = [spec for name, spec in self.host.declared.specs.items() if name not in names]
        listening = [socket for observed in self.observed.values() for socket in observed.ports_open]
        # one that could not be looked at is a failure already
        ports.check([spec for spec in self.present if spec.name in self.observed], others, sockets.listening(), listening)

    def _check(self) -> None:
        """Refuse what cannot work; what only the content of one sandbox stands in the way of is that one's failure, not the run's.

        In check mode what is not in the content may be what another task has only announced: that is a warning.
        """
        for sandbox in self.wanted:
            if not sandbox.present or sandbox.name not in self.observed:
                continue
            # a run that is only predicted has recorded nothing
            changed = "" if self.check_mode else declarations.changed(sandbox.name, sandbox.request.declaration)
            observed = self.observed[sandbox.name]
            if changed:
                self.overtaken.add(sandbox.name)
                self.failures.append(StepError(sandbox.name, "check", changed))
            elif observed.unreadable:
                self.failures.append(StepError(sandbox.name, "observe", observed.unreadable))
            else:
                self._check_one(sandbox.spec, observed)

    def _check_one(self, spec: ServiceSpec, observed: Observed) -> None:
        try:
            listed.about(spec.name, self.parameters, check, spec, observed, self.facts, self.check_mode)
        except OptionError as error:
            if self.check_mode and isinstance(error, MissingError) and observed.content_context is not None:
                self.warnings.append(listed.not_yet(error))
                without = dataclasses.replace(observed, content_context=None)
                listed.about(spec.name, self.parameters, check, spec, without, self.facts, True)
                self.observed[spec.name] = observed.with_announced(self.facts)
            elif _is_of_the_content(spec, observed, self.facts, error):
                self.failures.append(StepError(spec.name, "check", str(error)))
            else:
                raise

    def _plan(self) -> Plan:
        refused = {failure.sandbox for failure in self.failures}
        plan = Plan()
        for sandbox in self.wanted:
            observed = self.observed.get(sandbox.name)
            if observed is None:
                continue
            if sandbox.spec.units and sandbox.request.state in ("started", "reloaded") and observed.active is not None:
                observed = dataclasses.replace(observed, down=down(sandbox.spec))
            if sandbox.name not in refused:
                plan.extend(plan_service(sandbox.spec, sandbox.request.state, observed, self.facts))
            elif sandbox.request.state == "stopped" and sandbox.name not in self.overtaken:
                check_ours(sandbox.spec, observed)
                plan.extend(plan_stop(sandbox.spec, observed))  # whatever root inside has done to be refused
        return plan


def _is_of_the_content(spec: ServiceSpec, observed: Observed, facts: Host, error: OptionError) -> bool:
    """Whether it was root inside who brought the error about: without what is his there is none, or the unit was there before."""
    without = observed.without_content()
    if observed.content_context is None or without == observed:
        return False
    known = observed.spec is not None and error.value in observed.spec.units
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
        "macs": [network.mac_of(spec.name, number, interface) for number, interface in enumerate(spec.network)],
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


def _mislabelled(spec: ServiceSpec, reported: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    """By PID, what is to be said of each process at another type or level than the declared ones."""
    declared = f"{spec.process_type}:{spec.level}"
    return {
        process["pid"]: f"process {process['pid']} ({process['command']}) is {process['context']}, not {declared}"
        for process in reported if process["context"].split(":", 2)[-1] != declared
    }  # fmt: skip
