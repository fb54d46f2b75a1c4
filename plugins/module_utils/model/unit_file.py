# SPDX-License-Identifier: GPL-3.0-or-later
"""What the files of a systemd unit say, as systemd reads them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

NULL = "/dev/null"
# the units of an administrator: of the host's, which a sandbox has a copy of, and of its own
ADMINISTRATORS = "/etc/systemd/system"

WHERE = f"a unit in /usr/lib/systemd/system or {ADMINISTRATORS} of the host, or in {ADMINISTRATORS} of the sandbox"
INSTALL = "Check that its package is installed."

REQUIRES = ("Requires", "Requisite", "BindsTo")
_WANTS = ("Wants", "Upholds")
_FOLLOWED = (".service", ".socket", ".timer", ".path")
TYPES = ("service", "socket", "target", "device", "mount", "automount", "swap", "timer", "path", "slice", "scope")
_NAME = re.compile(rf"(?=.{{1,200}}\Z)[A-Za-z0-9:_.\\-]+(?:@[A-Za-z0-9:_.@\\-]*)?\.(?:{'|'.join(TYPES)})\Z")
_SPACE = " \t\n\r"
_NOT_UTF_8 = re.compile("[\udc80-\udcff]")
_TRUE, _FALSE = ("1", "yes", "true", "on", "y", "t"), ("0", "no", "false", "off", "n", "f")

# settings that systemd has under two names
_OLD_NAMES = {"ReadWriteDirectories": "ReadWritePaths", "ReadOnlyDirectories": "ReadOnlyPaths"}
# an empty assignment leaves dependencies as they are, and booleans, of which it is no value
_KEPT = frozenset(
    {
        *REQUIRES, *_WANTS, "Sockets", "Service", "Unit", "Accept", "DynamicUser", "NoNewPrivileges", "MemoryDenyWriteExecute",
        "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality",
    }
)  # fmt: skip
_CONDITIONS = ("Condition", "Assert")


class NameParts(NamedTuple):
    """``prefix@instance.kind``; no instance: ``None`` for a plain unit, empty for a template."""

    prefix: str
    instance: str | None
    kind: str

    @classmethod
    def of(cls, name: str) -> NameParts:
        whole, _dot, kind = name.rpartition(".")
        prefix, at, instance = whole.partition("@")
        return cls(prefix, instance if at else None, kind)

    def __str__(self) -> str:
        return f"{self.prefix}{'' if self.instance is None else '@' + self.instance}.{self.kind}"


@dataclasses.dataclass(frozen=True)
class UnitFile:
    """One unit as it is in effect: its file and its drop-ins, the last word on each setting."""

    name: str  # that of its file, for an instance of a template with the instance
    path: str
    settings: Mapping[tuple[str, str], Sequence[str]] = dataclasses.field(default_factory=dict)  # (section, key) -> values
    masked: str = ""  # the file that makes it one that can't be started
    fault: str = ""  # why systemd does not load its file
    drop_ins: Sequence[str] = ()
    aliases: Sequence[str] = ()

    def all(self, key: str) -> Sequence[str]:
        return self.settings.get((_section(self.name, key), key), ())

    def last(self, key: str) -> str:
        values = self.all(key)
        return values[-1] if values else ""

    def words(self, *keys: str) -> list[str]:
        """The words of lists, which may be quoted; of paths a backslash is only taken away."""
        values = [re.sub(r"\\(.)", r"\1", value) if key.endswith("Paths") else value for key in keys for value in self.all(key)]
        return [word for value in values for word in split_words(value)]

    def units(self, *keys: str) -> list[str]:
        """The units of lists; of a template the instance that this one is, or else that bears its name."""
        parts = NameParts.of(self.name)
        return [instance_of(name, parts.instance or parts.prefix) for key in keys for value in self.all(key) for name in value.split()]

    def yes(self, key: str) -> bool:
        values = [value.lower() for value in self.all(key) if value.lower() in _TRUE + _FALSE]
        return bool(values) and values[-1] in _TRUE


def parse(
    name: str,
    path: str,
    texts: Sequence[str],
    beside: Mapping[str, Sequence[str]] | None = None,
    masked: str = "",
    drop_ins: Sequence[str] = (),
    aliases: Sequence[str] = (),
) -> UnitFile:
    """The unit that these files make, its own first; ``beside``: what the directories beside it add, by setting."""
    settings: dict[tuple[str, str], list[str]] = {}
    fault = ""
    for number, text in enumerate(texts):
        try:
            for section, key, value in _assignments(text):
                if section == _section(name, key):
                    _assign(settings, (section, key), _specified(value, name))
        except ValueError as error:
            # of a drop-in counts what comes before
            fault = fault if number else f"{path}: {error}"
    for key, names in (beside or {}).items():
        settings.setdefault(("Unit", key), []).extend(names)
    return UnitFile(name, path, settings, masked, fault, drop_ins, aliases)


def _section(name: str, key: str) -> str:
    """The section in which a setting counts, of those that are looked at here."""
    shared = key in REQUIRES + _WANTS or key.startswith(_CONDITIONS)
    return "Unit" if shared else name.rpartition(".")[2].capitalize()


def _assign(settings: dict[tuple[str, str], list[str]], where: tuple[str, str], value: str) -> None:
    if value:
        settings.setdefault(where, []).append(value)
    elif where[1] not in _KEPT:
        for section, key in settings:
            if section == where[0] and _list(key) == _list(where[1]):
                settings[section, key].clear()


def _list(key: str) -> str:
    """What an empty assignment empties: conditions of all kinds, what is bound in either way, and else the setting alone."""
    return "Bind" if key in ("BindPaths", "BindReadOnlyPaths") else next((kind for kind in _CONDITIONS if key.startswith(kind)), key)


def _assignments(text: str) -> Iterator[tuple[str, str, str]]:
    """Section, key and value of each; ``ValueError`` where systemd stops to read."""
    section = ""
    for number, raw in _logical_lines(text):
        line = raw.strip(_SPACE)
        if _NOT_UTF_8.search(line):
            raise ValueError(f"line {number} is not UTF-8")
        if line.startswith("["):
            if not line.endswith("]"):
                raise ValueError(f"line {number} is not the header of a section")
            section = line[1:-1]
            continue
        key, equals, value = line.partition("=")
        if equals and section:
            key = key.strip(_SPACE)
            yield section, _OLD_NAMES.get(key, key), value.strip(_SPACE)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines without comments, a line that ends with a backslash joined with the next."""
    held, number = "", 0
    for number, line in enumerate(re.split("\r\n|[\n\r\0]", text.removeprefix("\ufeff")), 1):
        if line.lstrip(_SPACE).startswith(("#", ";")):
            continue
        held += line
        if (len(held) - len(held.rstrip("\\"))) % 2:
            held = held[:-1] + " "
            continue
        yield number, held
        held = ""
    if held:
        yield number, held


