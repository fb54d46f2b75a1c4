#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# ansible-test sanity, over a copy of the checkout: sanity.sh STATE [arguments]
# It runs only where the real path ends in ansible_collections/NAMESPACE/NAME, which a link does not change.
set -euo pipefail

state=$1
shift
copy=$state/sanity/ansible_collections/virt/sandbox

mkdir -p "$copy" ~/.ansible/test/cache
# All but the environments that ansible-test keeps there.
find "$copy" -path "$copy/tests/output" -prune -o ! -type d -exec rm -f {} +
git ls-files -z --cached --others --exclude-standard --deduplicate |
    while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
    tar -c --null --no-recursion -T - | tar -x -C "$copy"

# The name holds the version of pip that the pinned ansible-core wants. What is there already is left as it is.
[ -e ~/.ansible/test/cache/get_pip_24_2.py ] || cp tests/tools/get_pip.py ~/.ansible/test/cache/get_pip_24_2.py

version=$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
cd "$copy"
exec ansible-test sanity --venv --python "$version" --color no "$@"
