# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a sandbox's service, and of whatever writes files of the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from .addresses import Entry
from .context import Context
from .definition import Definition
from .options import plain
from .plan import Phase, Step
from .runtime import Runtime


class FileHands(Protocol):
    """What steps of any kind do to a host."""

    def write_file(self, path: str, text: str, mode: int) -> None: ...
    def remove_file(self, path: str) -> None: ...
    def reload_systemd(self) -> None: ...


class Hands(FileHands, Protocol):
    """What the steps of a service do to a host, one method for each kind of thing; the engine has them."""

    @property
    def runtime(self) -> Runtime: ...
    def link(self, path: str, target: str) -> None: ...
    def write_inside(self, root: str, context: Context, files: Mapping[str, tuple[str, str]], gone: Iterable[str]) -> None: ...
    def make_mount_points(self, root: str, context: Context, points: Mapping[str, str]) -> None: ...
    def relabel_source(self, source: str, context: Context) -> None: ...
    def enable(self, units: Sequence[str]) -> None: ...
    def disable(self, units: Sequence[str]) -> None: ...
    def remove_unit(self, path: str, unit: str) -> None: ...
    def limit(self, cgroup: str, values: Mapping[str, str]) -> None: ...
    def network_entries(self, entries: Sequence[Entry], name: str, add: bool) -> None: ...
    def load_filter(self, text: str) -> None: ...
    def name_on_host(self, name: str, addresses: Sequence[str]) -> None: ...
    def close_ports(self, units: Sequence[str]) -> None: ...
    def publish_ports(self, units: Sequence[str], owner: str) -> None: ...
    def stop(self, names: Mapping[str, str]) -> None: ...
    def start(self, names: Mapping[str, str]) -> None: ...
    def start_inside(self, name: str, units: Sequence[str]) -> None: ...
    def reload(self, unit: str) -> None: ...


@dataclasses.dataclass(frozen=True)
class WriteFile(Step):
    """A file of the host; ``what`` it is, for its reader."""

    words: ClassVar[str] = "write {what}"

    what: str
    path: str
    text: str
    mode: int = 0o644
    before: Any = None
    shown: Any = None  # in place of the text

    def change(self) -> tuple[Any, Any]:
        return self.before, self.text if self.shown is None else self.shown

    def apply(self, hands: FileHands) -> None:
        hands.write_file(self.path, self.text, self.mode)


@dataclasses.dataclass(frozen=True)
class RemoveFile(Step):
    words: ClassVar[str] = "remove {what}"

    what: str
    path: str
    before: Any = None

    def apply(self, hands: FileHands) -> None:
        hands.remove_file(self.path)


@dataclasses.dataclass(frozen=True)
class RemoveUnit(Step):
    """A unit's file, and what systemd would go on to show of it: a slice that is still up, a failure of long ago."""

    words: ClassVar[str] = "remove {what}"

    what: str
    path: str
    unit: str
    before: str

    def apply(self, hands: Hands) -> None:
        hands.remove_unit(self.path, self.unit)


@dataclasses.dataclass(frozen=True)
class RemoveUnitAfterStart(RemoveUnit):
    """That of the slice in which a sandbox was until its restart."""

    phase: ClassVar[Phase] = Phase.START


@dataclasses.dataclass(frozen=True)
class LinkJournal(Step):
    words: ClassVar[str] = "link the journal"

    path: str
    target: str
    before: str | None

    def change(self) -> tuple[Any, Any]:
        return self.before, self.target

    def apply(self, hands: Hands) -> None:
        hands.link(self.path, self.target)


@dataclasses.dataclass(frozen=True)
class WriteInside(Step):
    """The files inside that the spec determines: one step, because each alone tells a reader little."""

    words: ClassVar[str] = "write the files inside"

    root: str
    context: Context
    files: Mapping[str, tuple[str, str]]
    gone: Sequence[str]
    before: Mapping[str, str]

    def change(self) -> tuple[Any, Any]:
        return dict(self.before), {path: value for path, (_kind, value) in self.files.items()}

    def apply(self, hands: Hands) -> None:
        hands.write_inside(self.root, self.context, self.files, self.gone)


