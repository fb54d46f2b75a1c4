# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends, as root inside a sandbox, frames that are its own to send and frames that are not: spoof.py OWN OTHER OTHER_MAC.

Each carries its name, so that whoever listens on the bridge knows which of them came through.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

INTERFACE = "eth0"
OWN, OTHER, OTHER_MAC = sys.argv[1:]
BROADCAST = b"\xff" * 6


def packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


with open(f"/sys/class/net/{INTERFACE}/address", encoding="ascii") as file:
    OWN_MAC = file.read().strip()


def udp(source: str, target: str, ports: tuple[int, int], text: str) -> bytes:
    data = text.encode()
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(data), 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(target))
    words = struct.unpack("!10H", header)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + header[12:]
    return header + struct.pack("!HHHH", *ports, 8 + len(data), 0) + data


def arp(mac: str, address: str, text: str) -> bytes:
    body = struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 2, packed(mac), socket.inet_aton(address), BROADCAST, socket.inet_aton(address))
    return body + text.encode()


def advertisement(text: str) -> bytes:
    data = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + text.encode()
    source, target = (socket.inet_pton(socket.AF_INET6, one) for one in ("fe80::1", "ff02::1"))
    return struct.pack("!IHBB", 6 << 28, len(data), 58, 255) + source + target + data


FRAMES = (
    (OWN_MAC, 0x800, udp(OWN, "255.255.255.255", (4000, 4000), "vsbx-own")),
    (OWN_MAC, 0x806, arp(OWN_MAC, OWN, "vsbx-own-arp")),
    (OWN_MAC, 0x800, udp(OTHER, "255.255.255.255", (4000, 4000), "vsbx-address")),
    (OWN_MAC, 0x806, arp(OWN_MAC, OTHER, "vsbx-arp")),
    (OTHER_MAC, 0x800, udp(OWN, "255.255.255.255", (4000, 4000), "vsbx-mac")),
    (OTHER_MAC, 0x806, arp(OTHER_MAC, OTHER, "vsbx-both")),
    (OWN_MAC, 0x800, udp(OWN, "255.255.255.255", (67, 68), "vsbx-dhcp")),
    (OWN_MAC, 0x86DD, advertisement("vsbx-router")),
)

with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
    raw.bind((INTERFACE, 0))
    for _time in range(3):
        for mac, protocol, payload in FRAMES:
            raw.send(BROADCAST + packed(mac) + struct.pack("!H", protocol) + payload)
        time.sleep(0.2)
