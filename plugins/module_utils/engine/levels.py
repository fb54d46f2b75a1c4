# SPDX-License-Identifier: GPL-3.0-or-later
"""The levels of a run's sandboxes: from the play or the registry, and apart from whatever else the host carries."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from ..host import level_store, levels_in_use
from ..model.errors import ConflictError, OptionError, SandboxError
from ..model.level_conflicts import conflicts, in_the_way
from ..model.mcs import POLICY_RANGE, Level, disturbing
from ..model.registry import Registry
from ..model.spec import Identity, ServiceSpec

Spec = TypeVar("Spec", bound=Identity)


@dataclasses.dataclass(frozen=True)
class Levels:
    """What a registry knows: the owners' levels, and those that rest with who had them."""

    owners: Mapping[str, Level] = dataclasses.field(default_factory=dict)
    resting: Mapping[Level, str] = dataclasses.field(default_factory=dict)

    def whose(self, specs: Mapping[str, Identity]) -> dict[Level, str]:
        """Whose each level is: a sandbox's of this host, by its spec or the registry, or a former one's for which it rests."""
        former = {level: f"former {name}" for level, name in self.resting.items()}
        of_specs = {spec.level: name for name, spec in specs.items()}
        return {**former, **{level: name for name, level in self.owners.items()}, **of_specs}


def registered(url: str) -> Levels:
    """What the registry knows."""
    with level_store.open_store(level_store.on_host(url), create=False) as store:
        registry = Registry(store, None, POLICY_RANGE)
        return Levels(dict(registry.owners()), dict(registry.quarantine()))


def known(url: str) -> Levels:
    """The same; a registry that cannot be read says nothing."""
    try:
        return registered(url)
    except SandboxError:
        return Levels()


def filled(specs: Sequence[Spec], levels: Levels, url: str, declared: Mapping[str, ServiceSpec], check_mode: bool = False) -> list[Spec]:
    """The specs with the levels that the registry knows and the play does not name.

    Raises ``OptionError`` or ``ConflictError`` where a level is not the sandbox's alone. In check mode a level that rests may
    be one that ``mcs_label`` has just announced.
    """
    owned = dict(levels.owners)
    result = []
    for spec in specs:
        own = levels.owners.get(spec.name)
        if not spec.level:
            if own is None:
                raise OptionError("level", None, f"a level, or one that {url} records", f"Run mcs_label to allocate one for {spec.name}.")
            spec = dataclasses.replace(spec, level=own)
        elif own is not None and own != spec.level:
            raise OptionError("level", str(spec.level), f"{own}, which {url} records for {spec.name}")
        elif own is None:
            _check_separate(spec, owned)
            owned[spec.name] = spec.level
        result.append(spec)
    named = {name: level for name, level in owned.items() if name not in levels.owners}
    _check_on_host(named, {} if check_mode else levels.resting, declared)
    return result


def _check_separate(spec: Identity, owned: Mapping[str, Level]) -> None:
    """A level that the registry has not given, beside those that it has and the others of the run."""
    for owner, level in owned.items():
        if spec.level.conflicts(level):
            _refuse(f"{spec.level} of {spec.name} and {level} of {owner} are not separate")


def _check_on_host(named: Mapping[str, Level], resting: Mapping[Level, str], declared: Mapping[str, ServiceSpec]) -> None:
    """Levels that the registry has not given, beside all that the host carries; those that a sandbox has already were looked at."""
    new = {name: level for name, level in named.items() if name not in declared or declared[name].level != level}
    for name, rest in disturbing(new, resting):
        _refuse(f"{new[name]} of {name} and {rest} are not separate")
    in_use = in_the_way(levels_in_use.observe()) if new else []
    in_conflict: Iterable[object] = [conflict for conflict in conflicts(new, in_use) if not conflict.other.belongs_to(conflict.owner)]
    for conflict in in_conflict:
        _refuse(str(conflict))


def _refuse(reason: str) -> None:
    raise ConflictError(f"level: {reason}. Run mcs_label to allocate a separate level.")
