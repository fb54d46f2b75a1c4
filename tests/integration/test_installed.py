# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as users have it: built, installed into an empty directory, and its walkthrough's play run from there."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.tests.lab_fixtures import CHECKOUT, INVENTORY, PLAY, Lab, sandboxes_gone

NAMES = ("container1", "container2")
RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)
PLUGINS = (
    ("connection", "sandbox"),
    ("inventory", "sandbox"),
    *(("module", path.stem) for path in sorted((CHECKOUT / "plugins" / "modules").glob("*.py"))),
    *(("filter", path.stem) for path in sorted((CHECKOUT / "plugins" / "filter").glob("*.yml"))),
    *(("test", path.stem) for path in sorted((CHECKOUT / "plugins" / "test").glob("*.yml"))),
    *(("role", path.name) for path in sorted((CHECKOUT / "roles").iterdir())),
)


class Installed:
    """A directory that has the collection and nothing of the checkout."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.collection = place / "collections" / "ansible_collections" / "virt" / "sandbox"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_") and key != "PYTHONPATH"}
        self.environment = {**kept, "ANSIBLE_COLLECTIONS_PATH": str(place / "collections"), "ANSIBLE_NOCOLOR": "1"}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=self.place, env=self.environment, capture_output=True, text=True, timeout=PLAY, check=False)

    def play(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        playbook = self.collection / "playbooks" / "walkthrough" / "sandboxes.yml"
        return self.run("ansible-playbook", f"--inventory={INVENTORY}", *arguments, str(playbook))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    place = tmp_path_factory.mktemp("installed")
    built = ["ansible-galaxy", "collection", "build", "--output-path", str(place)]
    subprocess.run(built, cwd=CHECKOUT, capture_output=True, timeout=120, check=True)
    found = Installed(place)
    (tarball,) = place.glob("*.tar.gz")
    done = found.run("ansible-galaxy", "collection", "install", "--offline", f"--collections-path={place / 'collections'}", str(tarball))
    assert done.returncode == 0, done.stdout + done.stderr
    return found


def test_it_is_whole(installed: Installed) -> None:
    done = installed.run("ansible-galaxy", "collection", "verify", "--offline", "virt.sandbox")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("kind", "name"), PLUGINS, ids=lambda part: part)
def test_its_documentation_can_be_read(installed: Installed, kind: str, name: str) -> None:
    done = installed.run("ansible-doc", "--type", kind, f"virt.sandbox.{name}")
    assert done.returncode == 0, done.stderr
    assert str(installed.collection) in done.stdout


@pytest.fixture(scope="module")
def played(installed: Installed, lab: Lab) -> Iterator[list[subprocess.CompletedProcess[str]]]:
    lab.play(sandboxes_gone(NAMES))
    yield [installed.play(), installed.play()]
    lab.play(sandboxes_gone(NAMES))


def recap(done: subprocess.CompletedProcess[str], host: str) -> tuple[int, ...]:
    """Changed, unreachable and failed."""
    found = {name: tuple(map(int, counts)) for name, *counts in RECAP.findall(done.stdout)}
    assert host in found, done.stdout[-3000:] + done.stderr[-3000:]
    return found[host]


def test_the_play_runs_from_there(played: list[subprocess.CompletedProcess[str]], lab: Lab, host: str) -> None:
    assert recap(played[0], host)[1:] == (0, 0), played[0].stdout[-3000:]
    script = "; ".join(f"virt-sandbox exec {name} -- curl -s -o /dev/null -w '%{{http_code}} ' http://localhost/" for name in NAMES)
    assert lab.ssh(host, script).stdout.split() == ["200", "200"]


def test_again_changes_nothing(played: list[subprocess.CompletedProcess[str]], host: str) -> None:
    assert recap(played[1], host) == (0, 0, 0), played[1].stdout[-3000:]
