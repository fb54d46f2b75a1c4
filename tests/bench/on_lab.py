# SPDX-License-Identifier: GPL-3.0-or-later
"""What measures on the lab's hosts: sandboxes are made, each host is measured for some rounds, and they go."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable

from ansible_collections.virt.sandbox.tests.lab_fixtures import CHECKOUT, INVENTORY, inventory


def measured(what: str | None, make: str, measure: Callable[[str, str, int], None]) -> None:
    """``make`` is a play with the state ``bench_state``; ``measure`` is given a host, the ssh configuration and the rounds."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    hosts, ssh_config = inventory()
    _play(make, "started")
    for host in hosts:
        measure(host, ssh_config, arguments.rounds)
    _play(make, "absent")


def _play(make: str, state: str) -> None:
    command = ["ansible-playbook", "-i", str(INVENTORY), "/dev/stdin", "-e", f"bench_state={state}"]
    subprocess.run(command, input=make, text=True, cwd=CHECKOUT, check=True)
