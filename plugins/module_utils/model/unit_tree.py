# SPDX-License-Identifier: GPL-3.0-or-later
"""The units of a systemd: what the files in its directories are merged into, as systemd.unit(5) has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from .unit_file import TYPES, NameParts, UnitFile, is_administrators, is_unit, parse, spellings

# where systemd looks for units in /usr, the first before the others
SHARED = ("/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
# directories beside a unit that add to what it needs
_BESIDE = {"Wants": "wants", "Requires": "requires", "Upholds": "upholds"}
TYPE_WIDE = frozenset(f"{kind}.{suffix}" for kind in TYPES for suffix in ("d", *_BESIDE.values()))
_MOST_HOPS = 8


class Place(Protocol):
    """A directory of units; paths are relative to it."""

    @property
    def path(self) -> str: ...

    def names(self, directory: str = "") -> Sequence[str]:
        """What is in it, or in a directory in it; nothing where that is not there."""

    def link(self, path: str) -> str:
        """Where a link leads, as an absolute path without dots; nothing for what is no link."""

    def empty(self, path: str) -> bool:
        """Whether it is an empty file or a link to /dev/null, and so masks."""

    def text(self, path: str) -> str | None:
        """What a file says, its bytes as UTF-8 where they are, else as surrogates; nothing where it cannot be read."""


@dataclasses.dataclass(frozen=True)
class Texts:
    """Files that are not anywhere yet."""

    path: str
    files: Mapping[str, str]

    def names(self, directory: str = "") -> Sequence[str]:
        top = f"{directory}/" if directory else ""
        return sorted({path[len(top) :].partition("/")[0] for path in self.files if path.startswith(top)})

    def link(self, _path: str) -> str:
        return ""

    def empty(self, path: str) -> bool:
        return self.files.get(path) == ""

    def text(self, path: str) -> str | None:
        return self.files.get(path)


def drop_in_names(name: str) -> Iterator[str]:
    """The names whose directories add to a unit, the most specific first: its own, its template's, and those cut off after a dash."""
    yield name
    parts = NameParts.of(name)
    if parts.instance:
        yield from drop_in_names(str(parts._replace(instance="")))
    prefix = parts.prefix[:-1] if parts.prefix.endswith("-") else parts.prefix
    shorter = prefix[: prefix.rfind("-") + 1]
    if shorter not in ("", "-"):
        yield from drop_in_names(str(parts._replace(prefix=shorter, instance=parts.instance or None)))


