# SPDX-License-Identifier: GPL-3.0-or-later
"""Sandbox start until the first answer of its web server, beside systemd-nspawn over a copy of the same root, on the lab's hosts."""

from __future__ import annotations

import statistics
import subprocess

from ansible_collections.virt.sandbox.tests.bench.on_lab import measured

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
            state: "{{{{ bench_state }}}}"
            network: [{{type: dhcp}}] # as the nspawn beside it
"""
# Each prints the seconds from the start to the first answer. The copy's interface has nspawn's name.
SCRIPT = r"""
set -eu
name=$1 rounds=$2
root=/var/lib/libvirt/filesystems/$name peer=/var/lib/machines/$name-peer
now() { date +%s%N; }
answers() { # MAC address of its interface, what it is, when it was started
    address=
    for _ in $(seq 600); do
        [ -n "$address" ] || address=$(virsh -q -c lxc:///system net-dhcp-leases default --mac "$1" | awk '{sub("/.*", "", $5); print $5}')
        [ -z "$address" ] || ! curl -s -o /dev/null --connect-timeout 0.3 -m 2 "http://$address/" || break
        sleep 0.1
    done
    echo "$2 $((($(now) - $3) / 1000000))"
}
mac=$(virsh -q -c lxc:///system domiflist "$name" 2>/dev/null | awk 'NF {print $5; exit}')
systemctl stop "${name}_sandbox.service"
rm -rf --one-file-system "$peer"; mkdir -p "$(dirname "$peer")"; cp -a "$root" "$peer"
mkdir -p "$peer/usr/lib"; cp /usr/lib/os-release "$peer/usr/lib" # nspawn looks before it binds; it would guess the cgroups too
sed 's/eth0/host0/' "$root/etc/systemd/network/10-eth0.network" > "$peer/etc/systemd/network/10-host0.network"
was=$(getenforce) # off while nspawn runs: the policy has no rules for its container
trap 'setenforce "$was"; systemctl stop "$name-peer" || :; rm -rf --one-file-system "$peer"' EXIT
for round in $(seq "$rounds"); do
    setenforce 1
    begin=$(now)
    systemctl start --no-block "${name}_sandbox.service"; answers "$mac" sandbox "$begin"
    systemctl stop "${name}_sandbox.service"
    setenforce 0
    begin=$(now)
    systemd-run -q --unit="$name-peer" -E SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 \
        systemd-nspawn -q -b -M "$name-peer" -D "$peer" --bind-ro=/usr --network-bridge=virbr0 --link-journal=no
    answers "$mac" nspawn "$begin" # its networkd gives the interface the sandbox's MAC address
    machinectl poweroff "$name-peer"; while systemctl is-active --quiet "$name-peer"; do sleep 0.2; done
done
"""


def measure(host: str, ssh_config: str, rounds: int) -> None:
    command = ["ssh", "-F", ssh_config, f"root@{host}", "bash", "-s", "--", NAME, str(rounds)]
    done = subprocess.run(command, input=SCRIPT, text=True, capture_output=True, timeout=120 * rounds, check=True)
    seconds: dict[str, list[float]] = {"sandbox": [], "nspawn": []}
    for line in done.stdout.splitlines():
        kind, _space, milliseconds = line.partition(" ")
        seconds[kind].append(int(milliseconds) / 1000)
    ours, peer = (statistics.median(seconds[kind]) for kind in ("sandbox", "nspawn"))
    print(f"{host}: sandbox {seconds['sandbox']} s, nspawn {seconds['nspawn']} s; medians {ours:.1f} / {peer:.1f} = {ours / peer:.2f}")


if __name__ == "__main__":
    measured(__doc__, MAKE, measure)
