#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Shows, as a line of JSON, what the kernel counts in the slice of a sandbox. Run on the host.
set -u
name=$1
cd "/sys/fs/cgroup/machine.slice/machine-virt_sandbox.slice/machine-virt_sandbox-$name.slice" || exit
# kernels before 6.11 count where the task was, and not where its limit is
refused() { find . -name pids.events -exec cat {} + | awk '$1 == "max" { sum += $2 } END { print sum + 0 }'; }
figure() { awk -v key="$2" '$1 == key { print $2 }' "$1"; }
seconds() { awk -v key="$1" '$1 == key { printf "%.6f\n", $2 / 1000000 }' cpu.stat; }
# the sum of a key over all devices
traffic() { tr ' ' '\n' <io.stat | awk -F= -v key="$1" '$1 == key { sum += $2 } END { print sum + 0 }'; }
held() { df --block-size=1 --output=used "/run/virt-sandbox/$name" | tail -n 1; }
cat <<END
{"memory_bytes": $(cat memory.current), "memory_peak_bytes": $(cat memory.peak), "out_of_memory_kills": $(figure memory.events oom_kill), "tasks": $(cat pids.current), "tasks_refused": $(refused), "cpu_seconds": $(seconds usage_usec), "cpu_throttled_seconds": $(seconds throttled_usec), "read_bytes": $(traffic rbytes), "written_bytes": $(traffic wbytes), "read_operations": $(traffic rios), "write_operations": $(traffic wios), "tmpfs_bytes": $(held)}
END
