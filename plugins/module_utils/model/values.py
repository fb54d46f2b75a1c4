# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that several options take, each brought into its one canonical form or refused with what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

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


# the next one means to the kernel "as it is", so a command would keep being root
LARGEST_ID = (1 << 32) - 2


def account_number(text: str) -> int | None:
    """The number of a user or group that a text is; nothing for any other text, which root inside may have written."""
    number = int(text) if re.fullmatch("[0-9]{1,10}", text) else LARGEST_ID + 1
    return number if number <= LARGEST_ID else None


def number_of(value: str, known: Mapping[str, str]) -> int | None:
    """The number of a user or group, which is given by number or name; ``known``: numbers by name."""
    return account_number("0" if value == "root" else value if value.isdigit() else known.get(value, ""))


# what moves a terminal's cursor or turns the direction of writing, and what no JSON can hold; a line's end is "\n", or "\r\n"
_COMMANDING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]|\r(?!\n)")


def inert(value: Any) -> Any:
    """What a module returns, fit for a terminal: in every text and every key, at any depth, control characters are escaped.

    Newlines and tabs stay, for a text may have many lines. A text that is to be one line is made so by ``printable``.
    """
    if isinstance(value, str):
        return _COMMANDING.sub(lambda found: found.group().encode("unicode_escape", "surrogatepass").decode("ascii"), value)
    if isinstance(value, Mapping):
        return {inert(key): inert(entry) for key, entry in value.items()}
    return [inert(entry) for entry in value] if isinstance(value, (list, tuple, set, frozenset)) else value


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


_SYMBOLIC = re.compile(r"[ugoa]*(?:[-+=][rwxXst]*)+(?:,[ugoa]*(?:[-+=][rwxXst]*)+)*\Z")
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111, "X": 0o111, "s": 0o6000, "t": 0o1000}
_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007}


def file_mode(value: object) -> str:
    """A mode in four octal digits, from octal digits in quotes, a number, or a symbolic mode that changes 0644."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o7777:
        return f"{value:04o}"
    if isinstance(value, str) and re.fullmatch("0?[0-7]{3,4}", value):
        return f"{int(value, 8):04o}"
    if isinstance(value, str) and _SYMBOLIC.match(value):
        return f"{_changed(0o644, value):04o}"
    raise ValueError("a mode, such as '0644' or 'u=rw,g=r,o='")


def _changed(mode: int, symbolic: str) -> int:
    for clause in symbolic.split(","):
        who, actions = re.match("([ugoa]*)(.*)", clause).groups()  # type: ignore[union-attr]
        mask = 0o7777 if not who or "a" in who else sum(_WHO[letter] for letter in set(who))
        # without a word for whom, nobody but the owner is given what a usual umask takes
        reach = mask if who else mask & ~0o022
        for sign, letters in re.findall("([-+=])([rwxXst]*)", actions):
            # as for a file that has one execute bit or none: X alone adds nothing to a file without any
            kept = letters if mode & 0o111 else letters.replace("X", "")
            bits = reach & sum(_BITS[letter] for letter in set(kept.replace("X", "x")))
            mode = mode | bits if sign == "+" else mode & ~bits if sign == "-" else (mode & ~mask) | bits
    return mode


def size(value: str) -> int:
    """Bytes from ``512M``, ``1G``, ``4096``."""
    match = _SIZE.match(str(value).strip())
    number: int = int(match.group(1)) * 1024 ** " KMGT".index(match.group(2).upper() or " ") if match else 0
    if not 0 < number < _LARGEST_SIZE:
        raise ValueError("a size above 0 such as 512M or 1G (units K, M, G, T of 1024)")
    return number


def size_from(least: int, expected: str) -> Callable[[Any], int]:
    """A check of a size that must be at least so many bytes; ``expected`` says so where it is less."""

    def check(value: Any) -> int:
        number = size(value)
        if number < least:
            raise ValueError(expected)
        return number

    return check


UNLIMITED = "unlimited"
_SHARE = re.compile(r"([1-9][0-9]?|100)%\Z")


def limit(amount: Callable[[Any], int], *, share: bool = True, of: str = "the host") -> Callable[[Any], int | str]:
    """A check of a limit: an amount, ``unlimited``, or a percentage of what the host, or something of it, has."""

    def check(value: Any) -> int | str:
        text = str(value).strip()
        if text == UNLIMITED or (share and _SHARE.match(text)):
            return text
        try:
            return amount(int(text) if re.fullmatch("[0-9]{1,18}", text) else value)
        except ValueError as error:
            raise ValueError(f"{error}, {f'a percentage of {of} such as 25%, ' if share else ''}or {UNLIMITED}") from None

    return check


def percentage(value: int | str | None) -> int:
    """The number of a limit that is a percentage; 0 for any other."""
    match = _SHARE.match(str(value))
    return int(match.group(1)) if match else 0


def whole(what: str, least: int, most: int) -> Callable[[int], int]:
    """A check that a number is within its range."""

    def check(value: int) -> int:
        if not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"{what} from {least} to {most}")
        return value

    return check
