# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a sandbox's content is to be and what was seen of it to the steps between the two."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from . import image, layout
from .errors import ConflictError, ContentError, OptionError
from .mcs import Level, LevelError, LevelRange
from .outdated import BOTH, Accounts, Outdated
from .plan import Plan
from .values import printable

FOREIGN = ("report", "fix", "fail", "keep")


@dataclasses.dataclass(frozen=True)
class Labelled:
    """An entry of a tree whose context is not the expected one."""

    path: str
    actual: str | None
    expected: str


@dataclasses.dataclass(frozen=True)
class Source:
    """The sandbox whose content is to be cloned."""

    root: str | None = None  # nothing where no such sandbox has content
    copied: str = ""
    running: bool = False
    strangers: Sequence[str] = ()  # what of it is not its own: at another level, or a link to outside
    known: Sequence[str] = ()  # the sandboxes that have content


@dataclasses.dataclass(frozen=True)
class Image:
    """The image that a content tree is in."""

    size: int = 0  # of the file system in it
    mounted: bool = False
    enabled: bool = False
    unit_text: str | None = None


@dataclasses.dataclass(frozen=True)
class Observed:
    """A content tree as its host has it."""

    manifest: Mapping[str, Any] | None = None
    exists: bool = False
    half_made: bool = False
    top_context: str | None = None
    running: bool = False
    missing: Sequence[str] = ()  # paths of the host that are private and not in the tree
    left_out: Sequence[str] = ()  # paths of the host that stay outside, for they may be secrets
    missed: Sequence[str] = ()  # of these, what a unit names, and configuration that was changed since its package brought it
    files: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)  # declared files that are there: content, mode
    directories: Sequence[str] = ()  # declared files where a directory stands
    unmounted: Sequence[str] = ()  # paths of the host that it follows and has no place for
    unknown: Sequence[str] = ()  # private paths that the host does not have
    mislabelled: Sequence[Labelled] = ()
    foreign_links: Sequence[str] = ()
    owners: Mapping[str, str] = dataclasses.field(default_factory=dict)  # level -> who has it
    image: Image | None = None  # where the content is one
    needed: int = 0  # bytes of the content that is to be built into an image
    source: Source | None = None  # looked at only where there is no tree yet
    outdated: Sequence[Outdated] = ()
    accounts: Accounts = dataclasses.field(default_factory=Accounts)


