# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sandbox may use: its slice for systemd, and the same limits as the kernel shows them in the slice's cgroup."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import OptionError
from .options import option
from .values import UNLIMITED, limit, percentage, plain_path, size, size_from, whole

if TYPE_CHECKING:
    from .spec import ServiceSpec

TASKS = limit(whole("a number of tasks", 1, 1 << 22))
WEIGHT = whole("a weight", 1, 10_000)
# below these a sandbox does not run, whatever was meant: a systemd with one small unit has some ten tasks and megabytes
_LEAST_MEMORY = {True: 16 << 20, False: 1 << 20}
_LEAST_TASKS = 16
_LEAST_TMPFS = 4 << 20
_BANDWIDTH = size_from(4 << 10, "at least 4K bytes per second, such as 10M (units K, M, G, T of 1024)")
_OPERATIONS = whole("a number of operations per second", 1, 1_000_000_000)


def tmpfs(value: str) -> int | str:
    """A size, or a share; never all that there is."""
    number = limit(size)(value)
    if number == UNLIMITED or (isinstance(number, int) and number < _LEAST_TMPFS):
        raise ValueError("a size from 4M, such as 256M, or a percentage of the host's memory, such as 10%")
    return number


@dataclasses.dataclass(frozen=True)
class IoDevice:
    """Limits for one disk."""

    device: str = option(
        "",
        required=True,
        normal=plain_path,
        help="""
            A block device of the host such as V(/dev/vda), or a file or directory on one. The limit applies to the whole disk
            below partitions and mapped devices.

            A path without exactly one disk below it, such as one on C(tmpfs), is rejected.
            """,
    )
    read_bandwidth: int | None = option(normal=_BANDWIDTH, help="Maximum bytes read per second, such as V(10M) (units K, M, G, T of 1024).")
    write_bandwidth: int | None = option(normal=_BANDWIDTH, help="Maximum bytes written per second, such as V(10M).")
    read_operations: int | None = option(type="int", normal=_OPERATIONS, help="Maximum read operations per second.")
    write_operations: int | None = option(type="int", normal=_OPERATIONS, help="Maximum write operations per second.")


@dataclasses.dataclass(frozen=True)
class Io:
    """Limits of input and output."""

    weight: int | None = option(
        type="int", normal=WEIGHT,
        help="""
            The sandbox's share of a busy disk, from V(1) to V(10000). The kernel's default is V(100).

            Rejected on a host whose kernel has neither C(io.cost) nor a disk with the scheduler C(bfq), because it would have no
            effect.
            """,
    )  # fmt: skip
    devices: tuple[IoDevice, ...] = option([], type="list", elements="dict", of=IoDevice, help="Limits for single disks.")


# the option of a device -> systemd's directive, and the word in the kernel's io.max, in the kernel's order
_DEVICE_LIMITS = {
    "read_bandwidth": ("IOReadBandwidthMax", "rbps"),
    "write_bandwidth": ("IOWriteBandwidthMax", "wbps"),
    "read_operations": ("IOReadIOPSMax", "riops"),
    "write_operations": ("IOWriteIOPSMax", "wiops"),
}
# the kernel counts memory in pages, systemd processor time in periods of microseconds
_PAGE, _PERIOD = 4096, 100_000
_ALL = (1 << 32) - 1
# file -> what a reader calls the limit in it
_SHOWN = {"memory.max": "memory_bytes", "memory.high": "memory_high_bytes", "pids.max": "tasks", "cpu.weight": "cpu_weight"}
# of both weights
_DEFAULT_WEIGHT = 100

FILES = ("memory.max", "memory.high", "memory.swap.max", "cpu.max", "cpu.weight", "pids.max", "io.max", "io.weight")


@dataclasses.dataclass(frozen=True)
class HostSize:
    """What the host has in all, of which limits may be shares."""

    tasks: int = 0
    memory: int = 0


def check(spec: ServiceSpec) -> None:
    """Enough to run with, and of disks each once."""
    least = _LEAST_MEMORY[bool(spec.units)]
    for name in ("memory", "memory_high"):
        value = getattr(spec, name)
        if isinstance(value, int) and value < least:
            raise OptionError(name, value, f"at least {least >> 20}M, such as 512M (a number without a unit is bytes)")
    if isinstance(spec.memory, int) and isinstance(spec.memory_high, int) and spec.memory_high > spec.memory:
        raise OptionError("memory_high", spec.memory_high, f"at most memory, which is {spec.memory}")
    if spec.units and isinstance(spec.tasks_max, int) and spec.tasks_max < _LEAST_TASKS:
        raise OptionError("tasks_max", spec.tasks_max, f"at least {_LEAST_TASKS}, for systemd and its units")
    _check_io(spec.io)


def _check_io(io: Io) -> None:
    """Each device once, and something said of it."""
    names = [device.device for device in io.devices]
    for number, device in enumerate(io.devices):
        if names.count(device.device) > 1:
            sentences = f"{device.device} is listed more than once. List each device once."
            raise OptionError.said(f"io.devices[{number}].device", device.device, sentences)
        if all(getattr(device, name) is None for name in _DEVICE_LIMITS):
            sentences = f"{device.device} has no limit. Set at least one of {', '.join(_DEVICE_LIMITS)}."
            raise OptionError.said(f"io.devices[{number}]", device.device, sentences)


