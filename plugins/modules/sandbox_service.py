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
  - Runs one or a few systemd units in a libvirt-LXC sandbox. The sandbox shares the host's
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
      - The systemd units to run, from the host's C(/usr/lib/systemd/system), or else from the sandbox's own
        C(/etc/systemd/system), where M(virt.sandbox.sandbox_content) has put the host administrator's or one of its
        O(virt.sandbox.sandbox_content#module:files). At least one, unless there is a O(command).
      - A template, such as V(foo@), runs as the instance with the name of the sandbox. Instances, such as V(foo@bar), stay
        as they are named. C(.service) may be left out.
      - What the units require or want runs too, where there is such a unit. A unit with C(DynamicUser=) runs as a user
        of that name that the sandbox has for good.
      - A unit that is nowhere, or whose program neither C(/usr) nor the content has, is refused too. Check mode warns, for a task
        before this one may have announced to bring it.
      - A unit that is masked on the host, or that needs what no sandbox has, such as a device, a kernel module, a mount or a
        capability, is refused with the reason. A drop-in in the sandbox's own C(/etc/systemd/system) may take that need away.
    type: list
    elements: str
    default: []
  command:
    description:
      - A command to run instead of O(units), as a list of words that no shell looks at. The first is an absolute path.
      - No systemd runs inside. A small first process runs the command, passes C(SIGTERM) and C(SIGHUP) on to it, and ends as
        it ends. What it writes is in the journal of the unit C(NAME_sandbox.service).
      - The unit follows the command. It is active while the command runs, inactive after it ended with code 0, and failed
        after another code, which C(systemctl status) and M(virt.sandbox.sandbox_info) show. A command that ended is started
        again by O(state=started).
      - To stop it, the command gets C(SIGTERM), and is killed if it has not ended after half a minute. To reload it, it gets
        C(SIGHUP).
    type: list
    elements: str
    default: []
  user:
    description:
      - The user as whom O(command) runs, by name or number, with that user's groups. A name must be in the sandbox's own
        C(/etc/passwd).
      - The default is V(root).
    type: str
  group:
    description: The group as which O(command) runs, by name or number. By default that of O(user).
    type: str
  home:
    description:
      - The directory in which O(command) is started, and its C(HOME). By default that of O(user), or C(/) if there is none.
    type: path
  environment:
    description:
      - Variables that the services inside get, as C(DefaultEnvironment=) of the systemd inside, or that O(command) gets.
      - Values are texts of one line. What is true or false for YAML needs quotes.
      - Commands that are run inside by M(virt.sandbox.sandbox_exec) or C(virt-sandbox connect) have an environment of their own.
      - Not for secrets. They would be in the spec file, in the libvirt domain or in C(/etc) inside, and in differences shown.
    type: dict
    default: {}
  capabilities:
    description:
      - Which of the kernel's capabilities the processes inside may have. Names are those of capabilities(7) in lower case, with
        or without C(cap_).
      - By default libvirt takes C(sys_module), C(sys_time), C(mknod), C(audit_control) and C(mac_admin) from a sandbox, and the
        SELinux type V(virt_sandbox_t) denies more, above all C(sys_admin).
      - What is kept is what both leave. No option gives what the SELinux policy denies.
    type: dict
    default: {}
    suboptions: &capabilities
      keep:
        description:
          - The only capabilities that the sandbox keeps.
          - Refused are such as the loaded policy denies O(process_type), for they would not be there, and a list that lacks
            what the systemd inside, its network or the change to O(user) needs.
          - All that libvirt keeps by default.
        type: list
        elements: str
      drop:
        description:
          - Capabilities that the sandbox loses. Mutually exclusive with O(capabilities.keep).
          - Refused are such as the systemd inside, its network or the change to O(user) needs.
        type: list
        elements: str
        default: []
  idmap:
    description:
      - A user namespace, in which root inside is another user on the host. There is none, and every value is refused.
      - libvirt can make one for a container, but the policy denies it (C(virtd_lxc_t) may not C(create) a C(user_namespace)).
        All capabilities inside would be of another SELinux class, C(cap_userns), which sandboxes are not given either, because
        user namespaces open the commonest ways to kernel bugs. And the owners of the whole content would have to be shifted.
    type: dict
  mounts:
    description:
      - What the sandbox sees beside C(/usr) and its own content. Their order is of no account.
      - Places inside that are missing are made, as root's empty directories or files. They stay when a mount is removed.
      - Mounts need a restart. At every start the places are checked, and one that became a link fails the start.
    type: list
    elements: dict
    default: []
    suboptions: &mounts
      type:
        description:
          - V(bind) shows a directory or a file of the host.
          - V(image) mounts the ext4 file system in a file of the host. Everything in it has the label of the sandbox, whatever
            labels it has itself, and none of its set-user-ID bits and devices count.
          - V(ram) is memory, empty at each start. It counts as the sandbox's.
        type: str
        choices: [bind, image, ram]
        default: bind
      source:
        description:
          - The directory, file or image of the host, for O(mounts[].type=bind) and O(mounts[].type=image). No part of the path may
            be a symbolic link, and it may not be above or below C(/proc), C(/sys), C(/dev), the content of sandboxes, or what
            this collection keeps of them.
          - The label of a directory or file to be bound must let the sandbox use it, which the kernel is asked. A source for
            one sandbox has that sandbox's own type and level, which O(mounts[].relabel) gives. One that several are to read has
            a type of C(/usr), such as C(usr_t).
          - An image can be in one sandbox only, unless all have it read-only. Its file needs a label that C(mount) may use, such as
            C(mount_loopback_t) (C(chcon -t mount_loopback_t), and for good C(semanage fcontext)).
        type: str
      target:
        description:
          - The path inside, C(/mnt), C(/media), C(/opt), C(/home), C(/root), C(/srv) or below one of them, C(/etc) or C(/var).
          - Refused are paths that cover, or are below, what this collection puts into C(/etc) and C(/var) itself, and mounts in
            each other.
        type: str
        required: true
      read_only:
        description: Whether nothing can be written, for O(mounts[].type=bind) and O(mounts[].type=image).
        type: bool
        default: false
      relabel:
        description:
          - Whether all that is in the directory O(mounts[].source) gets the label of the sandbox, and is kept so by later runs.
            It is given for good, and taken from whoever could use the directory by another label.
          - Without it no label outside of the sandbox's own content is ever changed.
        type: bool
        default: false
      size:
        description: The most that memory of O(mounts[].type=ram) holds, such as V(64M). Required for it.
        type: str
      mode:
        description: The mode of the directory of O(mounts[].type=ram), in octal digits and in quotes. It is root's. The default is
          V(0755).
        type: raw
  network:
    description:
      - The interfaces C(eth0), C(eth1) and so on. Without one the sandbox has only its loopback.
      - The name of the sandbox stands for its address on the host (in C(/etc/hosts)) and in the libvirt network.
    type: list
    elements: dict
    default: []
    suboptions: &network
      type:
        description:
          - Whether the address comes by DHCP, or from O(network[].addresses).
          - In a libvirt network an address is reserved for the sandbox before it starts, the same for as long as it is there.
        type: str
        choices: [dhcp, static]
        default: dhcp
      source:
        description:
          - The libvirt network. The default is V(default).
          - Mutually exclusive with O(network[].bridge).
        type: str
      bridge:
        description: A bridge of the host that is there already, instead of a libvirt network.
        type: str
      mac:
        description: The MAC address. By default one that follows from the name.
        type: str
      lease:
        description:
          - The IPv4 address that libvirt's DHCP server gives, for O(network[].type=dhcp) in a libvirt network.
          - By default a free one of the network's range that follows from the MAC address.
        type: str
      addresses:
        description: Addresses with their prefix, such as V(192.168.122.10/24), for O(network[].type=static).
        type: list
        elements: str
        default: []
      gateway:
        description: The default route, for O(network[].type=static).
        type: str
      routes:
        description: Further routes.
        type: list
        elements: dict
        default: []
        suboptions:
          to:
            description: The network to which it leads, such as V(10.0.0.0/8).
            type: str
            required: true
          via:
            description: The address of the router, which the interface reaches.
            type: str
            required: true
      nameservers:
        description:
          - The servers to ask for names. By default the host's own in the libvirt network, which also knows the other sandboxes
            in it.
        type: list
        elements: str
        default: []
      filter:
        description:
          - Whether the host drops what the sandbox sends under another MAC or IP address than its own, and what only servers of
            addresses and routes send (DHCP, router advertisements). The host needs nftables for it.
          - It can be changed while the sandbox runs.
          - Where DHCP on a O(network[].bridge) gives the address, only the MAC address is known.
        type: bool
        default: true
      ports:
        description:
          - TCP ports of the host whose connections are handed on to the sandbox while it runs. A change does not restart it.
          - The service inside sees the host's address as that of its client. Where it must know the client, use a bridge.
        type: list
        elements: dict
        default: []
        suboptions:
          host:
            description: The port of the host, which nothing else has.
            type: int
            required: true
          port:
            description: The port inside. By default that of the host.
            type: int
          address:
            description: The address of the host at which it is published. By default all.
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
  wait:
    description: What must be true, beside active units and an address by DHCP, before a sandbox counts as started.
    type: dict
    default: {}
    suboptions: &wait
      ports:
        description: TCP ports on which something inside must listen.
        type: list
        elements: int
        default: []
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
      command:
        description: See O(command).
        type: list
        elements: str
        default: []
      user:
        description: See O(user).
        type: str
      group:
        description: See O(group).
        type: str
      home:
        description: See O(home).
        type: path
      environment:
        description: See O(environment).
        type: dict
        default: {}
      capabilities:
        description: See O(capabilities).
        type: dict
        default: {}
        suboptions: *capabilities
      idmap:
        description: See O(idmap).
        type: dict
      mounts:
        description: See O(mounts).
        type: list
        elements: dict
        default: []
        suboptions: *mounts
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
      wait:
        description: See O(wait).
        type: dict
        default: {}
        suboptions: *wait
  timeout:
    description: How many seconds to wait until the units inside are active and a DHCP interface has its address.
    type: int
    default: 300
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

- name: A program without systemd, as a user of its own, which may use a tenth of a processor and 1 MB/s of the disk
  virt.sandbox.sandbox_service:
    name: worker
    command: [/usr/bin/python3, -m, http.server, --directory, /srv/pages, "8000"]
    user: www-data
    environment:
      PYTHONUNBUFFERED: "1"
    cpus: 0.1
    io:
      devices:
        - device: /dev/vda
          write_bandwidth: 1M
    capabilities:
      keep: [setuid, setgid]
    mounts:
      - source: /data/pages
        target: /srv/pages
        read_only: true
        relabel: true
      - type: ram
        target: /var/cache/worker
        size: 64M
    network:
      - type: static
        addresses: [192.168.122.11/24]
        gateway: 192.168.122.1

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
      description: Its IPv4 and IPv6 addresses. Link-local addresses are left out unless they are declared.
      type: list
      elements: str
      sample: [192.168.122.51]
    units:
      description:
        - The state of each declared unit inside, as C(systemctl is-active) shows it, with two exceptions.
        - V(done) is a unit with C(Type=oneshot) that has run with success. V(skipped) is a unit that systemd did not start because
          a condition of it, such as C(ConditionPathExists=), is not met. Neither is started again.
      type: dict
      sample: {"apache2.service": "active"}
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
WAIT = Option("wait", type="dict", default={}, suboptions=(Option("ports", type="list", elements="int", default=[]),))
STALE = Option("stale", default="ignore", choices=("ignore", "restart"))
TIMEOUT = Option("timeout", type="int", default=300)


def main() -> None:
    run_module(listed.arguments((*SERVICE, STATE, STALE, WAIT), argument_spec((TIMEOUT, *COMMON))), service_run.run)


if __name__ == "__main__":
    main()
