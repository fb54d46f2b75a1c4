# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Questions about levels: equality, dominance and separation, whatever their spelling."""

from __future__ import annotations

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import Level, LevelError


def _comparison(name: str, compare: Callable[[Level, Level], bool]) -> Callable[[Any, Any], bool]:
    def test(value: Any, other: Any) -> bool:
        levels = []
        for text in (value, other):
            try:
                levels.append(Level.parse(str(text)))
            except LevelError as error:
                raise AnsibleFilterError(f"{name}: {text!r} is invalid: expected {error}.") from error
        return compare(*levels)

    return test


def _is_sandbox_level(value: Any) -> bool:
    try:
        Level.for_sandbox(str(value))
    except LevelError:
        return False
    return True


class TestModule:
    def tests(self) -> dict[str, Callable[..., bool]]:
        return {
            "mcs_equal": _comparison("mcs_equal", lambda level, other: level == other),
            "mcs_dominates": _comparison("mcs_dominates", lambda level, other: level >= other),
            "mcs_conflicts": _comparison("mcs_conflicts", lambda level, other: level.conflicts(other)),
            "mcs_disjoint": _comparison("mcs_disjoint", lambda level, other: level.disjoint(other)),
            "mcs_sandbox_level": _is_sandbox_level,
        }
