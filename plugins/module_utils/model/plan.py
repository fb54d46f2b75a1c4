# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan: small named steps, each safe to repeat. It is the prediction, the diff and the work order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Step:
    """One change to one sandbox. ``action`` names what the engine does, ``before`` and ``after`` what it is worth."""

    sandbox: str
    name: str
    action: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    before: Any = None
    after: Any = None


@dataclasses.dataclass
class Plan:
    """The steps for any number of sandboxes, in order."""

    steps: list[Step] = dataclasses.field(default_factory=list)

    def add(self, sandbox: str, name: str, action: str, *, before: Any = None, after: Any = None, **arguments: Any) -> None:
        """One more step."""
        self.steps.append(Step(sandbox, name, action, arguments, before, after))

    def extend(self, other: Plan) -> None:
        self.steps.extend(other.steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def changed(self) -> bool:
        return bool(self.steps)

    def in_phases(self, phases: Mapping[str, int]) -> Plan:
        """The same steps, every sandbox's of one phase before any of the next; a sandbox's own keep their order."""
        return Plan(sorted(self.steps, key=lambda step: phases[step.action]))

    def of(self, sandbox: str) -> list[Step]:
        return [step for step in self.steps if step.sandbox == sandbox]

    def summary(self) -> dict[str, list[str]]:
        """The names of the steps, by sandbox: what a module returns."""
        result: dict[str, list[str]] = {}
        for step in self.steps:
            result.setdefault(step.sandbox, []).append(step.name)
        return result

    def diff(self) -> dict[str, dict[str, Any]]:
        """Before and after, for Ansible's diff mode."""
        before: dict[str, dict[str, Any]] = {}
        after: dict[str, dict[str, Any]] = {}
        for step in self.steps:
            before.setdefault(step.sandbox, {})[step.name] = step.before
            after.setdefault(step.sandbox, {})[step.name] = step.after
        return {"before": before, "after": after}
