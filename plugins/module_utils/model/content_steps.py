# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a sandbox's content."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from . import steps
from .disk import Limits
from .outdated import Accounts, Outdated
from .plan import Step
from .spec import ContentSpec, FileEntry
from .values import printable


@dataclasses.dataclass(frozen=True)
class Source:
    """The sandbox whose content is to be cloned."""

    name: str = ""
    root: str | None = None  # nothing where no such sandbox has content
    copied: str = ""
    running: bool = False
    strangers: Sequence[str] = ()  # what of it is not its own: at another level, or a link to outside
    known: Sequence[str] = ()  # the sandboxes that have content


@dataclasses.dataclass(frozen=True)
class Labelled:
    """An entry of a tree whose context is not the expected one, both as the kernel has them."""

    path: str
    actual: str | None
    expected: str


class Hands(steps.FileHands, Protocol):
    """What the steps do to content; the engine has them."""

    def build(self, spec: ContentSpec, source: Source | None, without: Sequence[str], limits: Limits) -> None: ...
    def forget_project(self, directory: str, project: int) -> None: ...
    def limit_disk(self, spec: ContentSpec, limits: Limits, first: bool) -> None: ...
    def mount(self, root: str, unit: str) -> None: ...
    def unmount(self, unit: str) -> None: ...
    def grow(self, image: str, root: str, size: int) -> None: ...
    def copy(self, spec: ContentSpec, source: str, without: Sequence[str]) -> None: ...
    def write_files(self, spec: ContentSpec, files: Sequence[FileEntry]) -> None: ...
    def remove_files(self, root: str, paths: Sequence[str]) -> None: ...
    def make_place(self, spec: ContentSpec, source: str) -> None: ...
    def relabel(self, spec: ContentSpec, paths: Sequence[str]) -> None: ...
    def change_rules(self, add: Sequence[str], remove: Sequence[str]) -> None: ...
    def add_accounts(self, spec: ContentSpec, accounts: Accounts) -> None: ...
    def take(self, spec: ContentSpec, files: Sequence[Outdated]) -> None: ...
    def keep(self, copied: str, paths: Sequence[str]) -> None: ...
    def remove(self, paths: Sequence[str]) -> None: ...
    def forget(self, paths: Sequence[str]) -> None: ...


@dataclasses.dataclass(frozen=True)
class BuildContent(Step):
    spec: ContentSpec
    source: Source | None
    without: Sequence[str]
    half_made: bool
    limits: Limits
    after: Mapping[str, Any]

    @property
    def title(self) -> str:
        return f"clone the content of {self.source.name}" if self.source else "build the content"

    def change(self) -> tuple[Any, Any]:
        return "started by an interrupted run" if self.half_made else None, dict(self.after)

    def apply(self, hands: Hands) -> None:
        hands.build(self.spec, self.source, self.without, self.limits)


@dataclasses.dataclass(frozen=True)
class LimitDisk(Step):
    """Other limits of what content takes; with its first ones all of it is counted."""

    words: ClassVar[str] = "limit the disk space"

    spec: ContentSpec
    before: Limits
    limits: Limits
    first: bool

    def change(self) -> tuple[Any, Any]:
        return self.before.shown(), self.limits.shown()

    def apply(self, hands: Hands) -> None:
        hands.limit_disk(self.spec, self.limits, self.first)


@dataclasses.dataclass(frozen=True)
class MountImage(Step):
    words: ClassVar[str] = "mount the content"

    spec: ContentSpec
    before: str

    def change(self) -> tuple[Any, Any]:
        return self.before, "mounted"

    def apply(self, hands: Hands) -> None:
        hands.mount(self.spec.paths.root, self.spec.paths.mount)


@dataclasses.dataclass(frozen=True)
class UnmountImage(Step):
    words: ClassVar[str] = "unmount the content"

    unit: str
    mounted: bool

    def change(self) -> tuple[Any, Any]:
        return "mounted" if self.mounted else "not mounted", None

    def apply(self, hands: Hands) -> None:
        hands.unmount(self.unit)


@dataclasses.dataclass(frozen=True)
class GrowImage(Step):
    words: ClassVar[str] = "grow the image"

    spec: ContentSpec
    before: int
    size: int

    def change(self) -> tuple[Any, Any]:
        return self.before, self.size

    def apply(self, hands: Hands) -> None:
        hands.grow(self.spec.paths.image, self.spec.paths.root, self.size)


@dataclasses.dataclass(frozen=True)
class CopyPath(Step):
    """One more private path of the host, into content that is there."""

    words: ClassVar[str] = "copy {source}"

    spec: ContentSpec
    source: str
    without: Sequence[str]

    def change(self) -> tuple[Any, Any]:
        return None, self.source

    def apply(self, hands: Hands) -> None:
        hands.copy(self.spec, self.source, self.without)


@dataclasses.dataclass(frozen=True)
class Written:
    """A file inside as it is: its text, its mode in four digits, and the numbers of its owner and group."""

    content: str
    mode: str
    uid: int
    gid: int