@dataclasses.dataclass(frozen=True)
class MakeMountPoints(Step):
    words: ClassVar[str] = "make the mount points"

    root: str
    context: Context
    points: Mapping[str, str]

    def change(self) -> tuple[Any, Any]:
        return None, dict(self.points)

    def apply(self, hands: Hands) -> None:
        hands.make_mount_points(self.root, self.context, self.points)


@dataclasses.dataclass(frozen=True)
class RelabelSource(Step):
    words: ClassVar[str] = "relabel {source}"

    source: str
    context: Context
    entries: int

    def change(self) -> tuple[Any, Any]:
        return f"{self.entries} entries with another label", str(self.context)

    def apply(self, hands: Hands) -> None:
        hands.relabel_source(self.source, self.context)


@dataclasses.dataclass(frozen=True)
class ReloadSystemd(Step):
    phase: ClassVar[Phase] = Phase.RELOAD
    together: ClassVar[bool] = True
    words: ClassVar[str] = "reload systemd"

    def change(self) -> tuple[Any, Any]:
        return None, "units as their files say"

    def apply_all(self, steps: Iterable[ReloadSystemd], hands: FileHands) -> None:
        hands.reload_systemd()


@dataclasses.dataclass(frozen=True)
class Define(Step):
    """Tell the runtime what the sandbox is."""

    words: ClassVar[str] = "define the sandbox"

    definition: Definition
    before: Definition | None

    def change(self) -> tuple[Any, Any]:
        return shown(self.before), shown(self.definition)

    def apply(self, hands: Hands) -> None:
        hands.runtime.define(self.definition)


def shown(definition: Definition | None) -> dict[str, Any] | None:
    """A definition for a reader of a difference."""
    if definition is None:
        return None
    return dict(plain({**dataclasses.asdict(definition), "context": definition.context}))


@dataclasses.dataclass(frozen=True)
class Undefine(Step):
    words: ClassVar[str] = "undefine the sandbox"

    before: Definition

    def change(self) -> tuple[Any, Any]:
        return shown(self.before), None

    def apply(self, hands: Hands) -> None:
        hands.runtime.undefine(self.sandbox)


@dataclasses.dataclass(frozen=True)
class ApplyLimits(Step):
    """Into a slice that is there already: not every systemd does that when it reads its units again."""

    phase: ClassVar[Phase] = Phase.LIVE
    words: ClassVar[str] = "apply the limits"

    cgroup: str
    values: Mapping[str, str]
    before: Mapping[str, str]
    after: Mapping[str, str]

    def change(self) -> tuple[Any, Any]:
        return dict(self.before), dict(self.after)

    def apply(self, hands: Hands) -> None:
        hands.limit(self.cgroup, self.values)


@dataclasses.dataclass(frozen=True)
class ReserveAddresses(Step):
    words: ClassVar[str] = "reserve the addresses"

    entries: Sequence[Entry]

    def change(self) -> tuple[Any, Any]:
        return None, [entry.text() for entry in self.entries]

    def apply(self, hands: Hands) -> None:
        hands.network_entries(self.entries, self.sandbox, add=True)


@dataclasses.dataclass(frozen=True)
class ReleaseAddresses(Step):
    phase: ClassVar[Phase] = Phase.STOP
    words: ClassVar[str] = "release the addresses"

    entries: Sequence[Entry]

    def change(self) -> tuple[Any, Any]:
        return [entry.text() for entry in self.entries], None

    def apply(self, hands: Hands) -> None:
        hands.network_entries(self.entries, self.sandbox, add=False)


@dataclasses.dataclass(frozen=True)
class LoadFilter(Step):
    """The rules for what interfaces send, in the kernel; ``after``: the interfaces that have rules then."""

    text: str
    before: Sequence[str]
    after: Sequence[str] = ()

    @property
    def title(self) -> str:
        return "load the nftables rules" if self.after else "remove the nftables rules"

    def change(self) -> tuple[Any, Any]:
        return list(self.before), list(self.after) or None

    def apply(self, hands: Hands) -> None:
        hands.load_filter(self.text)


@dataclasses.dataclass(frozen=True)
class NameOnHost(Step):
    words: ClassVar[str] = "update /etc/hosts"

    before: Sequence[str]
    after: Sequence[str]

    def change(self) -> tuple[Any, Any]:
        return list(self.before), list(self.after)

    def apply(self, hands: Hands) -> None:
        hands.name_on_host(self.sandbox, self.after)


