# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module does around its run: find the bindings, run, and turn an error into a failure."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..host import selinux
from ..model.errors import SandboxError
from .apply import unexpected

Runner = Callable[[Mapping[str, Any], bool], dict[str, Any]]


def run_module(keywords: Mapping[str, Any], runner: Runner, bindings: Sequence[str] = ("libvirt", "selinux")) -> None:
    """Run a module whose ``AnsibleModule`` takes these keywords, in a Python that has these bindings if there is one."""
    module = AnsibleModule(**keywords)
    selinux.respawn_with_bindings(*bindings)
    try:
        result = runner(module.params, module.check_mode)
    except SandboxError as error:
        module.fail_json(msg=str(error))
    except Exception as error:  # the last net: nobody is to read a traceback in place of a message
        module.fail_json(msg=unexpected(error), exception=traceback.format_exc())
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)
