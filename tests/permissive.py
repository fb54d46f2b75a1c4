# SPDX-License-Identifier: GPL-3.0-or-later
"""Has the kernel record only what a domain may not do, until its policy is loaded again (load_policy): permissive.py DOMAIN

Run on the host by tests. ``semanage permissive`` does the same and rebuilds the policy for it, which takes a minute.
"""

from __future__ import annotations

import struct
import sys

POLICY, LOAD = "/sys/fs/selinux/policy", "/sys/fs/selinux/load"


def bitmap(policy: bytes, at: int) -> tuple[dict[int, int], int]:
    """The bitmap there, as its words by their first bit, and where it ends."""
    _unit, _highest, count = struct.unpack_from("<3I", policy, at)
    return dict(struct.unpack_from("<IQ", policy, at + 12 + 12 * number) for number in range(count)), at + 12 + 12 * count


def type_number(policy: bytes, name: bytes) -> int:
    at = policy.find(name)
    while at >= 0:
        length, number, _properties, _bounds = struct.unpack_from("<4I", policy, at - 16)
        if length == len(name):
            return int(number)
        at = policy.find(name, at + 1)
    raise SystemExit(f"the policy has no type {name.decode()}")


def permissive(policy: bytes, name: bytes) -> bytes:
    _magic, length = struct.unpack_from("<2I", policy)
    # what the policy is for, version, settings and numbers of tables; then bitmaps of capabilities and of permissive types
    _capabilities, begin = bitmap(policy, 8 + length + 16)
    words, end = bitmap(policy, begin)
    number = type_number(policy, name)
    first = number - number % 64
    words[first] = words.get(first, 0) | 1 << number % 64
    parts = [struct.pack("<3I", 64, max(words) + 64, len(words)), *(struct.pack("<IQ", *item) for item in sorted(words.items()))]
    return policy[:begin] + b"".join(parts) + policy[end:]


def main() -> None:
    with open(POLICY, "rb") as file:
        policy = permissive(file.read(), sys.argv[1].encode())
    with open(LOAD, "wb", buffering=0) as file:
        file.write(policy)  # in one piece, as the kernel wants it


if __name__ == "__main__":
    main()
