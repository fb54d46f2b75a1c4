#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# mmdebstrap hook: installs what a host of a stocked distribution has from the start, out of the lab's repository. A host takes
# minutes for what this machine does in seconds. The units of services are disabled, as the role host leaves them.
set -euo pipefail

root=$1
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
read -r -a packages <<< "$LAB_STOCK_PACKAGES"
read -r -a units <<< "$LAB_STOCK_UNITS"
[ "${#packages[@]}" -gt 0 ] || exit 0
cp -t "$root/var/cache/apt/archives" "$LAB_REPOSITORY"/*.deb
apt-get --yes --quiet=2 --no-install-recommends -o DPkg::Chroot-Directory="$root" install "${packages[@]}"
rm "$root"/var/cache/apt/archives/*.deb
chroot "$root" systemctl --quiet disable "${units[@]}"
