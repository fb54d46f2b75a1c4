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
      - The name of the sandbox, 1 to 50 lower-case letters, digits and inner dashes.
      - Mutually exclusive with O(sandboxes).
    type: str
  path:
    description:
      - The directory that holds the content of the sandboxes, each in a directory of its name.
      - A relabel of the host, such as C(restorecon -R) by a package, leaves the default directory alone. For content in another
        directory, M(virt.sandbox.sandbox_content) adds a file-context rule with the same effect. It removes the rule with
        the content.
    type: path
    default: /var/lib/libvirt/filesystems
  level:
    description:
      - The MCS level of the sandbox, such as V(s0:c1,c2), in any spelling.
      - Defaults to the level that O(registry) has for the sandbox.
    type: str
  file_type:
    description: The SELinux type of the content.
    type: str
    default: virt_sandbox_file_t
  units:
    description:
      - The systemd units to run. They are in the host's C(/usr/lib/systemd/system) or in the sandbox's own C(/etc/systemd/system),
        where M(virt.sandbox.sandbox_content) puts units of the host's administrator and its O(virt.sandbox.sandbox_content#module:files).
        At least one is required, unless O(command) is set.
      - A template, such as V(foo@), runs as the instance with the name of the sandbox. Instances, such as V(foo@bar), keep
        their names. C(.service) may be left out.
      - Units that these require or want run too, where they exist. A unit with C(DynamicUser=) runs as a permanent user of
        that name.
      - A unit that does not exist, or whose program is neither in C(/usr) nor in the content, is rejected. Check mode warns
        instead, because an earlier task may bring it.
      - A unit that is masked on the host, or that needs what no sandbox has, such as a device, a kernel module, a mount or
        a capability, is rejected with the reason. A drop-in in the sandbox's own C(/etc/systemd/system) can remove that need.
    type: list
    elements: str
    default: []
  command:
    description:
      - A command to run instead of O(units), as a list of words. No shell interprets them. The first word is an absolute
        path.
      - No systemd runs inside. A small first process runs the command, passes C(SIGTERM) and C(SIGHUP) on to it, and ends
        when it ends. Its output is in the journal of the unit C(NAME_sandbox.service).
      - The unit is active while the command runs, inactive after it ended with code 0, and failed after any other code, which
        C(systemctl status) and M(virt.sandbox.sandbox_info) show. O(state=started) starts a command that has ended again.
      - To stop the sandbox, the command gets C(SIGTERM), and is killed if it has not ended after half a minute. To reload
        it, it gets C(SIGHUP).
    type: list
    elements: str
    default: []
  user:
    description: The user that runs O(command), by name or number. A name must be in the sandbox's own C(/etc/passwd). Defaults
      to V(root).
    type: str
  group:
    description: The group that runs O(command), by name or number. Defaults to the group of O(user).
    type: str
  home:
    description: The directory in which O(command) starts, and its C(HOME). Defaults to the home of O(user), or C(/) if there
      is none.
    type: path
  env:
    description:
      - Environment variables of the services inside (C(DefaultEnvironment=) of the systemd inside), or of O(command).
      - Values are single lines of text. Quote V(true) and V(false).
      - M(virt.sandbox.sandbox_exec) and C(virt-sandbox connect) do not use them.
      - Do not put secrets here. They would be in the spec file, in the definition of the sandbox or in C(/etc) inside, and
        in diffs.
    type: dict
    default: {}
  hostname:
    description:
      - The host name inside, such as V(mail.example.com). C(uname -n) and C(hostname --fqdn) answer it. Defaults to O(name).
      - The host and other sandboxes know the sandbox by its O(name), not by this.
    type: str
  process_type:
    description:
      - The SELinux type of the processes.
      - Defaults to V(virt_sandbox_t), which has neither C(net_admin) nor C(net_raw). Defaults to V(virt_sandbox_net_t), which
        has both, if C(systemd-networkd) runs inside because O(network[].type) of an interface is V(dhcp) or V(static), or
        if O(capabilities.keep) names one of them.
    type: str
  network:
    description:
      - The interfaces C(eth0), C(eth1) and so on. Without one the sandbox has only its loopback interface.
      - The name of the sandbox resolves to its address on the host (C(/etc/hosts)) and in its libvirt network.
    type: list
    elements: dict
    default: []
    suboptions: &network
      type:
        description:
          - Who sets up the interface.
          - With V(managed), the host sets address and routes before the first process of the sandbox runs. Nothing inside
            can change them, and the sandbox has neither C(net_admin) nor C(net_raw). The address is a free one outside the
            DHCP range of the libvirt network, or one that O(network[].addresses) declares. This is the default of the roles.
          - With V(dhcp), C(systemd-networkd) inside asks a DHCP server. With V(static), it sets what O(network[].addresses)
            declares; beside a O(command), the host does. C(systemd-networkd) needs C(net_admin), with which root inside reaches
            more of the kernel.
          - In a libvirt network, the sandbox has its address before it starts, and keeps it until it is removed.
        type: str
        choices:
          - managed
          - dhcp
          - static
        default: dhcp
      source:
        description:
          - The libvirt network. With O(network[].type=managed), it defaults to V(virt-sandbox), which the role P(virt.sandbox.host#role)
            makes. Otherwise it defaults to V(default).
          - Mutually exclusive with O(network[].bridge).
        type: str
      bridge:
        description: An existing bridge of the host, to be used instead of a libvirt network.
        type: str
      mac:
        description: The MAC address. By default it is derived from the sandbox's name.
        type: str
      lease:
        description:
          - The IPv4 address that libvirt's DHCP server gives the interface. Only valid with O(network[].type=dhcp) in a libvirt
            network.
          - By default it is a free address of the network's DHCP range, derived from the MAC address.
        type: str
      addresses:
        description:
          - Addresses with their prefix, such as V(192.168.122.10/24). Not valid with O(network[].type=dhcp).
          - Required with O(network[].type=static). With O(network[].type=managed), they are required on a O(network[].bridge),
            and must be outside the DHCP range of a libvirt network.
        type: list
        elements: str
        default: []
      gateway:
        description:
          - The router of the default route. Not valid with O(network[].type=dhcp).
          - With O(network[].type=managed), it defaults to the host's address in the libvirt network, if that network leads
            further and no earlier interface has a default route.
        type: str
      routes:
        description: Routes beside the default one.
        type: list
        elements: dict
        default: []
        suboptions:
          to:
            description: The network that the route leads to, such as V(10.0.0.0/8).
            type: str
            required: true
          via:
            description: The address of the router. The interface must reach it.
            type: str
            required: true
      nameservers:
        description: The name servers. Defaults to the libvirt network's own, which also knows the names of the other sandboxes
          in it.
        type: list
        elements: str
        default: []
      filter:
        description:
          - Whether the host drops frames that the sandbox sends with a MAC or IP address that is not its own, and messages
            that only DHCP servers and routers send. The host needs nftables for it.
          - A change takes effect while the sandbox runs.
          - Only the MAC address is known, and checked, where a DHCP server on a O(network[].bridge) gives the address.
        type: bool
        default: true
      connections:
        description:
          - 'How many connections that the sandbox opens the host''s kernel keeps track of at a time: of TCP, UDP, ICMP and
            all else. The table of connections is one for all of the host (C(net.netfilter.nf_conntrack_max)), and while it
            is full the host has no new connection either. Defaults to V(4096). V(unlimited) counts none.'
          - New connections above the number are dropped until earlier ones have ended, or have been idle for the time that
            the kernel has for them (C(net.netfilter.nf_conntrack_*_timeout_*)). In a second, an eighth of the number may
            be new, after as many at once as the number says. Connections that others open to the sandbox are not counted,
            and what belongs to a connection that is open is never dropped. M(virt.sandbox.sandbox_info) shows how many packets
            were dropped.
          - A change takes effect while the sandbox runs. The host needs nftables for it.
        type: str
      ports:
        description:
          - TCP ports of the host that are forwarded to the sandbox while it runs. A change does not restart the sandbox.
          - The service inside sees the host's address as the client's. Use a bridge where the service must see the client's
            own address.
        type: list
        elements: dict
        default: []
        suboptions:
          host_port:
            description: The port of the host. Nothing else may listen on it.
            type: int
            required: true
          sandbox_port:
            description: The port inside the sandbox. Defaults to O(network[].ports[].host_port).
            type: int
          address:
            description: The address of the host on which the port is published. Defaults to all addresses.
            type: str
  memory:
    description:
      - 'Maximum memory of the sandbox: a size, such as V(512M); no percentage. It may use no swap. Above it the kernel ends
        processes inside.'
      - V(unlimited) is no limit at all, of this kind or that of O(memory_high). By default there is only O(memory_high),
        because a hard limit ends databases.
    type: str
  memory_high:
    description:
      - 'The memory above which the kernel slows the sandbox down and takes memory back from it, but ends nothing: a size,
        a percentage of the host''s memory, such as V(50%), or V(unlimited).'
      - Defaults to V(50%), and to V(unlimited) where O(memory) is set.
    type: str
  tmpfs:
    description:
      - 'Maximum size of the files in C(/run), C(/tmp) and C(/dev/shm) together, which are kept in memory and count as the
        sandbox''s: a size from V(4M), or a percentage of the host''s memory. V(unlimited) is rejected.'
      - Defaults to V(10%).
    type: str
  cpus:
    description: Maximum processor time, in processors, such as V(0.5). Defaults to no limit.
    type: float
  cpu_weight:
    description:
      - The sandbox's share of the processors while these are busy, from V(1) to V(10000), as C(CPUWeight=) of systemd.
      - Defaults to the kernel's default, V(100), which every other sandbox and service of the host has too.
    type: int
  tasks_max:
    description:
      - 'Maximum number of processes and threads: a number, or a percentage of what the host''s kernel allows in all (C(kernel.threads-max)
        or C(kernel.pid_max), whichever is lower).'
      - Defaults to V(15%), as C(DefaultTasksMax=) of systemd. V(unlimited) leaves only what all sandboxes of the host may
        have together, and the limit of the scope that libvirt and systemd-machined make, 16384 on Debian, which root inside
        can raise.
    type: str
  io:
    description:
      - Limits of what is read from and written to disks. Defaults to no limits.
      - The kernel counts what reaches a disk. A read from the page cache is free, and a write is counted when the kernel
        writes it out.
      - 'A low limit of bandwidth or operations slows down others too: whoever reads the same file of C(/usr) at that moment,
        and whoever waits for the journal of the file system that the sandbox writes to. Keep it above what the sandbox needs.'
    type: dict
    default: {}
    suboptions: &io
      weight:
        description:
          - The sandbox's share of a busy disk, from V(1) to V(10000). The kernel's default is V(100).
          - Rejected on a host whose kernel has neither C(io.cost) nor a disk with the scheduler C(bfq), because it would
            have no effect.
        type: int
      devices:
        description: Limits for single disks.
        type: list
        elements: dict
        default: []
        suboptions:
          device:
            description:
              - A block device of the host such as V(/dev/vda), or a file or directory on one. The limit applies to the whole
                disk below partitions and mapped devices.
              - A path without exactly one disk below it, such as one on C(tmpfs), is rejected.
            type: str
            required: true
          read_bandwidth:
            description: Maximum bytes read per second, such as V(10M) (units K, M, G, T of 1024).
            type: str
          write_bandwidth:
            description: Maximum bytes written per second, such as V(10M).
            type: str
          read_operations:
            description: Maximum read operations per second.
            type: int
          write_operations:
            description: Maximum write operations per second.
            type: int
  capabilities:
    description:
      - Which of the kernel's capabilities the processes inside may have. Names are those of capabilities(7) in lower case,
        with or without C(cap_).
      - By default libvirt takes C(sys_module), C(sys_time), C(mknod), C(audit_control) and C(mac_admin) from a sandbox, and
        the SELinux type denies more, above all C(sys_admin), and also C(net_admin) and C(net_raw) if O(process_type) is V(virt_sandbox_t).
      - The effective set is the intersection of both. No option grants what the SELinux policy denies.
    type: dict
    default: {}
    suboptions: &capabilities
      keep:
        description:
          - The only capabilities that the sandbox keeps. Defaults to those that libvirt keeps.
          - Capabilities that the loaded policy denies to O(process_type) are rejected, and so is a list that lacks what the
            systemd inside, its network or the change to O(user) needs.
        type: list
        elements: str
      drop:
        description:
          - Capabilities that the sandbox loses. Mutually exclusive with O(capabilities.keep).
          - Capabilities that the systemd inside, its network or the change to O(user) needs are rejected.
        type: list
        elements: str
        default: []
  mounts:
    description:
      - What is mounted inside the sandbox in addition to C(/usr) and its own content. The order has no effect.
      - Missing mount points are created as empty directories or files of root. They stay when the mount is removed.
      - A change needs a restart. The mount points are checked at every start. One that became a link makes the start fail.
    type: list
    elements: dict
    default: []
    suboptions: &mounts
      type:
        description:
          - V(bind) shows a directory or file of the host.
          - V(image) mounts the ext4 file system in a file of the host. Everything in it has the sandbox's label, whatever
            labels it has itself. Its set-user-ID bits and device files have no effect.
          - V(ram) is memory that is empty at each start. It counts as the sandbox's memory.
        type: str
        choices:
          - bind
          - image
          - ram
        default: bind
      source:
        description:
          - The directory, file or image of the host. Required with O(mounts[].type=bind) and O(mounts[].type=image).
          - No component of the path may be a symbolic link. The path must not be above or below C(/proc), C(/sys), C(/dev),
            the content of sandboxes, or the collection's own files.
          - The label of a directory or file must let the sandbox use it; the kernel is asked. A source for one sandbox needs
            that sandbox's own type and level, which O(mounts[].relabel) gives it. A source that several sandboxes read needs
            a type that all of them may read, such as C(usr_t).
          - Only one sandbox can have an image, unless all have it read-only. Its file needs a label that C(mount) may read,
            such as C(mount_loopback_t).
        type: str
      target:
        description:
          - 'The path inside: C(/mnt), C(/media), C(/opt), C(/home), C(/root), C(/srv), or a path below one of these, C(/etc)
            or C(/var).'
          - It must not cover, or be below, a path that the collection itself manages, or the target of another mount.
        type: str
        required: true
      read_only:
        description: Whether the sandbox can only read it. Valid with O(mounts[].type=bind) and O(mounts[].type=image).
        type: bool
        default: false
      relabel:
        description:
          - Whether everything in the directory O(mounts[].source) gets the sandbox's label, and is kept so by later runs.
            The change is permanent, and whoever could use the directory by its former label no longer can.
          - Without it, no label outside the sandbox's own content is changed.
        type: bool
        default: false
      size:
        description: The maximum size of a mount of O(mounts[].type=ram), such as V(64M). Required for it.
        type: str
      mode:
        description: The mode of the directory of O(mounts[].type=ram), in octal digits and in quotes. Defaults to V(0755).
          The owner is root.
        type: raw
  autostart:
    description: Whether the sandbox starts when the host boots.
    type: bool
    default: true
  state:
    description:
      - V(present) defines the sandbox and leaves it running or stopped as it is. A running sandbox that differs from what
        is declared is not restarted.
      - V(started) starts it, and restarts it where a change needs a restart. Units that have ended or failed in a running
        sandbox are started.
      - V(stopped) stops it, and tells the services inside to stop. V(restarted) always restarts it.
      - V(reloaded) reloads the units inside, and starts a sandbox that is stopped.
      - V(absent) stops and removes it. Its content stays until M(virt.sandbox.sandbox_content) removes it, and its level
        until M(virt.sandbox.mcs_label) releases it.
    type: str
    choices:
      - present
      - started
      - stopped
      - restarted
      - reloaded
      - absent
    default: started
  stale:
    description:
      - What to do about a sandbox in which a process still uses a file under C(/usr) that has since been replaced, because
        a package was updated. With V(restart), O(state=started) and O(state=reloaded) restart such a sandbox, and no other.
      - M(virt.sandbox.sandbox_info) shows what is stale.
    type: str
    choices:
      - ignore
      - restart
    default: ignore
  wait:
    description: What must be true, beside active units and addresses, before a sandbox counts as started.
    type: dict
    default: {}
    suboptions: &wait
      ports:
        description: TCP ports on which a process inside must listen.
        type: list
        elements: int
        default: []
  upgrade_defaults:
    description: Whether options that the play does not set get today's defaults. An existing sandbox otherwise keeps the
      defaults that it was made with. M(virt.sandbox.sandbox_info) lists the options that have an older default.
    type: bool
    default: false
  declaration:
    description: The id of the run that declares the sandbox, the same in its tasks. M(virt.sandbox.sandbox_content) records
      it, and M(virt.sandbox.sandbox_service) fails where another run has recorded its own since. The roles of this collection
      set it.
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
      path:
        description: See O(path).
        type: path
      level:
        description: See O(level).
        type: str
      file_type:
        description: See O(file_type).
        type: str
      units:
        description: See O(units).
        type: list
        elements: str
      command:
        description: See O(command).
        type: list
        elements: str
      user:
        description: See O(user).
        type: str
      group:
        description: See O(group).
        type: str
      home:
        description: See O(home).
        type: path
      env:
        description: See O(env).
        type: dict
      hostname:
        description: See O(hostname).
        type: str
      process_type:
        description: See O(process_type).
        type: str
      network:
        description: See O(network).
        type: list
        elements: dict
        suboptions: *network
      memory:
        description: See O(memory).
        type: str
      memory_high:
        description: See O(memory_high).
        type: str
      tmpfs:
        description: See O(tmpfs).
        type: str
      cpus:
        description: See O(cpus).
        type: float
      cpu_weight:
        description: See O(cpu_weight).
        type: int
      tasks_max:
        description: See O(tasks_max).
        type: str
      io:
        description: See O(io).
        type: dict
        suboptions: *io
      capabilities:
        description: See O(capabilities).
        type: dict
        suboptions: *capabilities
      mounts:
        description: See O(mounts).
        type: list
        elements: dict
        suboptions: *mounts
      autostart:
        description: See O(autostart).
        type: bool
      state:
        description: See O(state).
        type: str
        choices:
          - present
          - started
          - stopped
          - restarted
          - reloaded
          - absent
      stale:
        description: See O(stale).
        type: str
        choices:
          - ignore
          - restart
      wait:
        description: See O(wait).
        type: dict
        suboptions: *wait
      upgrade_defaults:
        description: See O(upgrade_defaults).
        type: bool
      declaration:
        description: See O(declaration).
        type: str
  timeout:
    description: How many seconds each sandbox may take, from the beginning of its own start, until its units are active and
      its interfaces have their addresses.
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
    env:
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
  sample: {"container1": ["write the unit", "reload systemd", "define the sandbox", "start"]}
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
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ServiceRequest, ServiceSpec


def main() -> None:
    run_module(listed.arguments((ServiceSpec, ServiceRequest), (service_run.Run,)), service_run.run)


if __name__ == "__main__":
    main()
