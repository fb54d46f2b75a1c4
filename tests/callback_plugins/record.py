# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes every task's result as a line of JSON, for the tests that run plays. Core has no such callback."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record
type: notification
short_description: Record results for tests
description: Writes host, task and result of every task to the file that VSBX_RECORD names.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record"

    def _record(self, result: Any, state: str) -> None:
        # public names and older ones: cores differ
        host, task = getattr(result, "host", None) or result._host, getattr(result, "task", None) or result._task
        line = {"host": host.get_name(), "task": task.get_name().strip(), "state": state, "result": result._result}
        with open(os.environ["VSBX_RECORD"], "a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._record(result, "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._record(result, "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._record(result, "unreachable")

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._record(result, "skipped")
