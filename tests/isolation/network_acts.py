# SPDX-License-Identifier: GPL-3.0-or-later
"""Run inside a sandbox as root: what it may do with its network namespace, one line for each act with how it ended.

network_acts.py ping ADDRESS; change; neighbours NUMBER (permanent ones); reachable NUMBER SECONDS (held ones);
flood SUBNET SECONDS (datagrams to each address, again and again).
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import itertools
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable

NEW_NEIGHBOUR, REPLACE, REACHABLE, PERMANENT = 28, 0x505, 0x02, 0x80
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(errno.EACCES, done.stderr.strip())


def opened(*kind: int) -> None:
    socket.socket(*kind).close()


def in_a_namespace() -> None:
    """What a user namespace gives, if there may be one."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    ip("neigh", "add", "10.255.0.9", "lladdr", "02:00:00:00:00:09", "nud", "permanent", "dev", "lo")


CHANGE: dict[str, Callable[[], None]] = {
    "address": lambda: ip("address", "add", "10.255.0.1/32", "dev", "lo"),
    "route": lambda: ip("route", "add", "10.254.0.0/16", "dev", "eth0"),
    "neighbour": lambda: ip("neigh", "add", "10.255.0.2", "lladdr", "02:00:00:00:00:01", "nud", "permanent", "dev", "eth0"),
    "link": lambda: ip("link", "set", "dev", "eth0", "mtu", "1400"),
    "packet socket": lambda: opened(socket.AF_PACKET, socket.SOCK_RAW),
    "raw socket": lambda: opened(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "nftables": lambda: opened(socket.AF_NETLINK, socket.SOCK_RAW, 12),
}


def neighbours(number: int, state: int, seconds: float = 0) -> int:
    """How many of so many neighbours the kernel takes, again and again for so long."""
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    index, taken, end = socket.if_nametoindex("eth0"), 0, time.monotonic() + seconds
    for each in itertools.chain(range(number), itertools.takewhile(lambda _each: time.monotonic() < end, itertools.count(number))):
        message = struct.pack("=BxxxiHBB", socket.AF_INET, index, state, 0, 0)
        address = (int(ipaddress.ip_address("10.250.0.0")) + each).to_bytes(4, "big")
        message += struct.pack("=HH4s", 8, 1, address) + struct.pack("=HH6sxx", 10, 2, b"\x02\x00" + address)
        try:
            netlink.send(struct.pack("=IHHII", 16 + len(message), NEW_NEIGHBOUR, REPLACE, each, 0) + message)
            (code,) = struct.unpack_from("=i", netlink.recv(4096), 16)
            taken += code == 0
        except PermissionError:
            break
    return taken


def flood(subnet: str, seconds: float) -> int:
    """Datagrams to all of a subnet, so that the kernel asks for each neighbour."""
    udp, sent, end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        for address in ipaddress.ip_network(subnet, strict=False).hosts():
            try:
                sent += bool(udp.sendto(b"x", (str(address), 9)))
            except OSError:
                continue
        time.sleep(0.2)
    return sent


def ping(address: str) -> str:
    """As ping(8) does it without a raw socket; the kernel fills in the sum and the number of who asks."""
    icmp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    icmp.settimeout(5)
    icmp.sendto(struct.pack("=BBHHH", 8, 0, 0, 0, 1) + b"vsbx", (address, 0))
    return "ok" if icmp.recv(100)[8:] == b"vsbx" else "another answer"


def main() -> None:
    kind, *words = sys.argv[1:]
    if kind == "change":
        for name, act in {**CHANGE, "a user namespace": in_a_namespace}.items():
            try:
                act()
                print(f"{name}: ok")
            except OSError as error:
                print(f"{name}: {errno.errorcode.get(error.errno or 0, error.errno)}")
    elif kind == "ping":
        print(ping(words[0]))
    elif kind == "flood":
        print("sent", flood(words[0], float(words[1])))
    else:
        seconds = float(words[1]) if words[1:] else 0
        print("taken", neighbours(int(words[0]), PERMANENT if kind == "neighbours" else REACHABLE, seconds))


if __name__ == "__main__":
    main()
