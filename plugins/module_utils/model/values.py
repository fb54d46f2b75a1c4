# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that several options take, each brought into its one canonical form or refused with what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable

# systemd and the kernel read these in a path as something else
READ_OTHERWISE = re.compile(r"[\s\"'$%\\]")

_SIZE = re.compile(r"([0-9]{1,18})\s*([KMGT]?)(?:i?B)?\Z", re.IGNORECASE)
_LARGEST_SIZE = 1 << 60  # systemd ignores a limit that is too large for it


def printable(text: str) -> str:
    """A name that a hostile owner chose, fit for a message: control and undecodable characters are escaped."""
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)
    )


def absolute(value: str) -> str:
    parts = value.split("/")
    if not value.startswith("/") or ".." in parts or "." in parts or not value.isprintable():
        raise ValueError("an absolute path without '.' and '..'")
    return "/" + "/".join(part for part in parts if part)


def plain_path(value: str) -> str:
    """An absolute path that means itself wherever it is written."""
    path = absolute(value)
    if READ_OTHERWISE.search(path):
        raise ValueError("an absolute path without spaces, quotes, '$', '%' and '\\'")
    return path


def quoted_mode(value: object) -> str:
    """A mode as it was written, and not as the number that YAML makes of one without quotes."""
    text = str(value)
    if text != value:
        raise ValueError("a mode in quotes, such as '0644': without them YAML makes another number of it")
    return text


def size(value: str) -> int:
    """Bytes from ``512M``, ``1G``, ``4096``."""
    match = _SIZE.match(str(value).strip())
    number: int = int(match.group(1)) * 1024 ** " KMGT".index(match.group(2).upper() or " ") if match else 0
    if not 0 < number < _LARGEST_SIZE:
        raise ValueError("a size above 0 such as 512M or 1G (units K, M, G, T of 1024)")
    return number


def whole(what: str, least: int, most: int) -> Callable[[int], int]:
    """A check that a number is within its range."""

    def check(value: int) -> int:
        if not least <= value <= most:
            raise ValueError(f"{what} from {least} to {most}")
        return value

    return check
