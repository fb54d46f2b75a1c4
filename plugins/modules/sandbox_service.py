#!/usr/bin/python

# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sandbox_service
short_description: Run systemd units in a secure container
version_added: 0.1.0
description:
  - Runs one or a few systemd units of the host's packages in a libvirt-LXC sandbox. The sandbox shares the host's
    C(/usr), has systemd as its init, a slice of its own, an SELinux type and an MCS level of its own.
  - What is declared is written to C(/etc/libvirt-sandbox/services/NAME.sandbox). The libvirt domain, the unit
    C(NAME_sandbox.service), its slice and the files inside are derived from it and compared with what is there.
  - A setting that is no longer declared goes back to its default. What this collection did not make, it leaves alone.
  - Waits until the units are active and fails if a process does not carry the declared type and level.
extends_documentation_fragment:
  - virt.sandbox.sandbox
options:
  name:
    description:
      - The sandbox. 1 to 50 lower-case letters, digits and inner dashes.
      - Mutually exclusive with O(sandboxes).
    type: str
  state:
    description:
      - V(present) defines the sandbox and leaves it running or stopped as it is. A running one that differs from what
        is declared is not restarted.
      - V(started) starts it, and restarts it if only a restart brings in a change. Units that have ended or failed in one
        that runs are started in it.
      - V(stopped) stops it, and the services inside are told to stop. V(restarted) always restarts it.
      - V(reloaded) reloads the units inside, and starts a sandbox that is stopped.
      - V(absent) stops and removes it. Its content stays until M(virt.sandbox.sandbox_content) removes it, and its
        level until M(virt.sandbox.mcs_label) releases it.
    type: str
    choices: [present, started, stopped, restarted, reloaded, absent]
    default: started
  path:
    description: The directory in which the trees of the sandboxes are.
    type: path
    default: /var/lib/libvirt/filesystems
  level:
    description:
      - The MCS level of the sandbox, such as V(s0:c1,c2), in any spelling.
      - By default the level that O(registry) has for it.
    type: str
  file_type:
    description: The SELinux type of the content.
    type: str
    default: virt_sandbox_file_t
  process_type:
    description: The SELinux type of the processes.
    type: str
    default: virt_sandbox_t
  units:
    description:
      - The systemd units to run, from the host's C(/usr/lib/systemd/system). At least one, unless O(state=absent).
      - A template, such as V(foo@), runs as the instance with the name of the sandbox. Instances, such as V(foo@bar), stay
        as they are named. C(.service) may be left out.
      - What the units require or want runs too, where the host's C(/usr) has it. A unit with C(DynamicUser=) runs as a user
        of that name that the sandbox has for good.
      - A unit that is masked on the host, or that needs what no sandbox has, such as a device, a kernel module, a mount or a
        capability, is refused with the reason. A drop-in in the sandbox's own C(/etc/systemd/system) may take that need away.
    type: list
    elements: str
    default: []
  network:
    description:
      - The interfaces C(eth0), C(eth1) and so on. Without one the sandbox has only its loopback.
    type: list
    elements: dict
    default: []
    suboptions: &network
      type:
        description: Whether the address comes by DHCP, or from O(network[].addresses).
        type: str
        choices: [dhcp, static]
        default: dhcp
      source:
        description: The libvirt network.
        type: str
        default: default
      mac:
        description: The MAC address. By default one that follows from the name.
        type: str
      addresses:
        description: Addresses with their prefix, such as V(192.168.122.10/24), for O(network[].type=static).
        type: list
        elements: str
        default: []
      gateway:
        description: The default route, for O(network[].type=static).
        type: str
  memory:
    description: The most memory that the sandbox may use, such as V(512M). No limit by default.
    type: str
  cpus:
    description: The most processor time, in processors, such as V(0.5). No limit by default.
    type: float
  cpu_shares:
    description:
      - The sandbox's share of the processors while there are not enough for all, from V(1) to V(10000). It is the weight
        that cgroups of version 2 and the C(CPUWeight=) of systemd mean. Every other sandbox and service has V(100)
        unless it is said.
      - The default is V(100), which is the kernel's.
    type: int
  io:
    description:
      - Limits of what is read from and written to disks. By default there are none.
      - The kernel counts what reaches a disk. What is read from the page cache is free, and what is written is charged when
        the kernel writes it out.
    type: dict
    default: {}
    suboptions: &io
      weight:
        description:
          - The sandbox's share of a busy disk, from V(1) to V(10000). The default is V(100).
          - Refused on a host whose kernel has neither C(io.cost) nor a disk with the scheduler C(bfq), for it would do nothing.
        type: int
      devices:
        description: What may be read from and written to a disk each second.
        type: list
        elements: dict
        default: []
        suboptions:
          device:
            description:
              - A block device of the host such as V(/dev/vda), or a file or directory of the host that is on one. It is the
                whole disk that is limited, below partitions and mapped devices.
              - Refused where there is no one disk below it, as for C(tmpfs).
            type: str
            required: true
          read_bandwidth:
            description: Bytes read in a second, such as V(10M) (units K, M, G, T of 1024).
            type: str
          write_bandwidth:
            description: Bytes written in a second, such as V(10M).
            type: str
          read_operations:
            description: Operations of reading in a second.
            type: int
          write_operations:
            description: Operations of writing in a second.
            type: int
  tasks_max:
    description: The most processes and threads. The default of the host's systemd by default.
    type: int
  autostart:
    description: Whether the sandbox starts when the host boots.
    type: bool
    default: true
  stale:
    description:
      - What to do about a sandbox in which a process still runs a program or library of which the host's C(/usr) has
        another by now, because a package was updated. With V(restart), O(state=started) and O(state=reloaded) restart
        it. Sandboxes that run what the host has are left alone.
      - M(virt.sandbox.sandbox_info) shows what is stale.
    type: str
    choices: [ignore, restart]
    default: ignore
  sandboxes:
    description:
      - Many sandboxes in one run, with the options above for each.
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
        choices: [present, started, stopped, restarted, reloaded, absent]
        default: started
      path:
        description: See O(path).
        type: path
        default: /var/lib/libvirt/filesystems
      level:
        description: See O(level).
        type: str
      file_type:
        description: See O(file_type).
        type: str
        default: virt_sandbox_file_t
      process_type:
        description: See O(process_type).
        type: str
        default: virt_sandbox_t
      units:
        description: See O(units).
        type: list
        elements: str
        default: []
      network:
        description: See O(network).
        type: list
        elements: dict
        default: []
        suboptions: *network
      memory:
        description: See O(memory).
        type: str
      cpus:
        description: See O(cpus).
        type: float
      cpu_shares:
        description: See O(cpu_shares).
        type: int
      io:
        description: See O(io).
        type: dict
        default: {}
        suboptions: *io
      tasks_max:
        description: See O(tasks_max).
        type: int
      autostart:
        description: See O(autostart).
        type: bool
        default: true
      stale:
        description: See O(stale).
        type: str
        choices: [ignore, restart]
        default: ignore
  timeout:
    description: How many seconds to wait until the units inside are active and a DHCP interface has its address.
    type: int
    default: 90
