# SPDX-License-Identifier: GPL-3.0-or-later
"""What listens on TCP ports, and which bridges there are, as the kernel shows them."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Iterator

_LISTENING = "0A"
_NETWORK = "/sys/class/net"


def listening(pid: int | str = "self") -> set[tuple[str, int]]:
    """Address and port of everything that listens in the network of a process."""
    sockets: set[tuple[str, int]] = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/net/{table}", encoding="ascii") as file:
            sockets.update(parse(file))
    return sockets


def parse(lines: Iterator[str] | list[str]) -> Iterator[tuple[str, int]]:
    """The listening sockets of such a table."""
    for line in lines:
        words = line.split()
        if len(words) > 3 and words[3] == _LISTENING:
            address, _colon, port = words[1].partition(":")
            yield _address(address), int(port, 16)


def _address(text: str) -> str:
    """The kernel writes four bytes at a time, each in the machine's order."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


def bridges() -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(name for name in os.listdir(_NETWORK) if os.path.isdir(os.path.join(_NETWORK, name, "bridge")))
    return []
