#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# What root inside container1 tries, one line each: a name, the exit code, what was said. Run on the host, twice: with
# "enforcing", and with "permissive" while the domain virt_sandbox_net_t alone is.
set -u
mode=$1
# the classic mount(2), which SELinux judges by the filesystem; the newer calls stop at the capability before that
mount=(env LIBMOUNT_FORCE_MOUNT2=always mount)

try() {
    local name=$1 said code
    shift
    said=$(timeout 30 "$@" 2>&1 </dev/null)
    code=$?
    printf '%s\t%s %s\n' "$name" "$code" "${said//$'\n'/ }"
}

inside() {
    local name=$1
    shift
    try "$name" virt-sandbox exec container1 -- "$@"
}

# the mount of selinuxfs inside, changed by the host
init=$(pgrep -o -P "$(cat /run/libvirt/lxc/container1.pid)")
from_the_host=(nsenter "--mount=/proc/$init/ns/mnt" -- mount -o)

try since date '+%s'
# without it, setenforce takes SELinux for disabled wherever it runs
inside configured sh -c 'mkdir -p /etc/selinux && touch /etc/selinux/config'
inside remount_selinuxfs "${mount[@]}" -o remount,bind,rw /sys/fs/selinux
inside mount_selinuxfs sh -c "mkdir -p /tmp/selinux && ${mount[*]} -t selinuxfs none /tmp/selinux && umount /tmp/selinux"
if test "$mode" = enforcing; then
    inside setenforce_read_only setenforce 0
    inside write_read_only sh -c 'echo 0 >/sys/fs/selinux/enforce'
    # the read-only mount taken away, by the host: now SELinux is the only guard
    try selinuxfs_writable "${from_the_host[@]}" remount,bind,rw /sys/fs/selinux
fi
inside setenforce_1 setenforce 1
inside setenforce_0 setenforce 0
try host_mode getenforce
setenforce 1
inside write sh -c 'echo 0 >/sys/fs/selinux/enforce'
try host_mode_after_write getenforce
setenforce 1
"${from_the_host[@]}" remount,bind,ro /sys/fs/selinux
inside unconfigured rm -r /etc/selinux

inside touch touch /file
inside touch_usr touch /usr/file
inside remount_root "${mount[@]}" -o remount,bind,rw /
inside remount_usr "${mount[@]}" -o remount,bind,rw /usr
inside touch_after touch /file
inside touch_usr_after touch /usr/file
inside hostname sh -c 'hostname of-root-inside; uname -n'
inside mount_tmpfs sh -c "${mount[*]} -t tmpfs walkthrough-tmpfs /mnt && grep walkthrough-tmpfs /proc/self/mounts"
try host_hostname uname -n
try host_mounts grep -c walkthrough-tmpfs /proc/self/mounts
try other_hostname virt-sandbox exec container2 -- uname -n
try other_mounts virt-sandbox exec container2 -- grep -c walkthrough-tmpfs /proc/self/mounts

if test "$mode" = permissive; then # as it was
    inside undo sh -c "umount /mnt; hostname container1; rm -f /file /usr/file
        ${mount[*]} -o remount,bind,ro /; ${mount[*]} -o remount,bind,ro /usr"
fi
try until date '+%s'
