# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan is made from besides the spec: a sandbox as its host has it, and what of the host every sandbox depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from . import layout, mounts, unit_file
from .addresses import LibvirtNetwork, Resolved
from .definition import Definition
from .limits import HostSize
from .spec import ServiceSpec
from .unit import HostSystemd


def runs_in(spec: ServiceSpec, active: Definition | None) -> str:
    """The cgroup in which what runs of a sandbox is, or else will be."""
    return layout.cgroup(active.slice) if active is not None and active.ours else spec.paths.cgroup


@dataclasses.dataclass(frozen=True)
class Observed:
    """One sandbox as its host has it; ``None`` for what is not there."""

    spec_text: str | None = None
    spec: ServiceSpec | None = None
    unit_text: str | None = None
    slice_text: str | None = None
    # where its spec is of a later generation than its start: that of the slice in which it was
    former_slice: str | None = None
    filter_text: str | None = None
    unit: Mapping[str, str] = dataclasses.field(default_factory=dict)
    defined: Definition | None = None
    active: Definition | None = None
    content_context: str | None = None
    # files of /usr that its processes still run, and that the host has replaced; looked for where the play asks for it
    stale: Sequence[str] = ()
    # the code with which its command ended, as its unit has noted it
    code: str | None = None
    # the target of the link to its journal among the host's
    journal: str | None = None
    # of the slice of a sandbox that runs: file of the kernel -> value
    limits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # of what is mounted, by target
    mounts: Mapping[str, mounts.ObservedMount] = dataclasses.field(default_factory=dict)
    # of a sandbox that runs a command: whether it is there, and the users and groups inside, name -> number
    program: bool = True
    users: Mapping[str, str] = dataclasses.field(default_factory=dict)
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # path inside -> ("text", …) or ("link", …); nothing where it is missing or something else
    inside: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    # unit -> its program, where neither the host's /usr nor the content has it
    missing_programs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # its units, and what they bring along, as its own /etc and the host's /usr have them; nothing where there is no content yet
    own_units: Mapping[str, unit_file.UnitFile] | None = None
    # the units of its published ports: name -> text, and those that are enabled and active
    ports: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ports_up: Collection[str] = ()
    ports_open: Collection[str] = ()  # those that listen
    # unit -> its state, of those that should be active in a sandbox that runs and are not
    down: Mapping[str, str] = dataclasses.field(default_factory=dict)

    # why the content cannot be read, where root inside has seen to that
    unreadable: str = ""

    def without_content(self) -> Observed:
        """The same without what root inside may have put in the way."""
        points = {target: dataclasses.replace(mount, point="") for target, mount in self.mounts.items()}
        return dataclasses.replace(self, missing_programs={}, own_units=None, mounts=points, program=True)

    def systemd(self, host: Host) -> HostSystemd:
        """The units that its systemd has."""
        return host.systemd if self.own_units is None else host.systemd.with_own(self.own_units)

    def with_announced(self, host: Host) -> Observed:
        """The same with the host administrator's units, which another task may only have announced to copy."""
        units = {name: unit for name, unit in host.systemd.units.items() if unit_file.is_administrators(unit)}
        return dataclasses.replace(self, own_units={**units, **(self.own_units or {})})

    @property
    def running(self) -> bool:
        return self.active is not None or self.unit_active

    def cgroup(self, spec: ServiceSpec) -> str:
        """Where it runs, or will."""
        return runs_in(spec, self.active)

    @property
    def unit_active(self) -> bool:
        return self.unit.get("ActiveState") in ("active", "activating", "reloading")

    @property
    def enabled(self) -> bool:
        return self.unit.get("UnitFileState") == "enabled"


@dataclasses.dataclass(frozen=True)
class Host:
    """What of the host every sandbox depends on."""

    systemd: HostSystemd
    # the scripts of the role host: path -> version; nothing where one is missing
    scripts: Mapping[str, int | None]
    networks: Mapping[str, LibvirtNetwork]
    followed: Sequence[str]
    # whether the host keeps a journal that is not lost at a boot, beside which a sandbox's can be linked
    keeps_journal: bool = False
    # path -> the kernel's number of the device that it is or is on; nothing where there is none
    devices: Mapping[str, str] = dataclasses.field(default_factory=dict)
    io_weights: bool = False
    size: HostSize = HostSize()
    # process type -> the capabilities that the loaded policy gives it
    granted: Mapping[str, Collection[str]] = dataclasses.field(default_factory=dict)
    # the bridges of the host, by name
    bridges: Collection[str] = ()
    # sandbox -> its interfaces' addresses, as far as they are known before it starts
    resolved: Mapping[str, Resolved] = dataclasses.field(default_factory=dict)
    # the interfaces of sandboxes, by the names of the host's ends, for which the kernel has rules
    filtered: Collection[str] = ()
    # sandbox -> the addresses that the host's /etc/hosts has for it
    named: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    # any other name -> the addresses that it has there
    named_otherwise: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    def addresses(self, name: str) -> Resolved:
        return self.resolved.get(name, ())

    def called(self, name: str) -> list[str]:
        """The addresses at which the host is to know a sandbox by its name."""
        return [addresses[0] for addresses in self.addresses(name) if addresses]
