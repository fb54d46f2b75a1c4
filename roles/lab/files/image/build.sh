#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes a directory with the disk image of a plain, SELinux-enforcing Debian (root.img) and a package repository
# for what is installed on it later (repository/). Run it in a mount namespace of its own: a killed build then leaves
# no mount behind.
#
# usage: build.sh SUITE TARGET DISK_SIZE REPOSITORY_URL UPDATES_URL KEYS_DIRECTORY PLAIN_PACKAGES REPOSITORY_PACKAGES STOCK_PACKAGES STOCK_UNITS
# The lists are separated by spaces; the last two are empty for an image that is plain. KEYS_DIRECTORY holds authorized_keys and the hosts' ssh key.
set -euo pipefail

suite=$1 target=$2 disk_size=$3 repository_url=$4 updates_url=$5 keys=$6 plain_packages=$7 repository_packages=$8
stock_packages=$9 stock_units=${10}
here=$(dirname "$(readlink -f "$0")")
cache=$(dirname "$target")
mkdir -p "$cache"

# One build at a time: what another one made meanwhile is taken, and what is half done is left over from a killed one.
exec 9> "$cache/.$suite.lock"
flock 9
if [ -e "$target" ]; then exit; fi
rm -rf --one-file-system "$cache/.build-$suite"
work=$cache/.build-$suite
log=$cache/$(basename "$target").log

finish() {
  result=$?
  rm -rf --one-file-system "$work"
  [ "$result" = 0 ] || tail -n 30 "$log" >&3
}
trap finish EXIT
exec 3>&2 > "$log" 2>&1
mkdir -m 0755 "$work" "$work/done" "$work/done/repository"
root=$work/root

say() { echo "$(date +%T) $*"; }

# Without manuals and the like; and without the authorities of the internet, which no host reaches: a host takes minutes to
# install their certificates.
say "installing Debian $suite"
export LAB_HERE=$here LAB_KEYS=$keys LAB_REPOSITORY=$work/done/repository LAB_REPOSITORY_PACKAGES=$repository_packages
export LAB_STOCK_PACKAGES=$stock_packages LAB_STOCK_UNITS=$stock_units
mmdebstrap --mode=root --variant=minbase --components=main --format=directory \
  --include="${plain_packages// /,}" \
  --dpkgopt=force-unsafe-io \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/ca-certificates*' \
  --customize-hook="$here/collect.sh" \
  --customize-hook="$here/stock.sh" \
  --customize-hook="$here/customize.sh" \
  "$suite" "$root"

say "indexing the repository"
(
  cd "$work/done/repository"
  apt-ftparchive packages . > Packages
  gzip --keep --fast Packages
  apt-ftparchive release . > Release
)

# After the last write, and with the tree's own tools, because the file contexts are compiled for their version.
say "labelling the files"
printf 'deb [trusted=yes] %s ./\n' "$repository_url" "$updates_url" > "$root/etc/apt/sources.list"
: > "$root/etc/resolv.conf"
: > "$root/etc/machine-id"
rm -f "$root/.autorelabel" "$root/etc/hostname"
mount -t proc proc "$root/proc"
chroot "$root" setfiles -F /etc/selinux/default/contexts/files/file_contexts /
umount "$root/proc"

say "writing the disk image"
truncate --size="$disk_size" "$work/done/root.img"
mke2fs -q -t ext4 -m 0 -d "$root" "$work/done/root.img"

# Renaming is the last step: an image that has its name is complete.
mv -T "$work/done" "$target"
say "done: $target"
