# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cgroup used and may use, in the kernel's own figures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any


def usage(path: str) -> dict[str, Any]:
    """Memory in bytes, processor time in seconds, tasks, bytes read and written; what is not counted is left out."""
    found: dict[str, Any] = {}
    for key, name in (
        ("memory_bytes", "memory.current"),
        ("memory_peak_bytes", "memory.peak"),
        ("tasks", "pids.current"),
    ):
        text = _read(path, name)
        if text:
            found[key] = int(text)
    for line in _read(path, "cpu.stat").splitlines():
        if line.startswith("usage_usec "):
            found["cpu_seconds"] = int(line.split()[1]) / 1_000_000
    statistics = _read(path, "io.stat")
    if statistics:
        found["read_bytes"] = _sum(statistics, "rbytes=")
        found["written_bytes"] = _sum(statistics, "wbytes=")
    return found


def limits(path: str, names: Iterable[str]) -> dict[str, str]:
    """What its files of these names say; one that the kernel does not have is left out."""
    found = {name: _read(path, name) for name in names}
    return {name: text for name, text in found.items() if text}


def limit(path: str, values: Mapping[str, str]) -> None:
    for name, text in values.items():
        with open(os.path.join(path, name), "w", encoding="ascii") as file:
            file.write(text)


def _read(path: str, name: str) -> str:
    try:
        with open(os.path.join(path, name), encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _sum(statistics: str, key: str) -> int:
    return sum(int(word[len(key) :]) for word in statistics.split() if word.startswith(key))
