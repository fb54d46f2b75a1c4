# SPDX-License-Identifier: GPL-3.0-or-later
"""The walkthrough's steps on the lab's hosts: the playbook runs once, and each step on each host is a test."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest
from ansible_collections.virt.sandbox.tests.lab_fixtures import CHECKOUT, INVENTORY, meant

PLAYBOOKS = CHECKOUT / "playbooks"
ALL = sorted((path.stem for path in (PLAYBOOKS / "tasks").glob("S*.yml")), key=lambda step: int(step[1:]))
STEPS = os.environ.get("VSBX_STEPS", " ".join(ALL)).split()
LINE = re.compile(r"^(S\d+) (ok|failed) (\S+) (.*)$", re.MULTILINE)
# hosts on which nothing of what the roles install was there before, on which S1 insists; by hand they may have been prepared
PLAIN = os.environ.get("VSBX_PLAIN", "").split()
LIMIT = 3600


@pytest.fixture(scope="session")
def verdicts() -> dict[tuple[str, str], tuple[str, str]]:
    """What the walkthrough says of each step and host: verdict and evidence."""
    command = ["ansible-playbook", f"--inventory={INVENTORY}", f"--extra-vars=walkthrough_plain={set(meant()) <= set(PLAIN)}"]
    command += ["--extra-vars", json.dumps({"walkthrough_steps": STEPS}), f"--limit={','.join(meant())}", "walkthrough.yml"]
    # named, because Ansible does not look beside a playbook that lies in a collection's directory
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_CALLBACK_PLUGINS": str(PLAYBOOKS / "callback_plugins"),
        "ANSIBLE_NOCOLOR": "1",
    }
    done = subprocess.run(
        command, cwd=PLAYBOOKS, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    print(done.stdout[-20000:], done.stderr[-5000:])
    found = {(step, host): (verdict, evidence) for step, verdict, host, evidence in LINE.findall(done.stdout)}
    failed = [verdict for verdict, _evidence in found.values() if verdict == "failed"]
    assert bool(failed) == bool(done.returncode), f"{len(failed)} steps failed, and the playbook ended with {done.returncode}"
    return found


@pytest.mark.parametrize("host", meant())
@pytest.mark.parametrize("step", STEPS)
def test_step(step: str, host: str, verdicts: dict[tuple[str, str], tuple[str, str]]) -> None:
    verdict, evidence = verdicts.get((step, host), ("failed", "it did not run"))
    assert verdict == "ok", evidence
