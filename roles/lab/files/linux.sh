#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs User-Mode Linux so that a host can reboot. Its kernel reboots by executing its own name (argument zero) again,
# with all files open: the network interface would still be taken. With this program's name it comes back here.
for descriptor in /proc/self/fd/*; do
  number=${descriptor##*/}
  if [ "$number" -gt 2 ]; then eval "exec $number>&-"; fi
done
if [ -e "${0%/*}/xstate.so" ]; then export LD_PRELOAD=${0%/*}/xstate.so; fi
exec -a "$0" linux.uml "$@"
