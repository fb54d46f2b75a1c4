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
  private:
    description:
      - Paths of the host below C(/etc), C(/var), C(/home), C(/root) or C(/srv) that are copied into the content, with owner,
        mode, extended attributes, access lists, hard links and holes.
      - A path that is no longer named stays in the content, because it may hold the sandbox's data.
    type: list
    elements: str
    default: []
  units:
    description:
      - Systemd units whose private paths are found from their packages, in addition to O(private). The packages are those
        that own the units and what the units require, and packages of the same source that these depend on.
      - Of their files below C(/etc), C(/var) and the other private places, the content gets the topmost directories that
        belong to the service alone, and single files of directories that many packages share. It also gets the paths that
        the units name, and what the users of the units own among the places for state.
      - A unit of the host's administrator in C(/etc/systemd/system) is copied with its C(.d), C(.wants) and C(.requires)
        directories. A unit may also be one of O(files).
      - 'A file that not everybody on the host may read, and that no package brought as it is, is left out, because it may
        be a secret of the host: a key, a log or a database. RV(left_out) lists such files. Name them in O(private) to copy
        them.'
      - A template, such as V(foo@), stands for the instance with the name of the sandbox.
    type: list
    elements: str
    default: []
  files:
    description:
      - Files inside that are written as declared. Changes made inside are undone by the next run.
      - A file that is no longer declared is removed.
      - Do not put secrets into their content, because diffs show it.
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
        description: 'The permissions, as M(ansible.builtin.copy) takes them. Quote a number, such as V(''0644''): YAML reads
          V(644) as a decimal.'
        type: raw
        default: '0644'
      owner:
        description: The owner, by the name or number that the sandbox has in its C(/etc/passwd).
        type: str
        default: root
      group:
        description: The group, by the name or number that the sandbox has in its C(/etc/group).
        type: str
        default: root
  clone_of:
    description:
      - Another sandbox of this host. The content is made as a copy of that sandbox's content instead of from the host's files,
        with every entry at the level of the new sandbox. Paths of O(private) that the other sandbox lacks are copied from
        the host.
      - The other sandbox must be stopped, and all of its content must be at its own level. It may stand before this one in
        O(sandboxes).
      - 'What identifies a sandbox is not cloned: machine-id, host name, interfaces, journal, leases and random seed. SSH
        host keys are replaced by new ones of the same kinds. Other keys and passwords are cloned with the rest.'
      - Units, network and limits are not cloned. Declare them with M(virt.sandbox.sandbox_service).
      - Only used when the content is created; ignored afterwards.
    type: str
  method:
    description:
      - V(directory) keeps the content in the file system of the host. V(image) keeps it in an ext4 file system of its own,
        in the file C(NAME.img) beside the directory on which a unit of the host mounts it. An image bounds the disk space
        of the sandbox.
      - Existing content cannot be converted. Clone it with O(clone_of) into a sandbox with the other method.
    type: str
    choices:
      - directory
      - image
    default: directory
  size:
    description:
      - The size of the image, such as V(512M); at least 32M. Required when an image is created, and only valid with O(method=image).
        Defaults to the image's present size.
      - A larger size grows the image, also while the sandbox runs. An image never shrinks. The file takes space of the host
        as it is filled.
      - A size that is too small for the content is rejected before anything is changed.
    type: str
  disk:
    description:
      - 'Maximum disk space of the content: a size from V(32M), such as V(10G) (units K, M, G, T of 1024), a percentage of
        the file system that has O(path), such as V(25%), or V(unlimited). What is written beyond it inside fails with "Disk
        quota exceeded" on ext4, and with "No space left on device" on XFS. C(df) inside shows the limit as the size of the
        disk.'
      - The file system must enforce project quotas, which ext4 and XFS can. Otherwise the value is rejected with what is
        to be done. With O(method=image), which O(size) bounds, only V(unlimited) is valid.
      - Defaults to the limit that the content has. New content gets V(50%) of a file system that enforces project quotas;
        on any other it has no limit, and the module warns.
      - A change takes effect at once. Existing content gets its first limit only while the sandbox is stopped. A limit below
        what the content takes is rejected. What O(virt.sandbox.sandbox_service#module:mounts) brings from elsewhere does
        not count.
    type: str
  inodes:
    description:
      - 'Maximum number of files and directories of the content: a number from V(2000), or V(unlimited); no percentage. It
        needs project quotas, and behaves, as O(disk) does.'
      - Defaults to the limit that the content has. New content gets half of what the file system has.
    type: str
  state:
    description: V(absent) removes the content, if this collection made it and the sandbox is stopped.
    type: str
    choices:
      - present
      - absent
    default: present
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
      private:
        description: See O(private).
        type: list
        elements: str
      units:
        description: See O(units).
        type: list
        elements: str
      files:
        description: See O(files).
        type: list
        elements: dict
        suboptions: *files
      clone_of:
        description: See O(clone_of).
        type: str
      method:
        description: See O(method).
        type: str
        choices:
          - directory
          - image
      size:
        description: See O(size).
        type: str
      disk:
        description: See O(disk).
        type: str
      inodes:
        description: See O(inodes).
        type: str
      state:
        description: See O(state).
        type: str
        choices:
          - present
          - absent
      declaration:
        description: See O(declaration).
        type: str
  update:
    description:
      - What to do about files of C(/etc) that have changed on the host since they were copied from it, because a package
        was updated or because somebody edited them. They are returned in RV(outdated).
      - V(report) warns and changes nothing. V(take) updates the files that the sandbox has not changed, removes those that
        the host has removed, and reports those that were changed on both sides. V(keep) keeps the sandbox's files, and reports
        a file again only when it changes on the host again. Use it after merging by hand.
      - A running service reads a new file when it is reloaded or restarted.
      - New system accounts of the host are always added, without a password. An account that was removed in the sandbox stays
        removed. CA certificates and alternatives are the host's own. The linker's cache is that of the sandbox's last start.
    type: str
    choices:
      - report
      - take
      - keep
    default: report
  foreign:
    description:
      - What to do about entries that carry categories which are not the sandbox's. They are returned in RV(foreign), with
        the owner of their level.
      - V(report) warns and leaves them. V(fix) relabels them. V(fail) fails before anything is changed. V(keep) leaves them
        silently.
      - Entries that carry another type, or no category, are always relabelled. So are all entries when the sandbox's level
        has changed.
    type: str
    choices:
      - report
      - fix
      - fail
      - keep
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
  sample: {"container1": ["write the record of the content", "build the content"]}
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
    # the texts of files are not for the host's log; marked as secret they would be cut out of what the module returns, too
    run_module({**listed.arguments((ContentSpec, ContentRequest), (content_run.Run,)), "no_log": True}, content_run.run)


if __name__ == "__main__":
    main()
