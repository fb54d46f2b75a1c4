# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters about sandboxes as they are declared."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.virt.sandbox.plugins.module_utils.model import fleet, host_network
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import names
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import (
    ContentRequest,
    ContentSpec,
    Separation,
    ServiceRequest,
    ServiceSpec,
)

_CONTENT = names(ContentSpec, ContentRequest) - {"state"}
_SERVICE = names(ServiceSpec, ServiceRequest)
_OBJECTS = {
    "label": {"name", "level"},
    "content": _CONTENT,
    "service": _SERVICE,
    "isolation": names(Separation),
    "role": _CONTENT | _SERVICE | {"discover"},
}
_LISTS = ("units", "private", "files")


def sandbox_options(sandboxes: Sequence[Mapping[str, Any]], module: str) -> list[dict[str, Any]]:
    """Of each declared sandbox, the options that one of the modules takes."""
    if module not in _OBJECTS:
        raise AnsibleFilterError(f"sandbox_options: {module!r} is invalid: expected one of {', '.join(_OBJECTS)}.")
    items = [item for item in sandboxes if module != "isolation" or item.get("state") != "absent"]
    return [{key: value for key, value in item.items() if key in _OBJECTS[module] and _taken(key, item, module)} for item in items]


def _taken(key: str, item: Mapping[str, Any], module: str) -> bool:
    """The content is found from the units only where a sandbox says so."""
    return (module, key) != ("content", "units") or bool(item.get("discover"))


def sandbox_adding(sandboxes: Sequence[Mapping[str, Any]], **more: Sequence[Any]) -> list[dict[str, Any]]:
    """Each declared sandbox with further values of lists before its own, and with nothing that the role ``service`` does not take."""
    result = []
    for item in sandbox_options(sandboxes, "role"):
        for name, values in more.items():
            if name not in _LISTS:
                raise AnsibleFilterError(f"sandbox_adding: {name!r} is invalid: expected one of {', '.join(_LISTS)}.")
            item[name] = _joined(values, item.get(name) or [])
        result.append(item)
    return result


def _joined(first: Sequence[Any], own: Sequence[Any]) -> list[Any]:
    """What a sandbox says itself of a file takes the place of what its role says."""
    paths = [entry["path"] for entry in own if isinstance(entry, Mapping)]
    return [entry for entry in first if not (isinstance(entry, Mapping) and entry["path"] in paths) and entry not in own] + list(own)


def sandbox_levels(sandboxes: Sequence[Mapping[str, Any]], levels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each declared sandbox with the level that ``mcs_label`` returned for it."""
    for item in sandboxes:
        if item.get("name") not in levels:
            known = ", ".join(levels) or "there is none"
            raise AnsibleFilterError(f"sandbox_levels: {item.get('name')!r} is invalid: expected a sandbox with a level ({known}).")
    return [{**item, "level": levels[item["name"]]} for item in sandboxes]


def sandbox_network(subnet: str, routes: Sequence[Mapping[str, Any]] = (), device: str = "") -> dict[str, str]:
    """The addresses of the libvirt network for managed interfaces; fails where the host has the subnet in use."""
    try:
        addresses = host_network.layout("host_managed_subnet", subnet)
        host_network.check_free("host_managed_subnet", subnet, routes, device)
    except OptionError as error:
        raise AnsibleFilterError(str(error)) from error
    return addresses


COLLECTION = "virt.sandbox"
_ROLE = re.compile(r"[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*)?\Z")


def sandbox_fleet(sandboxes: Sequence[Mapping[str, Any]], host: str) -> list[dict[str, Any]]:
    """The sandboxes that one host declares by the role that makes them; fails where the declaration cannot come true."""
    try:
        items = fleet.listed(sandboxes, f"{host}: sandboxes")
        roles: dict[str, list[dict[str, Any]]] = {}
        for item in items:
            roles.setdefault(_role(item, host), []).append({key: value for key, value in item.items() if key != "role"})
        validated = [item for role, of_role in roles.items() for item in _validated(role, of_role, host)]
        fleet.check(validated, host)
    except OptionError as error:
        raise AnsibleFilterError(f"sandbox_fleet: {error}") from error
    return [{"role": role, "sandboxes": of_role} for role, of_role in roles.items()]


def _role(item: Mapping[str, Any], host: str) -> str:
    """The full name of the role that makes a sandbox, which is there."""
    role = item.get("role") or fleet.ROLE
    allowed = f"a role of {COLLECTION} that makes sandboxes ({', '.join(_own_roles())}), or the full name of a role of another collection"
    if not isinstance(role, str) or not _ROLE.match(role):
        raise OptionError(f"{host}: {item['name']}: role", role, allowed)
    full = role if "." in role else f"{COLLECTION}.{role}"
    if not _place(full).is_dir() or (full.startswith(f"{COLLECTION}.") and full.rpartition(".")[2] not in _own_roles()):
        raise OptionError(f"{host}: {item['name']}: role", role, allowed)
    return full


def _own_roles() -> list[str]:
    """The roles of this collection that take a list of sandboxes."""
    roles = Path(__file__).resolve().parents[2] / "roles"
    names = sorted(path.name for path in roles.iterdir())
    return [name for name in names if f"{name}_sandboxes" in _options(roles / name)]


def _place(role: str) -> Path:
    """The directory of a role of an installed collection; one that is not there if there is no such role."""
    namespace, collection, name = role.split(".")
    try:
        package = importlib.import_module(f"ansible_collections.{namespace}.{collection}")
    except ImportError:
        return Path("/nonexistent")
    return Path(next(iter(package.__path__))) / "roles" / name


def _options(place: Path) -> dict[str, Any]:
    """The options of a role's main entry point, as it describes them itself."""
    path = place / "meta" / "argument_specs.yml"
    if not path.is_file():
        return {}
    options: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].get("main", {}).get("options", {})
    return options


def _validated(role: str, items: list[dict[str, Any]], host: str) -> list[dict[str, Any]]:
    """The sandboxes as the role takes them. No value is shown, for one may be secret."""
    variable = f"{role.rpartition('.')[2]}_sandboxes"
    options = {key: value for key, value in _options(_place(role)).items() if key == variable}
    if not options:
        return items
    result = ArgumentSpecValidator(options).validate({variable: items})
    if result.error_messages:
        allowed = set(options[variable].get("options", {}))
        for item in items:
            for key in sorted(item.keys() - allowed):
                raise OptionError(f"{host}: {item['name']}", key, f"an option of the role {role} ({', '.join(sorted(allowed))})")
        raise AnsibleFilterError(f"sandbox_fleet: {host}: role {role}: {'. '.join(result.error_messages)}.")
    validated: list[dict[str, Any]] = result.validated_parameters[variable]
    return validated


class FilterModule:
    """What this file adds to Ansible."""

    def filters(self) -> dict[str, Any]:
        return {
            "sandbox_options": sandbox_options,
            "sandbox_adding": sandbox_adding,
            "sandbox_levels": sandbox_levels,
            "sandbox_fleet": sandbox_fleet,
            "sandbox_network": sandbox_network,
        }
