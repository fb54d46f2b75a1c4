# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry in a PostgreSQL server, for hosts that have one between them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ..model.errors import OptionError, SandboxError
from .binding import required
from .level_sql import BUSY_SECONDS, SCHEMA, SCHEMA_VERSION, SqlStore, held, other_format

_ALLOWED = "the URL of a database without a password, such as postgresql://levels@db.example.org/levels"
_PASSWORD = "Put the password into ~/.pgpass, the environment (PGPASSWORD) or a service file."
_CONNECT_SECONDS = int(BUSY_SECONDS)


def without_secrets(parts: SplitResult) -> str:
    """A URL as a message may show it: what stands before an @ or in a query may be a password."""
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def check_url(url: str) -> None:
    """Raise ``OptionError`` for a URL with a password in it, which every log would show."""
    parts = urlsplit(url)
    if parts.password is not None or "password" in parts.query:
        raise OptionError("registry", without_secrets(parts), _ALLOWED, _PASSWORD)


def _driver() -> Any:
    return required("psycopg2", "python3-psycopg2 on the controller")


@contextlib.contextmanager
def errors(url: str) -> Iterator[None]:
    """What the driver says, as an error that names the registry and what to do."""
    driver = _driver()
    try:
        yield
    except driver.Error as error:
        said = " ".join(str(error).split())
        remedy = "Check that the server answers and that the role may use the database."
        if isinstance(error, driver.errors.LockNotAvailable):
            remedy = held()
        raise SandboxError(f"registry {url}: {said}. Changes that were not committed were not made. {remedy}") from error


class PostgresqlStore(SqlStore):
    """A registry in one schema of one database. Runs wait for each other, and a cut connection rolls back what it had begun."""

    def __init__(self, url: str) -> None:
        self.place = url
        self._connection = _driver().connect(url, connect_timeout=_CONNECT_SECONDS, application_name="virt.sandbox")
        self._cursor = self._connection.cursor()
        self._there = False

    def close(self) -> None:
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self, write: bool) -> Iterator[None]:
        """Everything or nothing, one writer at a time; a reader sees one state, and waits for nobody."""
        try:
            self._begin(write)
            yield
        except BaseException:
            # where the connection is gone the server has done so itself
            with contextlib.suppress(_driver().Error):
                self._connection.rollback()
            raise
        if write:
            self._connection.commit()
        else:
            self._connection.rollback()

    def _begin(self, write: bool) -> None:
        """The tables come with the first run that writes; until then a reader finds nothing, and needs no right to make any."""
        if write:
            # so that what is read was written before the lock was had, whatever the server's default is
            self._cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            self._cursor.execute("SET LOCAL lock_timeout = %s", (f"{BUSY_SECONDS:.0f}s",))
            self._cursor.execute("SELECT pg_advisory_xact_lock(hashtext('virt.sandbox'))")
        else:
            self._cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        self._cursor.execute("SELECT to_regclass('setting') IS NOT NULL")
        (self._there,) = self._cursor.fetchone()
        if self._there:
            version = next((text for (text,) in self._rows("SELECT value FROM setting WHERE name = 'format'")), None)
            if version != str(SCHEMA_VERSION):
                raise other_format(self.place, version)
        elif write:
            for statement in SCHEMA:
                self._cursor.execute(statement)
            self._there = True
            self._many("INSERT INTO setting VALUES (?, ?)", [("format", str(SCHEMA_VERSION))])

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> Iterable[Sequence[Any]]:
        if not self._there:
            return ()
        self._cursor.execute(statement.replace("?", "%s"), values)
        rows: list[Sequence[Any]] = self._cursor.fetchall()
        return rows

    def _many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        self._cursor.executemany(statement.replace("?", "%s"), list(rows))
