#!/usr/bin/python

# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sandbox_isolation_info
short_description: Ask a policy whether sandboxes are separate
version_added: 0.1.0
description:
  - Asks the SELinux of the host's kernel, for every pair of its sandboxes, what the one may do with the other's files, cgroups,
    processes, sockets, IPC objects and keys; and what each may do with secrets, devices and processes of the host. The answers are the
    kernel's own (C(security_compute_av)), constraints and booleans included. Nothing is tried, and nothing is changed.
  - With O(policy) and O(sandboxes) the same is asked of a policy in a file, before there is a host, for example on the controller, in the
    checks of the repository that declares the fleet.
  - What is granted and must not be is a leak, with both owners, the class, the permissions and why.
  - Labels are asked about, not files. What carries a label that it should not have is reported by M(virt.sandbox.sandbox_content).
options:
  name:
    description: One sandbox, which is compared with every other one. Defaults to all pairs.
    type: str
  policy:
    description:
      - The file of a compiled policy to ask instead of the kernel, such as a copy of C(/etc/selinux/default/policy/policy.33)
        of a host that the role P(virt.sandbox.host#role) has prepared.
      - Booleans have the values that the file gives them. Types that were made permissive are not known.
    type: path
  sandboxes:
    description:
      - The sandboxes to ask about. They need not exist. Defaults to the sandboxes of the host.
      - The filter P(virt.sandbox.sandbox_options#filter) with V(isolation) makes them from those that an inventory declares.
    type: list
    elements: dict
    suboptions:
      name:
        description: The name of the sandbox, or HOST/NAME.
        type: str
        required: true
      level:
        description: The MCS level of the sandbox.
        type: str
        required: true
      process_type:
        description: 'The SELinux type of the processes. Defaults to both types that sandboxes have by default, V(virt_sandbox_t)
          and V(virt_sandbox_net_t): the answers are those for either.'
        type: str
      file_type:
        description: The SELinux type of the content.
        type: str
        default: virt_sandbox_file_t
attributes:
  check_mode:
    support: full
    description: Nothing is changed in any case.
  diff_mode:
    support: N/A
    description: Nothing is changed.
  platform:
    support: full
    platforms: linux
    description: The hosts on which the module runs.
requirements:
  - root on the sandbox host, unless O(policy) and O(sandboxes) are given
  - python3-selinux in any Python of the host, or of the controller
author:
  - virt.sandbox contributors (@virt-sandbox)
seealso:
  - module: virt.sandbox.mcs_label_info
  - module: virt.sandbox.sandbox_info
"""

EXAMPLES = r"""
- name: Ask whether every sandbox is separate from every other one
  virt.sandbox.sandbox_isolation_info:
  register: isolation

- name: Fail if one is not
  ansible.builtin.assert:
    that:
      - isolation.separate
    fail_msg: "{{ isolation.mode }}, permissive: {{ isolation.permissive }}, {{ isolation.leaks }}"

- name: Ask of a fleet that is declared only, host by host, on the controller
  virt.sandbox.sandbox_isolation_info:
    policy: "{{ inventory_dir }}/policy.33"
    sandboxes: "{{ sandboxes | virt.sandbox.sandbox_options('isolation') }}"
  delegate_to: localhost
"""

RETURN = r"""
separate:
  description: Whether there is no leak, and the kernel enforces what its policy says, also for the types of these sandboxes.
  type: bool
  returned: always
leaks:
  description: What is granted and must not be.
  type: list
  elements: dict
  returned: always
  contains:
    from:
      description: The sandbox that may.
      type: str
      sample: web
    to:
      description: Whose it is, another sandbox or V(host).
      type: str
      sample: db
    context:
      description: The context of what it may use.
      type: str
      sample: system_u:object_r:virt_sandbox_file_t:s0:c1
    class:
      description: The class of what it may use.
      type: str
      sample: file
    permissions:
      description: What it may do.
      type: list
      elements: str
      sample: [read, open]
    why:
      description:
        - Whether the levels are not apart (V(dominance)), or the policy holds the type to no level there (V(unconstrained)), or it
          grants the type what is the host's (V(type)), or grants what it does only while a boolean is as it is (V(boolean)). For
          the last it needs setools, in Debian C(python3-setools), which comes with C(semanage).
      type: str
      sample: "dominance: s0:c1,c2 dominates s0:c1"
matrix:
  description: For each sandbox, how many permissions it has on each other one. V(0) is separate.
  type: dict
  returned: always
  sample: {"web": {"db": 0}, "db": {"web": 0}}
sandboxes:
  description: Each sandbox that was asked about.
  type: dict
  returned: always
  contains:
    process:
      description: The context of its processes. Of the two types that are asked about where none is said, it shows V(virt_sandbox_t).
      type: str
    content:
      description: The context of its content.
      type: str
    held:
      description: Whether the policy holds the type of its processes to a level at all.
      type: bool
host_processes:
  description:
    - By the context of processes that run on the host, what these may do with the content of sandboxes. Those of the host's own
      administration are there; a service that serves others, or a container, should not be.
  type: dict
  returned: without O(policy)
  sample: {"system_u:system_r:init_t:s0": {"web": ["file read", "dir search"]}}
mode:
  description: V(enforcing) or V(permissive), in which nothing is denied whatever the decisions are.
  type: str
  returned: without O(policy)
permissive:
  description: The sandboxes of which the type of the processes is permissive, so that nothing is denied.
  type: list
  elements: str
  returned: without O(policy)
questions:
  description: How many pairs of contexts and classes were asked about.
  type: int
  returned: always
"""

from ansible_collections.virt.sandbox.plugins.module_utils.engine import isolation_run
from ansible_collections.virt.sandbox.plugins.module_utils.engine.module import run_module
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import argument_spec


def main() -> None:
    keywords = {"argument_spec": argument_spec(isolation_run.Run), "supports_check_mode": True}
    run_module(keywords, isolation_run.run, bindings=("selinux",))


if __name__ == "__main__":
    main()
