# SPDX-License-Identifier: GPL-3.0-or-later
"""A second run of the README's playbook on the lab's hosts, on which everything is right: seconds, changes, module calls."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from ansible_collections.virt.sandbox.tests.lab_fixtures import CHECKOUT, INVENTORY

PLAY = """
- hosts: lab
  become: true
  roles:
    - role: virt.sandbox.host
    - role: virt.sandbox.httpd
      vars:
        httpd_sandboxes: {sandboxes}
"""
# run on the controller, or within another action
_NO_CALL = ("include_tasks", "include_role", "set_fact", "assert", "debug", "include_vars", "validate_argument_spec")


def run(sandboxes: list[dict[str, str]], record: Path) -> float:
    record.write_text("", encoding="utf-8")
    environment = {
        **os.environ,
        "ANSIBLE_CALLBACK_PLUGINS": str(CHECKOUT / "tests" / "callback_plugins"),
        "ANSIBLE_CALLBACKS_ENABLED": "record",
        "VSBX_RECORD": str(record),
    }
    start = time.monotonic()
    command = ["ansible-playbook", "-i", str(INVENTORY), "/dev/stdin"]
    subprocess.run(command, input=PLAY.format(sandboxes=json.dumps(sandboxes)), text=True, cwd=CHECKOUT, env=environment, check=True)
    return time.monotonic() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        record = Path(directory, "record")
        for count in (1, 4):
            sandboxes = [{"name": f"bench-again-{number}"} for number in range(count)]
            run(sandboxes, record)
            seconds = run(sandboxes, record)
            lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
            calls = Counter(line["host"] for line in lines if "invocation" in line["result"] and line.get("action") not in _NO_CALL)
            changed = [f"{line['host']}: {line['task']}" for line in lines if line["result"].get("changed")]
            print(f"{count} sandboxes again: {seconds:.1f} s, changed={len(changed)}, module calls {dict(calls)}", *changed, sep="\n  ")
            run([{**one, "state": "absent"} for one in sandboxes], record)


if __name__ == "__main__":
    main()
