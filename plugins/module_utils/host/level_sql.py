# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry's levels in a database of SQL: what SQLite and PostgreSQL have in common, and SQLite's own."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from ..model.errors import OptionError, SandboxError
from ..model.level_request import MOST_CATEGORIES
from ..model.level_search import Hint
from ..model.mcs import CATEGORIES, Level, LevelError
from ..model.registry import Changes

SCHEMA_VERSION = 1
BUSY_SECONDS = 30.0
SCHEMA = (
    "CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE owner (name TEXT PRIMARY KEY, level TEXT NOT NULL UNIQUE, categories INTEGER NOT NULL)",
    "CREATE INDEX owner_categories ON owner (categories)",
    "CREATE TABLE quarantine (level TEXT PRIMARY KEY, owner TEXT NOT NULL)",
)

# Others may pass through to what is theirs in it, not list it.
_DIRECTORY_MODE = 0o711
# no file of SQLite is shorter than this
_HEADER = 100
_SET = "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_OWNERS_OF_OTHER_SIZES = """
    SELECT name, level, categories FROM owner WHERE categories < ?
    UNION ALL SELECT name, level, categories FROM owner WHERE categories > ?
"""


def other_format(place: str, version: object) -> SandboxError:
    """A registry that another version of the collection wrote, or that is none."""
    return SandboxError(
        f"registry {place}: has format {version}, but this version of the collection reads format "
        f"{SCHEMA_VERSION}. Use the version of the collection that wrote it, or name another registry."
    )


def _hint(low: object) -> str:
    """The setting that has the hint for ranges from this category on."""
    return f"next c{low}"


def held() -> str:
    """What to do where another run has the registry for too long."""
    return f"Another run held it for {BUSY_SECONDS:.0f} seconds. Run again when that has ended."


class SqlStore(ABC):
    """The statements of a registry; how to reach the database is its own. What rows say is not trusted: people write there too."""

    place: str

    @abstractmethod
    def _rows(self, statement: str, values: Sequence[Any] = ()) -> Iterable[Sequence[Any]]:
        """What a query with ``?`` in place of its values finds."""

    @abstractmethod
    def _many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """A statement for each of these rows of values."""

    def size(self) -> int | None:
        for (value,) in self._rows("SELECT value FROM setting WHERE name = 'categories'"):
            return self._number(value, range(1, MOST_CATEGORIES + 1), "the setting categories")
        return None

    def level_of(self, owner: str) -> Level | None:
        return next((self._level(text, owner) for (text,) in self._rows("SELECT level FROM owner WHERE name = ?", (owner,))), None)

    def owned(self, levels: Collection[Level]) -> set[Level]:
        """Those of these levels that somebody owns."""
        by_text = {str(level): level for level in levels}
        marks = ", ".join("?" * len(by_text))
        return {by_text[text] for (text,) in self._rows(f"SELECT level FROM owner WHERE level IN ({marks})", tuple(by_text))}

    def owners(self, other_than: int | None = None) -> Iterator[tuple[str, Level]]:
        """Every owner with its level, or those whose number of categories is another."""
        if other_than is None:
            rows = self._rows("SELECT name, level, categories FROM owner ORDER BY name")
        else:
            # Two searches of the index; one for "<>" would read every owner.
            rows = self._rows(_OWNERS_OF_OTHER_SIZES, (other_than, other_than))
        for name, text, size in rows:
            level = self._level(text, self._owner(name))
            if size != len(level):
                raise self._odd(f"the owner {name} has {size!r} for the number of categories of {level}")
            yield name, level

    def quarantine(self) -> Iterator[tuple[Level, str]]:
        for level, owner in self._rows("SELECT level, owner FROM quarantine ORDER BY level"):
            yield self._level(level, f"{self._owner(owner)} in quarantine"), owner

    def hints(self) -> dict[int, Hint]:
        hints = {}
        for name, value in self._rows("SELECT name, value FROM setting WHERE name LIKE ?", (_hint("%"),)):
            low = self._number(name[len(_hint("")) :], range(CATEGORIES), f"the setting {name}")
            levels = [self._level(text, f"the setting {name}") for text in str(value).split(" ")]
            if len(levels) < 3:
                raise self._odd(f"the setting {name} has {value!r} for three levels or more")
            hints[low] = Hint(levels[0], levels[1], levels[2], levels[3:])
        return hints

    def _level(self, text: object, whose: str) -> Level:
        """The level in a row. In another spelling nobody who asks for it would find it."""
        try:
            level = Level.for_sandbox(text) if isinstance(text, str) else None
        except LevelError as error:
            raise self._odd(f"{whose} has {text!r} for a level: expected {error}") from error
        if level is None or str(level) != text:
            raise self._odd(f"{whose} has {text!r} for a level" + (f", which is written {level}" if level else ""))
        return level

    def _owner(self, name: object) -> str:
        if not isinstance(name, str) or not name or not name.isprintable():
            raise self._odd(f"{name!r} is not an owner")
        return name

    def _number(self, value: object, allowed: range, what: str) -> int:
        """A number, which a setting has as a text."""
        number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,30}", value) else value
        if not isinstance(number, int) or number not in allowed:
            raise self._odd(f"{what} has {value!r} for a number")
        return number

    def _odd(self, what: str) -> SandboxError:
        return SandboxError(f"registry {self.place}: {what}. Only mcs_label may write there. Repair that row, or restore the registry.")

    def write(self, changes: Changes) -> None:
        for owner in changes.owners:
            self._owner(owner)
        settings = {_hint(low): " ".join(map(str, (hint.first, hint.last, hint.next, *hint.beside))) for low, hint in changes.hints.items()}
        if changes.size is not None:
            settings["categories"] = str(changes.size)
        self._many(_SET, settings.items())
        self._many("DELETE FROM owner WHERE name = ?", [(owner,) for owner in changes.owners])
        # Never replaced: should two owners ever be given one level, the database refuses the second.
        self._many(
            "INSERT INTO owner VALUES (?, ?, ?)",
            [(owner, str(level), len(level)) for owner, level in changes.owners.items() if level is not None],
        )
        self._many("DELETE FROM quarantine WHERE level = ?", [(str(level),) for level in changes.quarantine])
        self._many(
            "INSERT INTO quarantine VALUES (?, ?)",
            [(str(level), owner) for level, owner in changes.quarantine.items() if owner is not None],
        )


def create_file(path: str) -> None:
    """The file of a SQLite registry, and its directory; not the directories above."""
    directory = os.path.dirname(path)
    try:
        # by another run at the same time
        with contextlib.suppress(FileExistsError):
            if not os.path.isdir(directory):
                os.mkdir(directory, _DIRECTORY_MODE)
                os.chmod(directory, _DIRECTORY_MODE)
        # SQLite gives its own files beside this one the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise OptionError("registry", path, f"a file that can be opened ({error.strerror})") from error


def check_file(path: str) -> None:
    """Raise ``OptionError`` for a file that others can change or replace, or that has lost what it had."""
    real = os.path.realpath(path)
    if os.path.exists(real) and not os.path.isfile(real):
        raise OptionError("registry", path, "a regular file")
    for place in (os.path.dirname(path), os.path.dirname(real), real):
        try:
            status = os.stat(place)
        except OSError:
            continue
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
            raise OptionError(
                "registry", path, "a file that only root may change or replace", f"Correct the owner or the permissions of {place}."
            )
    log = f"{real}-wal"
    # SQLite takes these for new, and deletes the log of what was committed last. The log is looked at first, since it comes second.
    logged, size = _size(log), _size(real)
    if 0 < size < _HEADER or (logged and not size):
        raise OptionError(
            "registry",
            path,
            "a complete registry",
            f"It was truncated, or removed without its log. Restore it, or remove it and {log} to start afresh.",
        )


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0


@contextlib.contextmanager
def sqlite_errors(url: str) -> Iterator[None]:
    """What SQLite says, as an error that names the registry and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        if "locked" in str(error):
            remedy = held()
        else:
            remedy = "Check that the file is a registry on a sound filesystem, and that its directory is writable."
        raise SandboxError(f"registry {url}: {error}. {remedy}") from error


class SqliteStore(SqlStore):
    """A registry in one SQLite file. What was committed survives a kill, and a power cut; what was not, never was."""

    def __init__(self, path: str) -> None:
        self.place = path
        self._database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            self._use_write_ahead_log()
            self._database.execute("PRAGMA synchronous = FULL")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._database.close()

    def _use_write_ahead_log(self) -> None:
        """SQLite does not wait for others while it changes the journal's mode, so this does."""
        limit = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > limit:
                    raise
                time.sleep(0.01)

    @contextlib.contextmanager
    def transaction(self, write: bool) -> Iterator[None]:
        """Everything or nothing; a transaction that only reads leaves nothing behind, not even in a new file."""
        self._database.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            self._check_schema()
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT" if write else "ROLLBACK")

    def _check_schema(self) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        (tables,) = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version == 0 and tables == 0:
            for statement in (*SCHEMA, f"PRAGMA user_version = {SCHEMA_VERSION}"):
                self._database.execute(statement)
        elif version != SCHEMA_VERSION:
            raise other_format(self.place, version)

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> Iterable[Sequence[Any]]:
        return self._database.execute(statement, values)

    def _many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        self._database.executemany(statement, rows)
