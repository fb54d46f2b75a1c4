# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cgroup used and may use, in the kernel's own figures."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..model.errors import SandboxError
from ..model.layout import CGROUPS as ROOT
from ..model.limits import HostSize

# key -> (file, word in it; the file's one number where there is none)
_FIGURES = {
    "memory_bytes": ("memory.current", ""),
    "memory_peak_bytes": ("memory.peak", ""),
    "out_of_memory_kills": ("memory.events", "oom_kill"),
    "tasks": ("pids.current", ""),
}
_SECONDS = {"cpu_seconds": "usage_usec", "cpu_throttled_seconds": "throttled_usec"}
# of all devices together
_TRAFFIC = {"read_bytes": "rbytes=", "written_bytes": "wbytes=", "read_operations": "rios=", "write_operations": "wios="}


def groups(path: str) -> Iterator[str]:
    """A cgroup and all below it, which root inside makes as deep as he likes: too deep for ``os.walk``."""
    waiting = [path]
    while waiting:
        place = waiting.pop()
        yield place
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            waiting.extend(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))


def usage(path: str) -> dict[str, Any]:
    """Memory, processor time, tasks and what was read and written; what the kernel does not count is left out."""
    figures: dict[str, Any] = {}
    for key, (name, word) in _FIGURES.items():
        number = _number(_read(path, name), word)
        if number is not None:
            figures[key] = number
    refused = _refused(path)
    if refused is not None:
        figures["tasks_refused"] = refused
    statistics = _read(path, "cpu.stat")
    for key, word in _SECONDS.items():
        number = _number(statistics, word)
        if number is not None:
            figures[key] = number / 1_000_000
    statistics = _read(path, "io.stat")
    if statistics is not None:
        figures.update({key: _sum(statistics, word) for key, word in _TRAFFIC.items()})
    return figures


def held(place: str) -> dict[str, int]:
    """What a tmpfs holds; nothing where none is mounted."""
    try:
        status = os.statvfs(place)
    except OSError:
        return {}
    return {"tmpfs_bytes": (status.f_blocks - status.f_bfree) * status.f_frsize} if os.path.ismount(place) else {}


def host_size() -> HostSize:
    """The host's memory, and the most tasks that its kernel runs."""
    most = [_number(_read("/proc/sys/kernel", name), "") for name in ("threads-max", "pid_max")]
    root = _read(ROOT, "pids.max") or "max"
    tasks = min([number for number in most if number] + ([] if root == "max" else [int(root)]), default=0)
    return HostSize(tasks, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _refused(path: str) -> int | None:
    """How many tasks the limit refused. Kernels before 6.11 count each where the task was, and not where its limit is."""
    if os.path.exists(os.path.join(path, "pids.events.local")):
        return _number(_read(path, "pids.events"), "max")
    counts = [_number(_read(directory, "pids.events"), "max") for directory in groups(path)]
    return sum(count or 0 for count in counts) if any(count is not None for count in counts) else None


def limits(path: str, names: Iterable[str]) -> dict[str, str]:
    """What its files of these names say, lines in order; one that the kernel does not have is left out."""
    texts = {name: _read(path, name) for name in names}
    return {name: "\n".join(sorted(text.splitlines())) for name, text in texts.items() if text is not None}


def limit(path: str, values: Mapping[str, str]) -> None:
    """Write them; a file that takes one device at a time gets a line at a time."""
    for name, text in values.items():
        for line in text.splitlines():
            try:
                with open(os.path.join(path, name), "w", encoding="ascii") as file:
                    file.write(line)
            except OSError as error:
                raise SandboxError(f"{path}/{name}: the kernel rejects {line!r}: {error.strerror}") from error


def _read(path: str, name: str) -> str | None:
    try:
        with open(os.path.join(path, name), encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def _number(text: str | None, word: str) -> int | None:
    for line in (text or "").splitlines():
        *key, value = line.split()
        if "".join(key) == word:
            return int(value)
    return None


def _sum(statistics: str, key: str) -> int:
    return sum(int(word[len(key) :]) for word in statistics.split() if word.startswith(key))
