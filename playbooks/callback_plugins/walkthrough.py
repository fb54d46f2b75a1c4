# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints a line a step and host while the walkthrough runs, and the sum at its end."""

from __future__ import annotations

import re
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: walkthrough
type: notification
short_description: Print the walkthrough's steps
description: Prints for each step and host whether it passed, and the evidence; a step that did not run has failed.
"""

_STEP = re.compile(r"(?:Take step )?(S\d+)\Z")
# how the names of tasks that keep one waiting end
_LONG = re.compile(r"\bwhich takes ")
# the task whose lines are shown whatever else is
_SHOWN = "Say how to look around"


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """A task that bears a step's name is its verdict; any other that fails within the step is one too."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "walkthrough"

    def __init__(self) -> None:
        super().__init__()
        self._steps: list[str] = []
        self._current = ""
        self._verdicts: dict[tuple[str, str], bool] = {}

    def v2_playbook_on_play_start(self, play: Any) -> None:
        given = play.get_variable_manager().extra_vars
        self._steps = list(given.get("walkthrough_steps", play.get_vars().get("walkthrough_steps", [])))

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002  (the name is ansible-core's)
        name = task.get_name().rpartition(" : ")[2].strip()
        step = _STEP.match(name)
        if step:
            self._current = step.group(1)
        elif self._steps and _LONG.search(name):
            self._display.display(f"... {self._current} {name}")

    def v2_runner_on_ok(self, result: Any) -> None:
        host, task, said = self._parts(result)
        if task == self._current and self._steps:
            self._say(host, True, str(said.get("msg", "")))
        elif task == _SHOWN:
            for line in [f"{host}:", *said.get("msg", [])]:
                self._display.display(line)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        host, task, said = self._parts(result)
        if self._current and self._steps and not ignore_errors and (self._current, host) not in self._verdicts:
            # of an assertion, the condition that does not hold before all that was seen
            details = " ".join(str(said.get(key, "")) for key in ("assertion", "msg", "stderr", "stdout")).strip()
            self._say(host, False, details if task == self._current else f"{task}: {details}")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self.v2_runner_on_failed(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        if not self._steps:
            return
        for host in sorted(stats.processed):
            for step in self._steps:
                if (step, host) not in self._verdicts:
                    self._current = step
                    self._say(host, False, "it did not run")
        passed = sum(self._verdicts.values())
        self._display.display(f"{passed} passed, {len(self._verdicts) - passed} failed")

    @staticmethod
    def _parts(result: Any) -> tuple[str, str, dict[str, Any]]:
        # public names and older ones: cores differ
        host, task = getattr(result, "host", None) or result._host, getattr(result, "task", None) or result._task
        return host.get_name(), task.get_name().rpartition(" : ")[2].strip(), getattr(result, "result", None) or result._result

    def _say(self, host: str, passed: bool, evidence: str) -> None:
        self._verdicts[(self._current, host)] = passed
        self._display.display(f"{self._current} {'ok' if passed else 'failed'} {host} {' '.join(evidence.split())}")
