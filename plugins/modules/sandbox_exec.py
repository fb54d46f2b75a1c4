#!/usr/bin/python

# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sandbox_exec
short_description: Run a command inside a running sandbox
version_added: 0.1.0
description:
  - Runs one command in the namespaces and the cgroup of a sandbox, with its SELinux type and level, and returns what it
    wrote. The command can do what the services of that sandbox can do, and no more.
  - The command gets an environment of its own, which has C(PATH), C(HOME), C(USER), C(LOGNAME), C(SHELL) and C(LANG),
    and nothing of the host's.
  - The command is over when its first process ends. What that left running in the background goes on.
  - The module reports a change whenever the command ran, as M(ansible.builtin.command) does. Use C(changed_when) where
    you know better.
  - To run ordinary modules inside a sandbox, use the connection plugin P(virt.sandbox.sandbox#connection).
author:
  - virt.sandbox contributors (@virt-sandbox)
attributes:
  check_mode:
    support: partial
    description: The command is not run.
    details:
      - With O(creates) or O(removes) the module says whether the command would be run. Without them it is skipped.
      - A sandbox that is not running is no error in check mode, since the same play might start it.
  diff_mode:
    support: none
    description: What the command changes is not known.
  platform:
    support: full
    platforms: linux
    description: The hosts on which the module runs.
requirements:
  - root on the sandbox host
  - C(setpriv) of util-linux, for O(user)
options:
  name:
    description: Name of the sandbox. It must be running.
    type: str
    required: true
  argv:
    description:
      - The command as a list of words. No shell interprets them.
      - Exactly one of this and O(cmd) is required.
    type: list
    elements: str
  cmd:
    description: The command as text for C(/bin/sh -c) inside the sandbox.
    type: str
  stdin:
    description:
      - What the command reads from its standard input. No newline is added.
      - Use C(no_log=true) on the task where it is a secret.
    type: str
    default: ''
  env:
    description:
      - Variables that are added to the environment of the command, or replace those it has.
      - They do not show in a list of processes. Use C(no_log=true) on the task where they hold a secret, so that it does
        not get into logs either.
    type: dict
    default: {}
  chdir:
    description: The directory inside the sandbox in which the command runs, as an absolute path.
    type: str
    default: /
  user:
    description:
      - The user inside the sandbox that runs the command, by name or number, with that user's groups.
      - A number that no user has is used as user and group.
      - The privileges are dropped inside, under the label of the sandbox.
    type: str
    default: root
  timeout:
    description:
      - Seconds after which the command is killed, and the module fails.
      - Without it, the module waits as long as the command runs, which root inside the sandbox can make any time.
    type: float
  max_output:
    description:
      - Maximum number of bytes that the command may write to its standard output and standard error together, as a number
        or with a unit, such as V(64M).
      - A command that writes more is killed, and the module fails. It returns what was read until then, with RV(truncated).
      - The host, Ansible and the controller each hold all of it in memory. To move larger data, write it to a file inside
        and use M(ansible.builtin.fetch) with the connection plugin.
    type: str
    default: 16M
  creates:
    description:
      - A path, or a pattern of the shell, inside the sandbox. If it exists, the command is not run.
      - It is looked up inside the sandbox, with its label, relative to O(chdir).
    type: str
  removes:
    description: As O(creates), but the command is not run if it does B(not) exist.
    type: str
seealso:
  - plugin: virt.sandbox.sandbox
    plugin_type: connection
  - module: ansible.builtin.command
"""

EXAMPLES = r"""
- name: Which processes run inside
  virt.sandbox.sandbox_exec:
    name: container1
    argv: [ps, -eo, 'pid,user,args']
  changed_when: false

- name: A table of its own, once
  virt.sandbox.sandbox_exec:
    name: database1
    cmd: mysql </usr/share/zabbix/schema.sql && touch /var/lib/mysql/.schema
    creates: /var/lib/mysql/.schema
    timeout: 300

- name: As the user of the service, with a secret that no log gets to see
  virt.sandbox.sandbox_exec:
    name: container1
    user: www-data
    chdir: /srv/www
    argv: [./deploy]
    env:
      TOKEN: "{{ vault_token }}"
    stdin: "{{ vault_document }}"
  no_log: true
"""

RETURN = r"""
cmd:
  description: The command as it was given, a list of words or text.
  returned: always
  type: raw
  sample: [id, -u]
context:
  description:
    - The security context with which the command ran. The type and the level are the sandbox's, user and role are those
      of whoever entered it.
    - Empty where the kernel has no SELinux.
  returned: when the command ran
  type: str
  sample: unconfined_u:unconfined_r:virt_sandbox_t:s0:c1,c2
rc:
  description: The code of the command, 128 and the number of the signal if one killed it, 0 if it was not run.
  returned: unless entering the sandbox failed
  type: int
  sample: 0
stdout:
  description: What the command wrote, without newlines at the end.
  returned: unless entering the sandbox failed
  type: str
stderr:
  description: What the command wrote to its standard error, without newlines at the end.
  returned: unless entering the sandbox failed
  type: str
stdout_lines:
  description: RV(stdout) as lines.
  returned: unless entering the sandbox failed
  type: list
  elements: str
stderr_lines:
  description: RV(stderr) as lines.
  returned: unless entering the sandbox failed
  type: list
  elements: str
truncated:
  description: Whether the command was killed because it wrote more than O(max_output); then RV(stdout) and RV(stderr) are not whole.
  returned: unless entering the sandbox failed
  type: bool
  sample: false
start:
  description: When the command started.
  returned: when the command ran
  type: str
  sample: '2026-03-01T12:00:00.000000+00:00'
end:
  description: When the command ended.
  returned: when the command ran
  type: str
  sample: '2026-03-01T12:00:01.500000+00:00'
delta:
  description: How long it took.
  returned: when the command ran
  type: str
  sample: '0:00:01.500000'
sandbox:
  description: Name of the sandbox.
  returned: on failure
  type: str
step:
  description: What failed, V(options), V(enter), V(chdir), V(user) or V(run).
  returned: on failure
  type: str
reason:
  description: Why it failed.
  returned: on failure
  type: str
"""

from ansible_collections.virt.sandbox.plugins.module_utils.engine import exec_run

if __name__ == "__main__":
    exec_run.run_module()
