# SPDX-License-Identifier: GPL-3.0-or-later
"""Which paths of the host a sandbox gets a copy of for the sake of its units, found from their packages."""

from __future__ import annotations

import functools
import os
import pwd
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from ..host import packages, systemd
from ..model import private_paths, unit_file, unit_fit
from ..model.errors import OptionError
from ..model.private_paths import Entry
from ..model.unit_tree import Texts, drop_in_names


class Discovered(NamedTuple):
    """The private paths, and what of them stays outside because it may be a secret of the host."""

    paths: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()  # of what is left out, what a unit names, and the configuration that was changed here


NOTHING = Discovered()


@functools.cache
def discover(
    units: tuple[str, ...], private: tuple[str, ...], declared: tuple[tuple[str, str], ...] = (), own: tuple[str, ...] = ()
) -> Discovered:
    """From units to paths; what ``private`` names is copied as it is. Cached, because sandboxes are much alike.

    ``declared``: paths and texts of files that the content has whatever the host has, among them units; ``own``: units that
    it may have already.
    """
    if not units:
        return NOTHING
    files_of_play = dict(declared)
    given = _given(units, files_of_play)
    # a packaged unit that a file of the play overrides keeps its package
    host_units = unit_file.brought([*units, *(name for unit in given.values() for name in unit_file.needed(unit))], systemd.units().find)
    for name in units:
        if name not in {*host_units, *given, *own}:
            raise OptionError("units", name, unit_file.WHERE, unit_file.INSTALL)
    database = packages.manager()
    files = database.files(_ours(database, host_units, units))
    named = [path for unit in [*host_units.values(), *given.values()] for path in unit_fit.paths(unit)]
    paths = [path for path in private_paths.candidates([*files, *named]) if os.path.lexists(path)]
    whole = _directories(database, paths, host_units) | set(_state([*host_units.values(), *given.values()]))
    administrators = _administrators(host_units.values(), files_of_play)
    singles = [path for path in paths if not _is_directory(path)] + administrators
    top = [path for path in private_paths.topmost(singles, whole) if path not in private and not private_paths.below(path, private)]
    entries = [_entry(path, files, {*private, *administrators}) for path in top]
    left_out = [path for entry in entries for path in private_paths.left_out(_inside(entry), _reachable(entry))]
    missed = tuple(path for path in left_out if path not in files_of_play and (files.get(path) or path in named))
    return Discovered(tuple(path for path in top if path not in left_out), tuple(sorted(left_out)), missed)


def _given(names: Iterable[str], declared: Mapping[str, str]) -> dict[str, unit_file.UnitFile]:
    """Of the named units and what they bring along, those of which a file is declared."""
    top = unit_file.ADMINISTRATORS + "/"
    texts = Texts(unit_file.ADMINISTRATORS, {path[len(top) :]: text for path, text in declared.items() if path.startswith(top)})
    units = unit_file.brought(names, systemd.units().inside(texts)) if texts.files else {}
    return {name: unit for name, unit in units.items() if any(path in declared for path in (unit.path, *unit.drop_ins))}


def _administrators(units: Iterable[unit_file.UnitFile], declared: Collection[str]) -> list[str]:
    """The files of units that are not in /usr, their other names, and what an administrator says of these beside."""
    names = [name for unit in units if unit_file.is_administrators(unit) for name in (unit.name, *unit.aliases)]
    paths = [path for name in names for path in unit_file.administrators(name)]
    beside = [f"{unit_file.ADMINISTRATORS}/{other}" for name in names for other in drop_in_names(name)]
    paths += [f"{path}{suffix}" for path in beside for suffix in (".d", ".wants", ".requires")]
    return [path for path in dict.fromkeys(paths) if path not in declared and os.path.lexists(path)]


def _ours(database: packages.Packages, host_units: Mapping[str, unit_file.UnitFile], declared: Collection[str]) -> list[str]:
    """The packages of the units; of one that the units only need, not if every host has it."""
    installed = database.installed()
    owners = database.owners([unit.path for unit in host_units.values()])
    names = {
        name
        for unit in host_units.values()
        for name in owners.get(unit.path, ())
        if unit.name in declared or (name in installed and not installed[name].base)
    }
    return private_paths.of_one_source(names, installed)


def _directories(database: packages.Packages, paths: Iterable[str], host_units: Mapping[str, unit_file.UnitFile]) -> set[str]:
    directories = [path for path in paths if _is_directory(path)]
    installed = database.installed()
    ours = _ours(database, host_units, list(host_units))
    return set(private_paths.own_directories(directories, database.owners(directories), ours, installed))


def _state(units: Iterable[unit_file.UnitFile]) -> list[str]:
    """What the users as whom the units run have in the places for state."""
    users = set()
    for unit in units:
        try:
            users.add(pwd.getpwnam(unit.last("User")).pw_uid)
        except KeyError:
            continue
    entries = {
        os.path.join(place, name): os.lstat(os.path.join(place, name)).st_uid
        for place in private_paths.STATE
        for name in systemd.names(place)
        if _is_directory(os.path.join(place, name))
    }
    return private_paths.candidates(private_paths.state_of(users, entries))


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _inside(entry: Entry) -> Sequence[Entry]:
    """A directory is made in any case; what is in it is asked about."""
    return entry.children if entry.directory else [entry]


def _reachable(entry: Entry) -> bool:
    """Whether everybody on the host may go to a path, and into it."""
    parts = entry.path.split("/")
    above = ["/".join(parts[:length]) or "/" for length in range(1, len(parts))]
    return all(os.stat(path).st_mode & 0o001 for path in above) and (not entry.directory or entry.mode & 0o005 == 0o005)


def _entry(path: str, files: Mapping[str, str], private: Collection[str]) -> Entry:
    status = os.lstat(path)
    named = path in private
    if _is_directory(path):
        names = [] if named else systemd.names(path)
        children = tuple(_entry(os.path.join(path, name), files, private) for name in names)
        needed = named or path in files or any(child.needed for child in children)
        return Entry(path, True, status.st_mode, False, needed, children)
    given = named or packages.unchanged(path, files)
    return Entry(path, False, status.st_mode, given or os.path.islink(path), given)
