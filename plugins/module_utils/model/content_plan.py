# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a sandbox's content is to be and what was seen of it to the steps between the two."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from . import disk, image, layout
from .backend import BACKENDS, Stored
from .content_steps import (
    AddAccounts,
    BuildContent,
    ChangeRules,
    CopyPath,
    ForgetContent,
    KeepOwn,
    Labelled,
    LimitDisk,
    MakePlace,
    Relabel,
    RemoveContent,
    RemoveFiles,
    Source,
    TakeNewer,
    WriteFiles,
    Written,
)
from .context import Context
from .errors import ConflictError, ContentError, OptionError
from .mcs import Level, LevelError, LevelRange
from .outdated import BOTH, Accounts, Outdated
from .plan import Plan
from .spec import ContentSpec, FileEntry
from .steps import WriteFile
from .values import number_of, printable

# above that is -1, which means no change

FOREIGN = ("report", "fix", "fail", "keep")


@dataclasses.dataclass(frozen=True)
class Observed:
    """A content tree as its host has it."""

    manifest: Mapping[str, Any] | None = None
    stored: Stored = dataclasses.field(default_factory=Stored)
    half_made: bool = False
    top_context: str | None = None
    running: bool = False
    missing: Sequence[str] = ()  # paths of the host that are private and not in the tree
    left_out: Sequence[str] = ()  # paths of the host that stay outside, for they may be secrets
    missed: Sequence[str] = ()  # of these, what a unit names, and configuration that was changed since its package brought it
    files: Mapping[str, Written] = dataclasses.field(default_factory=dict)  # declared files that are there
    # the users and groups inside, or that will be: name -> number
    users: Mapping[str, str] = dataclasses.field(default_factory=dict)
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)
    directories: Sequence[str] = ()  # declared files where a directory stands
    unmounted: Sequence[str] = ()  # paths of the host that it follows and has no place for
    unknown: Sequence[str] = ()  # private paths that the host does not have
    mislabelled: Sequence[Labelled] = ()
    foreign_links: Sequence[str] = ()
    owners: Mapping[Level, str] = dataclasses.field(default_factory=dict)  # who has a level
    needed: disk.Limits = disk.Limits()  # what the content that is to be built takes, where that is bounded
    volume: disk.Volume = disk.Volume()  # the file system that it is in
    source: Source | None = None  # looked at only where there is no tree yet
    outdated: Sequence[Outdated] = ()
    accounts: Accounts = dataclasses.field(default_factory=Accounts)

    @property
    def exists(self) -> bool:
        return self.stored.exists


def manifest(spec: ContentSpec) -> dict[str, Any]:
    """What is recorded of a tree: that it is ours, and where."""
    record = {"format": 1, "name": spec.name, "path": spec.paths.root}
    # what a play declared and no longer does is removed
    files = {"files": sorted(file.path for file in spec.files)} if spec.files else {}
    return {**record, **files}


def no_longer_declared(spec: ContentSpec, record: Mapping[str, Any] | None) -> list[str]:
    """The files that a play declared before."""
    return sorted(set((record or {}).get("files", ())) - {file.path for file in spec.files})


def foreign(
    spec: ContentSpec, entries: Sequence[Labelled], owners: Mapping[Level, str], top_context: str | None = None
) -> list[dict[str, Any]]:
    """The entries that carry categories which are not the sandbox's, with the owner of their level.

    ``top_context``: that of the tree.
    """
    return [
        {
            "path": f"/{printable(entry.path)}",
            "context": entry.actual,
            "level": str(level_of(entry.actual)),
            "owner": owners.get(level_of(entry.actual) or Level()),
        }
        for entry in _strangers(spec, entries, owners, top_context)
    ]


def _strangers(spec: ContentSpec, entries: Sequence[Labelled], owners: Mapping[Level, str], top_context: str | None) -> list[Labelled]:
    own = {spec.level, _former(spec, owners, top_context)}
    return [entry for entry in entries if (level := level_of(entry.actual)) and level not in own]


def _former(spec: ContentSpec, owners: Mapping[Level, str], top_context: str | None) -> Level | None:
    """The level of the tree from before the sandbox was given another; that of the tree's top, unless it is somebody else's."""
    level = level_of(top_context)
    others = [owned for owned, owner in owners.items() if owner not in (spec.name, f"former {spec.name}")]
    return level if level and not any(level.conflicts(owned) for owned in others) else None


def level_of(context: str | None) -> Level | None:
    """The level of a context that a file carries; nothing where it is none."""
    try:
        return LevelRange.of_context(context).high if context else None
    except LevelError:
        return None


