#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes a checkout the collection virt.sandbox for the scenarios: link.sh CHECKOUT. See .config/molecule/config.yml.
set -eu
place=$HOME/.cache/virt-sandbox/molecule$1/ansible_collections/virt
mkdir -p "$place"
ln -sfn "$1" "$place/sandbox"
