# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of denials that kernels recorded: ``data/denials.txt`` is from the audit logs of hosts of the lab, one of each kind.

``golden/denials.txt`` is what is said of each; GOLDEN=write in the environment writes it anew, to be reviewed as any change.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model import denial

HERE = Path(__file__).parent
OWNERS = {"s0:c931,c932": "web", "s0:c933,c934": "db", "s0:c1,c2": "container1"}


@pytest.fixture(scope="module")
def explained() -> list[denial.Explained]:
    lines = (HERE / "data" / "denials.txt").read_text().splitlines()
    return denial.explain(denial.parse(lines), OWNERS)


def shown(one: denial.Explained) -> str:
    asked = f"{' '.join(one.permissions)} on {one.tclass} {one.object}".rstrip()
    whose = f"{one.context.split(':', 2)[2]}, of {one.owner or 'nobody'}"
    return f"{one.sandbox}: {one.process}: {asked}\n    {whose}\n    why:  {one.why}\n    then: {one.remedy}\n"


def test_what_is_said_of_each(explained: list[denial.Explained]) -> None:
    path, text = HERE / "golden" / "denials.txt", "".join(map(shown, explained))
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def test_there_are_enough_kinds_and_each_names_its_sandbox_and_process(explained: list[denial.Explained]) -> None:
    assert len({(one.tclass, one.permissions, one.context) for one in explained}) >= 25
    assert all(one.sandbox in OWNERS.values() and one.process for one in explained)


def test_none_is_left_to_the_last_resort(explained: list[denial.Explained]) -> None:
    assert [one for one in explained if one.why.startswith("the policy grants")] == []
