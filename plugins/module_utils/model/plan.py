# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan: small steps, each a value that is safe to carry out again. It is the prediction, the diff and the work order."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar


class Phase(enum.IntEnum):
    """When a step's turn comes in a run over many sandboxes: every sandbox's steps of one phase before any of the next."""

    STOP = 0
    """What goes ends first."""
    WRITE = 1
    RELOAD = 2
    """systemd reads its files once, after all are written."""
    ENABLE = 3
    LIVE = 4
    """What changes while a sandbox runs. A start brings up what is published by then."""
    START = 5


@dataclasses.dataclass(frozen=True)
class Step:
    """One change to one sandbox. Subclasses hold what they need, describe themselves, and are carried out by ``apply``."""

    sandbox: str

    words: ClassVar[str] = ""
    """The title, with the names of fields in braces."""
    phase: ClassVar[Phase] = Phase.WRITE
    together: ClassVar[bool] = False
    """Whether the steps of all sandboxes are carried out at once, by ``apply_all`` of the first of them."""

    @property
    def title(self) -> str:
        """What the step does, as its user reads it."""
        return self.words.format(**vars(self))

    def change(self) -> tuple[Any, Any]:
        """Before and after, for a reader of the difference."""
        return getattr(self, "before", None), getattr(self, "after", None)

    def apply(self, hands: Any) -> None:
        """Make the change; ``hands`` are those of the engine (``steps.Hands`` or ``content_steps.Hands``)."""
        self.apply_all([self], hands)

    def apply_all(self, steps: Iterable[Any], hands: Any) -> None:
        """Make the changes of several steps of this class at once."""
        raise NotImplementedError


@dataclasses.dataclass
class Plan:
    """The steps for any number of sandboxes, in order."""

    steps: list[Step] = dataclasses.field(default_factory=list)

    def add(self, *steps: Step) -> None:
        self.steps += steps

    def extend(self, other: Plan) -> None:
        self.steps.extend(other.steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def changed(self) -> bool:
        return bool(self.steps)

    def in_phases(self) -> Plan:
        """The same steps by phase, in which a sandbox's own keep their order; side by side where they are carried out together."""
        steps: list[Step] = []
        for phase in Phase:
            left: dict[str, list[Step]] = {}
            for step in self.steps:
                if step.phase is phase:
                    left.setdefault(step.sandbox, []).append(step)
            steps += _side_by_side(left)
        return Plan(steps)

    def of(self, sandbox: str) -> list[Step]:
        return [step for step in self.steps if step.sandbox == sandbox]

    def summary(self) -> dict[str, list[str]]:
        """The titles of the steps, by sandbox: what a module returns."""
        result: dict[str, list[str]] = {}
        for step in self.steps:
            result.setdefault(step.sandbox, []).append(step.title)
        return result

    def diff(self) -> dict[str, dict[str, Any]]:
        """Before and after, for Ansible's diff mode."""
        result: dict[str, dict[str, Any]] = {"before": {}, "after": {}}
        for step in self.steps:
            for side, value in zip(("before", "after"), step.change()):
                result[side].setdefault(step.sandbox, {})[step.title] = value
        return result


def _side_by_side(left: dict[str, list[Step]]) -> Iterator[Step]:
    """Steps that each sandbox has for itself first, then of all that are next those of one class, which are carried out together."""
    queues = list(left.values())
    while queues:
        alone = [queue for queue in queues if not queue[0].together][:1]
        for queue in alone or [queue for queue in queues if type(queue[0]) is type(queues[0][0])]:
            yield queue.pop(0)
        queues = [queue for queue in queues if queue]
