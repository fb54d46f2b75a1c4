# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends, as root inside a sandbox, frames that are its own to send and frames that are not.

spoof.py OWN OTHER OTHER_MAC OWN_IPV6 OTHER_IPV6

Each carries its name, so that whoever listens on the bridge knows which of them came through.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

INTERFACE = "eth0"
OWN, OTHER, OTHER_MAC, OWN_IPV6, OTHER_IPV6 = sys.argv[1:]
BROADCAST = b"\xff" * 6
LINK_LOCAL = bytes.fromhex("0180c200000e")


def packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


with open(f"/sys/class/net/{INTERFACE}/address", encoding="ascii") as file:
    OWN_MAC = file.read().strip()


def udp(source: str, target: str, ports: tuple[int, int], data: bytes) -> bytes:
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(data), 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(target))
    words = struct.unpack("!10H", header)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + header[12:]
    return header + struct.pack("!HHHH", *ports, 8 + len(data), 0) + data


def dhcp(mac: str, text: str, length: int = 6) -> bytes:
    """A question of whoever has the MAC address, or with a greater length has more behind it."""
    return udp("0.0.0.0", "255.255.255.255", (68, 67), struct.pack("!4B24x6s10x", 1, 1, length, 0, packed(mac)) + text.encode())


def arp(mac: str, sender: str, about: str, text: str) -> bytes:
    """Who has the address, asked by nobody; else an answer."""
    operation = 1 if sender == "0.0.0.0" else 2
    ends = packed(mac), socket.inet_aton(sender), BROADCAST, socket.inet_aton(about)
    return struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, operation, *ends) + text.encode()


def ipv6(source: str, protocol: int, data: bytes) -> bytes:
    ends = (socket.inet_pton(socket.AF_INET6, one) for one in (source, "ff02::1"))
    return struct.pack("!IHBB", 6 << 28, len(data), protocol, 255) + b"".join(ends) + data


def neighbour(source: str, about: str, text: str) -> bytes:
    """Whether somebody has the address, asked by nobody; else an advertisement of it."""
    kind = 135 if source == "::" else 136
    return ipv6(source, 58, struct.pack("!BBHI", kind, 0, 0, 0) + socket.inet_pton(socket.AF_INET6, about) + text.encode())


FRAMES = (
    (OWN_MAC, 0x800, udp(OWN, "255.255.255.255", (4000, 4000), b"vsbx-own")),
    (OWN_MAC, 0x806, arp(OWN_MAC, OWN, OWN, "vsbx-own-arp")),
    (OWN_MAC, 0x806, arp(OWN_MAC, "0.0.0.0", OWN, "vsbx-own-probe")),
    (OWN_MAC, 0x800, dhcp(OWN_MAC, "vsbx-own-lease")),
    (OWN_MAC, 0x86DD, ipv6(OWN_IPV6, 17, struct.pack("!4H", 4000, 4000, 16, 0) + b"vsbx-six")),
    (OWN_MAC, 0x86DD, neighbour(OWN_IPV6, OWN_IPV6, "vsbx-six-neighbour")),
    (OWN_MAC, 0x86DD, neighbour("::", OWN_IPV6, "vsbx-six-probe")),
    (OWN_MAC, 0x800, udp(OTHER, "255.255.255.255", (4000, 4000), b"vsbx-address")),
    (OWN_MAC, 0x806, arp(OWN_MAC, OTHER, OTHER, "vsbx-arp")),
    (OWN_MAC, 0x806, arp(OWN_MAC, "0.0.0.0", OTHER, "vsbx-probe")),
    (OWN_MAC, 0x800, dhcp(OTHER_MAC, "vsbx-lease")),
    (OWN_MAC, 0x800, dhcp(OWN_MAC, "vsbx-long-lease", 16)),
    (OTHER_MAC, 0x800, udp(OWN, "255.255.255.255", (4000, 4000), b"vsbx-mac")),
    (OTHER_MAC, 0x806, arp(OTHER_MAC, OTHER, OTHER, "vsbx-both")),
    (OWN_MAC, 0x800, udp(OWN, "255.255.255.255", (67, 68), b"vsbx-dhcp")),
    (OWN_MAC, 0x86DD, ipv6(OTHER_IPV6, 17, struct.pack("!4H", 4000, 4000, 22, 0) + b"vsbx-other-six")),
    (OWN_MAC, 0x86DD, neighbour(OWN_IPV6, OTHER_IPV6, "vsbx-neighbour")),
    (OWN_MAC, 0x86DD, neighbour("::", OTHER_IPV6, "vsbx-duplicate")),
    (OWN_MAC, 0x86DD, ipv6("fe80::1", 58, struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + b"vsbx-router")),
)

with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
    raw.bind((INTERFACE, 0))
    for _time in range(3):
        for mac, protocol, payload in FRAMES:
            raw.send(BROADCAST + packed(mac) + struct.pack("!H", protocol) + payload)
        # a bridge passes it on to nobody, and would learn from it
        raw.send(LINK_LOCAL + packed(OTHER_MAC) + struct.pack("!H", 0x88CC) + bytes(50))
        time.sleep(0.2)
