# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of a policy, which say why its decisions are what they are. Read by setools, where that is installed."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator
from typing import Any

LOADED = "/sys/fs/selinux/policy"

# type of who acts, type of what is acted on, class, permission
Grant = tuple[str, str, str, str]


def conditions(path: str, grants: Collection[Grant]) -> dict[Grant, str]:
    """Of what the policy grants, that which it grants only while booleans say so, each with the expression of the booleans.

    Empty without setools, or where it cannot read the policy: the decisions are known without it, and only this reason is not.
    """
    try:
        policy = importlib.import_module("setools").SELinuxPolicy(path)
    except (ImportError, OSError):
        return {}
    expressions: dict[Grant, set[str]] = {grant: set() for grant in grants}
    for grant, expression in _granting(policy, grants):
        expressions[grant].add(expression)
    return {
        grant: " or ".join(sorted(alternatives)) for grant, alternatives in expressions.items() if alternatives and "" not in alternatives
    }


def _granting(policy: Any, grants: Collection[Grant]) -> Iterator[tuple[Grant, str]]:
    """Each rule in force that grants one of these, with its condition: none is no text."""
    named = {name: _names(policy, name) for grant in grants for name in grant[:2]}
    by_class: dict[str, list[Grant]] = {}
    for grant in grants:
        by_class.setdefault(grant[2], []).append(grant)
    for rule in policy.terules():
        asked = by_class.get(str(rule.tclass), []) if str(rule.ruletype) == "allow" else []
        source, target = (str(rule.source), str(rule.target)) if asked else ("", "")
        for grant in asked:
            if source in named[grant[0]] and target in named[grant[1]] and grant[3] in rule.perms:
                # what a rule without a condition raises here is an AttributeError
                conditional = str(getattr(rule, "conditional", ""))
                if conditional == "" or rule.enabled():
                    yield grant, conditional


def _names(policy: Any, name: str) -> set[str]:
    """A type, and the attributes by which rules may name it."""
    policy_type = policy.lookup_type(name)
    return {str(policy_type), *map(str, policy_type.attributes())}
