# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a registry's levels are kept: a store for each kind of URL."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

from ..model.errors import OptionError
from ..model.registry import Store
from ..model.spec import REGISTRY
from . import level_postgresql
from .level_file import FileStore
from .level_sql import SqliteStore, check_file, create_file, sqlite_errors

# kinds that hosts have between them; the controller is who reaches these
_DATABASE = ("postgresql", "postgres")
_SHARED = ("yaml", *_DATABASE)
_ALLOWED = (
    f"the URL of a file on the host, such as {REGISTRY}, of a file on the controller, such as "
    "yaml:////srv/infra/levels.lock.yml, or of a database, such as postgresql://levels@db.example.org/levels"
)


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise OptionError("registry", url, f"{_ALLOWED} ({error})") from error


def is_shared(url: str) -> bool:
    """Whether hosts have a registry between them, which the controller reaches and they do not."""
    return _parts(url).scheme in _SHARED


def on_host(url: str) -> str:
    """The registry on the host that knows the levels of its sandboxes: what is decided elsewhere is recorded there too."""
    if _parts(url).scheme in _DATABASE:
        level_postgresql.check_url(url)
    return REGISTRY if is_shared(url) else url


def store_path(url: str) -> str:
    """The file of a ``sqlite:`` or ``yaml:`` URL; it is absolute however many slashes it begins with."""
    parts = _parts(url)
    name = parts.path.lstrip("/")
    if parts.scheme not in ("sqlite", "yaml") or parts.netloc or parts.query or parts.fragment or not name or "\0" in url:
        raise OptionError("registry", url if "@" not in url else level_postgresql.without_secrets(parts), _ALLOWED)
    return "/" + name


@contextlib.contextmanager
def open_store(url: str, create: bool) -> Iterator[Store]:
    """The store at a URL. Without ``create`` nothing comes into being: one that is not there yet is shown as empty."""
    with contextlib.ExitStack() as held:
        yield _opened(url, create, held)


def _opened(url: str, create: bool, held: contextlib.ExitStack) -> Store:
    if _parts(url).scheme in _DATABASE:
        level_postgresql.check_url(url)
        held.enter_context(level_postgresql.errors(url))
        return held.enter_context(contextlib.closing(level_postgresql.PostgresqlStore(url)))
    path = store_path(url)
    if is_shared(url):
        return FileStore(path)
    check_file(path)
    if create:
        create_file(path)
    elif not os.path.exists(path) or os.path.getsize(path) == 0:
        path = ":memory:"
    held.enter_context(sqlite_errors(url))
    return held.enter_context(contextlib.closing(SqliteStore(path)))
