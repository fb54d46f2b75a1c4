# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a registry's levels are kept: a store for each kind of URL, SQLite so far."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from ..engine.registry import Changes, Store
from ..model.errors import OptionError, SandboxError
from ..model.mcs import Level

SCHEMA_VERSION = 1
BUSY_SECONDS = 30.0

# Others may pass through to what is theirs in it, not list it.
_DIRECTORY_MODE = 0o711

_LATER = ("postgresql", "yaml")
_ALLOWED = "a registry is the URL of a file, such as sqlite:////var/lib/virt-sandbox/labels.db"

_SCHEMA = (
    "CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE owner (name TEXT PRIMARY KEY, level TEXT NOT NULL UNIQUE, categories INTEGER NOT NULL)",
    "CREATE INDEX owner_categories ON owner (categories)",
    "CREATE TABLE quarantine (level TEXT PRIMARY KEY, owner TEXT NOT NULL)",
    "CREATE TABLE pool (low INTEGER PRIMARY KEY, watermark INTEGER NOT NULL)",
    "CREATE TABLE free (low INTEGER, number INTEGER, PRIMARY KEY (low, number)) WITHOUT ROWID",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_OWNERS_OF_OTHER_SIZES = """
    SELECT name, level FROM owner WHERE categories < ?
    UNION ALL SELECT name, level FROM owner WHERE categories > ?
"""


def store_path(url: str) -> str:
    """The file of a ``sqlite:`` URL; it is absolute however many slashes it begins with."""
    parts = urlsplit(url)
    if parts.scheme in _LATER:
        raise OptionError("registry", url, f"{parts.scheme} is not supported yet; {_ALLOWED}")
    name = parts.path.lstrip("/")
    if parts.scheme != "sqlite" or parts.netloc or parts.query or parts.fragment or not name or "\0" in url:
        raise OptionError("registry", url, _ALLOWED)
    return "/" + name


@contextlib.contextmanager
def open_store(url: str, create: bool) -> Iterator[Store]:
    """The store at a URL. Without ``create`` nothing comes into being: one that is not there yet is shown as empty."""
    path = store_path(url)
    if create:
        _create_file(path)
    elif not os.path.exists(path) or os.path.getsize(path) == 0:
        path = ":memory:"
    with _errors(url), contextlib.closing(SqliteStore(path)) as store:
        yield store


def _create_file(path: str) -> None:
    directory = os.path.dirname(path)
    try:
        if not os.path.isdir(directory):
            os.mkdir(directory, _DIRECTORY_MODE)
            os.chmod(directory, _DIRECTORY_MODE)
        # SQLite gives its own files beside this one the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        _create_file(path)
    except OSError as error:
        raise OptionError("registry", path, f"it cannot be opened ({error.strerror}); {_ALLOWED}") from error


@contextlib.contextmanager
def _errors(url: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if "locked" in str(error):
            remedy = f"another run held it for {BUSY_SECONDS:.0f} seconds; run again when that has ended"
        else:
            remedy = "see that the file is a registry on a sound filesystem, and that its directory is writable"
        raise SandboxError(f"registry {url}: {error}; {remedy}") from error


class SqliteStore:
    """A registry in one SQLite file. What was committed survives a kill, and a power cut; what was not, never was."""

    def __init__(self, path: str) -> None:
        self._path = path
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
            for statement in _SCHEMA:
                self._database.execute(statement)
        elif version != SCHEMA_VERSION:
            raise SandboxError(
                f"registry {self._path}: it is of format {version}, and this version of the collection knows format "
                f"{SCHEMA_VERSION}; use the version of the collection that wrote it, or name another file"
            )

    def size(self) -> int | None:
        row = self._database.execute("SELECT value FROM setting WHERE name = 'categories'").fetchone()
        return int(row[0]) if row else None

    def level_of(self, owner: str) -> Level | None:
        row = self._database.execute("SELECT level FROM owner WHERE name = ?", (owner,)).fetchone()
        return Level.parse(row[0]) if row else None

    def owner_of(self, level: Level) -> str | None:
        row = self._database.execute("SELECT name FROM owner WHERE level = ?", (str(level),)).fetchone()
        return str(row[0]) if row else None

    def owners(self, other_than: int | None = None) -> Iterator[tuple[str, Level]]:
        """Every owner with its level, or those whose number of categories is another."""
        if other_than is None:
            rows = self._database.execute("SELECT name, level FROM owner ORDER BY name")
        else:
            # Two searches of the index; one for "<>" would read every owner.
            rows = self._database.execute(_OWNERS_OF_OTHER_SIZES, (other_than, other_than))
        for name, level in rows:
            yield name, Level.parse(level)

    def quarantine(self) -> Iterator[tuple[Level, str]]:
        for level, owner in self._database.execute("SELECT level, owner FROM quarantine ORDER BY level"):
            yield Level.parse(level), owner

    def pools(self) -> dict[int, int]:
        return dict(self._database.execute("SELECT low, watermark FROM pool"))

    def free(self, low: int) -> Iterator[int]:
        for (number,) in self._database.execute("SELECT number FROM free WHERE low = ? ORDER BY number", (low,)):
            yield number

    def write(self, changes: Changes) -> None:
        many = self._database.executemany
        if changes.size is not None:
            many("INSERT OR REPLACE INTO setting VALUES ('categories', ?)", [(str(changes.size),)])
        many("DELETE FROM owner WHERE name = ?", [(owner,) for owner in changes.owners])
        # Never OR REPLACE: should two owners ever be given one level, the database refuses the second.
        many(
            "INSERT INTO owner VALUES (?, ?, ?)",
            [(owner, str(level), len(level)) for owner, level in changes.owners.items() if level is not None],
        )
        many("DELETE FROM quarantine WHERE level = ?", [(str(level),) for level in changes.quarantine])
        many(
            "INSERT INTO quarantine VALUES (?, ?)",
            [(str(level), owner) for level, owner in changes.quarantine.items() if owner is not None],
        )
        many("INSERT OR REPLACE INTO pool VALUES (?, ?)", changes.pools.items())
        many("INSERT OR IGNORE INTO free VALUES (?, ?)", [number for number, free in changes.free.items() if free])
        many("DELETE FROM free WHERE low = ? AND number = ?", [n for n, free in changes.free.items() if not free])