class UnitTree:
    """The units in some directories, of which the first has the last word."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = [(place, frozenset(place.names())) for place in places]
        self._files: dict[str, tuple[Place, str]] = {}
        self._aliases: dict[str, str] = {}  # name -> the name that its link leads to
        for place, names in self._places:
            for name in names:
                if is_unit(name) and name not in self._files and name not in self._aliases:
                    self._add(place, name)
        self._others: dict[str, list[str]] = {}
        for name in sorted({*self._files, *self._aliases}):
            file = self._file(name)
            if file:
                self._others.setdefault(_with_instance(file[1], name), []).append(name)

    def _add(self, place: Place, name: str) -> None:
        target = place.link(name)
        if not any(target.startswith(other.path + "/") for other, _names in self._places):
            self._files[name] = (place, name)
            return
        other = target.rpartition("/")[2]
        # a link that bears the name of what it leads to says nothing
        if other != name and _may_be_alias(name, other):
            self._aliases[name] = other

    def _file(self, name: str) -> tuple[Place, str] | None:
        """The file that a name leads to, through links."""
        for hop in range(_MOST_HOPS):
            if hop and name not in self._files and name not in self._aliases:
                name = spellings(name)[-1]
            if name in self._files:
                return self._files[name]
            name = self._aliases.get(name, "")
        return None

    def find(self, name: str) -> UnitFile | None:
        """A unit as systemd would load it; nothing where there is no file for it that can be read."""
        file = self._file(name) or self._file(spellings(name)[-1])
        if not file:
            return None
        place, own = file
        path, identity = f"{place.path}/{own}", self._identity(name, file)
        if place.empty(own):
            return parse(identity, path, [], masked=path)
        text = place.text(own)
        if text is None:
            return None
        names = self._names(name, file, identity)
        drop_ins = self._merged(names, "d", ".conf")
        texts = [text, *(place.text(file) or "" for place, file in drop_ins)]
        beside = {key: self._beside(names, suffix) for key, suffix in _BESIDE.items()}
        return parse(identity, path, texts, beside, "", [f"{place.path}/{file}" for place, file in drop_ins], names[1:])

    def _identity(self, name: str, file: tuple[Place, str]) -> str:
        """The name that a file gives to a unit, unless another file has that name."""
        given = _with_instance(file[1], name)
        return given if self._file(given) in (None, file) else name

    def _names(self, name: str, file: tuple[Place, str], identity: str) -> list[str]:
        """The names of a unit, its own first."""
        given = _with_instance(file[1], name)
        linked = list(dict.fromkeys(other for key in (name, file[1], given) for other in self._others.get(key, ())))
        instances = [(other, _with_instance(other, name)) for other in linked]
        others = [instance for other, instance in instances if other == instance or self._file(instance) in (None, file)]
        return list(dict.fromkeys([identity, name, given, *others]))

    def _merged(self, names: Sequence[str], suffix: str, ending: str = "") -> list[tuple[Place, str]]:
        """The files in the directories beside a unit, in order of their names; of those that have the same name the first."""
        chosen: dict[str, tuple[Place, str]] = {}
        for place, directory in self._directories(names, suffix):
            for file in place.names(directory):
                if file.endswith(ending) and not file.startswith("."):
                    chosen.setdefault(file, (place, f"{directory}/{file}"))
        return [chosen[file] for file in sorted(chosen, key=lambda file: file.encode("utf-8", "surrogateescape"))]

    def _directories(self, names: Sequence[str], suffix: str) -> Iterator[tuple[Place, str]]:
        for name in (*names, NameParts.of(names[0]).kind):
            others = drop_in_names(name) if name in names else [name]
            directories = [f"{other}.{suffix}" for other in others]
            for place, entries in self._places:
                for directory in directories:
                    if directory in entries:
                        yield place, directory

    def _beside(self, names: Sequence[str], suffix: str) -> list[str]:
        """The units that the links in the directories of this suffix name."""
        files = [(place, path, path.rpartition("/")[2]) for place, path in self._merged(names, suffix)]
        return [name for place, path, name in files if is_unit(name) and place.link(path) and not place.empty(path)]


def _with_instance(template: str, instance_name: str) -> str:
    """A template as the instance that another name has; anything else as it is."""
    parts, instance = NameParts.of(template), NameParts.of(instance_name).instance
    return str(parts._replace(instance=instance)) if parts.instance == "" and instance else template


def _may_be_alias(name: str, other: str) -> bool:
    mine, target = NameParts.of(name), NameParts.of(other)
    same = mine.instance == target.instance or (mine.instance and target.instance == "")
    return bool(is_unit(other) and mine.kind == target.kind and same)


class HostUnits:
    """The units of a host: those in /usr, which every sandbox shares, and those of its administrator, of which it may have copies."""

    def __init__(self, shared: Sequence[Place] = (), administrators: Place | None = None, runtime: Place | None = None) -> None:
        own = [place for place in (administrators,) if place]
        self._shared = list(shared)
        self._in_usr = UnitTree(self._shared)
        self._on_host = UnitTree([*own, *self._shared])
        self._masks = UnitTree([*own, *(place for place in (runtime,) if place), *self._shared])
        self._administrators = administrators

    def find(self, name: str) -> UnitFile | None:
        """A unit in /usr, or else of the administrator."""
        unit = self._in_usr.find(name)
        if not unit and self._administrators:
            unit = self._on_host.find(name)
            if unit and not unit.path.startswith(self._administrators.path + "/"):
                return None
        return self._or_masked(name, unit)

    def inside(self, own: Place) -> Callable[[str], UnitFile | None]:
        """What finds a unit as the systemd of a sandbox does that has this in its own /etc."""
        tree = UnitTree([own, *self._shared])

        def find(name: str) -> UnitFile | None:
            unit = tree.find(name)
            return unit if unit and is_administrators(unit) else self._or_masked(name, unit)

        return find

    def wants(self, target: str) -> list[str]:
        """What a target in /usr wants, links or not."""
        return sorted({name for place in self._shared for name in place.names(f"{target}.wants")})

    def _or_masked(self, name: str, unit: UnitFile | None) -> UnitFile | None:
        """A unit that the host's administrator has masked is not to run in a sandbox either."""
        known = self._masks.find(name) if unit else None
        return dataclasses.replace(unit, masked=unit.masked or known.masked) if unit and known else unit
