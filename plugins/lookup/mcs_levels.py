# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The levels in a lock file, for the checks of the repository that has it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mcs_levels
short_description: The levels in a lock file, if a run would take it
version_added: 0.1.0
description:
  - Reads a registry in a YAML file as M(virt.sandbox.mcs_label) does, and fails as that does. It asks no host.
  - It fails where two levels are not separate, of owners or in quarantine, where a key is there twice, as a merge of two
    branches can leave it, and where anything is no level. All pairs that are not separate are named at once.
author:
  - virt.sandbox contributors (@virt-sandbox)
requirements:
  - PyYAML on the controller
options:
  _terms:
    description: Paths of lock files.
    type: list
    elements: path
    required: true
seealso:
  - module: virt.sandbox.mcs_label
"""

EXAMPLES = r"""
- name: See that a run would take the lock file
  ansible.builtin.debug:
    msg: "{{ lookup('virt.sandbox.mcs_levels', 'levels.lock.yml') | length }} levels"
"""

RETURN = r"""
_list:
  description: For each file, the level of each owner.
  type: list
  elements: dict
"""

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.virt.sandbox.plugins.module_utils.host.level_file import FileStore
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError
from ansible_collections.virt.sandbox.plugins.module_utils.model.registry import Registry


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[dict[str, str]]:
        self.set_options(var_options=variables, direct=kwargs)
        return [self._levels(term, variables or {}) for term in terms]

    def _levels(self, term: str, variables: dict[str, Any]) -> dict[str, str]:
        path = self.find_file_in_search_path(variables, "files", term, ignore_missing=True)
        if not path:
            raise AnsibleLookupError(f"mcs_levels: file {term} does not exist. Name a registry in a YAML file.")
        try:
            return {owner: str(level) for owner, level in Registry(FileStore(path)).owners().items()}
        except SandboxError as error:
            raise AnsibleLookupError(f"mcs_levels: {error}") from error
