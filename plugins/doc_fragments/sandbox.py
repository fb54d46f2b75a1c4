# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What the modules that change sandboxes have in common."""

    DOCUMENTATION = r"""
options:
  registry:
    description:
      - The label registry in which a sandbox that is declared without O(level) has its level.
    type: str
    default: sqlite:////var/lib/virt-sandbox/labels.db
  require_enforcing:
    description:
      - Refuse a host on which a sandbox would not be separated. That is where SELinux is disabled or permissive, where
        the policy lacks the types, where the process type is permissive, or where the policy does not hold it to MCS.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
    description: Shows the steps of the plan that a run would carry out, and carries none out.
  diff_mode:
    support: full
    description: Shows each step's state before and after.
  platform:
    support: full
    platforms: linux
    description: The hosts on which the module runs.
requirements:
  - root on the sandbox host
  - a host that the role P(virt.sandbox.host#role) prepared
  - python3-libvirt and python3-selinux in any Python of the host
author:
  - virt.sandbox contributors (@virt-sandbox)
"""