@dataclasses.dataclass(frozen=True)
class ClosePorts(Step):
    phase: ClassVar[Phase] = Phase.STOP
    words: ClassVar[str] = "close ports"

    units: Sequence[str]

    def change(self) -> tuple[Any, Any]:
        return list(self.units), None

    def apply(self, hands: Hands) -> None:
        hands.close_ports(self.units)


@dataclasses.dataclass(frozen=True)
class PublishPorts(Step):
    """With every start of the sandbox from now on, and now if it runs."""

    phase: ClassVar[Phase] = Phase.LIVE
    words: ClassVar[str] = "publish ports"

    units: Sequence[str]
    owner: str

    def change(self) -> tuple[Any, Any]:
        return None, list(self.units)

    def apply(self, hands: Hands) -> None:
        hands.publish_ports(self.units, self.owner)


@dataclasses.dataclass(frozen=True)
class EnableUnit(Step):
    """All at once: each call of systemctl has systemd read every unit again, with all generators."""

    phase: ClassVar[Phase] = Phase.ENABLE
    together: ClassVar[bool] = True
    words: ClassVar[str] = "enable the unit"

    unit: str

    def change(self) -> tuple[Any, Any]:
        return False, True

    def apply_all(self, steps: Iterable[EnableUnit], hands: Hands) -> None:
        hands.enable([step.unit for step in steps])


@dataclasses.dataclass(frozen=True)
class DisableUnit(Step):
    phase: ClassVar[Phase] = Phase.STOP
    together: ClassVar[bool] = True
    words: ClassVar[str] = "disable the unit"

    unit: str

    def change(self) -> tuple[Any, Any]:
        return True, False

    def apply_all(self, steps: Iterable[DisableUnit], hands: Hands) -> None:
        hands.disable([step.unit for step in steps])


@dataclasses.dataclass(frozen=True)
class StopSandbox(Step):
    phase: ClassVar[Phase] = Phase.STOP
    together: ClassVar[bool] = True

    unit: str
    before: str = "running"
    why: str = ""

    @property
    def title(self) -> str:
        return f"stop{' ' + self.why if self.why else ''}"

    def change(self) -> tuple[Any, Any]:
        return self.before, "stopped"

    def apply_all(self, steps: Iterable[StopSandbox], hands: Hands) -> None:
        hands.stop({step.sandbox: step.unit for step in steps})


@dataclasses.dataclass(frozen=True)
class StartSandbox(Step):
    """Begin its start; the run waits for all starts together afterwards."""

    phase: ClassVar[Phase] = Phase.START
    together: ClassVar[bool] = True
    words: ClassVar[str] = "start"

    unit: str

    def change(self) -> tuple[Any, Any]:
        return "stopped", "running"

    def apply_all(self, steps: Iterable[StartSandbox], hands: Hands) -> None:
        hands.start({step.sandbox: step.unit for step in steps})


@dataclasses.dataclass(frozen=True)
class RestartSandbox(Step):
    phase: ClassVar[Phase] = Phase.START
    together: ClassVar[bool] = True
    words: ClassVar[str] = "restart"

    unit: str
    before: str

    def change(self) -> tuple[Any, Any]:
        return self.before, "running"

    def apply_all(self, steps: Iterable[RestartSandbox], hands: Hands) -> None:
        units = {step.sandbox: step.unit for step in steps}
        hands.stop(units)
        hands.start(units)


@dataclasses.dataclass(frozen=True)
class StartUnitsInside(Step):
    phase: ClassVar[Phase] = Phase.START
    words: ClassVar[str] = "start the units inside"

    before: Mapping[str, str]

    def change(self) -> tuple[Any, Any]:
        return dict(self.before), dict.fromkeys(self.before, "active")

    def apply(self, hands: Hands) -> None:
        hands.start_inside(self.sandbox, sorted(self.before))


@dataclasses.dataclass(frozen=True)
class ReloadSandbox(Step):
    phase: ClassVar[Phase] = Phase.START
    words: ClassVar[str] = "reload"

    unit: str

    def change(self) -> tuple[Any, Any]:
        return "running", "reloaded"

    def apply(self, hands: Hands) -> None:
        hands.reload(self.unit)
