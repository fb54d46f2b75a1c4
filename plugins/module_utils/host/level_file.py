# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry in a YAML file: levels that a repository declares, and reviews as any change of it."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import stat
import tempfile
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ..model.errors import OptionError, SandboxError
from ..model.level_request import MOST_CATEGORIES
from ..model.level_search import Hint
from ..model.mcs import Level, LevelError, conflicting, disturbing
from ..model.registry import Changes
from .level_sql import SCHEMA_VERSION, other_format
from .level_text import edited, yaml

_NEW_FILE = f"""\
# Which sandbox has which level: written by virt.sandbox.mcs_label, to be kept and reviewed with what declares the sandboxes.
format: {SCHEMA_VERSION}
levels: {{}}
"""
_NEW = ".virt-sandbox-new"  # what the names of files end with that are to replace another
_ALLOWED = "a file of levels as mcs_label writes it"
_KEYS = ("format", "categories", "levels", "quarantine")


class FileStore:
    """The levels of one file. It is read whole, and replaced whole by rename, while its directory is locked."""

    def __init__(self, path: str) -> None:
        # the file itself where the path is a link to it: others have other links
        self._path = os.path.realpath(path)
        if not os.path.isdir(os.path.dirname(self._path)):
            raise OptionError("registry", path, "a file in a directory that exists")
        self._size: int | None = None
        self._owners: dict[str, Level] = {}
        self._by_level: dict[Level, str] = {}
        self._quarantine: dict[Level, str] = {}

    @contextlib.contextmanager
    def transaction(self, write: bool) -> Iterator[None]:
        """Everything or nothing; a run that only reads sees one state, and waits for nobody."""
        with self._locked() if write else contextlib.nullcontext():
            text = _read(self._path)
            self._parse(text)
            before = self._state()
            yield
            if write and self._state() != before:
                self._save(text)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            descriptor = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise OptionError("registry", self._path, f"a file in a readable directory ({error.strerror})") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _parse(self, text: str) -> None:
        document = _load(self._path, text)
        version = document.get("format", str(SCHEMA_VERSION))
        if version != str(SCHEMA_VERSION):
            raise other_format(self._path, version)
        size = document.get("categories")
        if size not in (None, "", *map(str, range(1, MOST_CATEGORIES + 1))):
            raise self._error(f"The value of categories is {size!r}, not a number from 1 to {MOST_CATEGORIES}.")
        self._size = int(size) if size else None
        self._owners = {owner: self._level(text, owner) for owner, text in self._mapping(document, "levels").items()}
        self._quarantine = {}
        for text, owner in self._mapping(document, "quarantine").items():
            level = self._level(text, owner)
            if level in self._quarantine:
                raise self._error(f"Level {level} is in quarantine twice, for {self._quarantine[level]} and for {owner}.")
            self._quarantine[level] = owner
        self._index()

    def _error(self, what: str) -> OptionError:
        return OptionError("registry", self._path, _ALLOWED, what)

    def _mapping(self, document: Mapping[str, Any], key: str) -> dict[str, str]:
        mapping = document.get(key) or {}
        if not isinstance(mapping, dict) or not all(isinstance(part, str) for pair in mapping.items() for part in pair):
            raise self._error(f"The value of {key} is not a mapping of texts.")
        return mapping

    def _level(self, text: str, owner: str) -> Level:
        try:
            return Level.for_sandbox(text)
        except LevelError as error:
            raise self._error(f"The level {text!r} of {owner} is invalid: expected {error}.") from error

    def _index(self) -> None:
        """Owners by level; whoever edited it, no level dominates another's. What is wrong is all said at once."""
        wrong = [
            f"The owner {owner!r} is not a text of printable characters."
            for owner in (*self._owners, *self._quarantine.values())
            if not owner or not owner.isprintable()
        ]
        for owner, other in conflicting(self._owners):
            wrong.append(f"The levels of {owner} ({self._owners[owner]}) and {other} ({self._owners[other]}) are not separate.")
        for owner, rest in disturbing(self._owners, self._quarantine):
            wrong.append(f"The level of {owner} ({self._owners[owner]}) and {rest} are not separate.")
        if wrong:
            raise self._error(" ".join(wrong))
        self._by_level = {level: owner for owner, level in self._owners.items()}

    def _state(self) -> tuple[int | None, dict[str, str], dict[str, str]]:
        """What the file says: the number of categories, the levels by owner, and who had the levels in quarantine."""
        levels = {owner: str(level) for owner, level in self._owners.items()}
        return self._size, levels, {str(level): owner for level, owner in self._quarantine.items()}

    def _save(self, before: str) -> None:
        state = size, levels, quarantine = self._state()
        values = {"categories": size} if size is not None else {}
        try:
            text = edited(before or _NEW_FILE, values, {"levels": levels, "quarantine": quarantine})
            self._parse(text)
            kept = self._state() == state
        except (SandboxError, ValueError):
            kept = False
        if not kept:  # a person may write YAML of which no line can be changed by itself
            raise self._error(
                "Write each level on a line of its own, without {}, anchors and document ends, so that mcs_label can edit it."
            )
        try:
            self._replace(text)
        except OSError as error:
            raise OptionError("registry", self._path, f"a writable file ({error.strerror})") from error

    def _replace(self, text: str) -> None:
        directory, name = os.path.split(self._path)
        # the directory is locked: what is there was left by a run that was killed
        for left in glob.glob(os.path.join(glob.escape(directory), f".{glob.escape(name)}.????????{_NEW}")):
            os.unlink(left)
        descriptor, path = tempfile.mkstemp(dir=directory, prefix=f".{name}.", suffix=_NEW)
        try:
            with open(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                os.fchmod(descriptor, self._mode())
                file.flush()
                os.fsync(descriptor)
            os.replace(path, self._path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            raise

    def _mode(self) -> int:
        try:
            return stat.S_IMODE(os.stat(self._path).st_mode)
        except FileNotFoundError:
            return 0o644

    def size(self) -> int | None:
        return self._size

    def level_of(self, owner: str) -> Level | None:
        return self._owners.get(owner)

    def owned(self, levels: Collection[Level]) -> set[Level]:
        return {level for level in levels if level in self._by_level}

    def owners(self, other_than: int | None = None) -> Iterator[tuple[str, Level]]:
        """Every owner with its level, or those whose number of categories is another."""
        yield from sorted((owner, level) for owner, level in self._owners.items() if len(level) != other_than)

    def quarantine(self) -> Iterator[tuple[Level, str]]:
        yield from self._quarantine.items()

    def hints(self) -> dict[int, Hint]:
        """None: the search begins with the first level. A repository declares so few that this takes no time."""
        return {}

    def write(self, changes: Changes) -> None:
        self._size = changes.size or self._size
        for owner, level in changes.owners.items():
            self._owners.pop(owner, None)
            if level is not None:
                self._owners[owner] = level
        for level, former in changes.quarantine.items():
            self._quarantine.pop(level, None)
            if former is not None:
                self._quarantine[level] = former
        self._index()


def _read(path: str) -> str:
    """The text of the file; none where there is no file, and nothing is guessed where it is another one."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise OptionError("registry", path, _ALLOWED, "It is not a regular file.")
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise OptionError("registry", path, f"{_ALLOWED} ({' '.join(str(error).split())})") from error


def _load(path: str, text: str) -> dict[str, Any]:
    """The document, whose scalars are all texts."""
    if not text:
        return {}
    try:
        document, twice = _parsed(text)
    except (ValueError, RecursionError, yaml().YAMLError) as error:
        raise OptionError("registry", path, f"{_ALLOWED} ({' '.join(str(error).split())})") from error
    if twice:
        raise OptionError("registry", path, _ALLOWED, f"These keys occur twice: {', '.join(twice)}.")
    if not isinstance(document, dict) or not isinstance(document.get("levels"), dict):
        raise OptionError("registry", path, _ALLOWED, "It has no mapping named levels.")
    for key in document:
        if key not in _KEYS:
            raise OptionError("registry", path, _ALLOWED, f"Its key {key!r} is not one of {', '.join(_KEYS)}.")
    return document


def _parsed(text: str) -> tuple[Any, list[str]]:
    """The document, and the keys that it has twice, as the merge of two branches can leave them."""
    twice: list[str] = []

    class Loader(yaml().BaseLoader):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            mapping = super().construct_mapping(node, deep)
            keys = set()
            for key_node, _value in node.value:
                key = self.construct_object(key_node)
                if key in keys:
                    twice.append(f"{key!r} in line {key_node.start_mark.line + 1}")
                keys.add(key)
            return mapping

    return yaml().load(text, Loader), twice