def manifest(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What is recorded of a tree: that it is ours, and where."""
    record = {"format": 1, "name": spec["name"], "path": layout.of(spec).root}
    # what a play declared and no longer does is removed
    files = {"files": sorted(file["path"] for file in spec["files"])} if spec["files"] else {}
    return {**record, **files}


def no_longer_declared(spec: Mapping[str, Any], record: Mapping[str, Any] | None) -> list[str]:
    """The files that a play declared before."""
    return sorted(set((record or {}).get("files", ())) - {file["path"] for file in spec["files"]})


def foreign(
    spec: Mapping[str, Any], entries: Sequence[Labelled], owners: Mapping[str, str], top_context: str | None = None
) -> list[dict[str, Any]]:
    """The entries that carry categories which are not the sandbox's, with the owner of their level.

    ``top_context``: that of the tree.
    """
    return [
        {
            "path": f"/{printable(entry.path)}",
            "context": entry.actual,
            "level": str(level_of(entry.actual)),
            "owner": owners.get(str(level_of(entry.actual))),
        }
        for entry in _strangers(spec, entries, owners, top_context)
    ]


def _strangers(spec: Mapping[str, Any], entries: Sequence[Labelled], owners: Mapping[str, str], top_context: str | None) -> list[Labelled]:
    own = {Level.parse(spec["level"]), _former(spec, owners, top_context)}
    return [entry for entry in entries if (level := level_of(entry.actual)) and level not in own]


def _former(spec: Mapping[str, Any], owners: Mapping[str, str], top_context: str | None) -> Level | None:
    """The level of the tree from before the sandbox was given another; that of the tree's top, unless it is somebody else's."""
    level = level_of(top_context)
    others = [text for text, owner in owners.items() if owner not in (spec["name"], f"former {spec['name']}")]
    return level if level and not any(level.conflicts(Level.parse(text)) for text in others) else None


def level_of(context: str | None) -> Level | None:
    """The level of a context that a file carries; nothing where it is none."""
    try:
        return LevelRange.of_context(context).high if context else None
    except LevelError:
        return None


def check(spec: Mapping[str, Any], seen: Observed, foreign_mode: str) -> None:
    """Refuse, before anything changes, what is not ours or cannot be made."""
    root = layout.of(spec).root
    _check_ours(spec, seen)
    if seen.source and not seen.exists:
        _check_source(spec["clone_of"], seen.source)
    _check_method(spec, seen)
    if seen.unknown:
        error = ContentError if seen.exists else OptionError
        raise error("private", list(seen.unknown), "paths that the host has; is the package installed?")
    if seen.directories:
        number = [file["path"] for file in spec["files"]].index(seen.directories[0])
        error = ContentError if seen.exists else OptionError
        raise error(f"files[{number}].path", seen.directories[0], "a path at which no directory stands inside")
    relabelled = seen.top_context not in (None, layout.object_context(layout.ROOT_TYPE, spec["level"]))
    former = _former(spec, seen.owners, seen.top_context)
    if seen.exists and relabelled and seen.running and former:
        raise OptionError("level", spec["level"], f"the level it runs at, {former}, while it runs; stop the sandbox first")
    strangers = foreign(spec, seen.mislabelled, seen.owners, seen.top_context)
    if strangers and foreign_mode == "fail":
        first = strangers[0]
        owner = f", which is {first['owner']}'s" if first["owner"] else ""
        raise ConflictError(f"foreign: {len(strangers)} entries of {root} are at another level: {first['path']} at {first['level']}{owner}")


def _check_method(spec: Mapping[str, Any], seen: Observed) -> None:
    name = spec["name"]
    if seen.exists and (seen.image is not None) != (spec["method"] == "image"):
        is_now = "an image" if seen.image is not None else "a directory"
        raise OptionError("method", spec["method"], f"what the content of {name} is, {is_now}; remove it, or clone it into another sandbox")
    if spec["method"] != "image":
        return
    if spec["size"] is None:
        if not seen.exists:
            raise OptionError("size", None, "the size of the image, such as 512M")
        return
    if seen.image is not None and seen.exists and spec["size"] < seen.image.size:
        raise OptionError("size", spec["size"], f"at least the {seen.image.size} bytes that the image of {name} has; it can only grow")
    if not seen.exists and seen.needed > image.capacity(spec["size"]):
        raise OptionError("size", spec["size"], f"at least {image.size_for(seen.needed)}M for the {seen.needed} bytes of content of {name}")


def _check_source(name: str, source: Source) -> None:
    if source.root is None:
        raise OptionError("clone_of", name, f"a sandbox that has content ({', '.join(source.known) or 'none has'})")
    if source.running:
        raise OptionError("clone_of", name, f"a sandbox that is stopped; {name} is running")
    if source.strangers:
        paths = ", ".join(source.strangers[:3])
        raise OptionError("clone_of", name, f"a sandbox whose content is its own; {paths} of {source.root} is not")


def _check_ours(spec: Mapping[str, Any], seen: Observed) -> None:
    name, root = spec["name"], layout.of(spec).root
    if seen.manifest is not None and seen.manifest["path"] != root:
        raise ConflictError(
            f"path: the content of {name} is in {seen.manifest['path']}, not in {root}; name that path, or remove it there first"
        )
    if seen.image is not None and seen.image.unit_text is not None and not image.is_ours(seen.image.unit_text):
        raise ConflictError(f"path: {layout.of(spec).mount_path} was not made by this collection; choose another name, or remove it")
    if seen.exists and seen.manifest is None:
        raise ConflictError(
            f"path: {root} exists, and it is not a tree that this collection made; choose another name or path, or move it away"
        )


def plan_content(spec: Mapping[str, Any], state: str, seen: Observed, foreign_mode: str, update: str = "report") -> Plan:
    """The steps that make a content tree what ``spec`` and ``state`` say."""
    if state == "absent":
        return _plan_absent(spec, seen)
    plan = Plan()
    name, paths = spec["name"], layout.of(spec)
    record = manifest(spec)
    gone = no_longer_declared(spec, seen.manifest)
    if gone and seen.exists:
        plan.add(name, "remove files that are no longer declared", "remove_files", root=paths.root, paths=gone, before=gone)
    if seen.manifest != record:
        text = json.dumps(record, sort_keys=True) + "\n"
        plan.add(
            name,
            "record the content as ours",
            "write",
            path=paths.manifest,
            text=text,
            mode=0o600,
            before=seen.manifest,
            after=record,
        )
    common = {"file_type": spec["file_type"], "level": spec["level"]}
    if not seen.exists:
        _plan_build(plan, spec, seen, common)
        _plan_image(plan, spec, Image())
        return plan
    if seen.image is not None:
        _plan_image(plan, spec, seen.image)
        if not seen.image.mounted:
            return plan  # what is in it shows when it is mounted
    # what was a file of the play and is a private path too is the host's again
    for path in sorted({*seen.missing, *gone} & {*seen.missing, *spec["private"]}):
        plan.add(
            name,
            f"copy {path}",
            "copy",
            root=paths.root,
            source=path,
            copied=paths.copied,
            without=list(seen.left_out),
            after=path,
            **common,
        )
    files = changed_files(spec, seen)
    if files:
        before = {file["path"]: seen.files[file["path"]][0] for file in files if file["path"] in seen.files}
        after = {file["path"]: file["content"] for file in files}
        plan.add(name, "write files", "files", root=paths.root, files=files, before=before, after=after, **common)
    for path in seen.unmounted:
        plan.add(name, f"make a place for {path}", "mount_point", root=paths.root, source=path, after=path, **common)
    _plan_labels(plan, spec, seen, foreign_mode)
    _plan_accounts(plan, spec, seen.accounts)
    _plan_update(plan, spec, seen.outdated, update)
    return plan


def plan_rules(add: Mapping[str, str], remove: Mapping[str, str]) -> Plan:
    """One step for all rules by which the labels of content stay: each root with its sandbox."""
    plan = Plan()
    if add or remove:
        first = min([*add.values(), *remove.values()])
        title = "have the host's relabels leave the content alone" if add else "give up the rule for the content's labels"
        plan.add(first, title, "rules", add=sorted(add), remove=sorted(remove), before=sorted(remove), after=sorted(add))
    return plan


def changed_files(spec: Mapping[str, Any], seen: Observed) -> list[dict[str, str]]:
    """The declared files that are not there as declared."""
    return [file for file in spec["files"] if seen.files.get(file["path"]) != (file["content"], file["mode"])]


def _plan_build(plan: Plan, spec: Mapping[str, Any], seen: Observed, common: Mapping[str, Any]) -> None:
    name, paths = spec["name"], layout.of(spec)
    after = {"path": paths.root, "level": spec["level"], "file_type": spec["file_type"], "private": list(spec["private"])}
    arguments = {"building": paths.building, "root": paths.root, "private": list(spec["private"]), "copied": paths.copied, **common}
    arguments.update(without=list(seen.left_out), files=list(spec["files"]))
    if spec["files"]:
        after["files"] = {file["path"]: file["content"] for file in spec["files"]}
    title = "build the content"
    if spec["method"] == "image":
        after.update(method="image", size=spec["size"])
        arguments.update(image=paths.image, building_image=paths.building_image, size=spec["size"])
    if seen.source:
        title = f"clone the content of {spec['clone_of']}"
        after["clone_of"] = spec["clone_of"]
        arguments.update(source=seen.source.root, source_copied=seen.source.copied, source_name=spec["clone_of"])
    plan.add(name, title, "build", before="started by an interrupted run" if seen.half_made else None, after=after, **arguments)


def _plan_image(plan: Plan, spec: Mapping[str, Any], seen: Image) -> None:
    """The unit that mounts an image, and the size of what is in it."""
    name, paths, size = spec["name"], layout.of(spec), spec["size"]
    if spec["method"] != "image":
        return
    text = image.mount_unit(paths)
    if seen.unit_text != text:
        plan.add(name, "write the mount unit", "write", path=paths.mount_path, text=text, mode=0o644, before=seen.unit_text, after=text)
        plan.add(name, "reload systemd", "daemon_reload", after="units as their files say")
    if not (seen.mounted and seen.enabled):
        before = "not mounted" if not seen.mounted else "not mounted at boot"
        plan.add(name, "mount the content", "mount", unit=paths.mount, root=paths.root, before=before, after="mounted")
    # a last group of blocks that is too small for its own tables stays unused
    if seen.size and size is not None and size - seen.size >= image.UNUSED:
        plan.add(
            name, "grow the image", "grow", image=paths.image, root=paths.root, size=size, before=seen.size, after=size
        )  # fmt: skip


def _plan_accounts(plan: Plan, spec: Mapping[str, Any], accounts: Accounts) -> None:
    """New system accounts of the host: bringing them in takes nothing away."""
    if accounts:
        added = sorted(line.split(":")[0] for line in accounts.users), sorted(line.split(":")[0] for line in accounts.groups)
        plan.add(
            spec["name"], "add the host's new system accounts", "accounts", root=layout.of(spec).root,
            file_type=spec["file_type"], level=spec["level"],
            users=list(accounts.users), groups=list(accounts.groups), members=list(accounts.members),
            after={"users": added[0], "groups": added[1]},
        )  # fmt: skip


def _plan_update(plan: Plan, spec: Mapping[str, Any], outdated: Sequence[Outdated], update: str) -> None:
    name, paths = spec["name"], layout.of(spec)
    taken = [entry for entry in outdated if entry.state != BOTH]
    if update == "take" and taken:
        plan.add(
            name, "take what the host has newer", "take", root=paths.root, copied=paths.copied,
            file_type=spec["file_type"], level=spec["level"], files=[dataclasses.asdict(entry) for entry in taken],
            before={f"/{printable(entry.path)}": entry.state for entry in taken},
            after={f"/{printable(entry.path)}": "as on the host" for entry in taken},
        )  # fmt: skip
    if update == "keep" and outdated:
        plan.add(
            name, "keep what the sandbox has", "keep", copied=paths.copied, paths=[entry.path for entry in outdated],
            before={f"/{printable(entry.path)}": entry.state for entry in outdated},
            after={f"/{printable(entry.path)}": "kept" for entry in outdated},
        )  # fmt: skip


def reported(outdated: Sequence[Outdated], accounts: Accounts, update: str) -> list[dict[str, str]]:
    """What stays otherwise than on the host after a run."""
    left = [entry for entry in outdated if update == "report" or (update == "take" and entry.state == BOTH)]
    taken = [{"path": "/etc/passwd", "state": f"the number of the host's account {name} is another's here"} for name in accounts.taken]
    return [{"path": f"/{printable(entry.path)}", "state": entry.state} for entry in left] + taken


def _plan_labels(plan: Plan, spec: Mapping[str, Any], seen: Observed, foreign_mode: str) -> None:
    strangers = set(_strangers(spec, seen.mislabelled, seen.owners, seen.top_context))
    wrong = [entry for entry in seen.mislabelled if foreign_mode == "fix" or entry not in strangers]
    if wrong:
        plan.add(
            spec["name"], "relabel", "relabel", root=layout.of(spec).root, file_type=spec["file_type"], level=spec["level"],
            paths=sorted(entry.path for entry in wrong),
            before={f"/{printable(entry.path)}": entry.actual for entry in wrong},
            after={f"/{printable(entry.path)}": entry.expected for entry in wrong},
        )  # fmt: skip


def _plan_absent(spec: Mapping[str, Any], seen: Observed) -> Plan:
    plan = Plan()
    name, paths = spec["name"], layout.of(spec)
    _check_ours(spec, seen)
    if seen.running:
        raise ConflictError(f"name: {name} is running; stop it before its content is removed")
    if seen.image is not None and seen.image.unit_text is not None:
        plan.add(name, "unmount the content", "unmount", unit=paths.mount, before="mounted" if seen.image.mounted else "not mounted")
        plan.add(name, "remove the mount unit", "unlink", path=paths.mount_path, before=seen.image.unit_text)
        plan.add(name, "reload systemd", "daemon_reload", after="units as their files say")
    if seen.exists or seen.half_made:
        places = [paths.building, paths.building_image, paths.root, paths.image]
        plan.add(name, "remove the content", "remove", paths=places, before=paths.root)
    if seen.manifest is not None:
        plan.add(name, "forget the content", "forget", paths=[paths.copied, paths.manifest], before=dict(seen.manifest))
    return plan
