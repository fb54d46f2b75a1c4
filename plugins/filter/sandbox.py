# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters about sandboxes as they are declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import CONTENT, SERVICE

_OBJECTS = {
    "label": {"name", "level"},
    "content": {option.name for option in CONTENT},
    "service": {option.name for option in SERVICE} | {"state", "stale"},
}
_OBJECTS["role"] = _OBJECTS["content"] | _OBJECTS["service"] | {"discover"}


def sandbox_options(sandboxes: Sequence[Mapping[str, Any]], module: str) -> list[dict[str, Any]]:
    """Of each declared sandbox, the options that one of the modules takes."""
    if module not in _OBJECTS:
        raise AnsibleFilterError(f"sandbox_options: {module!r} is not allowed; one of {', '.join(_OBJECTS)}")
    return [{key: value for key, value in item.items() if key in _OBJECTS[module] and _taken(key, item, module)} for item in sandboxes]


def _taken(key: str, item: Mapping[str, Any], module: str) -> bool:
    """The content is found from the units only where a sandbox says so."""
    return (module, key) != ("content", "units") or bool(item.get("discover"))


def sandbox_levels(sandboxes: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each declared sandbox with the level that ``mcs_label`` returned for it."""
    for item in sandboxes:
        if item.get("name") not in labels:
            raise AnsibleFilterError(f"sandbox_levels: {item.get('name')!r} is not allowed; one of {', '.join(labels) or 'no labels'}")
    return [{**item, "level": labels[item["name"]]} for item in sandboxes]


class FilterModule:
    """What this file adds to Ansible."""

    def filters(self) -> dict[str, Any]:
        return {"sandbox_options": sandbox_options, "sandbox_levels": sandbox_levels}
