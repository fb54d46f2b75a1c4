# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: sandbox
short_description: The sandboxes of the hosts of an inventory
version_added: 0.1.0
author:
  - virt.sandbox contributors (@virt-sandbox)
description:
  - Adds to an inventory a host for each sandbox that the hosts in it declare. Modules and whole roles then run inside a
    sandbox, through the connection plugin P(virt.sandbox.sandbox#connection).
  - Reads the variable from which the playbook C(virt.sandbox.site) makes the sandboxes, wherever the inventory has it,
    in C(group_vars) and C(host_vars) too. No host is contacted. So the inventory is there before the sandboxes are,
    and it is the same whether or not hosts can be reached.
  - The source is a file whose name ends in C(sandbox.yml) or C(sandbox.yaml). The sources that name the hosts come before it.
    In a directory that is the order of the files' names.
  - A sandbox reaches its host as Ansible itself does. It has each variable of the host that begins with C(ansible_), as
    a reference and not as a copy, so that nothing secret is copied. Only C(ansible_connection), C(ansible_host) and
    those that begin with C(ansible_become) or C(ansible_sandbox_) are its own.
notes:
  - C(ansible_become_method) of a sandbox is V(ansible.builtin.su), because a sandbox has no configuration of sudo. O(compose) can
    set another, as any variable.
  - A sandbox that is declared with C(state=absent) is not in the inventory.
  - A declared sandbox that does not run is in the inventory, and unreachable.
extends_documentation_fragment:
  - ansible.builtin.constructed
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [virt.sandbox.sandbox]
  variables:
    description:
      - The variables in which hosts declare sandboxes, each a list of them. A host that does not have one has none there.
      - Besides C(sandboxes), of which the playbook C(virt.sandbox.site) makes them, that can be a variable of a role, such as
        C(httpd_sandboxes). Of a variable such as C(NAME_sandboxes), C(sandbox_role) is C(NAME).
    type: list
    elements: str
    default: [sandboxes]
  hosts:
    description: The groups and hosts whose sandboxes are wanted. By default those of every host.
    type: list
    elements: str
    default: [all]
  hostname:
    description:
      - A template of the name of a sandbox in the inventory, made of C(sandbox_name), C(sandbox_host) and the other variables of a
        sandbox.
      - By default the names of host and sandbox with C(_) between them, such as C(web1_container1).
    type: str
  group:
    description: The group that all sandboxes are in.
    type: str
    default: sandboxes
"""

EXAMPLES = r"""
# inventory/hosts.yml
#
# sandbox_hosts:
#   hosts:
#     web1:
#       sandboxes:
#         - name: container1
#           role: httpd
#           level: s0:c1,c2
#         - name: queue
#           role: service
#           units: [redis-server.service]

# inventory/sandbox.yml. The sandboxes are web1_container1 and web1_queue, in the groups sandboxes, on_web1,
# role_httpd, role_service, level_s0_c1_c2 and unit_redis_server_service:
plugin: virt.sandbox.sandbox
keyed_groups:
  - key: sandbox_host
    prefix: 'on'
  - key: sandbox_role
    prefix: role
  - key: sandbox_level
    prefix: level
  - key: sandbox_units
    prefix: unit
groups:
  limited: sandbox_options.memory is defined
compose:
  ansible_pipelining: true

# The command:  ansible -i inventory web1_container1 -m ansible.builtin.ping
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.inventory.group import to_safe_group_name
from ansible.inventory.helpers import get_group_vars, sort_groups
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.utils.display import Display
from ansible.utils.vars import combine_vars, load_extra_vars
from ansible.vars.plugins import get_vars_from_inventory_sources
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError
from ansible_collections.virt.sandbox.plugins.module_utils.model.fleet import ROLE, level, listed

try:
    from ansible.template import trust_as_template
except ImportError:  # before ansible-core 2.19 every text is a template

    def trust_as_template(value: str) -> str:
        return value


display = Display()

HOSTNAME = "{{ sandbox_host }}_{{ sandbox_name }}"
CONNECTION = "virt.sandbox.sandbox"
ITS_OWN = re.compile(r"ansible_(connection|host|become(_.*)?|sandbox_.*)\Z")
# what is told of a sandbox. The rest of what is declared of it may be secret, or a template that is not for now.
TOLD = ("name", "role", "state", "level", "units", "command", "network", "memory", "cpus", "tasks_max", "autostart")


class InventoryModule(BaseInventoryPlugin, Constructable):
    """The sandboxes that the hosts of the inventory declare."""

    NAME = "virt.sandbox.sandbox"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith(("sandbox.yml", "sandbox.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Add the sandboxes to the inventory."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        sources = [*getattr(inventory, "processed_sources", ()), path]
        count = 0
        try:
            for host in self._hosts():
                variables = self._variables(host, sources)
                for sandbox in self._declared(host.name, variables):
                    self._add(host.name, variables, sandbox)
                    count += 1
        except (OptionError, AnsibleError) as error:
            raise AnsibleParserError(f"{path}: {error}") from error
        if not count:
            named = ", ".join(self.get_option("variables"))
            display.warning(f"{path}: no host declares a sandbox (variables: {named}). Name the source of the hosts before this one.")

    def _hosts(self) -> list[Any]:
        """The hosts whose sandboxes are wanted, as they were before this source."""
        hosts: dict[str, Any] = {}
        for name in self.get_option("hosts"):
            if name == "all":  # nothing belongs to it before all sources are read
                hosts.update(self.inventory.hosts)
            elif name in self.inventory.groups:
                hosts.update((host.name, host) for host in self.inventory.groups[name].get_hosts())
            elif name in self.inventory.hosts:
                hosts[name] = self.inventory.hosts[name]
            else:
                raise OptionError("hosts", name, "a group or a host of an earlier inventory source")
        return list(hosts.values())

    def _variables(self, host: Any, sources: list[str]) -> dict[str, Any]:
        """The variables of a host, those beside the sources so far included."""
        groups = sort_groups({self.inventory.groups["all"], *host.get_groups()})
        variables = get_group_vars(groups)
        for more in (
            get_vars_from_inventory_sources(self.loader, sources, groups, "all"),
            host.get_vars(),
            get_vars_from_inventory_sources(self.loader, sources, [host], "all"),
            load_extra_vars(self.loader),
        ):
            variables = combine_vars(variables, more)
        return {**variables, "inventory_hostname": host.name, "inventory_hostname_short": host.name.split(".")[0]}

    def _declared(self, host: str, variables: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """What is told of each sandbox of a host, as the variables say it."""
        names: list[str] = []
        for variable in self.get_option("variables"):
            if variable not in variables:
                continue
            where = f"{host}: {variable}"
            role = variable.removesuffix("_sandboxes") if variable.endswith("_sandboxes") else ROLE
            for declared in self._items(variables[variable], variables, where):
                item = self._told(declared, variables, where)
                if item["name"] in names:
                    sentences = f"sandbox {item['name']} is declared twice. Declare each sandbox of a host once, in one of the variables."
                    raise OptionError.said(where, item["name"], sentences)
                names.append(item["name"])
                if item.get("state") != "absent":
                    yield {"role": role, **item}

    def _items(self, value: Any, variables: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
        """The list itself; a text is a template of it."""
        if isinstance(value, str):
            value = self._rendered(value, variables, where)
        return listed([self._named(item, variables, where) for item in value] if isinstance(value, list) else value, where)

    def _named(self, item: Any, variables: Mapping[str, Any], where: str) -> Any:
        return {**item, "name": self._rendered(item["name"], variables, where)} if isinstance(item, Mapping) and "name" in item else item

    def _told(self, item: Mapping[str, Any], variables: Mapping[str, Any], where: str) -> dict[str, Any]:
        where = f"{where}: {item['name']}"
        told = {key: self._rendered(item[key], variables, f"{where}: {key}") for key in TOLD if item.get(key) is not None}
        if "level" in told:
            told["level"] = level(told["level"], where)
        return told

    def _rendered(self, value: Any, variables: Mapping[str, Any], where: str) -> Any:
        self.templar.available_variables = variables
        try:
            return self.templar.template(value)
        except AnsibleError as error:
            raise AnsibleError(f"{where}: {error}") from error

    def _add(self, host: str, variables: Mapping[str, Any], sandbox: Mapping[str, Any]) -> None:
        own = {
            "sandbox_name": sandbox["name"],
            "sandbox_host": host,
            "sandbox_role": sandbox["role"],
            "sandbox_level": sandbox.get("level"),
            "sandbox_units": sandbox.get("units", []),
            "sandbox_options": dict(sandbox),
        }
        name = self._rendered(trust_as_template(self.get_option("hostname") or HOSTNAME), own, "hostname")
        if name in self.inventory.hosts or name in self.inventory.groups:
            sentences = f"the inventory has a host or group {name} already. Choose another name for sandbox {sandbox['name']} of {host}."
            raise OptionError.said("hostname", name, sentences)
        self.inventory.add_host(name, group=self.inventory.add_group(to_safe_group_name(self.get_option("group"))))
        for key, value in {**own, **_way(host, sandbox["name"], variables)}.items():
            self.inventory.set_variable(name, key, value)
        self._construct(name, {**variables, **own, "inventory_hostname": name})

    def _construct(self, name: str, variables: dict[str, Any]) -> None:
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        variables = {**variables, **self.inventory.hosts[name].get_vars()}
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict, fetch_hostvars=False)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict, fetch_hostvars=False)


def _way(host: str, sandbox: str, variables: Mapping[str, Any]) -> dict[str, str]:
    """The variables of the connection: those of the host by reference, for they are templates of what it knows, or secrets."""
    of_host = f"hostvars[{host!r}]"
    address = f"{of_host}.ansible_host | default({host!r}, true)"
    way = {key: f"{{{{ {of_host}[{key!r}] }}}}" for key in variables if key.startswith("ansible_") and not ITS_OWN.match(key)}
    way["ansible_sandbox_host"] = f"{{{{ 'localhost' if {of_host}.ansible_connection | default('') in ({_LOCAL}) else {address} }}}}"
    way = {key: trust_as_template(value) for key, value in way.items()}
    return {**way, "ansible_connection": CONNECTION, "ansible_sandbox_name": sandbox, "ansible_become_method": "ansible.builtin.su"}


_LOCAL = "'local', 'ansible.builtin.local'"
