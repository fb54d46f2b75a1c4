# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry a plan out, step by step. A failure ends that sandbox's steps, never another's."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

from ..model.errors import SandboxError, StepError
from ..model.plan import Plan, Step


def between(step: Step, done: bool) -> None:
    """Called before and after each step. It does nothing; a test that interrupts runs puts its own in its place."""


def apply(plan: Plan, hands: Any) -> list[StepError]:
    """Do every step; returns what failed. Steps of one sandbox keep their order and stop at a failure."""
    failed: dict[str, StepError] = {}
    for together, steps in itertools.groupby(plan, key=lambda step: type(step) if step.together else None):
        group = [step for step in steps if step.sandbox not in failed]
        if together and len(group) > 1:
            _all(group, hands, failed)
        else:
            for step in group:
                _single(step, hands, failed)
    return list(failed.values())


def _single(step: Step, hands: Any, failed: dict[str, StepError]) -> None:
    if step.sandbox in failed:
        return
    between(step, done=False)
    try:
        step.apply(hands)
    except (SandboxError, OSError) as error:
        failed[step.sandbox] = StepError(step.sandbox, step.title, str(error))
    except Exception as error:  # whatever it is, the other sandboxes go on
        failed[step.sandbox] = StepError(step.sandbox, step.title, unexpected(error))
    else:
        between(step, done=True)


def _all(steps: Sequence[Step], hands: Any, failed: dict[str, StepError]) -> None:
    """All at once; where that fails, one by one, so that each failure is one sandbox's."""
    for step in steps:
        between(step, done=False)
    try:
        steps[0].apply_all(steps, hands)
    except Exception:
        for step in steps:
            _single(step, hands, failed)
    else:
        for step in steps:
            between(step, done=True)


def unexpected(error: Exception) -> str:
    """What is said of an error that nobody foresaw."""
    return f"unexpected error, please report it: {type(error).__name__}: {error}"


def require_root() -> None:
    if os.geteuid() != 0:
        raise SandboxError("This module needs root on the host. Set become: true.")


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def report_failures(result: dict[str, Any], failures: list[StepError]) -> dict[str, Any]:
    """The result, as a failure that names sandboxes and steps if there was one."""
    if failures:
        result["failed"] = True
        result["msg"] = " ".join(_sentence(str(failure)) for failure in failures)
        result["failures"] = [{"sandbox": failure.sandbox, "step": failure.step, "reason": failure.reason} for failure in failures]
    return result
