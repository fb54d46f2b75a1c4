# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox whose interface the host sets up, beside one with a DHCP client inside: until its first answer, its memory and its tasks."""

from __future__ import annotations

import statistics
import subprocess

from ansible_collections.virt.sandbox.tests.bench.on_lab import measured

KINDS = ("managed", "dhcp")
MAKE = """
- hosts: lab
  become: true
  gather_facts: true
  roles:
    - role: virt.sandbox.httpd
      vars:
        httpd_sandboxes:
          - {name: bench-managed, state: "{{ bench_state }}", network: [{type: managed}]}
          - {name: bench-dhcp, state: "{{ bench_state }}", network: [{type: dhcp}]}
"""
# Prints, for each round and kind: milliseconds from the start to the first answer; twenty seconds later bytes and tasks of the slice.
SCRIPT = r"""
set -eu
rounds=$1
shift
slice() { echo "/sys/fs/cgroup/machine.slice/machine-virt_sandbox.slice/machine-virt_sandbox-bench\\x2d$1.slice"; }
now() { date +%s%N; }
for kind; do systemctl stop "bench-${kind}_sandbox.service"; done
for round in $(seq "$rounds"); do
    for kind; do
        begin=$(now)
        systemctl start --no-block "bench-${kind}_sandbox.service"
        until curl -s -o /dev/null --connect-timeout 0.3 -m 2 "http://bench-$kind/"; do
            [ $((($(now) - begin) / 1000000000)) -lt 120 ]
            sleep 0.1
        done
        milliseconds=$((($(now) - begin) / 1000000))
        sleep 20
        echo "$kind $milliseconds $(cat "$(slice "$kind")/memory.current") $(cat "$(slice "$kind")/pids.current")"
        systemctl stop "bench-${kind}_sandbox.service"
    done
done
"""


def measure(host: str, ssh_config: str, rounds: int) -> None:
    command = ["ssh", "-F", ssh_config, f"root@{host}", "bash", "-s", "--", str(rounds), *KINDS]
    done = subprocess.run(command, input=SCRIPT, text=True, capture_output=True, timeout=360 * rounds, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    for number, (what, unit, divisor) in enumerate([("first answer", "s", 1000), ("memory", "MB", 1_000_000), ("tasks", "", 1)], 1):
        managed, dhcp = (statistics.median(int(row[number]) / divisor for row in rows if row[0] == kind) for kind in KINDS)
        print(f"{host}: {what}: managed {managed:.1f} {unit}, dhcp {dhcp:.1f} {unit}; ratio {managed / dhcp:.2f}")


if __name__ == "__main__":
    measured(__doc__, MAKE, measure)
