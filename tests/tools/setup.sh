#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Lays out what the checks need, outside the tree: setup.sh CACHE STATE
#   CACHE/venv-KEY   the pinned packages, shared by all checkouts with the same requirements
#   STATE/venv       a link to it
#   STATE/collections/ansible_collections/virt/sandbox   a link to this checkout
# Once all is there, a second run takes no time and says nothing.
set -euo pipefail

cache=$1 state=$2
checkout=$PWD

say() { printf 'setup: %s\n' "$*"; }

install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    say "installing Debian packages: ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$state/apt.log" 2>&1 ||
        { cat "$state/apt.log" >&2; exit 1; }
}

# A name on PATH may be a shim for an interpreter that is not there, and Debian's own comes without ensurepip: ask each.
# It may also be that of a virtual environment, this one included: what counts is the interpreter behind it.
find_python() {
    local python
    for python in python3.11 python3.12 python3.13 python3; do
        "$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || continue
        "$python" -c 'import os, sys; print(os.path.realpath(sys._base_executable))'
        return
    done
    return 1
}

make_venv() {
    local python=$1 venv=$2
    say "building $venv with $("$python" --version) (the packages in requirements.txt, about half a minute)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt 2>"$venv/pip.log" ||
        { cat "$venv/pip.log" >&2; exit 1; }
    touch "$venv/complete"
}

mkdir -p "$state/collections/ansible_collections/virt"
exec 9>"$cache/setup.lock"
flock 9

install_packages git shellcheck python3-selinux systemd
python=$(find_python) || { install_packages python3-venv && python=$(find_python); } ||
    { say "no Python 3.11, 3.12 or 3.13 with venv found (tried python3.11, python3.12, python3.13, python3)" >&2; exit 1; }

key=$({ "$python" -c 'import sys; print(sys.version, sys.executable)'; cat requirements.txt; } | sha256sum | cut -c1-12)
venv=$cache/venv-$key
[ -e "$venv/complete" ] || make_venv "$python" "$venv"

ln -sfn "$venv" "$state/venv"
ln -sfn "$checkout" "$state/collections/ansible_collections/virt/sandbox"
