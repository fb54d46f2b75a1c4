# SPDX-License-Identifier: GPL-3.0-or-later
"""Block devices of the host, found as systemd finds them for a slice."""

from __future__ import annotations

import glob
import os
import stat

SYS = "/sys"


def device_number(path: str, sys: str = SYS) -> str:
    """The number, such as 254:0, of the whole disk that a path is or is on; empty where it is on none."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    if stat.S_ISCHR(status.st_mode):
        return ""
    number = status.st_rdev if stat.S_ISBLK(status.st_mode) else status.st_dev
    if not os.major(number):
        return ""  # in memory, or of a file system that has no one device
    return whole_disk(f"{os.major(number)}:{os.minor(number)}", sys)


def whole_disk(number: str, sys: str = SYS) -> str:
    """The disk below mapped devices and partitions: the kernel limits disks only."""
    place = f"{sys}/dev/block/{number}"
    below = glob.glob(f"{place}/slaves/*/dev")
    if len(below) == 1:
        return whole_disk(_read(below[0]) or number, sys)
    if os.path.exists(f"{place}/partition"):
        return _read(os.path.join(os.path.realpath(place), "..", "dev")) or number
    return number


def has_weights(sys: str = SYS) -> bool:
    """Whether anything in the kernel reads the weights of input and output."""
    schedulers = (_read(path) for path in glob.glob(f"{sys}/block/*/queue/scheduler"))
    return os.path.exists(f"{sys}/fs/cgroup/io.cost.qos") or any("[bfq]" in text for text in schedulers)


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
