# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints, on a host, which of the frames of spoof.py arrive at a bridge within some seconds: listen.py BRIDGE SECONDS."""

from __future__ import annotations

import re
import socket
import sys
import time

BRIDGE, SECONDS = sys.argv[1], float(sys.argv[2])
ALL_PROTOCOLS = 3

seen: set[str] = set()
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS)) as raw:
    raw.bind((BRIDGE, 0))
    raw.settimeout(0.5)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            frame = raw.recv(65536)
        except TimeoutError:
            continue
        seen.update(word.decode() for word in re.findall(rb"vsbx-([a-z-]+)", frame))
print(" ".join(sorted(seen)))