seealso:
  - module: virt.sandbox.mcs_label
  - module: virt.sandbox.sandbox_content
  - module: virt.sandbox.sandbox_info
"""

EXAMPLES = r"""
- name: A web server in a sandbox
  virt.sandbox.sandbox_service:
    name: container1
    level: s0:c1,c2
    units:
      - apache2.service
    network:
      - type: dhcp
    memory: 512M

- name: Two sandboxes in one run, each at the level that the registry has for it
  virt.sandbox.sandbox_service:
    sandboxes:
      - name: web
        units: [apache2.service]
        network:
          - type: static
            addresses: [192.168.122.10/24]
            gateway: 192.168.122.1
      - name: db
        units: [mariadb.service]
        network:
          - type: dhcp

- name: Have the sandboxes run what an update of the host brought, and restart no other
  virt.sandbox.sandbox_service:
    stale: restart
    name: container1
    units:
      - apache2.service

- name: Remove a sandbox, and keep its data
  virt.sandbox.sandbox_service:
    name: container1
    state: absent
"""

RETURN = r"""
steps:
  description: The names of the steps that were carried out, or would be, by sandbox.
  type: dict
  returned: always
  sample: {"container1": ["write the unit", "reload systemd", "define the domain", "start"]}
sandboxes:
  description: Each sandbox that runs, by name.
  type: dict
  returned: when not in check mode
  contains:
    level:
      description: Its MCS level.
      type: str
      sample: s0:c1,c2
    addresses:
      description: Its IPv4 addresses.
      type: list
      elements: str
      sample: [192.168.122.51]
    macs:
      description: The MAC addresses of its interfaces.
      type: list
      elements: str
    processes:
      description: Its processes, with the PID on the host and inside, the command and the context.
      type: list
      elements: dict
failures:
  description: What failed, with sandbox, step and reason.
  type: list
  elements: dict
  returned: failure
"""

from ansible_collections.virt.sandbox.plugins.module_utils.engine import listed, service_run
from ansible_collections.virt.sandbox.plugins.module_utils.engine.module import run_module
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import Option, argument_spec
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import COMMON, SERVICE

STATES = ("present", "started", "stopped", "restarted", "reloaded", "absent")
STATE = Option("state", default="started", choices=STATES)
STALE = Option("stale", default="ignore", choices=("ignore", "restart"))
TIMEOUT = Option("timeout", type="int", default=90)


def main() -> None:
    run_module(listed.arguments((*SERVICE, STATE, STALE), argument_spec((TIMEOUT, *COMMON))), service_run.run)


if __name__ == "__main__":
    main()
