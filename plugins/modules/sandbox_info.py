#!/usr/bin/python

# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sandbox_info
short_description: Show the sandboxes of a host
version_added: 0.1.0
description:
  - Shows what each sandbox of a host is declared to be, and what it is. Changes nothing.
options:
  name:
    description: The sandbox to show. Defaults to all sandboxes of the host.
    type: str
  denials:
    description: How many hours back to look for what SELinux denied, at most ten years. V(0) leaves denials out, which is
      quicker.
    type: float
    default: 24
  registry:
    description: The label registry that names the owners of levels which no sandbox of the host declares.
    type: str
    default: sqlite:////var/lib/virt-sandbox/labels.db
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
  - root on the sandbox host
  - python3-libvirt in any Python of the host
  - python3-selinux there too, for the booleans that RV(sandboxes) names
author:
  - virt.sandbox contributors (@virt-sandbox)
seealso:
  - module: virt.sandbox.sandbox_service
"""

EXAMPLES = r"""
- name: Where does container1 answer
  virt.sandbox.sandbox_info:
    name: container1
  register: info

- name: Show its address
  ansible.builtin.debug:
    var: info.sandboxes.container1.addresses
"""

RETURN = r"""
sandboxes:
  description: Each sandbox by its name.
  type: dict
  returned: always
  contains:
    spec:
      description: What it is declared to be, in normal form.
      type: dict
    older_defaults:
      description:
        - The options that still have the default of the release with which the sandbox was made, where today's default is another. See
          O(virt.sandbox.sandbox_service#module:upgrade_defaults).
      type: list
      elements: str
      sample: [tasks_max]
    state:
      description: V(running), V(stopped), V(starting), V(stopping) or V(failed), as its unit says.
      type: str
      sample: running
    enabled:
      description: Whether it starts when the host boots.
      type: bool
    units:
      description:
        - The state of each declared unit inside, for a sandbox that runs. The states are those of
          RV(virt.sandbox.sandbox_service#module:sandboxes.units).
        - If the systemd inside does not answer, the states are V(unknown), and a warning says why.
      type: dict
      sample: {"apache2.service": "active"}
    exit_code:
      description: The code with which the command of a sandbox that runs one ended, if that was since the host has booted.
      type: int
      sample: 0
    addresses:
      description: Its IPv4 and IPv6 addresses. Link-local addresses are left out unless they are declared.
      type: list
      elements: str
    processes:
      description: Its processes, with the PID on the host and inside, the command and the context.
      type: list
      elements: dict
    stale:
      description:
        - Its processes that still use a file under C(/usr) that has since been replaced, with these files. A restart mends it, see
          O(virt.sandbox.sandbox_service#module:stale).
        - Files that an interpreter has read, such as scripts, are not seen.
      type: list
      elements: dict
      sample: [{"pid": 4711, "command": "apache2", "files": ["/usr/sbin/apache2"]}]
    limits:
      description:
        - What it may use, defaults included; of a sandbox that runs, what the kernel has of its slice. Null is no limit. All sandboxes
          together may use what RV(host) says.
        - The kernel ends processes above C(memory_bytes), and slows the sandbox down above C(memory_high_bytes). C(tmpfs_bytes) are
          for the files in C(/run), C(/tmp) and C(/dev/shm) together. C(disk_bytes) and C(inodes) are for the content.
      type: dict
      sample: {"memory_bytes": null, "memory_high_bytes": 4147548160, "tasks": 9419, "cpu_weight": 100, "cpus": null,
               "tmpfs_bytes": 829509632, "disk_bytes": 10737418240, "inodes": 655360}
    resources:
      description:
        - What it uses and has used, as the cgroup of its slice counts it. The slice stays over a restart of the sandbox, and its
          figures go on. What the host's kernel does not count is left out.
        - C(read_bytes) and the like are of all disks together. C(out_of_memory_kills) and C(tasks_refused) count out-of-memory kills
          and refused forks. C(tmpfs_bytes) are files in C(/run), C(/tmp) and C(/dev/shm), a part of its memory.
          C(disk_bytes) and C(inodes) are what the content takes, where the file system counts that.
      type: dict
      sample: {"memory_bytes": 41234432, "memory_peak_bytes": 52428800, "out_of_memory_kills": 0, "tasks": 11, "tasks_refused": 0,
               "cpu_seconds": 1.25, "cpu_throttled_seconds": 0.0, "read_bytes": 0, "written_bytes": 8192, "read_operations": 0,
               "write_operations": 2, "tmpfs_bytes": 131072, "disk_bytes": 41943040, "inodes": 1214}
    denials:
      description:
        - What SELinux denied to its processes, from the host's audit log. The same denial is there once, with its last time and how often
          it came.
        - Two kinds come at each start and mean nothing, as is said of them. What is not worth a record leaves none.
      type: list
      elements: dict
      contains:
        time:
          description: When it came last, in seconds since 1970.
          type: float
        times:
          description: How often it came.
          type: int
        process:
          description: The program that was denied something, or the name of its process.
          type: str
          sample: /usr/bin/cat
        permissions:
          description: What was denied.
          type: list
          elements: str
          sample: [read]
        tclass:
          description: The class of the object.
          type: str
          sample: file
        object:
          description: The object, as far as the records name it.
          type: str
          sample: /var/www/html/badcontent
        context:
          description: The context of the object.
          type: str
          sample: system_u:object_r:virt_sandbox_file_t:s0:c3,c4
        owner:
          description:
            - Whose level that is, a sandbox or V(host); V(former container3) for a level that was container3's and rests in the registry's
              quarantine; empty for a level that nobody has.
          type: str
          sample: container3
        denied:
          description: False for what was only recorded, because SELinux or the type was permissive.
          type: bool
        why:
          description: Why it was denied.
          type: str
          sample: it is at s0:c3,c4, the level of container3; the sandbox is at s0:c1,c2
        remedy:
          description:
            - What to do, if it should have been granted. A boolean is named that alone would grant it in the policy that is loaded.
          type: str
    seccomp:
      description:
        - Whether it runs under the filter of system calls, which it gets at its start. False for one that was started before the
          collection had the filter, until its next start, and on a kernel without seccomp. Null if the sandbox is not running.
      type: bool
      sample: true
    denials_left_out:
      description:
        - How many events of the audit log are left out of what was denied to it. The newest thousand of each sandbox are looked at.
      type: int
      sample: 0
    audit_left_out:
      description:
        - That its records were left out of the audit log, because it wrote too many (C(virt-sandbox-audit.service) of
          P(virt.sandbox.host#role)). How many records these would have been is not known.
      type: dict
      contains:
        times:
          description: How often, since the host has booted.
          type: int
        seconds:
          description: For how many seconds in all, without what C(now) is about.
          type: int
        now:
          description: Whether they are left out now.
          type: bool
    connections_dropped:
      description:
        - How many packets were dropped since its rules were loaded, at its start or after a change, because they would have opened more
          connections than O(virt.sandbox.sandbox_service#module:network[].connections) allows.
      type: int
      sample: 0
    drift:
      description: What on the host is not as the spec says. The names of the steps that would mend it.
      type: list
      elements: str
      sample: ["write the unit"]
host:
  description: The host's memory and the most processes and threads that its kernel runs, and what all sandboxes together may use and use.
  type: dict
  returned: always
  contains:
    memory_bytes:
      description: The host's memory.
      type: int
      sample: 8295141376
    tasks:
      description: The most processes and threads that the host's kernel runs.
      type: int
      sample: 62797
    audit_lost:
      description:
        - How many audit records of any subject the kernel has lost since it counts. V(none) without an audit system.
      type: int
      sample: 0
    sandboxes:
      description:
        - The limits and the use of all sandboxes together, in the form of RV(sandboxes.limits) and RV(sandboxes.resources). Role
          P(virt.sandbox.host#role) sets the limits. Both are empty before the first sandbox has been started.
        - Sandboxes that were made by release 0.1.0 are not among them until O(virt.sandbox.sandbox_service#module:upgrade_defaults).
      type: dict
"""

from ansible_collections.virt.sandbox.plugins.module_utils.engine import info_run
from ansible_collections.virt.sandbox.plugins.module_utils.engine.module import run_module
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import argument_spec


def main() -> None:
    run_module({"argument_spec": argument_spec(info_run.Run), "supports_check_mode": True}, info_run.run)


if __name__ == "__main__":
    main()