def _specified(value: str, name: str) -> str:
    """The specifiers that depend on nothing but the unit's name."""
    prefix, instance, _kind = NameParts.of(name)
    whole, instance = name.rpartition(".")[0], instance or ""
    known = {"n": name, "N": whole, "p": prefix, "P": unescape(prefix), "i": instance, "I": unescape(instance), "%": "%", "t": "/run"}
    known.update(S="/var/lib", C="/var/cache", L="/var/log", E="/etc", T="/tmp", V="/var/tmp")
    return re.sub("%(.)", lambda match: known.get(match.group(1), match.group(0)), value)


def unescape(text: str) -> str:
    """``systemd-escape --unescape``."""
    data = text.replace("-", "/").encode("utf-8", "surrogateescape")
    plain = re.sub(rb"\\x([0-9a-fA-F]{2})", lambda match: bytes([int(match.group(1), 16)]), data)
    return plain.decode("utf-8", "surrogateescape")


_ESCAPE = re.compile(
    rb"\\(?:x(?P<byte>[0-9a-fA-F]{2})|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8})|(?P<octal>[0-3][0-7]{2})"
    rb"|(?P<letter>[abfnrtvs\\\"']))"
)
_LETTERS = dict(zip(b"abfnrtvs\\\"'", b"\a\b\f\n\r\t\v \\\"'"))
# a word is made of what is quoted and what is not; a backslash goes with what follows it
_WORD = re.compile(r"""(?:[^ \t\n\r"'\\]|\\.|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')+""", re.DOTALL)
_PIECE = re.compile(r""""((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|((?:[^ \t\n\r"'\\]|\\.)+)""", re.DOTALL)


