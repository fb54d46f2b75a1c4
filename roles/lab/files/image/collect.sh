#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# mmdebstrap hook: downloads what the roles will install, and moves it out of the image into the lab's repository.
set -euo pipefail

root=$1
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
read -r -a packages <<< "$LAB_REPOSITORY_PACKAGES"
apt-get --yes --quiet=2 --no-install-recommends --download-only install "${packages[@]}"
find "$root/var/cache/apt/archives" -name '*.deb' -exec mv -t "$LAB_REPOSITORY" {} +
