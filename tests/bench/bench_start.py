# SPDX-License-Identifier: GPL-3.0-or-later
"""Sandbox start until the first answer of its web server, beside systemd-nspawn over a copy of the same root, on the lab's hosts."""

from __future__ import annotations

import argparse
import statistics
import subprocess

from ansible_collections.virt.sandbox.tests.lab_fixtures import CHECKOUT, inventory

NAME = "bench-start"
MAKE = f"""
- hosts: lab
  become: true
  gather_facts: true
  roles:
    - role: virt.sandbox.httpd
      vars:
        httpd_sandboxes:
          - name: {NAME}
            state: {{{{ bench_state }}}}
"""
# Each prints the seconds from the start to the first answer. The copy's interface has nspawn's name.
SCRIPT = r"""
set -eu
name=$1 rounds=$2
root=/var/lib/libvirt/filesystems/$name peer=/var/lib/machines/$name-peer
now() { date +%s%N; }
answers() { # MAC address of its interface, what it is, when it was started
    address=
    while :; do
        [ -n "$address" ] || address=$(ip -4 neigh show dev virbr0 | awk -v mac="$1" '$3 == mac {print $1; exit}')
        [ -z "$address" ] || ! curl -s -o /dev/null --connect-timeout 0.3 -m 2 "http://$address/" || break
        sleep 0.1
    done
    echo "$2 $((($(now) - $3) / 1000000))"
}
mac=$(virsh -q -c lxc:///system domiflist "$name" 2>/dev/null | awk 'NF {print $5; exit}')
systemctl stop "${name}_sandbox.service"
rm -rf "$peer"; mkdir -p "$(dirname "$peer")"; cp -a "$root" "$peer"
sed 's/eth0/host0/' "$root/etc/systemd/network/10-eth0.network" > "$peer/etc/systemd/network/10-host0.network"
mkdir -p "$peer/usr/lib"; mount --bind /usr "$peer/usr"
trap 'umount "$peer/usr"; rm -rf "$peer"' EXIT
was=$(getenforce); setenforce 0 # the policy has no rules for nspawn's container
for round in $(seq "$rounds"); do
    ip neigh flush dev virbr0
    setenforce 1
    begin=$(now)
    systemctl start --no-block "${name}_sandbox.service"; answers "$mac" sandbox "$begin"
    systemctl stop "${name}_sandbox.service"
    setenforce 0
    ip neigh flush dev virbr0
    begin=$(now)
    systemd-run -q --unit="$name-peer" systemd-nspawn -q -b -M "$name-peer" -D "$peer" --network-bridge=virbr0 --link-journal=no
    until leader=$(machinectl show "$name-peer" -p Leader --value 2>/dev/null); do sleep 0.1; done
    answers "$(nsenter -t "$leader" -n ip -o link show host0 | grep -o 'link/ether [^ ]*' | cut -c 12-)" nspawn "$begin"
    machinectl poweroff "$name-peer"; while machinectl show "$name-peer" >/dev/null 2>&1; do sleep 0.2; done
done
setenforce "$was"
"""


def play(state: str) -> None:
    subprocess.run(
        ["ansible-playbook", "-i", "playbooks/inventory/lab.yml", "/dev/stdin", "-e", f"bench_state={state}"],
        input=MAKE, text=True, cwd=CHECKOUT, check=True,
    )  # fmt: skip


def measure(host: str, ssh_config: str, rounds: int) -> None:
    command = ["ssh", "-F", ssh_config, f"root@{host}", "bash", "-s", "--", NAME, str(rounds)]
    done = subprocess.run(command, input=SCRIPT, text=True, capture_output=True, timeout=120 * rounds, check=True)
    seconds: dict[str, list[float]] = {"sandbox": [], "nspawn": []}
    for line in done.stdout.splitlines():
        kind, _space, milliseconds = line.partition(" ")
        seconds[kind].append(int(milliseconds) / 1000)
    ours, peer = (statistics.median(seconds[kind]) for kind in ("sandbox", "nspawn"))
    print(f"{host}: sandbox {seconds['sandbox']} s, nspawn {seconds['nspawn']} s; medians {ours:.1f} / {peer:.1f} = {ours / peer:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    hosts, ssh_config = inventory()
    play("started")
    for host in hosts:
        measure(host, ssh_config, arguments.rounds)
    play("absent")


if __name__ == "__main__":
    main()
