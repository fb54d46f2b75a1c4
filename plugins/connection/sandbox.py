# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: sandbox
short_description: Run modules inside a sandbox
version_added: 0.1.0
author:
  - virt.sandbox contributors (@virt-sandbox)
description:
  - Runs commands inside a running sandbox, and copies files into it and out of it. They run in its namespaces and its
    cgroup, with its SELinux type and level. A module can do there what the services of that sandbox can do, and no more.
  - The sandbox needs neither a network nor an ssh server. It is entered through its host, with the command
    C(virt-sandbox) that the role P(virt.sandbox.host#role) installs there.
  - The host is reached by P(ansible.builtin.ssh#connection), whose options and variables all apply, such as
    C(ansible_user), C(ansible_port), C(ansible_ssh_private_key_file), C(ansible_ssh_common_args) or
    C(ansible_ssh_pipelining). A sandbox of the controller itself has V(localhost) for its host, and is entered by
    P(ansible.builtin.local#connection).
notes:
  - Inside, the user is root. A task with C(become) and another C(become_user) needs a become plugin whose program is
    there inside, which is C(su) on most systems.
  - Pipelining (C(ansible_pipelining=true)) makes a task on a remote sandbox several times as fast.
  - Modules run under the Python that the sandbox sees. Where it shares the host's C(/usr), that is the host's.
options:
  sandbox_name:
    description:
      - Name of the sandbox.
      - Without it, the name in the inventory up to its first dot, so that C(container1.lab12) is the sandbox
        C(container1).
    type: str
    vars:
      - name: inventory_hostname_short
      - name: ansible_sandbox_name
  sandbox_host:
    description:
      - The address of the host of the sandbox, or its name in ssh's configuration. It is required.
      - V(localhost), and nothing else, is the controller itself.
    type: str
    vars:
      - name: ansible_host
      - name: ansible_sandbox_host
    env:
      - name: ANSIBLE_SANDBOX_HOST
    ini:
      - section: sandbox_connection
        key: host
  sandbox_sudo:
    description:
      - What is put in front of the command on the host to become root there, if the user is not root already.
      - It must not ask for a password. An empty one is for a host whose own means let this user in.
    type: str
    default: sudo -n
    vars:
      - name: ansible_sandbox_sudo
    env:
      - name: ANSIBLE_SANDBOX_SUDO
    ini:
      - section: sandbox_connection
        key: sudo
  sandbox_executable:
    description: The command on the host that enters a sandbox.
    type: path
    default: /usr/local/sbin/virt-sandbox
    vars:
      - name: ansible_sandbox_executable
    env:
      - name: ANSIBLE_SANDBOX_EXECUTABLE
    ini:
      - section: sandbox_connection
        key: executable
"""

EXAMPLES = r"""
# An inventory of two sandboxes of one host:
#
# sandboxes:
#   vars:
#     ansible_connection: virt.sandbox.sandbox
#     ansible_host: lab12.example.com
#     ansible_user: alice
#     ansible_pipelining: true
#   hosts:
#     container1:
#     container2.lab12:
#
- name: The page of a web server inside
  hosts: container1
  gather_facts: false
  tasks:
    - name: Put the page
      ansible.builtin.copy:
        content: Hello
        dest: /var/www/html/index.html
        mode: '0644'

    - name: Reload the server
      ansible.builtin.systemd_service:
        name: apache2
        state: reloaded
"""

import os
import shlex
from collections.abc import Iterator
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.plugins.connection import ConnectionBase
from ansible.plugins.loader import connection_loader
from ansible.utils.display import Display
from ansible_collections.virt.sandbox.plugins.module_utils.model.values import printable

display = Display()

# A file goes in pieces: the transports keep what they carry in memory, and gather what comes back slowly.
PUT_BLOCK = 16 * 1024 * 1024
FETCH_BLOCK = 4 * 1024 * 1024
CANNOT_ENTER = 125
NOT_FOUND = 127
# bytes of an answer in which the reason of a failed entry is looked for: it is all that such an answer has
REASON = 65536


class Connection(ConnectionBase):
    """A way into a sandbox through the way to its host.

    ``ssh_type_conn`` is that other plugin, under the name by which Ansible looks for one to give it its own options.
    """

    transport = "virt.sandbox.sandbox"
    has_pipelining = True
    # as whom everything runs inside, whoever comes to the host
    default_user = "root"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arguments = args, kwargs
        self.ssh_type_conn: Any = None

    def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)
        kind = "ansible.builtin.local" if self._is_local() else "ansible.builtin.ssh"
        if self.ssh_type_conn is None or self.ssh_type_conn.transport != kind.rpartition(".")[2]:
            arguments, keywords = self._arguments
            self.ssh_type_conn = connection_loader.get(kind, *arguments, **keywords)
        self.ssh_type_conn.set_options(task_keys=task_keys, var_options=var_options, direct=direct)

    def _address(self) -> str:
        address = str(self.get_option("sandbox_host") or "")
        if not address:
            raise AnsibleError("ansible_sandbox_host: expected the address of the sandbox's host, or localhost for the controller.")
        return address

    def _is_local(self) -> bool:
        return self._address() == "localhost"

    def _name(self) -> str:
        name = self.get_option("sandbox_name")
        if not name:
            raise AnsibleError("ansible_sandbox_name: required. Set it to the name of the sandbox.")
        return str(name)

    def _way(self) -> Any:
        """The plugin to the host, as this task needs it: all of that may have been set since the last one."""
        way = self.ssh_type_conn
        way.set_become_plugin(self.become)
        way._play_context = self._play_context
        if not self._is_local():
            way.set_option("host", self._address())
        return way

    def _connect(self) -> Connection:
        return self

    def is_pipelining_enabled(self, wrap_async: bool = False) -> bool:
        return bool(self._way().is_pipelining_enabled(wrap_async))

    def _wrapped(self, command: str) -> str:
        """The command for the host: enter the sandbox, as root."""
        executable = self._play_context.executable or "/bin/sh"
        words = [self.get_option("sandbox_executable"), "exec", self._name(), "--", executable, "-c", command]
        plain = shlex.join(words)
        sudo = (self.get_option("sandbox_sudo") or "").strip()
        user = self._user()
        if not sudo or user == "root":
            return plain
        if user:
            return f"{sudo} {plain}"
        # the user is up to ssh's configuration
        return f'if [ "$(id -u)" = 0 ]; then exec {plain}; else exec {sudo} {plain}; fi'

    def _user(self) -> str:
        """The user on the host, as far as it is known."""
        if self._is_local():
            return "root" if os.geteuid() == 0 else "user"
        return str(self.ssh_type_conn.get_option("remote_user") or "")

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a command inside."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        display.vvv(f"EXEC in sandbox {self._name()}: {cmd}", host=self._address())
        code, output, errors = self._way().exec_command(self._wrapped(cmd), in_data=in_data, sudoable=sudoable)
        self._check(code, output, errors)
        return code, output, errors

    def _check(self, code: int, output: bytes, errors: bytes) -> None:
        """A failure on the way in is none of the command's: what could not be reached is unreachable."""
        if code not in (1, CANNOT_ENTER, NOT_FOUND):
            return
        # with a terminal, errors come with the output
        lines = [line.rstrip() for text in (errors, output) for line in text[:REASON].decode(errors="replace").split("\n")]
        executable = self.get_option("sandbox_executable")
        said = [line for line in lines if line.startswith("virt-sandbox: ")]
        missing = [line for line in lines if f"{executable}: " in line]
        refused = [line for line in lines if line.startswith("sudo: ")]
        if code == CANNOT_ENTER and said:
            reason = said[0].partition(": ")[2]
        elif code in (1, NOT_FOUND) and missing:
            reason = f"{missing[0]}. Run the role virt.sandbox.host, which installs it."
        elif code == 1 and refused and self.become is None and self._user() != "root":
            reason = f"{refused[0]}. Set ansible_sandbox_sudo to a command that becomes root on the host."
        else:
            return
        raise AnsibleConnectionFailure(f"sandbox {self._name()} on {self._address()} cannot be entered: {printable(reason)}")

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file into the sandbox."""
        super().put_file(in_path, out_path)
        display.vvv(f"PUT {in_path} TO {out_path} in sandbox {self._name()}", host=self._address())
        if not os.path.exists(in_path):
            raise AnsibleFileNotFound(f"File {in_path} does not exist on the controller.")
        target = shlex.quote(out_path)
        for offset, block in _blocks(in_path):
            if not offset:
                # the transport has no way to say that nothing comes, so that nothing may be waited for
                command = f"cat >{target}" if block else f": >{target}"
            else:
                # at its offset, and not appended: a transport that tries again must not do harm
                command = f"dd of={target} bs={PUT_BLOCK} iflag=fullblock seek={offset // PUT_BLOCK} conv=notrunc"
            self._transfer(command, f"copying {in_path} to {out_path}", block)

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file out of the sandbox."""
        super().fetch_file(in_path, out_path)
        display.vvv(f"FETCH {in_path} TO {out_path} from sandbox {self._name()}", host=self._address())
        number = 0
        with open(out_path, "wb") as file:
            while True:
                command = f"dd if={shlex.quote(in_path)} bs={FETCH_BLOCK} count=1 iflag=fullblock skip={number}"
                block = self._transfer(command, f"fetching {in_path}")
                file.write(block)
                if len(block) < FETCH_BLOCK:
                    return
                number += 1

    def _transfer(self, command: str, what: str, data: bytes | None = None) -> bytes:
        # not sudoable: no terminal may change the bytes
        way = self._way()
        code, output, errors = way.exec_command(self._wrapped(command), in_data=data or None, sudoable=False)
        self._check(code, b"", errors)
        if code != 0:
            reason = printable(errors[:REASON].decode(errors="replace").strip())
            raise AnsibleError(f"sandbox {self._name()}: {what} failed: {reason or code}")
        return bytes(output)

    def reset(self) -> None:
        """Let the connection to the host be made anew."""
        self._way().reset()

    def close(self) -> None:
        """End the connection."""
        if self.ssh_type_conn is not None:
            self.ssh_type_conn.close()
        self._connected = False


def _blocks(path: str) -> Iterator[tuple[int, bytes]]:
    """The file in pieces, with their offsets; one empty piece for an empty file."""
    offset = 0
    with open(path, "rb") as file:
        while True:
            block = file.read(PUT_BLOCK)
            if block or not offset:
                yield offset, block
            if len(block) < PUT_BLOCK:
                return
            offset += len(block)
