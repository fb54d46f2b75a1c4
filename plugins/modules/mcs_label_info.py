#!/usr/bin/python

# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mcs_label_info
short_description: Show who owns which MCS level, and what contradicts it
version_added: 0.1.0
description:
  - Reads a registry of MCS levels and compares it with what the host carries.
author:
  - virt.sandbox contributors (@virt-sandbox)
attributes:
  check_mode:
    support: full
    description: Nothing is ever changed.
  diff_mode:
    support: N/A
    description: Nothing is ever changed.
  platform:
    support: full
    platforms: linux
    description: The hosts on which the module runs.
requirements:
  - root on the sandbox host
  - python3-libvirt, where libvirt is installed
options:
  category_range:
    description: The categories for which RV(free) is counted.
    type: str
    default: c0.c1023
  registry:
    description: Where the levels are recorded, see O(virt.sandbox.mcs_label#module:registry).
    type: str
    default: sqlite:////var/lib/virt-sandbox/labels.db
  search:
    description: Levels to look for in the content of sandboxes, besides those in quarantine.
    type: list
    elements: str
    default: []
seealso:
  - module: virt.sandbox.mcs_label
"""

EXAMPLES = r"""
- name: Who owns which level
  virt.sandbox.mcs_label_info:
  register: levels

- name: No sandbox may share a level with anything else on the host
  ansible.builtin.assert:
    that: levels.conflicts | length == 0
    fail_msg: "{{ levels.conflicts | map(attribute='message') | join('; ') }}"
"""

RETURN = r"""
levels:
  description: The level of each owner.
  returned: success
  type: dict
  sample:
    container1: s0:c1,c2
conflicts:
  description:
    - Where something on the host is not separated from an owner's level, or where an owner's spec or domain says
      another level than the registry.
  returned: success
  type: list
  elements: dict
  contains:
    owner:
      description: The owner.
      type: str
    level:
      description: The level that the registry gives to the owner.
      type: str
    kind:
      description: What contradicts it, such as V(process), V(domain), V(machine), V(container), V(content) or V(spec).
      type: str
    holder:
      description: The name of that.
      type: str
    other_level:
      description: The level of that.
      type: str
    message:
      description: The conflict in one sentence.
      type: str
quarantine:
  description: Levels that were released and cannot be given away yet.
  returned: success
  type: list
  elements: dict
  contains:
    level:
      description: The level.
      type: str
    owner:
      description: Who had it.
      type: str
    carried_by:
      description:
        - What still carries it. A level that nothing carries is freed by the next run that allocates.
        - None where it was on another host, of which only a run there can tell.
      type: list
      elements: str
stale:
  description: Owners that have neither a spec nor content nor a domain on this host.
  returned: success
  type: list
  elements: str
in_use:
  description: What carries a level on this host, and of levels that were searched for the first entry of content that does.
  returned: success
  type: list
  elements: dict
  contains:
    level:
      description: The level.
      type: str
    kind:
      description: What carries it, as in RV(conflicts[].kind), or V(file).
      type: str
    holder:
      description: The name of that.
      type: str
here:
  description: The sandboxes that this host declares, and its libvirt-LXC domains.
  returned: success
  type: list
  elements: str
free:
  description: The number of levels of O(category_range) that nobody owns and that do not rest in quarantine.
  returned: success
  type: int
  sample: 523776
"""

from ansible_collections.virt.sandbox.plugins.module_utils.engine.label_run import run_label_info
from ansible_collections.virt.sandbox.plugins.module_utils.engine.module import run_module
from ansible_collections.virt.sandbox.plugins.module_utils.model.level_request import InfoOptions
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import argument_spec


def main() -> None:
    run_module({"argument_spec": argument_spec(InfoOptions), "supports_check_mode": True}, run_label_info)


if __name__ == "__main__":
    main()
