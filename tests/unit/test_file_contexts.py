# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules by which a relabel of the host leaves content alone."""

from __future__ import annotations

import re

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host import file_contexts
from ansible_collections.virt.sandbox.plugins.module_utils.model.content_plan import plan_rules
from ansible_collections.virt.sandbox.plugins.module_utils.model.content_steps import ChangeRules


@pytest.mark.parametrize("tree", ["/srv/boxes/web", "/srv/my.boxes/web-1", "/data/a+b/(c)/web", "/data/\u00e9/web"])
def test_a_rule_is_of_a_tree_and_of_nothing_else(tree: str) -> None:
    rule = re.compile(file_contexts.rule(tree) + r"\Z")
    assert all(rule.match(path) for path in (tree, f"{tree}.img", f"{tree}/etc", f"{tree}/var/lib/x y"))
    assert not any(
        rule.match(path) for path in (f"{tree}-2/etc", f"{tree}.img2", tree[:-1], tree.replace(".", "x") + "/.." if "." in tree else "/srv")
    )


def test_all_rules_of_a_run_are_one_step() -> None:
    (step,) = plan_rules({"/srv/b": "b", "/srv/a": "a"}, {"/srv/c": "c"})
    assert step == ChangeRules("a", ["/srv/a", "/srv/b"], ["/srv/c"])
    assert not plan_rules({}, {}).changed
