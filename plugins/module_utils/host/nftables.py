# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's nftables: which rules for sandboxes are in force, what they have dropped, and new rules."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

from ..model.errors import SandboxError
from ..model.network_filter import FAMILY, NFT, TABLE, chain
from .command import run


def table() -> str:
    """What the kernel has of ours, as nft says it; empty where that is nothing, or nothing can be asked yet."""
    return run([NFT, "--json", "list", "table", FAMILY, TABLE], accept=(0, 1)) if os.path.exists(NFT) else ""


def filtered(text: str) -> list[str]:
    """The chains of sandboxes' interfaces that are in force, of a table."""
    with _readable("filtered interfaces"):
        maps = [entry["map"] for entry in _entries(text) if "map" in entry]
        return [chain(element[0], one["name"]) for one in maps for element in one.get("elem", ())]


def dropped(text: str) -> dict[str, int]:
    """How many packets each chain of a table has dropped and counted since it was loaded: those that would have opened connections."""
    with _readable("rules"):
        packets: dict[str, int] = {}
        for rule in (entry["rule"] for entry in _entries(text) if "rule" in entry):
            counted = [part["counter"]["packets"] for part in rule["expr"] if "counter" in part]
            packets[rule["chain"]] = packets.get(rule["chain"], 0) + sum(counted)
        return packets


def _entries(text: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(text)["nftables"] if text.strip() else []
    return entries


@contextlib.contextmanager
def _readable(what: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise SandboxError(f"{NFT}: its list of {what} cannot be read: {error!r}") from error


def load(text: str) -> None:
    """Have the kernel take these rules, all of them or none."""
    try:
        run([NFT, "-f", "-"], text=text)
    except SandboxError as error:
        raise SandboxError(f"The host rejects the network filter: {error}") from error
