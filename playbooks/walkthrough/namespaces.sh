#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Changes what root inside container1 may change of its namespaces, and shows how container1, the host and container2
# then look. One line each: who sees it, what, and the figure. Run on the host.
set -u
container1() { timeout 30 virt-sandbox exec container1 -- "$@"; }

# shellcheck disable=SC2016 # the shell inside expands it
view='
echo "hostname $(uname -n)"
echo "route $(ip -4 route show 198.51.100.0/24 | wc -l)"
echo "rule $(iptables --wait -S INPUT 2>&1 | grep -c 198.51.100.7)"
echo "queue $(ipcs -q | grep -c 0x)"
echo "shm $(ipcs -m | grep -c 0x)"
echo "sleep $(ps -e -o args= | grep -c "^sleep 8642")"
echo "init $(ps -p 1 -o comm=)"
echo "processes $(ps -e -o pid= | wc -l)"'

show() {
    local who=$1
    shift
    "$@" sh -c "$view" 2>&1 | sed "s/^/$who /"
}

show host_before env
# route, firewall rule, message queue, shared memory, a process
container1 ip route add 198.51.100.0/24 dev lo || echo "failed route"
container1 iptables --wait -A INPUT -s 198.51.100.7 -j DROP || echo "failed rule"
queue=$(container1 ipcmk -Q | grep -o '[0-9]*$') || echo "failed queue"
shm=$(container1 ipcmk -M 4096 | grep -o '[0-9]*$') || echo "failed shm"
container1 sh -c 'sleep 8642 >/dev/null 2>&1 </dev/null &'
show container1 container1
show container2 timeout 30 virt-sandbox exec container2 --
show host env
# shellcheck disable=SC2009  # pgrep shows no labels
ps -eZ | grep sleep | sed 's/^/label /'
# as it was
container1 ip route del 198.51.100.0/24 dev lo
container1 iptables --wait -D INPUT -s 198.51.100.7 -j DROP
container1 ipcrm -q "$queue" -m "$shm"
# shellcheck disable=SC2016  # expanded inside
container1 sh -c 'kill $(pgrep -f "^sleep 8642")'
