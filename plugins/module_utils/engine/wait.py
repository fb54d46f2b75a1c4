# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until sandboxes are up: their units on the host and inside, their addresses, their ports."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from ..host import processes, systemd
from ..model import layout, ports
from ..model.addresses import Resolved
from ..model.errors import SandboxError, StepError
from ..model.spec import ServiceSpec

# seconds for which a unit inside must have been down to be taken for one that will not run
LASTING = 3
# seconds for which a command must have run to be taken for one that does not end at once
BRIEF = 1


def down(spec: ServiceSpec) -> dict[str, str]:
    """The units of a running sandbox that neither are active nor will be; none where it does not answer yet."""
    try:
        states = processes.units_inside(spec.name, spec.units)
    except SandboxError:
        return {}
    return {unit: state for unit, state in states.items() if state in ("inactive", "failed")}


def wait_until_up(waiting_for: Sequence[Wait], timeout: float) -> list[StepError]:
    """Until every sandbox's unit and the units inside are active and its ports open, or say what is not.

    Each has ``timeout`` seconds from the beginning of its own start. Starts pass one lock: while a sandbox has not begun, its
    time counts from when another of them has begun or has been done with.
    """
    waiting = {wait.spec.name: wait for wait in waiting_for}
    failures: list[StepError] = []
    progress = time.monotonic()
    while waiting:
        looked = time.monotonic()
        shown = systemd.show([wait.spec.paths.unit for wait in waiting.values()])
        for name, wait in list(waiting.items()):
            begun = wait.begun
            failure = wait.look(shown[wait.spec.paths.unit]) or wait.late(timeout, progress)
            if failure or wait.up:
                failures += [failure] if failure else []
                del waiting[name]
            if failure or wait.up or wait.begun != begun:
                progress = time.monotonic()
        if waiting:
            # what is asked inside costs processor time that the sandboxes need to start
            time.sleep(max(0.25, 2 * (time.monotonic() - looked)))
    return failures


class Wait:
    """One sandbox that is waited for."""

    def __init__(self, spec: ServiceSpec, resolved: Resolved, listening: Sequence[int]) -> None:
        self.spec = spec
        self._sockets = [unit for unit in ports.units(spec, resolved) if unit.endswith(".socket")]
        self._addresses = [text for addresses in resolved for text in addresses]
        self._unknown = sum(not addresses for addresses in resolved)
        self.up = False
        self.missing = ""
        # the states of the units inside, as they were last seen
        self.units: dict[str, str] = {}
        self._ports = listening
        self._down_since: dict[str, float] = {}
        self._ran_since: float | None = None
        self.begun: float | None = None

    def late(self, timeout: float, progress: float) -> StepError | None:
        """That it has had its time; ``progress``: when another sandbox of the run began or was done with, for one that has not begun."""
        if time.monotonic() - (progress if self.begun is None else self.begun) <= timeout:
            return None
        return StepError(self.spec.name, "wait", f"not up after {timeout:g} s: {self.missing}")

    def look(self, unit: Mapping[str, str]) -> StepError | None:
        """What is missing now; a failure that will not mend itself is returned."""
        name = self.spec.name
        if self.begun is None and (unit["ActiveState"] == "active" or processes.is_up(name)):
            self.begun = time.monotonic()
        if unit["ActiveState"] == "failed":
            return StepError(name, "start", f"its unit failed ({_why(unit)}). Run journalctl -u {self.spec.paths.unit} to see why.")
        if self.spec.command and _ended(unit, self.spec.paths):
            self.up = True
            return None
        states = self._states() if unit["ActiveState"] == "active" else {self.spec.paths.unit: unit["ActiveState"]}
        down = {unit_name: state for unit_name, state in states.items() if state not in processes.UP}
        self.missing = ", ".join(f"{unit_name} is {state}" for unit_name, state in down.items()) or self._not_yet() or self._brief()
        self.up = not self.missing
        if self.up:
            return self._unpublished()
        return self._failure([unit_name for unit_name, state in down.items() if state in ("failed", "inactive")])

    def _brief(self) -> str:
        """Why a command that has only just begun does not count as up: it may end at once."""
        now = time.monotonic()
        self._ran_since = now if self._ran_since is None else self._ran_since
        return "its command has only begun" if self.spec.command and now - self._ran_since < BRIEF else ""

    def _unpublished(self) -> StepError | None:
        """A port of the host that it does not have: something else was quicker."""
        failed = [unit for unit, shown in systemd.show(self._sockets).items() if shown["ActiveState"] == "failed"]
        if not failed:
            return None
        why = f"Something else may listen on the port. Run journalctl -u {failed[0]} to see why."
        return StepError(self.spec.name, "publish ports", f"{', '.join(failed)} failed. {why}")

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
            current = processes.addresses(name, self._addresses) if self._addresses or self._unknown else []
        except SandboxError as error:
            return str(error)
        missing = [text for text in self._addresses if text not in current]
        # DHCP gives what is not known before, and nothing of IPv6
        given = [text for text in current if text not in self._addresses and ":" not in text]
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
        said = processes.last_words(name, unit) or "it logged nothing"
        return StepError(name, "wait", f"{unit} {'failed' if failed else 'has ended'} inside: {said}")


def _why(unit: Mapping[str, str]) -> str:
    code = f", code {unit['ExecMainStatus']}" if unit.get("Result") == "exit-code" else ""
    return unit["Result"] + code


def _ended(unit: Mapping[str, str], paths: layout.Layout) -> bool:
    """Whether a command has ended in success, as opposed to one that was not started: the unit's helper has noted its code."""
    return unit["ActiveState"] == "inactive" and unit.get("Job", "0") in ("", "0") and systemd.read(paths.code) is not None