def check_host(io: Io, devices: Mapping[str, str], weights: bool) -> None:
    """What only the host knows: whether there is such a device, and whether the kernel has weights at all."""
    paths: dict[str, str] = {}
    for number, device in enumerate(io.devices):
        option, path = f"io.devices[{number}].device", device.device
        key = devices.get(path)
        if not key:
            raise OptionError(option, path, "a block device of the host, or a file or directory on one")
        if key in paths:
            raise OptionError.said(option, path, f"{path} and {paths[key]} are on the same device ({key}). List each device once.")
        paths[key] = path
    if io.weight is not None and not weights:
        sentences = "not supported on this host, because its kernel has neither io.cost nor the scheduler bfq. Remove it."
        raise OptionError.said("io.weight", io.weight, sentences)


def slice_lines(spec: ServiceSpec) -> list[str]:
    """The limits as directives of the slice, where no process of the sandbox may change them."""
    # without it neither the figures nor the files for a limit that comes later are there
    lines = ["IOAccounting=yes"]
    if isinstance(spec.memory, int):
        lines += [f"MemoryMax={spec.memory}", "MemorySwapMax=0"]
    if spec.memory_high != UNLIMITED:
        lines.append(f"MemoryHigh={spec.memory_high}")
    if spec.cpus is not None:
        lines.append(f"CPUQuota={round(spec.cpus * 100, 2):.10g}%")
    if spec.cpu_weight is not None:
        lines.append(f"CPUWeight={spec.cpu_weight}")
    if spec.tasks_max not in (None, UNLIMITED):
        lines.append(f"TasksMax={spec.tasks_max}")
    if spec.io.weight is not None:
        lines.append(f"IOWeight={spec.io.weight}")
    for device in spec.io.devices:
        lines += [
            f"{directive}={device.device} {getattr(device, name)}"
            for name, (directive, _word) in _DEVICE_LIMITS.items()
            if getattr(device, name) is not None
        ]
    return lines


def kernel_limits(spec: ServiceSpec, devices: Mapping[str, str], host: HostSize) -> dict[str, str]:
    """The same as the files of the slice's cgroup have it; ``devices`` are the kernel's numbers of the declared ones."""
    memory, cpus, io = spec.memory, spec.cpus, spec.io
    return {
        "memory.max": _memory(memory, host),
        "memory.high": _memory(spec.memory_high, host),
        "memory.swap.max": "0" if isinstance(memory, int) else "max",
        "cpu.max": f"{'max' if cpus is None else round(cpus * _PERIOD)} {_PERIOD}",
        "cpu.weight": str(spec.cpu_weight or _DEFAULT_WEIGHT),
        "pids.max": _tasks(spec.tasks_max, host),
        "io.max": "\n".join(sorted(_io_max(device, devices.get(device.device, "")) for device in io.devices)),
        "io.weight": f"default {io.weight or _DEFAULT_WEIGHT}",
    }


def _memory(value: int | str | None, host: HostSize) -> str:
    """In whole pages, of which systemd takes a share."""
    if isinstance(value, int):
        return str(value // _PAGE * _PAGE)
    share = percentage(value)
    return str(host.memory // _PAGE * share // 100 * _PAGE) if share else "max"


def _tasks(value: int | str | None, host: HostSize) -> str:
    """A share as systemd reckons it, in fractions of 32 bits."""
    share = percentage(value)
    if share:
        return str(host.tasks * ((share * 100 * _ALL + 5000) // 10_000) // _ALL)
    return str(value) if isinstance(value, int) else "max"


def tmpfs_bytes(spec: ServiceSpec, host: HostSize) -> int:
    """What may be in the sandbox's tmpfs, in pages, of which the kernel takes a part as a whole."""
    share = percentage(spec.tmpfs)
    number = host.memory * share // 100 if share else int(spec.tmpfs)
    return -(-number // _PAGE) * _PAGE


def shown(files: Mapping[str, str]) -> dict[str, Any]:
    """What the files of a cgroup say of its limits, for a reader; nothing where there is none."""
    result: dict[str, Any] = {key: _number(files[name]) for name, key in _SHOWN.items() if name in files}
    if "cpu.max" in files:
        quota, period = files["cpu.max"].split()
        result["cpus"] = None if quota == "max" else int(quota) / int(period)
    return result


def _number(text: str) -> int | None:
    return None if text == "max" else int(text)


def _io_max(device: IoDevice, key: str) -> str:
    words = [
        f"{word}={'max' if getattr(device, name) is None else getattr(device, name)}" for name, (_directive, word) in _DEVICE_LIMITS.items()
    ]
    return " ".join([key, *words])


def to_write(name: str, before: str, after: str) -> str:
    """What brings a file from one state to the other: a device that io.max no longer names must be told so."""
    if name != "io.max":
        return after
    kept = {line.split()[0] for line in after.splitlines()}
    gone = [line.split()[0] for line in before.splitlines() if line.split()[0] not in kept]
    unlimited = " ".join(f"{word}=max" for _directive, word in _DEVICE_LIMITS.values())
    return "\n".join([*after.splitlines(), *(f"{key} {unlimited}" for key in gone)])
