# SPDX-License-Identifier: GPL-3.0-or-later
"""Published ports: units of the host that take connections and hand them on into a sandbox, for as long as it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import layout
from .network import Resolved, published
from .unit import MARK

PROXY = "/usr/lib/systemd/systemd-socket-proxyd"


def socket_name(name: str, port: Mapping[str, Any]) -> str:
    """The unit that listens; one at a single address of the host bears that too."""
    place = "-" + port["address"].replace(":", "_") if port["address"] else ""
    return f"{name}_sandbox-{port['host']}{place}.socket"


def units(spec: Mapping[str, Any], resolved: Resolved) -> dict[str, str]:
    """The text of each unit, by its name."""
    found = {}
    for port, address in published(spec, resolved):
        socket = socket_name(spec["name"], port)
        found[socket] = _socket(spec, port)
        found[socket.replace(".socket", ".service")] = _proxy(spec, port, address, socket)
    return found


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _socket(spec: Mapping[str, Any], port: Mapping[str, Any]) -> str:
    sandbox = layout.of(spec).unit
    listen = f"{_bracketed(port['address'])}:{port['host']}" if port["address"] else str(port["host"])
    return f"""\
{MARK}
[Unit]
Description=Port {port["host"]} of this host for sandbox {spec["name"]}
BindsTo={sandbox}
After={sandbox}

[Socket]
ListenStream={listen}
{"FreeBind=yes" if port["address"] else "BindIPv6Only=both"}

[Install]
WantedBy={sandbox}
"""


def _proxy(spec: Mapping[str, Any], port: Mapping[str, Any], address: str, socket: str) -> str:
    return f"""\
{MARK}
[Unit]
Description=Connections to port {port["host"]} of this host for sandbox {spec["name"]}
BindsTo={layout.of(spec).unit} {socket}
After={layout.of(spec).unit} {socket}

[Service]
ExecStart={PROXY} --exit-idle-time=5min {_bracketed(address)}:{port["port"]}
"""
