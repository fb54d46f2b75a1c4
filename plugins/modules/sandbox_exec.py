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
      - The command as a list of words. No shell looks at them.
      - Exactly one of this and O(cmd) is required.
    type: list
    elements: str
  cmd:
    description: The command as text for C(/bin/sh -c) inside the sandbox.
    type: str
  stdin:
    description:
      - What the command reads from its standard input, as it is given here. No newline is added.
      - Use C(no_log=true) on the task where it is a secret.
    type: str
    default: ''
  environment:
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
      - The user inside the sandbox as whom the command runs, by name or number, with that user's groups.
      - A number that no user has is taken for user and group.
      - The privileges are dropped inside, under the label of the sandbox.
    type: str
    default: root
  timeout:
    description:
      - Seconds after which the command is killed, and the module fails.
      - Without it, the module waits as long as the command runs.
    type: float
  max_output:
    description:
      - The most bytes that the command may write to its standard output and standard error together, as a number or with a unit such as
        V(64M).
      - A command that writes more is killed, and the module fails. What was read until then is returned, with RV(truncated).
      - The host, Ansible and the controller each hold all of it in memory. To move larger data, write it to a file inside and use
        M(ansible.builtin.fetch) with the connection plugin.
    type: str
    default: 16M
  creates:
    description:
      - A path, or a pattern of the shell, inside the sandbox. If it exists, the command is not run.
      - Looked up inside the sandbox, with its label, relative to O(chdir).
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
    environment:
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

import datetime
import os
import re
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.virt.sandbox.plugins.module_utils.host import enter
from ansible_collections.virt.sandbox.plugins.module_utils.model import spec
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError, StepError
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import Option, argument_spec, normalise
from ansible_collections.virt.sandbox.plugins.module_utils.model.values import size

_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?\Z", re.ASCII)


def _words(value: list[str]) -> list[str]:
    if not value or not value[0]:
        raise ValueError("at least the name of a program")
    return value


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("a command")
    return value


def _environment(value: Mapping[Any, Any]) -> dict[str, str]:
    for name, content in value.items():
        if not str(name) or "=" in str(name) or isinstance(content, (dict, list)) or content is None:
            raise ValueError("names without '=', and texts")
    return {str(name): str(content) for name, content in value.items()}