def split_words(value: str) -> list[str]:
    """The words of a command or a list, without quotes and escapes; as they are where a quote is not closed."""
    if _WORD.sub("", value).strip(_SPACE):
        return value.split()
    return [_plain("".join(map("".join, _PIECE.findall(word)))) for word in _WORD.findall(value)]


def _plain(text: str) -> str:
    data = _ESCAPE.sub(_character, text.encode("utf-8", "surrogateescape"))
    return data.decode("utf-8", "surrogateescape")


def _character(match: re.Match[bytes]) -> bytes:
    """What an escape of C stands for: a byte, or a character; as it is where it is none."""
    kind, digits = match.lastgroup, match[match.lastgroup or 0]
    if kind == "letter":
        return bytes([_LETTERS[digits[0]]])
    number = int(digits, 8 if kind == "octal" else 16)
    if kind in ("byte", "octal"):
        return bytes([number]) if number else match[0]
    return chr(number).encode() if 0 < number < 0xD800 or 0xDFFF < number < 0x110000 else match[0]


def is_unit(name: str) -> bool:
    """Whether it is a name that a unit can have."""
    return _NAME.match(name) is not None


def is_administrators(unit: UnitFile) -> bool:
    """Whether it is in /etc, which is the sandbox's own, and not in /usr."""
    return unit.path.startswith(ADMINISTRATORS + "/")


def instance_of(unit: str, name: str) -> str:
    """A template as the instance that bears the sandbox's name; anything else as it is."""
    parts = NameParts.of(unit)
    return str(parts._replace(instance=name)) if parts.instance == "" else unit


def spellings(unit: str) -> list[str]:
    """The names under which its files are looked for: its own, then that of the template that it is an instance of."""
    parts = NameParts.of(unit)
    return [unit, str(parts._replace(instance=""))] if parts.instance else [unit]


def administrators(unit: str) -> list[str]:
    """Where an administrator has the file of a unit."""
    return [f"{ADMINISTRATORS}/{name}" for name in spellings(unit)]


def needed(unit: UnitFile) -> list[str]:
    """The units that it brings along: they run inside too, where the sandbox has them."""
    names = dict.fromkeys((*required(unit), *unit.units(*_WANTS, "Sockets")))
    return [name for name in names if name.endswith(_FOLLOWED) and is_unit(name)]


def brought(names: Iterable[str], find: Callable[[str], UnitFile | None]) -> dict[str, UnitFile]:
    """The named units and all that they bring along, as far as ``find`` knows them."""
    units: dict[str, UnitFile] = {}
    pending = list(names)
    while pending:
        name = pending.pop(0)
        unit = find(name) if name not in units else None
        if unit:
            units[name] = unit
            pending += needed(unit)
    return units


def required(unit: UnitFile) -> list[str]:
    """The units without which it does not run, or is of no use."""
    names = unit.units(*REQUIRES)
    if unit.name.endswith(".socket"):
        names.append(unit.last("Service") or _activated(unit))
    elif unit.name.endswith((".timer", ".path")):
        # systemd takes the first of several
        names.append(next(iter(unit.all("Unit")), f"{unit.name.rpartition('.')[0]}.service"))
    return list(dict.fromkeys(names))


def _activated(socket: UnitFile) -> str:
    base = socket.name.rpartition(".")[0]
    # one process for each connection: an instance without a name stands for all of them
    return f"{base}@.service" if socket.yes("Accept") and "@" not in base else f"{base}.service"
