# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sandbox may use: its slice for systemd, and the same limits as the kernel shows them in the slice's cgroup."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .errors import OptionError
from .options import option
from .values import plain_path, size, whole

if TYPE_CHECKING:
    from .spec import ServiceSpec

WEIGHT = whole("a weight", 1, 10_000)
# below these a sandbox does not run, whatever was meant: a systemd with one small unit has some ten tasks and megabytes
_LEAST_MEMORY = {True: 16 << 20, False: 1 << 20}
_LEAST_TASKS = 16
_SLOWEST = 4 << 10
_OPERATIONS = whole("a number of operations per second", 1, 1_000_000_000)


def _bandwidth(value: str) -> int:
    number = size(value)
    if number < _SLOWEST:
        raise ValueError("at least 4K bytes per second, such as 10M (units K, M, G, T of 1024)")
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
    read_bandwidth: int | None = option(normal=_bandwidth, help="Maximum bytes read per second, such as V(10M) (units K, M, G, T of 1024).")
    write_bandwidth: int | None = option(normal=_bandwidth, help="Maximum bytes written per second, such as V(10M).")
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
# of both weights
_DEFAULT_WEIGHT = 100

FILES = ("memory.max", "memory.swap.max", "cpu.max", "cpu.weight", "pids.max", "io.max", "io.weight")


def check(spec: ServiceSpec) -> None:
    """Enough to run with, and of disks each once."""
    least = _LEAST_MEMORY[bool(spec.units)]
    if spec.memory is not None and spec.memory < least:
        raise OptionError("memory", spec.memory, f"at least {least >> 20}M, such as 512M (a number without a unit is bytes)")
    if spec.units and spec.tasks_max is not None and spec.tasks_max < _LEAST_TASKS:
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
    if spec.memory is not None:
        lines += [f"MemoryMax={spec.memory}", "MemorySwapMax=0"]
    if spec.cpus is not None:
        lines.append(f"CPUQuota={round(spec.cpus * 100, 2):.10g}%")
    if spec.cpu_weight is not None:
        lines.append(f"CPUWeight={spec.cpu_weight}")
    if spec.tasks_max is not None:
        lines.append(f"TasksMax={int(spec.tasks_max)}")
    if spec.io.weight is not None:
        lines.append(f"IOWeight={spec.io.weight}")
    for device in spec.io.devices:
        lines += [
            f"{directive}={device.device} {getattr(device, name)}"
            for name, (directive, _word) in _DEVICE_LIMITS.items()
            if getattr(device, name) is not None
        ]
    return lines


def kernel_limits(spec: ServiceSpec, devices: Mapping[str, str]) -> dict[str, str]:
    """The same as the files of the slice's cgroup have it; ``devices`` are the kernel's numbers of the declared ones."""
    memory, cpus, tasks, io = spec.memory, spec.cpus, spec.tasks_max, spec.io
    return {
        "memory.max": "max" if memory is None else str(memory // _PAGE * _PAGE),
        "memory.swap.max": "max" if memory is None else "0",
        "cpu.max": f"{'max' if cpus is None else round(cpus * _PERIOD)} {_PERIOD}",
        "cpu.weight": str(spec.cpu_weight or _DEFAULT_WEIGHT),
        "pids.max": "max" if tasks is None else str(int(tasks)),
        "io.max": "\n".join(sorted(_io_max(device, devices.get(device.device, "")) for device in io.devices)),
        "io.weight": f"default {io.weight or _DEFAULT_WEIGHT}",
    }


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
