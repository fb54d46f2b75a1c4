# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's nftables: which interfaces of sandboxes are filtered, and new rules for them."""

from __future__ import annotations

import json
import os

from ..model.errors import SandboxError
from ..model.network_filter import FAMILY, INTERFACES, NFT, TABLE
from .command import run


def filtered() -> list[str]:
    """The names of the interfaces that have rules now; none where the kernel has no table of ours, or nothing can be asked yet."""
    if not os.path.exists(NFT):
        return []
    text = run([NFT, "--json", "list", "map", FAMILY, TABLE, INTERFACES], accept=(0, 1))
    if not text.strip():
        return []
    try:
        maps = [entry["map"] for entry in json.loads(text)["nftables"] if "map" in entry]
        return [element[0] for interface_map in maps for element in interface_map.get("elem", ())]
    except (ValueError, KeyError, TypeError) as error:
        raise SandboxError(f"{NFT}: its list of filtered interfaces cannot be read: {error!r}") from error


def load(text: str) -> None:
    """Have the kernel take these rules, all of them or none."""
    try:
        run([NFT, "-f", "-"], text=text)
    except SandboxError as error:
        raise SandboxError(f"The host rejects the network filter: {error}") from error