def check(spec: ContentSpec, observed: Observed, foreign_mode: str, to_come: bool = False) -> None:
    """Refuse, before anything changes, what is not ours or cannot be made; ``to_come``: the accounts of the host may grow before."""
    root = spec.paths.root
    _check_ours(spec, observed)
    if observed.source and not observed.exists:
        _check_source(observed.source)
    _check_method(spec, observed)
    if observed.unknown:
        error = ContentError if observed.exists else OptionError
        raise error("private", list(observed.unknown), "paths that exist on the host", "Check that the package is installed.")
    if observed.directories:
        number = [file.path for file in spec.files].index(observed.directories[0])
        error = ContentError if observed.exists else OptionError
        raise error(f"files[{number}].path", observed.directories[0], "a path that is not a directory inside the sandbox")
    if not to_come:
        check_owners(spec, observed)
    relabelled = observed.top_context not in (None, str(Context.object(layout.ROOT_TYPE, spec.level)))
    former = _former(spec, observed.owners, observed.top_context)
    if observed.exists and relabelled and observed.running and former:
        raise OptionError("level", str(spec.level), f"{former} while the sandbox runs", "Stop the sandbox to change its level.")
    strangers = foreign(spec, observed.mislabelled, observed.owners, observed.top_context)
    if strangers and foreign_mode == "fail":
        first = strangers[0]
        owner = f" of {first['owner']}" if first["owner"] else ""
        raise ConflictError(
            f"foreign: {len(strangers)} entries of {root} are at another level, such as {first['path']} at {first['level']}{owner}. "
            "Remove them, or set foreign: fix to relabel them."
        )


def check_owners(spec: ContentSpec, observed: Observed) -> None:
    """Owners and groups of declared files that the sandbox does not have."""
    for number, file in enumerate(spec.files):
        for name, value, known, where in (
            ("owner", file.owner, observed.users, "/etc/passwd"), ("group", file.group, observed.groups, "/etc/group"),
        ):  # fmt: skip
            if number_of(value, known) is None:
                error = ContentError if observed.exists else OptionError
                raise error(f"files[{number}].{name}", value, f"a number, or a name in the sandbox's own {where}")


def _check_method(spec: ContentSpec, observed: Observed) -> None:
    if observed.exists and observed.stored.method != spec.method:
        raise OptionError(
            "method", spec.method, f"{observed.stored.method}, the method of the existing content of {spec.name}",
            "Remove the content, or clone it into another sandbox.",
        )  # fmt: skip
    BACKENDS[spec.method].check(spec, observed.stored, observed.needed.disk)
    disk.check(spec, observed.volume, observed.exists, observed.running, observed.needed)


def _check_source(source: Source) -> None:
    name = source.name
    if source.root is None:
        raise OptionError("clone_of", name, f"a sandbox that has content ({', '.join(source.known) or 'none has'})")
    if source.running:
        raise OptionError("clone_of", name, "a stopped sandbox", f"Stop the sandbox {name} first.")
    if source.strangers:
        paths = ", ".join(source.strangers[:3])
        raise OptionError(
            "clone_of", name, "a sandbox whose content is all at its own level", f"Entries at another level in {source.root}: {paths}."
        )


def _check_ours(spec: ContentSpec, observed: Observed) -> None:
    name, root = spec.name, spec.paths.root
    if observed.stored.unit_text is not None and not image.is_ours(observed.stored.unit_text):
        raise ConflictError(f"path: {spec.paths.mount_path} was not created by this collection. Choose another name, or remove it.")
    if observed.manifest is not None and observed.manifest["path"] != root:
        raise ConflictError(
            f"path: the content of {name} is in {observed.manifest['path']}, not in {root}. "
            "Name that path, or remove the content there first."
        )
    if observed.exists and observed.manifest is None:
        raise ConflictError(f"path: {root} exists, but this collection did not create it. Choose another name or path, or move it away.")


def plan_content(spec: ContentSpec, state: str, observed: Observed, foreign_mode: str, update: str = "report") -> Plan:
    """The steps that make a content tree what ``spec`` and ``state`` say."""
    if state == "absent":
        return _plan_absent(spec, observed)
    plan = Plan()
    name, record = spec.name, manifest(spec)
    gone = no_longer_declared(spec, observed.manifest)
    backend = BACKENDS[spec.method]
    if observed.exists:  # before anything is done in it
        plan.add(*backend.plan_available(spec, observed.stored))
    if gone and observed.exists:
        plan.add(RemoveFiles(name, spec.paths.root, gone))
    if observed.manifest != record:
        text = json.dumps(record, sort_keys=True) + "\n"
        plan.add(WriteFile(name, "the record of the content", spec.paths.manifest, text, 0o600, observed.manifest, record))
    if not observed.exists:
        plan.add(_build(spec, observed), *backend.plan_available(spec, Stored(spec.method)))
        return plan
    if observed.stored.readable:  # else what is in it shows when it is mounted
        if observed.accounts:  # whose files may be
            plan.add(AddAccounts(name, spec, observed.accounts))
        _plan_limits(plan, spec, observed.volume)
        _plan_inside(plan, spec, observed, gone)
        _plan_labels(plan, spec, observed, foreign_mode)
        _plan_update(plan, spec, observed.outdated, update)
    return plan


