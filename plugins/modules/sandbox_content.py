#!/usr/bin/python

# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sandbox_content
short_description: Build and label the private tree of a sandbox
version_added: 0.1.0
description:
  - Makes the root directory of a sandbox. It holds a read-only skeleton, a private C(/etc), C(/var), C(/home), C(/root)
    and C(/srv), and copies of the named paths of the host. C(/usr) is not in it, for the sandbox shares the host's.
  - C(/etc) begins with a common base and with no secret of the host. Accounts have no passwords.
  - Every file gets its label when it is made. A tree that is there is compared with what its labels should be, and only
    the entries that differ are changed. No symbolic link is followed, whatever root inside the sandbox does meanwhile.
  - A tree appears under its name when it is whole. A run that was interrupted is mended by the next.
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
      - V(absent) removes the tree, if this collection made it and the sandbox is stopped.
    type: str
    choices: [present, absent]
    default: present
  path:
    description:
      - The directory in which the trees of the sandboxes are.
      - A relabel of the host, such as C(restorecon -R) by a package, leaves alone what is in the default. For a tree in another
        place a rule is added that has it left alone too, as with C(semanage fcontext); it goes with the content.
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
  private:
    description:
      - Paths of the host below C(/etc), C(/var), C(/home), C(/root) or C(/srv) that the tree gets a copy of, with
        owner, mode, attributes, access lists, hard links and holes.
      - A path that is no longer named stays in the tree, for it is the sandbox's data by now.
    type: list
    elements: str
    default: []
  clone_of:
    description:
      - Another sandbox of this host. The tree is made as a copy of that one's instead of from the host's files, every
        entry at the level of the new sandbox. What O(private) names and the other lacks is copied from the host.
      - The other sandbox must be stopped, and all of its content at its own level.
      - Left out is what one sandbox is known by. That is machine-id, host name, interfaces, journal, leases and random
        seed, which M(virt.sandbox.sandbox_service) and the sandbox make anew. SSH host keys are replaced by new ones
        of the same kinds. Nothing is replaced within files, and other keys and passwords, as a service's for TLS, are cloned
        with the rest.
      - Units, network and limits are not cloned, for M(virt.sandbox.sandbox_service) declares them. Domain UUID and
        MAC addresses follow from the new name.
      - Looked at only when the tree is made. One that is there is the sandbox's own.
    type: str
  method:
    description:
      - V(directory) has the tree in the file system of the host. V(image) has it in an ext4 file system of its own, in
        the file C(NAME.img) beside where it is mounted by a unit of the host. It bounds the disk space of the sandbox.
      - Content that is there does not change from one to the other. Make a sandbox with O(clone_of) that has the other
        method.
    type: str
    choices: [directory, image]
    default: directory
  size:
    description:
      - The size of the image, such as V(512M), from 32M, for O(method=image). Required when the image is made. By
        default it stays as it is.
      - A larger size than it has grows it, while the sandbox runs or not. It is never made smaller. The file takes
        space of the host as it is filled.
      - A size that is too small for the content is an error before anything is made.
    type: str
  units:
    description:
      - Systemd units, from whose packages private paths are found beside those that O(private) names. These are the packages
        that own the units and what these bring along, with the packages of the same source that they depend on.
      - Of their files below C(/etc), C(/var) and the other private places the tree gets the topmost directories that are the
        service's own, and single files of directories in which many packages have files. It also gets the paths that the
        units themselves name, and what the users as whom they run own in the places for state.
      - A unit that no package has, but an administrator in the host's C(/etc/systemd/system), is copied with what stands
        beside it (C(.d), C(.wants), C(.requires)).
        A unit may also be one of O(files), with its path there.
      - What not everybody on the host may read, and no package brought as it is, stays outside, for it may be a secret of
        the host, such as a key, a log or a database. RV(left_out) names it. What is to be copied nevertheless is named in
        O(private).
      - A template, such as V(foo@), stands for the instance with the name of the sandbox.
    type: list
    elements: str
    default: []
  files:
    description:
      - Files inside that are written as declared, owned by root. Later changes inside are undone by the next run.
      - A file that is no longer declared is removed.
      - Their content is no place for secrets, because it is shown in diffs.
    type: list
    elements: dict
    default: []
    suboptions: &files
      path:
        description: The absolute path inside, below C(/etc), C(/var), C(/home), C(/root) or C(/srv).
        type: str
        required: true
      content:
        description: The text of the file.
        type: str
        default: ''
      mode:
        description: The permissions, in octal digits and in quotes.
        type: raw
        default: '0644'
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
        choices: [present, absent]
        default: present
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
      private:
        description: See O(private).
        type: list
        elements: str
        default: []
      units:
        description: See O(units).
        type: list
        elements: str
        default: []
      files:
        description: See O(files).
        type: list
        elements: dict
        default: []
        suboptions: *files
      clone_of:
        description: See O(clone_of). The other may be one that stands before it in this list.
        type: str
      method:
        description: See O(method).
        type: str
        choices: [directory, image]
        default: directory
      size:
        description: See O(size).
        type: str
  update:
    description:
      - What to do about files of C(/etc) that the host has otherwise than they were when they were copied from it,
        because a package was updated or because somebody edited them. They are returned in RV(outdated).
      - V(report) warns and changes nothing. V(take) brings in those that the sandbox has as they were copied, removes
        those that the host removed, and reports those that were changed on both sides. V(keep) leaves all as it is in
        the sandbox, and reports a file again only when the host's changes again. Use it after merging by hand.
      - A service that runs reads a new file when it is reloaded or restarted.
      - New system accounts of the host are added in any case, without a password. An account that was removed in the
        sandbox stays removed. CA certificates and alternatives are the host's own, the linker's cache as of the
        sandbox's last start.
    type: str
    choices: [report, take, keep]
    default: report
  foreign:
    description:
      - What to do about entries that carry the categories of another level. The sandbox cannot use them.
      - V(report) warns and names them, with the sandbox whose level it is. V(keep) does not warn. V(fix) gives them the
        level of the sandbox. V(fail) fails before anything is changed.
      - Entries without categories, or of another type, are given their label in any case.
    type: str
    choices: [report, fix, fail, keep]
    default: report
