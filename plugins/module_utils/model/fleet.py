# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet as an inventory declares it: the sandboxes of each host, each with the role that makes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .errors import OptionError
from .mcs import Level
from .network import fixed, place, published, same_port
from .spec import ServiceSpec, content_spec, service_spec
from .spec import name as valid_name

ROLE = "service"


def listed(value: Any, where: str) -> list[dict[str, Any]]:
    """The declared sandboxes; raises ``OptionError`` unless it is a list of named ones, each name once."""
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        raise OptionError(where, value, "a list of sandboxes, each with a name")
    sandboxes: list[dict[str, Any]] = []
    for number, item in enumerate(value):
        if not isinstance(item, Mapping):
            raise OptionError(f"{where}[{number}]", item, "a mapping with the name of a sandbox")
        text = item.get("name")
        try:
            valid_name(text if isinstance(text, str) else "")
        except ValueError as error:
            raise OptionError(f"{where}[{number}].name", text, str(error)) from error
        if text in [other["name"] for other in sandboxes]:
            raise OptionError.said(
                f"{where}[{number}].name", text, f"sandbox {text} is declared twice. Declare each sandbox of a host once."
            )
        sandboxes.append(dict(item))
    return sandboxes


def level(text: str, where: str) -> str:
    """The level in its canonical spelling."""
    try:
        return str(Level.for_sandbox(text))
    except ValueError as error:
        raise OptionError(f"{where}: level", text, str(error)) from error


def check(sandboxes: Iterable[Mapping[str, Any]], where: str) -> None:
    """Raise ``OptionError`` for what no host can be given: an option out of its range, two sandboxes in each other's way."""
    present = [item for item in sandboxes if item.get("state") != "absent"]
    specs = [_spec(item, f"{where}: {item['name']}") for item in present]
    for number, spec in enumerate(specs):
        for other in specs[:number]:
            _check_levels(spec, other, where)
            _check_interfaces(spec, other, where)


def _spec(item: Mapping[str, Any], where: str) -> ServiceSpec:
    given = {key: value for key, value in item.items() if value is not None}
    # what is a role's own to say where a sandbox does not; any value that a sandbox may have will do for a check
    role = {**({} if given.get("command") else {"units": ["role.service"]}), "network": [{"type": "managed"}]}
    try:
        content_spec({**role, **given})
        return service_spec({**role, **given})
    except OptionError as error:
        raise error.about(where) from error


def _check_levels(spec: ServiceSpec, other: ServiceSpec, where: str) -> None:
    if spec.level and other.level and spec.level.conflicts(other.level):
        expected = f"a level that is separate from {other.level}, which {other.name} has"
        raise OptionError(f"{where}: {spec.name}: level", str(spec.level), expected)


def _check_interfaces(spec: ServiceSpec, other: ServiceSpec, where: str) -> None:
    for option, values in _of_interfaces(spec).items():
        for network, value in sorted(values & _of_interfaces(other)[option]):
            sentences = f"sandbox {other.name} has the {option} {value} in {network} already. Choose another {option}."
            raise OptionError.said(f"{where}: {spec.name}: network", value, sentences)
    occupied = [port for _number, port in published(other)]
    for _number, port in published(spec):
        if any(same_port(port, other_port) for other_port in occupied):
            sentences = f"host port {port.host_port} is already published by sandbox {other.name}. Choose another port."
            raise OptionError.said(f"{where}: {spec.name}: network", port.host_port, sentences)


def _of_interfaces(spec: ServiceSpec) -> dict[str, set[tuple[str, str]]]:
    """Each with the network that it is in: the same one in another network is another one."""
    return {
        "address": {(place(network), address) for network in spec.network for address in fixed(network)},
        "MAC address": {(place(interface), interface.mac) for interface in spec.network if interface.mac},
    }
