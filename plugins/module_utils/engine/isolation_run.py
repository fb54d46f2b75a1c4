# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of ``sandbox_isolation_info``: the kernel's own decisions about every pair of sandboxes, and about sandboxes and the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..host import processes, selinux
from ..model import isolation
from ..model.errors import OptionError, SandboxError
from ..model.isolation import Subject
from . import observe
from .apply import require_root


def run(parameters: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """What ``sandbox_isolation_info`` returns."""
    del check_mode
    require_root()
    if selinux.mode() == "disabled":
        raise SandboxError("SELinux is disabled on this host: there is no policy to ask, and nothing is separate")
    subjects = [Subject.of(spec) for spec in observe.declared().values()]
    chosen = _chosen(subjects, parameters["name"])
    leaks = [leak for one in subjects for other in subjects if one is not other and (one in chosen or other in chosen)
             for leak in isolation.between(one, other, selinux.granted)]  # fmt: skip
    leaks += [leak for one in chosen for leak in isolation.against_host(one, selinux.granted, selinux.knows)]
    return {
        "changed": False,
        "mode": selinux.mode(),
        "sandboxes": {one.name: _shown(one) for one in chosen},
        "separate": not leaks,
        "leaks": [leak.shown() for leak in leaks],
        "matrix": isolation.matrix(subjects, leaks),
        "host_processes": _host_processes(chosen),
        "questions": isolation.questions(len(subjects)),
    }


def _chosen(subjects: list[Subject], name: str | None) -> list[Subject]:
    known = [one.name for one in subjects]
    if name is not None and name not in known:
        raise OptionError("name", name, f"a sandbox of this host ({', '.join(known) or 'it has none'})")
    return [one for one in subjects if name in (None, one.name)]


def _shown(subject: Subject) -> dict[str, Any]:
    process = subject.label("process")
    return {
        "process": process,
        "content": subject.label("content"),
        "held": isolation.held(subject, selinux.granted),
        "permissive": selinux.decide(process, subject.label("content"), "file", "read")["permissive"],
    }


def _host_processes(chosen: list[Subject]) -> dict[str, dict[str, list[str]]]:
    """What each kind of the host's processes may do with each sandbox's content."""
    types = {one.process_type for one in chosen}
    found: dict[str, dict[str, list[str]]] = {}
    for context in sorted(processes.contexts()):
        if context.split(":")[2] not in types:
            may = {one.name: isolation.content_for(context, one, selinux.granted) for one in chosen}
            if any(may.values()):
                found[context] = {name: granted for name, granted in may.items() if granted}
    return found