def _texts(files: Mapping[str, Written]) -> dict[str, str]:
    """Files as a difference shows them, with what their text does not say."""
    texts = {path: file.content for path, file in files.items()}
    return {**texts, **{f"{path} (mode, owner, group)": f"{file.mode} {file.uid} {file.gid}" for path, file in files.items()}}


@dataclasses.dataclass(frozen=True)
class WriteFiles(Step):
    """The files that a play declares."""

    words: ClassVar[str] = "write files"

    spec: ContentSpec
    files: Sequence[FileEntry]
    before: Mapping[str, Written]
    after: Mapping[str, Written]

    def change(self) -> tuple[Any, Any]:
        return _texts(self.before), _texts(self.after)

    def apply(self, hands: Hands) -> None:
        hands.write_files(self.spec, self.files)


@dataclasses.dataclass(frozen=True)
class RemoveFiles(Step):
    words: ClassVar[str] = "remove files that are no longer declared"

    root: str
    paths: Sequence[str]

    def change(self) -> tuple[Any, Any]:
        return list(self.paths), None

    def apply(self, hands: Hands) -> None:
        hands.remove_files(self.root, self.paths)


@dataclasses.dataclass(frozen=True)
class MakePlace(Step):
    """The place of one more path of the host that the sandbox's /etc follows."""

    words: ClassVar[str] = "make a mount point for {source}"

    spec: ContentSpec
    source: str

    def change(self) -> tuple[Any, Any]:
        return None, self.source

    def apply(self, hands: Hands) -> None:
        hands.make_place(self.spec, self.source)


@dataclasses.dataclass(frozen=True)
class Relabel(Step):
    words: ClassVar[str] = "relabel"

    spec: ContentSpec
    entries: Sequence[Labelled]

    def change(self) -> tuple[Any, Any]:
        return (
            {f"/{printable(entry.path)}": entry.actual for entry in self.entries},
            {f"/{printable(entry.path)}": entry.expected for entry in self.entries},
        )

    def apply(self, hands: Hands) -> None:
        hands.relabel(self.spec, sorted(entry.path for entry in self.entries))


@dataclasses.dataclass(frozen=True)
class ChangeRules(Step):
    """The file-context rules of all content of a run, in one transaction of the policy's store."""

    add: Sequence[str]
    remove: Sequence[str]

    @property
    def title(self) -> str:
        return "add file-context rules for the content" if self.add else "remove the file-context rules of the content"

    def change(self) -> tuple[Any, Any]:
        return list(self.remove), list(self.add)

    def apply(self, hands: Hands) -> None:
        hands.change_rules(self.add, self.remove)


@dataclasses.dataclass(frozen=True)
class AddAccounts(Step):
    """New system accounts of the host: bringing them in takes nothing away."""

    words: ClassVar[str] = "add the host's new system accounts"

    spec: ContentSpec
    accounts: Accounts

    def change(self) -> tuple[Any, Any]:
        users, groups = (sorted(line.split(":")[0] for line in lines) for lines in (self.accounts.users, self.accounts.groups))
        return None, {"users": users, "groups": groups}

    def apply(self, hands: Hands) -> None:
        hands.add_accounts(self.spec, self.accounts)


@dataclasses.dataclass(frozen=True)
class TakeNewer(Step):
    """What the host has newer, in place of what was copied from it before."""

    words: ClassVar[str] = "update files from the host"

    spec: ContentSpec
    files: Sequence[Outdated]

    def change(self) -> tuple[Any, Any]:
        return _states(self.files), dict.fromkeys(_states(self.files), "as on the host")

    def apply(self, hands: Hands) -> None:
        hands.take(self.spec, self.files)


@dataclasses.dataclass(frozen=True)
class KeepOwn(Step):
    words: ClassVar[str] = "keep the sandbox's own files"

    spec: ContentSpec
    files: Sequence[Outdated]

    def change(self) -> tuple[Any, Any]:
        return _states(self.files), dict.fromkeys(_states(self.files), "kept")

    def apply(self, hands: Hands) -> None:
        hands.keep(self.spec.paths.copied, [file.path for file in self.files])


def _states(files: Sequence[Outdated]) -> dict[str, str]:
    return {f"/{printable(file.path)}": file.state for file in files}


@dataclasses.dataclass(frozen=True)
class RemoveContent(Step):
    words: ClassVar[str] = "remove the content"

    spec: ContentSpec
    project: int

    def change(self) -> tuple[Any, Any]:
        return self.spec.paths.root, None

    def apply(self, hands: Hands) -> None:
        paths = self.spec.paths
        hands.remove([paths.building, paths.building_image, paths.root, paths.image])
        hands.forget_project(self.spec.path, self.project)


@dataclasses.dataclass(frozen=True)
class ForgetContent(Step):
    words: ClassVar[str] = "remove the record of the content"

    spec: ContentSpec
    before: Mapping[str, Any]

    def apply(self, hands: Hands) -> None:
        hands.forget([self.spec.paths.copied, self.spec.paths.manifest])
