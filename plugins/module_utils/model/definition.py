# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox as its runtime is told of it, in values that any runtime can have: what is defined, and what runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from . import capabilities, command, layout, managed
from .addresses import Networks, Resolved
from .context import Context
from .format_1 import STARTED_WITH, start_hash
from .mounts import domain_mounts
from .network import host_device, mac_of
from .options import recorded_part
from .spec import ServiceSpec, started_with

INIT = "/usr/lib/systemd/systemd"
# the sandbox's own: those in the host's /usr look for hardware, disks and consoles, and new packages bring more
GENERATORS = "/etc/systemd/system-generators"


@dataclasses.dataclass(frozen=True)
class Bind:
    """A directory or file of the host that is seen inside."""

    source: str
    target: str
    read_only: bool = False


@dataclasses.dataclass(frozen=True)
class Device:
    """An interface, with what the runtime itself sets up of it."""

    kind: str  # network or bridge
    source: str | None
    mac: str | None
    host_end: str | None
    addresses: tuple[str, ...] = ()  # with their prefixes
    routes: tuple[tuple[str, str], ...] = ()  # destination, router


@dataclasses.dataclass(frozen=True)
class Record:
    """What a sandbox is started with, as its definition keeps it: what runs still says it when the definition is another by then.

    ``options`` are those whose change needs a restart, ``addresses`` those of each interface. A definition of release 0.1.0
    has a hash in place of options.
    """

    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    addresses: tuple[tuple[str, ...], ...] = ()
    legacy: str = ""

    def dump(self) -> str:
        """The record as text."""
        return json.dumps({"options": self.options, "addresses": self.addresses}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Record:
        """A record from its text; an empty one, which is none of a sandbox, where somebody has changed it."""
        try:
            document = json.loads(text)
            return cls(document["options"], tuple(tuple(addresses) for addresses in document["addresses"]))
        except (ValueError, KeyError, TypeError):
            return cls()


@dataclasses.dataclass(frozen=True)
class Definition:
    """Everything that a runtime is told of a sandbox."""

    name: str
    context: Context | None
    init: tuple[str, ...]
    env: Mapping[str, str]
    capabilities: tuple[str, Mapping[str, str]]  # the runtime's own policy, and what is on or off against it
    binds: tuple[Bind, ...]
    devices: tuple[Device, ...]
    slice: str
    record: Record | None  # nothing where this collection did not make it
    deviations: tuple[str, ...] = ()  # what of it no definition of this collection has

    @property
    def ours(self) -> bool:
        return self.record is not None


@dataclasses.dataclass(frozen=True)
class Known:
    """A sandbox as its runtime has it: as it is defined, if it is, and as it runs."""

    defined: Definition | None = None
    running: Definition | None = None


def define(spec: ServiceSpec, followed: Sequence[str], resolved: Resolved = (), networks: Networks | None = None) -> Definition:
    """The definition of a sandbox.

    ``followed`` are the paths of the host bound read-only into its /etc, ``resolved`` its interfaces' addresses,
    ``networks`` those of libvirt, from which prefixes and default routes of interfaces follow that the host sets up.
    """
    return Definition(
        name=spec.name,
        context=Context.process(spec.process_type, spec.level),
        init=tuple(command.init(spec)) if spec.command else (INIT,),
        env={"PATH": command.PATH} if spec.command else {"SYSTEMD_GENERATOR_PATH": GENERATORS},
        capabilities=capabilities.policy(spec),
        binds=tuple(_binds(spec, followed)),
        devices=tuple(_device(spec, number, resolved, networks or {}) for number in range(len(spec.network))),
        slice=spec.paths.slice,
        record=Record(started_with(spec), tuple(tuple(addresses) for addresses in resolved)),
    )


def _binds(spec: ServiceSpec, followed: Sequence[str]) -> list[Bind]:
    """In the order in which they are mounted."""
    paths = spec.paths
    return [
        Bind(paths.root, "/", read_only=True),
        *(Bind(path, path, read_only=True) for path in layout.SHARED),
        *(Bind(f"{paths.root}/{path}", f"/{path}") for path in layout.PRIVATE),
        *(Bind(path, path, read_only=True) for path in followed),
        *(Bind(paths.memory(target), target) for target in layout.MEMORY),
        *(Bind(*mount) for mount in domain_mounts(spec)),
    ]


def _device(spec: ServiceSpec, number: int, resolved: Resolved, networks: Networks) -> Device:
    """The runtime sets addresses and routes where no systemd inside does."""
    interface = spec.network[number]
    set_up = managed.is_set_up(spec, number)
    return Device(
        kind="bridge" if interface.bridge else "network",
        source=interface.bridge or interface.source,
        mac=mac_of(spec.name, number, interface),
        host_end=host_device(spec.name, number),
        addresses=managed.addresses(spec, number, resolved, networks) if set_up else (),
        routes=managed.routes(spec, number, resolved, networks) if set_up else (),
    )


def as_today(definition: Definition | None, wanted: Definition) -> Definition | None:
    """A definition, with the record of an earlier release in today's form."""
    if definition is None or definition.record is None or wanted.record is None:
        return definition
    return dataclasses.replace(definition, record=_record_as_today(definition.record, wanted.record))


def _record_as_today(record: Record, wanted: Record) -> Record:
    if record.legacy:
        if record.legacy != start_hash(wanted.options) or record.addresses != wanted.addresses:
            return record
        return Record(recorded_part(ServiceSpec, {name: wanted.options[name] for name in STARTED_WITH}), wanted.addresses)
    if not record.options:
        return record
    try:
        return dataclasses.replace(record, options=recorded_part(ServiceSpec, record.options))
    except TypeError:  # somebody has changed it
        return Record()


# what of a running sandbox is compared beside its record, and what a reader calls it
_COMPARED = {"context": "label", "init": "init", "binds": "mounts", "devices": "interfaces", "slice": "slice"}


def restart_reasons(running: Definition, wanted: Definition) -> list[str]:
    """Why a running sandbox must be restarted to be what is declared.

    These are the options that it was started with otherwise. Where its record, as of today, names none, it may yet run otherwise
    than its record says, because somebody has changed its definition.
    """
    reasons = _other_options(running.record, wanted.record) if wanted.record else []
    return reasons or [title for field, title in _COMPARED.items() if _compared(running, field) != _compared(wanted, field)]


def _compared(definition: Definition, field: str) -> Any:
    """What the host has come to have of what a sandbox follows is there from its next start on."""
    if field == "binds":
        return [bind for bind in definition.binds if bind.target not in layout.FOLLOWED]
    return getattr(definition, field)


def _other_options(running: Record | None, wanted: Record) -> list[str]:
    if running is None or running.legacy or not running.options:
        return ["what it was started with"]
    reasons = [name for name, value in wanted.options.items() if running.options[name] != value]
    return reasons + (["addresses"] if running.addresses != wanted.addresses else [])
