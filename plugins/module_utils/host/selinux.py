# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's SELinux: is it enforcing, does the policy know a context, what may one context do to another."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from ansible.module_utils.common.respawn import has_respawned, probe_interpreters_for_module, respawn_module

from ..model.context import Context
from ..model.errors import OptionError, SandboxError
from ..model.mcs import Level
from .binding import required

SYSTEM_INTERPRETERS = ("/usr/libexec/platform-python", "/usr/bin/python3")
_REMEDY = "Run the role virt.sandbox.host, or set require_enforcing: false to run sandboxes that are not separated."


def respawn_with_bindings(*modules: str) -> None:
    """Run the module again under the system's Python, if that has the bindings and this one has not."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if not missing or has_respawned():
        return
    interpreter = probe_interpreters_for_module(SYSTEM_INTERPRETERS, missing[0])
    if interpreter:
        respawn_module(interpreter)


# two levels that are separate, to ask about
_LEVEL, _OTHER = Level.of((0, 1)), Level.of((2, 3))


def binding() -> Any:
    return required("selinux", "python3-selinux (Debian) or python3-libselinux (Fedora)")


def require(process_type: str, file_type: str, level: Level, enforcing: bool = True) -> None:
    """Refuse a host on which a sandbox would not be one; says why and what to do. ``enforcing``: as opposed to one that only records."""
    selinux = binding()
    if selinux.is_selinux_enabled() != 1:
        raise SandboxError(
            "SELinux is disabled on this host, so nothing is labelled, even with require_enforcing: false. Run the role virt.sandbox.host."
        )
    if not enforcing:
        return
    if selinux.security_getenforce() != 1:
        raise SandboxError(f"SELinux is permissive on this host, but must be enforcing. {_REMEDY}")
    require_known("process_type", process_type, Context.process(process_type, _LEVEL))
    require_known("file_type", file_type, Context.object(file_type, _LEVEL))
    require_known("level", str(level), Context.process(process_type, level))
    _require_separation(process_type, file_type)


def require_known(option: str, value: str, context: Context) -> None:
    """Refuse a value that makes a context which the loaded policy does not know."""
    try:
        binding().security_check_context_raw(str(context))
    except OSError as error:
        expected = f"a value that the loaded policy knows, which has no context {context}"
        raise OptionError(option, value, expected, "Run the role virt.sandbox.host.") from error


def knows(context: str) -> bool:
    """Whether SELinux is enabled, and its policy knows a context."""
    selinux = binding()
    try:
        return bool(selinux.is_selinux_enabled() == 1 and selinux.security_check_context_raw(context) == 0)
    except OSError:
        return False


def _require_separation(process_type: str, file_type: str) -> None:
    """The policy must hold the process type, and hold it to its level."""
    process = str(Context.process(process_type, _LEVEL))
    own = decide(process, str(Context.object(file_type, _LEVEL)), "file", "read")
    if own["permissive"]:
        raise OptionError(
            "process_type", process_type, "a type that is not permissive", "List the permissive types with semanage permissive -l."
        )
    if not own["allowed"]:
        raise OptionError("process_type", process_type, f"a type that may read {file_type}")
    if decide(process, str(Context.object(file_type, _OTHER)), "file", "read")["allowed"]:
        raise OptionError(
            "process_type", process_type, "a type that the loaded policy constrains by level (attribute mcs_constrained_type)"
        )


def decide(source: str, target: str, tclass: str, permission: str) -> dict[str, bool]:
    """The kernel's own answer, constraints and booleans included: allowed, and whether the source is permissive."""
    selinux = binding()
    number = selinux.string_to_security_class(tclass)
    decision = selinux.av_decision()
    try:
        selinux.security_compute_av_flags_raw(source, target, number, 0, decision)
    except OSError as error:
        raise SandboxError(f"The kernel does not say what {source} may do to {target} ({tclass}): {error.strerror}") from error
    bit = selinux.string_to_av_perm(number, permission)
    return {
        "allowed": bool(decision.allowed & bit),
        "permissive": bool(decision.flags & selinux.SELINUX_AVD_FLAGS_PERMISSIVE),
    }


def granted(source: str, target: str, tclass: str, permissions: Sequence[str]) -> list[str]:
    """Those of these permissions that the kernel grants, in one question; none in a class or of a context that it does not know."""
    selinux = binding()
    number = selinux.string_to_security_class(tclass)
    if not number:
        return []
    decision = selinux.av_decision()
    try:
        selinux.security_compute_av_flags_raw(source, target, number, 0, decision)
    except OSError:
        return []
    # bit 0 for a permission that the class has not
    return [permission for permission in permissions if decision.allowed & selinux.string_to_av_perm(number, permission)]


def mode() -> str:
    """``enforcing``, ``permissive`` or ``disabled``."""
    selinux = binding()
    if selinux.is_selinux_enabled() != 1:
        return "disabled"
    return "enforcing" if selinux.security_getenforce() == 1 else "permissive"
