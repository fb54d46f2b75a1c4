#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Uses as much as it gets inside the sandbox "limited", and shows what that was, what the kernel counted in the sandbox's
# slice, and how the host and the neighbour container1 fared meanwhile. One line each: a name and a figure. Run on the host.
set -u
cgroup=/sys/fs/cgroup/machine.slice/machine-virt_sandbox.slice/machine-virt_sandbox-limited.slice
neighbour=/sys/fs/cgroup/machine.slice/machine-virt_sandbox.slice/machine-virt_sandbox-container1.slice
seconds=10 # that the loop lasts: longer than what is measured beside it

limited() { timeout 120 virt-sandbox exec limited -- "$@"; }
# kernels before 6.11 count where the task was, and not where its limit is
refused() { find $cgroup -name pids.events -exec cat {} + | awk '$1 == "max" { sum += $2 } END { print sum + 0 }'; }
figure() { awk -v key="$2" '$1 == key { print $2 }' "$1"; }
milliseconds() { date +%s%3N; }
kills() { cat $cgroup/memory.events $neighbour/memory.events /proc/vmstat | awk '$1 == "oom_kill" { print $2 }' | paste -sd ' '; }

# an amount of work on the host, and a page of the neighbour, in milliseconds
work() {
    local begin
    begin=$(milliseconds)
    # shellcheck disable=SC2034
    for number in {1..40000}; do :; done
    echo $(($(milliseconds) - begin))
}
page() {
    local begin
    begin=$(milliseconds)
    curl --silent --fail --max-time 20 --output /dev/null "http://$address/" || echo -n failed
    echo $(($(milliseconds) - begin))
}
address=$1

# 100 MB held at once: tail keeps what it is given
echo "memory_before $(kills)"
# shellcheck disable=SC2016 # the shell inside expands it
limited sh -c 'head -c 100000000 /dev/zero | tail -c 100000000 | wc -c' 2>/dev/null | sed 's/^/memory_held /'
echo "memory_after $(kills)"
echo "memory_peak $(cat $cgroup/memory.peak)"

# a loop without end: its share while nothing else wants the processor, and the work of others beside it
echo "work_idle $(work)"
throttled=$(figure $cgroup/cpu.stat throttled_usec)
timeout $((seconds + 20)) virt-sandbox exec limited -- timeout $seconds sh -c 'while :; do :; done' &
sleep 1
begin=$(milliseconds) used=$(figure $cgroup/cpu.stat usage_usec)
sleep 2
echo "cpu_percent $((($(figure $cgroup/cpu.stat usage_usec) - used) / 10 / ($(milliseconds) - begin)))"
echo "work_beside_cpu $(work)"
echo "page_beside_cpu $(page)"
wait
echo "cpu_throttled_milliseconds $((($(figure $cgroup/cpu.stat throttled_usec) - throttled) / 1000))"

# 200 processes at once
refused=$(refused)
# shellcheck disable=SC2016
limited sh -c 'number=0; while test $number -lt 200; do sleep 60 & number=$((number + 1)); done' 2>&1 | grep -q -i fork && echo "tasks_said fork failed"
echo "tasks_running $(cat $cgroup/pids.current)"
echo "tasks_refused $(($(refused) - refused))"
echo "page_beside_tasks $(page)"
timeout 20 virt-sandbox exec container1 -- sh -c 'sh -c :' && echo "tasks_neighbour forks"
# from outside: inside nothing more can be started
find $cgroup -name cgroup.procs -exec cat {} + | while read -r pid; do
    test "$(cat "/proc/$pid/comm" 2>/dev/null)" = sleep && kill "$pid"
done
sleep 1

# 4 MB to the disk, past the page cache; the host the same meanwhile
write() { dd if=/dev/zero of="$1" bs=64k count=64 oflag=direct 2>&1 | awk '/copied/ { print $8 * 1000 }'; rm -f "$1"; }
(sleep 1; echo "host_write_milliseconds $(write /var/tmp/walkthrough-limits)") &
begin=$(milliseconds)
limited dd if=/dev/zero of=/var/tmp/big bs=64k count=64 oflag=direct 2>/dev/null
echo "write_milliseconds $(($(milliseconds) - begin))"
wait
limited rm -f /var/tmp/big
