#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Builds a newer apache2-bin out of the one in the lab's repository and offers it as an update: newer_apache.sh REPOSITORY UPDATES
# What it calls itself in its answers is changed too, so that a client sees which of the two runs.
set -euo pipefail

repository=$1 updates=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

unpack() { dpkg-deb --raw-extract "$(find "$repository/" -name "$1_[0-9]*.deb")" "$work/$1"; }
pack() {
  rm -f "$work/$1/DEBIAN/md5sums"
  dpkg-deb --build --root-owner-group -Zgzip -z1 "$work/$1" "$updates/$1_newer.deb" >&2
}

unpack apache2-bin
version=$(sed -n 's/^Version: //p' "$work/apache2-bin/DEBIAN/control")
sed -i "s/^Version: .*/Version: $version+newer1/" "$work/apache2-bin/DEBIAN/control"
# of the same length, for nothing in the program may move
sed -i 's/\(Apache\/2\.4\.[0-9]*\) (Debian)/\1 (Newer!)/' "$work/apache2-bin/usr/sbin/apache2"
pack apache2-bin

# which wants exactly this one
unpack apache2
sed -i "s/^Version: .*/Version: $version+newer1/; s/apache2-bin (= [^)]*)/apache2-bin (= $version+newer1)/" "$work/apache2/DEBIAN/control"
pack apache2

cd "$updates"
apt-ftparchive packages . > Packages
gzip --keep --fast --force Packages
apt-ftparchive release . > Release
echo "$version+newer1"
