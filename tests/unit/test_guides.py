# SPDX-License-Identifier: GPL-3.0-or-later
"""The guides: what is written as YAML in them is what Ansible takes, and what they refer to is there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.virt.sandbox.plugins.filter.sandbox import sandbox_fleet

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(CHECKOUT / "docs").rglob("*.md"), CHECKOUT / "README.md", *(CHECKOUT / "roles").glob("*/README.md")])
BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")
INVENTORY = "sandbox_hosts: {hosts: {web1: {}}}\n"


def blocks() -> list[tuple[str, str]]:
    """Each YAML block with a name of its own."""
    return [
        (f"{page.parent.name}/{page.name}:{number}", text)
        for page in PAGES
        for number, text in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), 1)
    ]


def is_playbook(text: str) -> bool:
    document = yaml.safe_load(text)
    return isinstance(document, list) and ("hosts" in document[0] or "ansible.builtin.import_playbook" in document[0])


BLOCKS = dict(blocks())
PLAYBOOKS = [name for name, text in BLOCKS.items() if is_playbook(text)]


def test_there_are_guides_with_playbooks() -> None:
    assert len([name for name in PLAYBOOKS if name.startswith("guides/")]) >= 5


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_playbooks_are_what_ansible_takes(tmp_path: Path, name: str) -> None:
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    (tmp_path / "play.yml").write_text(BLOCKS[name])
    command = ["ansible-playbook", "--syntax-check", "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml")]
    done = subprocess.run(command, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def declarations() -> list[tuple[str, Any]]:
    """What the guides declare of sandboxes, as variables and as parameters of roles."""
    found = []
    for name, text in BLOCKS.items():
        document = yaml.safe_load(text)
        for play in document if isinstance(document, list) else [{"roles": [{"vars": document}]}]:
            for role in play.get("roles", ()):
                found += [(name, key, value) for key, value in role.get("vars", {}).items() if key.endswith("sandboxes")]
    return [(name, _with_role(key, value)) for name, key, value in found if isinstance(value, list)]


def _with_role(variable: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    role = variable.rpartition("_")[0]
    return [{**item, "role": role} if role else item for item in items]


@pytest.mark.parametrize(("name", "items"), declarations(), ids=lambda part: part if isinstance(part, str) else "")
def test_declared_sandboxes_are_what_the_roles_take(name: str, items: Any) -> None:
    assert sandbox_fleet(items, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_first_playbook_is_the_one_that_is_run_on_hosts() -> None:
    of_readme = [name for name in PLAYBOOKS if name.startswith(f"{CHECKOUT.name}/README.md:")]
    assert [BLOCKS[name] for name in of_readme] == [BLOCKS["guides/first-sandbox.md:1"]]
