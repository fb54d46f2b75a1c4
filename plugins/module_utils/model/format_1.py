# SPDX-License-Identifier: GPL-3.0-or-later
"""What release 0.1.0 wrote: specs of format 1, and the hash of what a sandbox was started with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_OPTIONS = {"cpu_shares": "cpu_weight", "environment": "env"}
_PORTS = {"host": "host_port", "port": "sandbox_port"}
# the one type that sandboxes of that release had, unless a play said otherwise; those with networkd have another today
_PROCESS_TYPE, _NET_PROCESS_TYPE = "virt_sandbox_t", "virt_sandbox_net_t"
STARTED_WITH = (
    "path", "level", "file_type", "units", "command", "user", "group", "home", "env", "process_type", "network", "capabilities", "mounts",
)  # fmt: skip
"""Today's names of the options that a sandbox of that release is started with."""
_SUBOPTIONS = {
    "network": ("type", "source", "bridge", "mac", "lease", "addresses", "gateway", "routes", "nameservers"),
    "mounts": ("type", "source", "target", "read_only", "relabel", "size", "mode"),
}


def to_today(sandbox: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a spec of format 1, by today's names."""
    result = {_OPTIONS.get(key, key): value for key, value in sandbox.items() if key != "idmap"}
    if result.get("process_type") == _PROCESS_TYPE:  # today's default follows from the interfaces
        del result["process_type"]
    result["network"] = [
        {**interface, "ports": [{_PORTS.get(key, key): value for key, value in port.items()} for port in interface.get("ports") or ()]}
        for interface in sandbox.get("network") or ()
    ]
    return result


def start_hash(options: Mapping[str, Any]) -> str:
    """The hash that release 0.1.0 took of what a sandbox is started with; ``options`` are today's that need a restart."""
    names = {new: old for old, new in _OPTIONS.items()}
    known = {names.get(name, name): options[name] for name in STARTED_WITH}
    if known["process_type"] == _NET_PROCESS_TYPE:
        known["process_type"] = _PROCESS_TYPE
    for name, kept in _SUBOPTIONS.items():
        known[name] = [{key: item[key] for key in kept} for item in options[name]]
    document = {"format": 1, "sandbox": {**known, "idmap": None}}
    return hashlib.sha256((json.dumps(document, indent=2, sort_keys=True) + "\n").encode()).hexdigest()[:16]
