# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Levels in a registry that hosts have between them: decided on the controller, with what the sandbox host says it carries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from ansible.plugins.action import ActionBase
from ansible_collections.virt.sandbox.plugins.module_utils.host import level_store
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import InUse, Level, LevelError


class SharedLabels(ActionBase):
    """An action that asks the module of its name on the host, unless the registry is one that only the controller reaches."""

    _supports_check_mode = True
    _supports_async = True
    # the arguments of AnsibleModule by which the module of this name checks its options
    keywords: ClassVar[Mapping[str, Any]]

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        self.task_vars = task_vars or {}
        try:
            if not level_store.is_shared(str(self._task.args.get("registry") or "")):
                in_background = bool(self._task.async_val) and not self._connection.has_native_async
                return self._execute_module(task_vars=task_vars, wrap_async=in_background)
            if self._task.async_val:
                raise SandboxError("async: not supported with a registry that hosts share, because the controller decides. Remove async.")
            return self.decide(self._arguments())
        except SandboxError as error:
            return {"failed": True, "msg": str(error)}

    def _arguments(self) -> dict[str, Any]:
        keywords = {key: value for key, value in self.keywords.items() if key != "supports_check_mode"}
        _validated, arguments = self.validate_argument_spec(**keywords)
        return dict(arguments)

    def decide(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """What the action returns where the registry is shared."""
        raise NotImplementedError

    @property
    def host(self) -> str:
        """The host whose sandboxes these are, by its name in the inventory: where the module runs."""
        return str(self._task.delegate_to or self.task_vars["inventory_hostname"])

    def owner(self, name: str) -> str:
        """A sandbox of this host in a registry that knows other hosts too."""
        return f"{self.host}/{name}"

    def ask(self, search: Collection[Level] = ()) -> tuple[list[InUse], set[str], dict[str, Level]]:
        """What carries a level on the host, its sandboxes, and the levels that its own registry gives them."""
        said = self.module("virt.sandbox.mcs_label_info", {"search": [str(level) for level in search]})
        if said.get("failed"):
            more = said.get("module_stderr") or said.get("module_stdout") or ""
            raise SandboxError(f"{said.get('msg', 'The levels in use on the host cannot be read.')} {more}".rstrip())
        try:
            in_use = [InUse(Level.parse(use["level"]), use["kind"], self.owner(use["holder"])) for use in said["in_use"]]
            # what its own registry still records is the sandbox's, whatever became of that
            recorded = {name: Level.parse(text) for name, text in said["levels"].items()}
            in_use += [InUse(level, "content", self.owner(name)) for name, level in recorded.items()]
            # and what rests there, and is still carried, is nobody else's
            resting = [entry for entry in said["quarantine"] if entry["carried_by"]]
            in_use += [InUse(Level.parse(entry["level"]), "content", self.owner(entry["owner"])) for entry in resting]
        except LevelError as error:
            raise SandboxError(f"{self.host}: mcs_label_info returned a level in use that is invalid: expected {error}.") from error
        return in_use, {self.owner(name) for name in said["here"]}, recorded

    def module(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run a module on the host with its own registry."""
        return self._execute_module(module_name=name, module_args=dict(arguments), task_vars=self.task_vars)
