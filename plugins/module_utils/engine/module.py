# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module does around its run: find the bindings, run, and turn an error into a failure."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

from ..host import selinux
from ..model.errors import SandboxError
from ..model.values import inert, printable
from .apply import unexpected

Runner = Callable[[Mapping[str, Any], bool], dict[str, Any]]


def run_module(keywords: Mapping[str, Any], runner: Runner, bindings: Sequence[str] = ("libvirt", "selinux")) -> None:
    """Run a module whose ``AnsibleModule`` takes these keywords, in a Python that has these bindings if there is one."""
    module = AnsibleModule(**keywords)
    selinux.respawn_with_bindings(*bindings)
    try:
        result = runner(module.params, module.check_mode)
    except SandboxError as error:
        fail(module, str(error))
    except Exception as error:  # the last net: nobody is to read a traceback in place of a message
        fail(module, unexpected(error), {"exception": traceback.format_exc()})
    for warning in result.pop("warnings", ()):
        module.warn(printable(warning))
    if result.get("failed"):
        fail(module, result.pop("msg"), result)
    succeed(module, result)


# The gate: whatever a module returns passes one of these two, for much of it was written by root inside a sandbox.


def succeed(module: AnsibleModule, result: Mapping[str, Any]) -> NoReturn:
    """End a module that has done its work."""
    module.exit_json(**inert(result))
    raise AssertionError("exit_json returned")


def fail(module: AnsibleModule, message: str, result: Mapping[str, Any] | None = None) -> NoReturn:
    """End a module that has failed; the message is shown as one line."""
    module.fail_json(msg=printable(message), **inert(result or {}))
    raise AssertionError("fail_json returned")
