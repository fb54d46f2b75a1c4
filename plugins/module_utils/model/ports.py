# SPDX-License-Identifier: GPL-3.0-or-later
"""Published ports: units of the host that take connections and hand them on into a sandbox, for as long as it runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from . import layout
from .addresses import Resolved
from .errors import OptionError
from .network import Port, published, same_port
from .spec import ServiceSpec

PROXY = "/usr/lib/systemd/systemd-socket-proxyd"


def socket_name(name: str, port: Port) -> str:
    """The unit that listens; one at a single address of the host bears that too."""
    place = "-" + port.address.replace(":", "_") if port.address else ""
    return f"{name}_sandbox-{port.host_port}{place}.socket"


def _port_of(socket: str) -> str:
    """The port in such a unit's name."""
    return socket.partition("_sandbox-")[2].partition(".socket")[0].partition("-")[0]


def leading_to(spec: ServiceSpec, resolved: Resolved) -> list[tuple[Port, str]]:
    """Each published port with the address inside to which it leads."""
    return [(port, resolved[number][0]) for number, port in published(spec) if number < len(resolved) and resolved[number]]


def check(specs: Sequence[ServiceSpec], others: Iterable[ServiceSpec], listening: Collection[tuple[str, int]], ours: Iterable[str]) -> None:
    """No port of the host for two sandboxes, nor one on which something else listens.

    ``ours``: the units that listen for the sandboxes of this run; one that another of them is to have is closed first.
    """
    free = set(map(_port_of, ours))
    owners = [(port, spec.name) for spec in others for _number, port in published(spec)]
    for spec in specs:
        for number, port in published(spec):
            option = f"network[{number}].ports"
            owner = next((name for other, name in owners if same_port(port, other) and name != spec.name), "")
            if owner:
                sentences = f"host port {port.host_port} is already published by sandbox {owner}. Choose another port."
                raise OptionError.said(option, port.host_port, sentences)
            if str(port.host_port) not in free and any(_meets(port, listener) for listener in listening):
                sentences = f"host port {port.host_port} is already in use on this host. Choose another port."
                raise OptionError.said(option, port.host_port, sentences)
            owners.append((port, spec.name))


def _meets(port: Port, listener: tuple[str, int]) -> bool:
    address, number = listener
    return bool(number == port.host_port and (not port.address or address in (port.address, "0.0.0.0", "::")))


def units(spec: ServiceSpec, resolved: Resolved) -> dict[str, str]:
    """The text of each unit, by its name."""
    texts = {}
    for port, address in leading_to(spec, resolved):
        socket = socket_name(spec.name, port)
        texts[socket] = _socket(spec, port)
        texts[socket.replace(".socket", ".service")] = _proxy(spec, port, address, socket)
    return texts


def touched(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    """The units that differ, each with its partner: an open socket would start its proxy again before systemd has read of a change."""
    differ = {unit for unit in {*before, *after} if before.get(unit) != after.get(unit)}
    return {f"{unit.rpartition('.')[0]}.{kind}" for unit in differ for kind in ("socket", "service")}


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _socket(spec: ServiceSpec, port: Port) -> str:
    sandbox = spec.paths.unit
    listen = f"{_bracketed(port.address)}:{port.host_port}" if port.address else str(port.host_port)
    return f"""\
{layout.MARK}
[Unit]
Description=Port {port.host_port} of this host for sandbox {spec.name}
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target
BindsTo={sandbox}
After={sandbox}

[Socket]
ListenStream={listen}
{"FreeBind=yes" if port.address else "BindIPv6Only=both"}

[Install]
WantedBy={sandbox}
"""


def _proxy(spec: ServiceSpec, port: Port, address: str, socket: str) -> str:
    return f"""\
{layout.MARK}
[Unit]
Description=Connections to port {port.host_port} of this host for sandbox {spec.name}
BindsTo={spec.paths.unit} {socket}
After={spec.paths.unit} {socket}

[Service]
ExecStart={PROXY} --exit-idle-time=5min {_bracketed(address)}:{port.sandbox_port}
"""
