# Copyright (c) 2026, virt.sandbox contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has which level, in a host's own registry, or in one that hosts have between them."""

from __future__ import annotations

from typing import Any, ClassVar

from ansible_collections.virt.sandbox.plugins.module_utils.engine import label_run
from ansible_collections.virt.sandbox.plugins.module_utils.model.level_request import InfoOptions
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import argument_spec, build
from ansible_collections.virt.sandbox.plugins.plugin_utils.shared_labels import SharedLabels


class ActionModule(SharedLabels):
    keywords: ClassVar = {"argument_spec": argument_spec(InfoOptions)}

    def decide(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """What the shared registry says, beside what this host carries."""
        options = build(InfoOptions, arguments)
        in_use, here, _held = self.ask([*label_run.resting(options, self.host), *options.search])
        return {**label_run.info(options, in_use, here, self.host), "in_use": list(map(label_run.shown, in_use)), "here": sorted(here)}