def _directory(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("an absolute path inside the sandbox")
    return value


def _user(value: str) -> str:
    if not _USER.match(value):
        raise ValueError("the name or the number of a user inside the sandbox")
    return value


def _seconds(value: float) -> float:
    if value <= 0:
        raise ValueError("seconds, more than 0")
    return value


OPTIONS = (
    Option("name", required=True, normalise=spec.name),
    Option("argv", type="list", elements="str", normalise=_words),
    Option("cmd", normalise=_text),
    Option("stdin", default=""),
    Option("environment", type="dict", default={}, normalise=_environment),
    Option("chdir", default="/", normalise=_directory),
    Option("user", default="root", normalise=_user),
    Option("timeout", type="float", normalise=_seconds),
    Option("max_output", default="16M", normalise=size),
    Option("creates"),
    Option("removes"),
)

# bytes and seconds that a look around inside may take: it is root inside who answers
LOOK_BYTES = 65536
LOOK_SECONDS = 60
# Looks around inside, with the sandbox's label: what is there may be made to mislead. Says in its first line what stands
# in the way, or nothing; the user's entry follows.
LOOK = """
there() { IFS=; for path in $1; do if [ -e "$path" ] || [ -L "$path" ]; then return 0; fi; done; return 1; }
cd "$1" 2>/dev/null || { echo chdir; exit; }
if [ -n "$2" ] && there "$2"; then echo creates; exit; fi
if [ -n "$3" ] && ! there "$3"; then echo removes; exit; fi
echo
getent passwd "$4"
"""
GO = 'cd "$1" && shift && exec "$@"'


class Run:
    """One command for one sandbox."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self.name: str = options["name"]
        self.given: Any = options["argv"] or options["cmd"]
        self.words: list[str] = options["argv"] or ["/bin/sh", "-c", options["cmd"]]
        self.variables: dict[str, str] = {}

    def needs_a_look(self) -> bool:
        options = self.options
        return bool(options["creates"] or options["removes"]) or options["user"] != "root" or options["chdir"] != "/"

    def look(self) -> str:
        """Why the command need not run; empty if it must. Finds out about directory and user before anything runs."""
        options = self.options
        arguments = (options["chdir"], options["creates"] or "", options["removes"] or "", options["user"])
        found = self._inside(["/bin/sh", "-c", LOOK, "sh", *arguments], b"", LOOK_SECONDS, LOOK_BYTES)
        verdict, _newline, entry = found.output.decode(errors="replace").partition("\n")
        if verdict == "chdir":
            raise StepError(self.name, "chdir", f"there is no directory {options['chdir']} inside that can be entered")
        if verdict == "creates":
            return f"{options['creates']} exists"
        if verdict == "removes":
            return f"{options['removes']} does not exist"
        self._prepare(entry.strip())
        return ""

    def _prepare(self, entry: str) -> None:
        user, directory = self.options["user"], self.options["chdir"]
        if user not in ("root", "0"):
            fields = entry.split(":")
            if len(fields) == 7 and fields[2].isdigit() and fields[3].isdigit():
                name, uid, gid, home, groups = fields[0], fields[2], fields[3], fields[5], "--init-groups"
            elif user.isdigit():
                name, uid, gid, home, groups = user, user, user, "/", "--clear-groups"
            else:
                raise StepError(self.name, "user", f"there is no user {user} inside")
            self.words = ["setpriv", "--reuid", uid, "--regid", gid, groups, "--", *self.words]
            self.variables = {"USER": name, "LOGNAME": name, "HOME": home}
        if directory != "/":
            self.words = ["/bin/sh", "-c", GO, "sh", directory, *self.words]

    def go(self) -> dict[str, Any]:
        """Run it; returns what the module returns."""
        variables = {**self.variables, **self.options["environment"]}
        start = datetime.datetime.now(datetime.timezone.utc)
        stdin = self.options["stdin"].encode(errors="surrogateescape")
        outcome = self._inside(self.words, stdin, self.options["timeout"], self.options["max_output"], variables)
        end = datetime.datetime.now(datetime.timezone.utc)
        return {
            "rc": outcome.code,
            "stdout": _readable(outcome.output),
            "stderr": _readable(outcome.errors),
            "truncated": False,
            "context": outcome.context,
            "start": start.isoformat(),
            "end": end.isoformat(),
            "delta": str(end - start),
        }

    def _inside(
        self, words: list[str], stdin: bytes, timeout: float | None, most: int, variables: dict[str, str] | None = None
    ) -> enter.Outcome:
        try:
            return enter.run(self.name, words, stdin, variables, timeout, most=most)
        except enter.EndedError as error:
            if words is self.words:
                raise
            raise StepError(self.name, "enter", f"looking around inside: {error}") from error
        except enter.StartError as error:
            raise StepError(self.name, "run", str(error)) from error
        except (enter.EnterError, OSError) as error:
            raise StepError(self.name, "enter", str(error)) from error


def _readable(output: bytes) -> str:
    return output.decode(errors="replace").rstrip("\r\n")


def _skip(module: AnsibleModule, run: Run) -> None:
    """Ends the module where the command is not to be run."""
    because = ""
    conditional = bool(run.options["creates"] or run.options["removes"])
    if run.needs_a_look() and (conditional or not module.check_mode):
        try:
            because = run.look()
        except StepError as error:
            if not module.check_mode:
                raise
            module.exit_json(changed=False, skipped=True, cmd=run.given, rc=0, msg=f"Not known in check mode: {error}")
    quiet = {"cmd": run.given, "rc": 0, "stdout": "", "stderr": "", "truncated": False}
    if because:
        module.exit_json(changed=False, msg=f"The command was not run, since {because} in {run.name}", **quiet)
    if module.check_mode and conditional:
        module.exit_json(changed=True, msg="The command would have been run", **quiet)
    if module.check_mode:
        module.exit_json(changed=False, skipped=True, msg="The command would have been run", **quiet)


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(OPTIONS),
        mutually_exclusive=[("argv", "cmd")],
        required_one_of=[("argv", "cmd")],
        supports_check_mode=True,
    )
    name = module.params["name"]
    result: dict[str, Any] = {"cmd": module.params["argv"] or module.params["cmd"], "changed": False}
    try:
        run = Run(normalise(OPTIONS, module.params))
        if os.geteuid() != 0:
            raise StepError(name, "enter", "only root on the sandbox host can enter a sandbox; use become: true")
        _skip(module, run)
        result.update(run.go(), changed=True)
    except OptionError as error:
        module.fail_json(msg=str(error), sandbox=name, step="options", reason=str(error), **result)
    except enter.EndedError as error:
        too_much = isinstance(error, enter.EnterOverflow)
        reason = f"{error}{'; raise max_output to let it write more' if too_much else ''}"
        written = {"stdout": _readable(error.output), "stderr": _readable(error.errors), "truncated": too_much, "rc": 137}
        result.update(written, changed=True)
        module.fail_json(msg=f"{name}: run: {reason}", sandbox=name, step="run", reason=reason, **result)
    except StepError as error:
        module.fail_json(msg=str(error), sandbox=error.sandbox, step=error.step, reason=error.reason, **result)
    if result["rc"] != 0:
        reason = f"the command ended with code {result['rc']}"
        module.fail_json(msg=f"{name}: run: {reason}", sandbox=name, step="run", reason=reason, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