seealso:
  - module: virt.sandbox.mcs_label
  - module: virt.sandbox.sandbox_service
"""

EXAMPLES = r"""
- name: The content of a web server's sandbox
  virt.sandbox.sandbox_content:
    name: container1
    level: s0:c1,c2
    private:
      - /etc/apache2
      - /var/www
      - /var/log/apache2

- name: Another one with the same content, to try something in
  virt.sandbox.sandbox_content:
    name: container1-try
    clone_of: container1

- name: A sandbox that can fill no more than a gigabyte of the host's disk
  virt.sandbox.sandbox_content:
    name: container2
    method: image
    size: 1G
    private:
      - /etc/apache2
      - /var/www

- name: Bring in what an update of the package changed in /etc, wherever the sandbox has not changed it
  virt.sandbox.sandbox_content:
    name: container1
    private:
      - /etc/apache2
    update: take

- name: The content of any service's sandbox, from its packages, with a line of configuration of its own
  virt.sandbox.sandbox_content:
    name: cache
    units: [memcached.service]
    files:
      - path: /etc/default/memcached
        content: |
          ENABLE_MEMCACHED=yes

- name: Put right what somebody labelled by hand
  virt.sandbox.sandbox_content:
    name: container1
    foreign: fix
"""

RETURN = r"""
steps:
  description: The names of the steps that were carried out, or would be, by sandbox.
  type: dict
  returned: always
  sample: {"container1": ["record the content as ours", "build the content"]}
foreign:
  description:
    - Entries at another level, by sandbox, with path, context, level and the owner of that level.
    - The owner is V(former container2) for a level that rests in the registry's quarantine, and none for one that nobody has.
  type: dict
  returned: always
  sample: {"container1": [{"path": "/var/www/html/bad", "context": "system_u:object_r:virt_sandbox_file_t:s0:c3,c4",
           "level": "s0:c3,c4", "owner": "container2"}]}
foreign_links:
  description: Entries with a hard link outside the tree, by sandbox. They are never relabelled.
  type: dict
  returned: always
  sample: {}
outdated:
  description: Files that are not as on the host after the run, by sandbox, each with its path and what happened to it.
  type: dict
  returned: always
  sample: {"container1": [{"path": "/etc/apache2/apache2.conf", "state": "changed on the host and in the sandbox"}]}
private:
  description: The private paths of each tree, declared and found.
  type: dict
  returned: always
  sample: {"container1": ["/etc/apache2", "/var/www"]}
left_out:
  description: By sandbox, the paths of the host that stay outside because they may be secrets of the host.
  type: dict
  returned: always
  sample: {"container1": ["/var/log/apache2"]}
paths:
  description: The directory of each tree.
  type: dict
  returned: always
  sample: {"container1": "/var/lib/libvirt/filesystems/container1"}
failures:
  description: What failed, with sandbox, step and reason.
  type: list
  elements: dict
  returned: failure
"""

from ansible_collections.virt.sandbox.plugins.module_utils.engine import content_run, listed
from ansible_collections.virt.sandbox.plugins.module_utils.engine.module import run_module
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ContentRequest, ContentSpec


def main() -> None:
    run_module(listed.arguments((ContentSpec, ContentRequest), (content_run.Run,)), content_run.run)


if __name__ == "__main__":
    main()
