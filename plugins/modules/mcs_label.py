#!/usr/bin/python

# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mcs_label
short_description: Give each sandbox an MCS level of its own
version_added: 0.1.0
description:
  - Records in a registry which sandbox owns which SELinux MCS level, and allocates levels that nobody else has.
  - Two levels are separate only if neither dominates the other. V(s0:c1,c2) dominates V(s0:c1) and V(s0), so that a
    process at V(s0:c1,c2) may use what is at these. Levels are compared as sets of categories, never as text.
  - A level is given away only if it is separate from every level that the registry knows, and from every level that
    anything else on the host carries. That is processes, libvirt's domains (C(lxc:///system) and C(qemu:///system)),
    running or defined, root's containers of podman, docker, LXC and Incus where these keep them by default, the
    content directories of sandboxes, and the specs of sandboxes.
  - Containers that other users than root have (rootless podman) count while they run, by their processes, and not where these
    users keep them, for there anybody could write any number of levels.
  - A container at all categories keeps nobody from a level, since no level is separate from it. It is named in a warning.
  - The smallest free level is allocated, in the order of the highest category, then of the next. The order of the list
    decides who gets which, so that check mode names the very levels that a run would assign.
  - An owner that has a level keeps it. One that has none gets back the level it had before, if that is still to be had,
    the level that its spec on this host declares, or the one that its content carries, unless that is in another's way.
  - A released level rests in quarantine. It can be given away again when a later run that allocates finds no
    process, no domain, no container and no entry of any content directory that carries it.
author:
  - virt.sandbox contributors (@virt-sandbox)
attributes:
  check_mode:
    support: full
    description: Predicts the levels that a run would assign. Nothing is created, not even the registry.
  diff_mode:
    support: full
    description: Shows the levels of the owners that change, and the changes in quarantine.
  platform:
    support: full
    platforms: linux
    description: The hosts on which the module runs.
requirements:
  - root on the sandbox host
  - python3-libvirt, where libvirt is installed
options:
  name:
    description:
      - Name of the sandbox that owns the level.
      - Mutually exclusive with O(sandboxes).
    type: str
  state:
    description:
      - V(present) makes sure that the owner has a level.
      - V(absent) releases the level of the owner into quarantine.
    type: str
    choices:
      - present
      - absent
    default: present
  level:
    description:
      - Exactly this level, such as V(s0:c1,c2), in any spelling that the kernel takes.
      - A level without categories, with all of them, or with a pair of equal ones is rejected, and so is a level that is
        not separate from that of another owner or of something else on the host. The error names who is in the way.
      - It may have another number of categories than O(category_count), and need not be within O(category_range).
      - Without it, the owner keeps the level it has, or is given a free one.
    type: str
  sandboxes:
    description:
      - Many sandboxes in one run, with the options above for each.
      - An option that a sandbox does not set has the value that the same option has beside O(sandboxes).
      - Mutually exclusive with O(name).
    type: list
    elements: dict
    suboptions:
      name:
        description: See O(name).
        type: str
        required: true
      state:
        description: See O(state).
        type: str
        choices:
          - present
          - absent
      level:
        description: See O(level).
        type: str
  category_count:
    description:
      - The number of categories of an allocated level, from 1 to 8. It is the same for all levels of a registry.
      - Defaults to the number that the registry has, and to 2 for a registry that has allocated no level yet.
    type: int
  category_range:
    description:
      - The categories from which levels are allocated.
      - A later run may name another range. Owners keep the levels they have.
    type: str
    default: c0.c1023
  registry:
    description:
      - Where the levels are recorded, as a URL. V(sqlite:////var/lib/virt-sandbox/labels.db) is a file on the host.
      - The file and its directory are created, the directories above it are not. A file that users other than root can change
        or replace is rejected, and so is one that was truncated.
      - V(yaml:////srv/infra/levels.lock.yml) is a file on the controller, and V(postgresql://levels@db.example.org/levels)
        a database that the controller reaches, without a password. Several hosts can share these. Owners are C(HOST/NAME)
        there, with the host's name in the inventory. What is decided is recorded on the host as well, in its default registry.
    type: str
    default: sqlite:////var/lib/virt-sandbox/labels.db
seealso:
  - module: virt.sandbox.mcs_label_info
"""

EXAMPLES = r"""
- name: A level of its own for one sandbox
  virt.sandbox.mcs_label:
    name: container2
  register: label

- name: The level decided by hand
  virt.sandbox.mcs_label:
    name: container1
    level: s0:c1,c2

- name: Many sandboxes at once
  virt.sandbox.mcs_label:
    category_range: c100.c899
    sandboxes:
      - name: web1
      - name: web2
      - name: db1
        level: s0:c5,c6
      - name: old
        state: absent
"""

RETURN = r"""
levels:
  description: The level of each owner that was asked to have one.
  returned: success
  type: dict
  sample:
    container1: s0:c1,c2
level:
  description: The level of the owner.
  returned: when O(name) is given and O(state=present)
  type: str
  sample: s0:c1,c2
steps:
  description:
    - What was done for each owner, or would be in check mode.
    - That is V(allocate) or V(assign) a level, V(release) it into quarantine, or V(free) it from there.
    - Where hosts share the registry, what the host itself records of it begins with C(record).
  returned: success
  type: dict
  sample:
    container2:
      - allocate
"""

from ansible_collections.virt.sandbox.plugins.module_utils.engine import listed
from ansible_collections.virt.sandbox.plugins.module_utils.engine.label_run import run_label
from ansible_collections.virt.sandbox.plugins.module_utils.engine.module import run_module
from ansible_collections.virt.sandbox.plugins.module_utils.model.level_request import OwnerOptions, RegistryOptions


def main() -> None:
    run_module(listed.arguments((OwnerOptions,), (RegistryOptions,)), run_label)


if __name__ == "__main__":
    main()
