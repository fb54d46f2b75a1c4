# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of ``/etc/hosts``: those of sandboxes, and the administrator's, which stay as they are, whatever bytes they have."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence

from .errors import ConflictError
from .values import printable

_MARK = b"# virt.sandbox"
# only a newline ends a line: what else Python takes for an end may be in a comment
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")

Names = Mapping[str, Sequence[str]]  # name -> addresses


def of_sandboxes(data: bytes) -> dict[str, list[str]]:
    """The addresses of each sandbox that the file names."""
    addresses: dict[str, list[str]] = {}
    for line in _LINE.findall(data):
        name = _sandbox(line)
        if name:
            addresses.setdefault(name, []).append(_text(line.split()[0]))
    return addresses


def of_others(data: bytes) -> dict[str, list[str]]:
    """The addresses of each name in the lines of the administrator, in small letters."""
    addresses: dict[str, list[str]] = {}
    for line in _LINE.findall(data):
        words = line.partition(b"#")[0].split()
        for name in words[1:] if not _sandbox(line) else ():
            addresses.setdefault(_text(name).lower(), []).append(_text(words[0]))
    return addresses


def with_sandbox(data: bytes, name: str, addresses: Iterable[str]) -> bytes:
    """The file with these addresses, and no others, for a sandbox."""
    kept = b"".join(line for line in _LINE.findall(data) if _sandbox(line) != name)
    added = b"".join(b"%s\t%s\t%s\n" % (address.encode(), name.encode(), _MARK) for address in addresses)
    return kept + (b"\n" if added and kept and not kept.endswith(b"\n") else b"") + added


def check(name: str, addresses: Sequence[str], others: Names) -> None:
    """Refuse a sandbox's name that the administrator has given to another address."""
    known = {_address(text) for text in addresses}
    other = [text for text in others.get(name.lower(), ()) if _address(text) not in known]
    if addresses and other:
        where = printable(other[0])
        raise ConflictError(
            f"name: {name} is already the name of {where} in the host's /etc/hosts. Remove that line, or choose another name."
        )


def _sandbox(line: bytes) -> str:
    """The sandbox that a line of ours names."""
    words = line.split()
    return _text(words[1]) if line.rstrip().endswith(_MARK) and len(words) == len(_MARK.split()) + 2 else ""


def _text(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


def _address(text: str) -> str:
    """In the one form that an address has, where it is one."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text