def _plan_inside(plan: Plan, spec: ContentSpec, observed: Observed, gone: Sequence[str]) -> None:
    """What of the host and of the play is missing in content that is there."""
    # what was a file of the play and is a private path too is the host's again
    missing = sorted({*observed.missing, *gone} & {*observed.missing, *spec.private})
    plan.add(*(CopyPath(spec.name, spec, path, list(observed.left_out)) for path in missing))
    files = changed_files(spec, observed)
    if files:
        before = {file.path: observed.files[file.path] for file in files if file.path in observed.files}
        plan.add(WriteFiles(spec.name, spec, files, before, {file.path: _as_declared(file, observed) for file in files}))
    plan.add(*(MakePlace(spec.name, spec, path) for path in observed.unmounted))


def _plan_limits(plan: Plan, spec: ContentSpec, volume: disk.Volume) -> None:
    limits = disk.wanted(spec, volume, True)
    if limits != volume.limits:
        plan.add(LimitDisk(spec.name, spec, volume.limits, limits, not volume.project))


def plan_rules(add: Mapping[str, str], remove: Mapping[str, str]) -> Plan:
    """One step for all rules by which the labels of content stay: each root with its sandbox."""
    if not add and not remove:
        return Plan()
    return Plan([ChangeRules(min([*add.values(), *remove.values()]), sorted(add), sorted(remove))])


def changed_files(spec: ContentSpec, observed: Observed) -> list[FileEntry]:
    """The declared files that are not there as declared."""
    return [file for file in spec.files if observed.files.get(file.path) != _as_declared(file, observed)]


def _as_declared(file: FileEntry, observed: Observed) -> Written:
    return Written(file.content, file.mode, number_of(file.owner, observed.users) or 0, number_of(file.group, observed.groups) or 0)


def _build(spec: ContentSpec, observed: Observed) -> BuildContent:
    limits = disk.wanted(spec, observed.volume, False)
    after = {
        "path": spec.paths.root, "level": str(spec.level), "file_type": spec.file_type, "private": list(spec.private),
        **({"files": {file.path: file.content for file in spec.files}} if spec.files else {}),
        **BACKENDS[spec.method].described(spec),
        **(limits.shown() if limits != disk.Limits() else {}),
        **({"clone_of": spec.clone_of} if observed.source else {}),
    }  # fmt: skip
    return BuildContent(spec.name, spec, observed.source, list(observed.left_out), observed.half_made, limits, after)


def _plan_update(plan: Plan, spec: ContentSpec, outdated: Sequence[Outdated], update: str) -> None:
    newer = [file for file in outdated if file.state != BOTH]
    if update == "take" and newer:
        plan.add(TakeNewer(spec.name, spec, newer))
    if update == "keep" and outdated:
        plan.add(KeepOwn(spec.name, spec, list(outdated)))


def reported(outdated: Sequence[Outdated], accounts: Accounts, update: str) -> list[dict[str, str]]:
    """What stays otherwise than on the host after a run."""
    left = [entry for entry in outdated if update == "report" or (update == "take" and entry.state == BOTH)]
    conflicts = [
        {"path": "/etc/passwd", "state": f"the number of the host's account {name} is another's here"} for name in accounts.in_conflict
    ]
    return [{"path": f"/{printable(entry.path)}", "state": entry.state} for entry in left] + conflicts


def _plan_labels(plan: Plan, spec: ContentSpec, observed: Observed, foreign_mode: str) -> None:
    strangers = set(_strangers(spec, observed.mislabelled, observed.owners, observed.top_context))
    wrong = [entry for entry in observed.mislabelled if foreign_mode == "fix" or entry not in strangers]
    if wrong:
        plan.add(Relabel(spec.name, spec, wrong))


def _plan_absent(spec: ContentSpec, observed: Observed) -> Plan:
    _check_ours(spec, observed)
    if observed.running:
        raise ConflictError(f"name: {spec.name} is running. Stop it before its content is removed.")
    plan = Plan(BACKENDS[observed.stored.method].plan_absent(spec, observed.stored))
    if observed.exists or observed.half_made:
        plan.add(RemoveContent(spec.name, spec, observed.volume.project))
    if observed.manifest is not None:
        plan.add(ForgetContent(spec.name, spec, observed.manifest))
    return plan
