# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Levels for the sandboxes of a host, from its own registry, or from one that hosts have between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from ansible_collections.virt.sandbox.plugins.module_utils.engine import label_run, listed
from ansible_collections.virt.sandbox.plugins.module_utils.model.level_request import (
    OwnerOptions,
    RegistryOptions,
    Request,
    host_of,
)
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import InUse, Level
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import build
from ansible_collections.virt.sandbox.plugins.module_utils.model.registry import LevelStep
from ansible_collections.virt.sandbox.plugins.plugin_utils.shared_labels import SharedLabels


class ActionModule(SharedLabels):
    keywords: ClassVar = listed.arguments((OwnerOptions,), (RegistryOptions,))

    def decide(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Decide in the shared registry, and have the host record the levels that its sandboxes have there."""
        options, requests = build(RegistryOptions, arguments), label_run.requests_of(arguments)
        known = label_run.owned(options)
        in_use, _here, held = self.ask()
        ours = [self._shared(request, known, held) for request in requests]

        def observe(search: Collection[Level]) -> list[InUse]:
            return self.ask(search)[0] if search else in_use

        decided = label_run.decide(options, ours, observe, self._task.check_mode, self.host)
        recorded = self.module("virt.sandbox.mcs_label", {"sandboxes": [self._exact(request, decided.levels) for request in requests]})
        if recorded.get("failed"):
            return {**recorded, "changed": bool(decided.steps) and not self._task.check_mode, "steps": self._steps(decided.steps, {})}
        return {**recorded, **self._reported(arguments, decided.steps, recorded)}

    def _shared(self, request: Request, known: Collection[str], held: Mapping[str, Level]) -> Request:
        """The request in the shared registry, which takes over what the host's own has given until then."""
        owner, level = self.owner(request.owner), request.level
        if request.present and level is None and owner not in known and request.owner in held:
            level = held[request.owner]
        return dataclasses.replace(request, owner=owner, level=level)

    def _exact(self, request: Request, levels: Mapping[str, Level | None]) -> dict[str, Any]:
        """What the host is to record: the level that was decided, or that there is none any more."""
        if not request.present:
            return {"name": request.owner, "state": "absent"}
        return {"name": request.owner, "level": str(levels[self.owner(request.owner)])}

    def _reported(self, arguments: Mapping[str, Any], steps: list[LevelStep], recorded: Mapping[str, Any]) -> dict[str, Any]:
        diffs = [label_run.diff(steps), recorded.get("diff") or {}]
        result = {
            "changed": bool(steps) or recorded["changed"],
            "steps": self._steps(steps, recorded["steps"]),
            "diff": [diff for diff in diffs if diff.get("before") != diff.get("after")],
        }
        name = arguments.get("name")
        return {**result, "level": recorded["levels"][name]} if name in recorded["levels"] else result

    def _steps(self, steps: list[LevelStep], recorded: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """What was done in the shared registry, then what the host recorded of it, by the names of its sandboxes."""
        actions: dict[str, list[str]] = {}
        for owner, done in label_run.actions(steps).items():
            actions.setdefault(owner.rpartition("/")[2] if host_of(owner) == self.host else owner, []).extend(done)
        for name, done in recorded.items():
            actions.setdefault(name, []).extend(f"record: {action}" for action in done)
        return actions
