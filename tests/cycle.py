# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox whose options are declared, repeated, changed, repeated, removed and repeated: the plays of that, and what each must show.

What a run did is asked of the kernel and of the host's tools, never of the module that did it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from .lab_fixtures import Played, Task, difference, shell_task, snapshot_task

LABEL, CONTENT, SERVICE = "virt.sandbox.mcs_label", "virt.sandbox.sandbox_content", "virt.sandbox.sandbox_service"
INFO, EXEC = "virt.sandbox.sandbox_info", "virt.sandbox.sandbox_exec"


@dataclasses.dataclass(frozen=True)
class Stage:
    """One call of ``sandbox_service``: what it is to do, and what the host must show afterwards."""

    name: str
    options: Mapping[str, Any]
    steps: Sequence[str]
    restarted: bool
    shows: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Cycle:
    """The stages of one sandbox; ``look`` is a script that prints ``key=value``, ``main`` when its first process began among them."""

    name: str
    level: str
    look: str
    stages: Sequence[Stage]

    def tasks(self) -> Iterator[Task]:
        for stage in self.stages:
            arguments = {"name": self.name, "level": self.level, **stage.options}
            yield snapshot_task(f"{stage.name}: snapshot")
            yield {"name": f"{stage.name}: in check mode", SERVICE: arguments, "check_mode": True, "diff": True}
            yield snapshot_task(f"{stage.name}: snapshot after check mode")
            yield {"name": f"{stage.name}: for real", SERVICE: arguments, "diff": True}
            yield shell_task(f"{stage.name}: look", self.look, changed_when=False)
            yield {"name": f"{stage.name}: again", SERVICE: arguments}

    def shown(self, played: Played, host: str, stage: Stage) -> dict[str, str]:
        outcome = played.on(host)[f"{stage.name}: look"]
        return dict(line.split("=", 1) for line in outcome.stdout.splitlines())


class CycleTests:
    """The tests of a cycle; a module's subclass names it."""

    cycle: ClassVar[Cycle]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "before" in metafunc.fixturenames:
            pairs = list(zip(self.cycle.stages, self.cycle.stages[1:]))
            metafunc.parametrize(("before", "stage"), pairs, ids=[stage.name for _before, stage in pairs])
        elif "stage" in metafunc.fixturenames:
            metafunc.parametrize("stage", self.cycle.stages, ids=[stage.name for stage in self.cycle.stages])

    def test_a_stage_does_what_it_is_to_do(self, played: Played, host: str, stage: Stage) -> None:
        outcome = played.on(host)[f"{stage.name}: for real"]
        assert not outcome.failed, outcome.message
        assert outcome.steps(self.cycle.name) == list(stage.steps)
        seen = self.cycle.shown(played, host, stage)
        assert {key: seen[key] for key in stage.shows} == stage.shows

    def test_check_mode_predicts_it_and_changes_nothing(self, played: Played, host: str, stage: Stage) -> None:
        outcomes = played.on(host)
        predicted, real = outcomes[f"{stage.name}: in check mode"], outcomes[f"{stage.name}: for real"]
        assert predicted.changed
        assert predicted.result["steps"] == real.result["steps"]
        assert predicted.result["diff"] == real.result["diff"]
        before, after = outcomes[f"{stage.name}: snapshot"].snapshot, outcomes[f"{stage.name}: snapshot after check mode"].snapshot
        assert difference(before, after) == {}

    def test_again_changes_nothing(self, played: Played, host: str, stage: Stage) -> None:
        outcome = played.on(host)[f"{stage.name}: again"]
        assert not outcome.failed, outcome.message
        assert not outcome.changed, outcome.result["steps"]

    def test_it_is_restarted_only_where_it_must_be(self, played: Played, host: str, before: Stage, stage: Stage) -> None:
        began = [self.cycle.shown(played, host, each)["main"] for each in (before, stage)]
        assert began[0].isdigit()
        assert (began[0] != began[1]) == stage.restarted
