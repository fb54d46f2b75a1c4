# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong, as types: every message names the option, the value and what is expected."""

from __future__ import annotations

from typing import TypeVar

OptionErrorT = TypeVar("OptionErrorT", bound="OptionError")


class SandboxError(Exception):
    """Anything this collection reports to its user: a sentence that says what failed and what to do."""


class OptionError(SandboxError):
    """A value that an option does not take.

    ``expected`` completes "expected …", without a full stop; ``advice`` is whole sentences that say what to do.
    """

    def __init__(self, option: str, value: object, expected: str, advice: str = "") -> None:
        value = list(value) if isinstance(value, tuple) else value  # as the user wrote it
        given = "" if value is None or value == [] else f"{value!r} is invalid: "
        self._say(option, value, f"{given}expected {expected}." + (f" {advice}" if advice else ""))

    def _say(self, option: str, value: object, sentences: str) -> None:
        super().__init__(f"{option}: {sentences}")
        self.option = option
        self.value = value
        self.sentences = sentences

    @classmethod
    def said(cls: type[OptionErrorT], option: str, value: object, sentences: str) -> OptionErrorT:
        """An error whose message is whole sentences after the name of the option, where "expected …" would read badly."""
        error = cls.__new__(cls)
        error._say(option, value, sentences)
        return error

    def about(self, place: str) -> OptionError:
        """The same error, with what it is about in front of the option."""
        return self.said(f"{place}: {self.option}", self.value, self.sentences)


class MissingError(OptionError):
    """What an option names is not there; another task may bring it."""


class ContentError(OptionError):
    """What an option asks for is in contradiction to what a sandbox's content has become, which is for root inside to say."""


class ConflictError(SandboxError):
    """Something exists already, and it is not ours or not this owner's."""


class StepError(SandboxError):
    """One step of a plan failed for one sandbox."""

    def __init__(self, sandbox: str, step: str, reason: str) -> None:
        super().__init__(f"{sandbox}: {step}: {reason}")
        self.sandbox = sandbox
        self.step = step
        self.reason = reason
