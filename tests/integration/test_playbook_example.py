# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook in the README, run as it stands there: it works, and a second run changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from ansible_collections.virt.sandbox.tests.lab_fixtures import CHECKOUT, Lab, Played, sandboxes_gone

NAMES = ("container1", "container2")


def example() -> list[dict[str, Any]]:
    """The README's only playbook, for the lab's hosts."""
    blocks = re.findall(r"```yaml\n(.*?)```", (CHECKOUT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    plays = [block for block in map(yaml.safe_load, blocks) if isinstance(block, list) and "hosts" in block[0]]
    assert len(plays) == 1, "the README has one playbook"
    return [{**play, "hosts": "lab"} for play in plays[0]]


@pytest.fixture(scope="module")
def runs(lab: Lab) -> Iterator[list[Played]]:
    lab.play(sandboxes_gone(NAMES))
    yield [lab.playbook(example()), lab.playbook(example())]
    lab.play(sandboxes_gone(NAMES))


def test_it_runs(runs: list[Played], host: str) -> None:
    failed = {name: outcome.result for name, outcome in runs[0].on(host).items() if outcome.failed}
    assert failed == {}, runs[0].output[-3000:]


def test_each_sandbox_answers_at_a_level_of_its_own(runs: list[Played], lab: Lab, host: str) -> None:
    script = "; ".join(
        f"virt-sandbox exec {name} -- curl -s -o /dev/null -w '%{{http_code}} ' http://localhost/;"
        f" virt-sandbox exec {name} -- ps -C apache2 -o label= | sort -u"
        for name in NAMES
    )
    seen = lab.ssh(host, script).stdout.split()
    assert (len(seen), seen[0], seen[2]) == (4, "200", "200")
    assert seen[1].endswith(":virt_sandbox_t:s0:c1,c2")
    assert ":virt_sandbox_t:s0:c" in seen[3]
    assert seen[1] != seen[3]


def test_again_changes_nothing(runs: list[Played], host: str) -> None:
    assert f"{host} " in runs[1].output
    assert {name: outcome.result for name, outcome in runs[1].on(host).items() if outcome.changed or outcome.failed} == {}
