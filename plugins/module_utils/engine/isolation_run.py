# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of ``sandbox_isolation_info``: what a policy decides about every pair of sandboxes, and about sandboxes and the host.

The policy is the one that the kernel here enforces, or one in a file; the sandboxes are those of this host, or those of a play.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ..host import policy_rules, processes, selinux
from ..host.policy_file import PolicyFile
from ..model import isolation
from ..model.errors import SandboxError
from ..model.isolation import Judge, Leak, Subject
from ..model.options import build, option
from ..model.spec import Separation, ServiceSpec
from . import listed
from .apply import require_root
from .declared import Declared, declared


@dataclasses.dataclass(frozen=True)
class Run:
    """What ``sandbox_isolation_info`` is asked."""

    name: str | None = option(help="One sandbox, which is compared with every other one. Defaults to all pairs.")
    policy: str | None = option(
        type="path",
        help="""
            The file of a compiled policy to ask instead of the kernel, such as a copy of
            C(/etc/selinux/default/policy/policy.33) of a host that the role P(virt.sandbox.host#role) has prepared.

            Booleans have the values that the file gives them. Types that were made permissive are not known.
            """,
    )  # fmt: skip
    sandboxes: tuple[Separation, ...] | None = option(
        type="list", elements="dict", of=Separation,
        help="""
            The sandboxes to ask about. They need not exist. Defaults to the sandboxes of the host.

            The filter P(virt.sandbox.sandbox_options#filter) with V(isolation) makes them from those that an inventory declares.
            """,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Policy:
    """Who answers: which of some permissions are granted, and whether a context is known."""

    granted: Judge
    knows: Callable[[str], bool]


def run(parameters: Mapping[str, Any], _check_mode: bool) -> dict[str, Any]:
    """What ``sandbox_isolation_info`` returns."""
    asked = build(Run, parameters)
    path = asked.policy
    policy = _of_the_kernel() if path is None else _of_a_file(path)
    own = _own() if asked.sandboxes is None else Declared({})
    subjects = _subjects(own.specs.values() if asked.sandboxes is None else asked.sandboxes)
    known = list(dict.fromkeys(subject.name for subject in subjects))
    names = listed.chosen(asked.name, known, "this host" if asked.sandboxes is None else "the play")
    chosen = [subject for subject in subjects if subject.name in names]
    for subject in chosen:
        _require_known(subject, policy)
    pairs = [
        (subject, other)
        for subject in subjects
        for other in subjects
        if subject.name != other.name and (subject in chosen or other in chosen)
    ]
    leaks = [leak for subject, other in pairs for leak in isolation.between(subject, other, policy.granted)]
    leaks += [leak for subject in chosen for leak in isolation.against_host(subject, policy.granted, policy.knows)]
    leaks = _with_booleans(list(dict.fromkeys(leaks)), subjects, path or policy_rules.LOADED)
    kernel = _of_this_kernel(chosen) if path is None else {"mode": "enforcing", "permissive": []}
    return {
        "changed": False,
        "sandboxes": {name: _shown([subject for subject in chosen if subject.name == name], policy) for name in names},
        # what is only recorded keeps nobody out, and of a sandbox whose spec cannot be read nothing is known
        "separate": not (leaks or kernel["permissive"] or own.damaged) and kernel["mode"] == "enforcing",
        "warnings": own.warnings(),
        "leaks": [leak.shown() for leak in leaks],
        "matrix": isolation.matrix(names, pairs, leaks),
        "questions": isolation.questions(len(pairs), len(chosen)),
        **(kernel if path is None else {}),
    }


def _of_the_kernel() -> Policy:
    require_root()
    if selinux.mode() == "disabled":
        raise SandboxError(
            "SELinux is disabled on this host, so nothing is separate and no policy is loaded. Set policy to ask a policy in a file."
        )
    return Policy(selinux.granted, selinux.knows)


def _of_a_file(path: str) -> Policy:
    policy = PolicyFile(path)
    return Policy(policy.granted, policy.knows)


def _own() -> Declared:
    require_root()
    return declared()


def _subjects(specs: Collection[ServiceSpec | Separation]) -> list[Subject]:
    listed.check_once(spec.name for spec in specs)
    return [subject for spec in specs for subject in Subject.of(spec)]


def _with_booleans(leaks: Sequence[Leak], subjects: Sequence[Subject], path: str) -> list[Leak]:
    """Those that types grant, and these only while a boolean is as it is, say so."""
    types = {name: {subject.process_type for subject in subjects if subject.name == name} for name in {leak.source for leak in leaks}}
    grants = {leak: [grant for each in types[leak.source] for grant in leak.grants(each)] for leak in leaks if leak.of_types}
    conditions = policy_rules.conditions(path, {grant for of_leak in grants.values() for grant in of_leak}) if grants else {}
    return [leak.while_booleans([conditions.get(grant, "") for grant in grants.get(leak, ())]) for leak in leaks]


def _require_known(subject: Subject, policy: Policy) -> None:
    """A policy that does not know a sandbox's labels grants nothing on them, which is no separation."""
    for which in ("process", "content", "cgroup"):
        label = subject.label(which)
        if not policy.knows(label):
            raise SandboxError(f"{subject.name}: the policy does not know the context {label}. Run the role virt.sandbox.host.")


def _shown(subjects: Sequence[Subject], policy: Policy) -> dict[str, Any]:
    return {
        "process": subjects[0].label("process"),
        "content": subjects[0].label("content"),
        "held": all(isolation.held(subject, policy.granted) for subject in subjects),
    }


def _of_this_kernel(chosen: Sequence[Subject]) -> dict[str, Any]:
    """What only the kernel that runs can say."""
    asked = [(subject, selinux.decide(subject.label("process"), subject.label("content"), "file", "read")) for subject in chosen]
    return {
        "mode": selinux.mode(),
        "permissive": list(dict.fromkeys(subject.name for subject, answer in asked if answer["permissive"])),
        "host_processes": _host_processes(chosen),
    }


def _host_processes(chosen: Sequence[Subject]) -> dict[str, dict[str, list[str]]]:
    """What each kind of the host's processes may do with each sandbox's content."""
    types = {subject.process_type for subject in chosen}
    by_context: dict[str, dict[str, list[str]]] = {}
    for context in sorted(processes.contexts()):
        if context.split(":")[2] not in types:
            may = {subject.name: isolation.content_for(context, subject, selinux.granted) for subject in chosen}
            if any(may.values()):
                by_context[context] = {name: granted for name, granted in may.items() if granted}
    return by_context
