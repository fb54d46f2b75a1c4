# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Levels in templates: the canonical spelling, the categories, and who is not separated from whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import Level, LevelError, conflicting


def _level(name: str, value: Any) -> Level:
    try:
        return Level.parse(str(value))
    except LevelError as error:
        raise AnsibleFilterError(f"{name}: {value!r} is invalid: expected {error}.") from error


def canonical(value: Any) -> str:
    return str(_level("mcs_canonical", value))


def categories(value: Any) -> list[int]:
    return list(_level("mcs_categories", value))


def conflicts(value: Any) -> list[list[str]]:
    if not isinstance(value, Mapping):
        raise AnsibleFilterError(f"mcs_conflicts: {value!r} is invalid: expected a dictionary of owners and their levels.")
    levels = {str(owner): _level("mcs_conflicts", level) for owner, level in value.items()}
    return [list(pair) for pair in conflicting(levels)]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"mcs_canonical": canonical, "mcs_categories": categories, "mcs_conflicts": conflicts}
