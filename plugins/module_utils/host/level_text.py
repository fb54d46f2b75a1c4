# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a lock file after a change: the lines of what changed are other ones, all others stay as a person wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..model.mcs import Level, LevelError
from .binding import required


def edited(text: str, values: Mapping[str, int], mappings: Mapping[str, Mapping[str, str]]) -> str:
    """The document with these values and these mappings at its top, in which it has a mapping ``levels``.

    Raises ``ValueError`` where a comment would be lost. Of other forms in YAML the result may be another document: compare it.
    """
    edits = _Edits(text)
    top = {key.value: (key, value) for key, value in yaml().compose(edits.text, Loader=yaml().BaseLoader).value}
    for name, value in values.items():
        if name not in top:
            edits.add_line(edits.line_of(top["levels"][0].start_mark.index), _entry(name, value))
        elif top[name][1].value != str(value):
            edits.replace(top[name][0].start_mark.index, top[name][1].end_mark.index, _entry(name, value))
    for name, wanted in mappings.items():
        if name in top:
            edits.set_mapping(*top[name], wanted)
        elif wanted:
            edits.add_line(len(edits.text), f"{name}:")
            edits.add_entries(len(edits.text), wanted)
    return edits.result()


def yaml() -> Any:
    return required("yaml", "PyYAML on the controller")


def _entry(key: str, value: str | int, flow: bool = False) -> str:
    text = str(yaml().safe_dump({key: value}, default_flow_style=flow, width=float("inf"))).rstrip("\n")
    return text[1:-1] if flow else text


def _canonical(text: str) -> str:
    """A level in its one spelling; any other text as it is."""
    try:
        return str(Level.for_sandbox(text))
    except LevelError:
        return text


class _Edits:
    """Parts of a text that are to be replaced. Places count in the text as it was."""

    def __init__(self, text: str) -> None:
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self.text = text if text.endswith("\n") else text + self._newline
        self._edits: list[tuple[int, int, str]] = []

    def result(self) -> str:
        done, parts = 0, []
        for start, end, new in sorted(self._edits, key=lambda edit: edit[:2]):
            parts += [self.text[done:start], new]
            done = end
        return "".join([*parts, self.text[done:]])

    def replace(self, start: int, end: int, new: str) -> None:
        self._edits.append((start, end, new))

    def add_line(self, place: int, line: str) -> None:
        self.replace(place, place, line + self._newline)

    def line_of(self, place: int) -> int:
        return self.text.rfind("\n", 0, place) + 1

    def line_after(self, place: int) -> int:
        return self.text.index("\n", place) + 1

    def set_mapping(self, key: Any, node: Any, wanted: Mapping[str, str]) -> None:
        present = {_canonical(name.value): (name, value) for name, value in node.value or ()}
        if {name: _canonical(value.value) for name, (_key, value) in present.items()} == wanted:
            return
        colon = self.text.index(":", key.end_mark.index) + 1
        if present and not node.flow_style:
            self._set_lines(colon, node.start_mark.column, present, wanted)
        elif "#" in self.text[node.start_mark.index : node.end_mark.index]:
            raise ValueError("a comment within braces")
        elif present:
            ordered = sorted(wanted, key=lambda name: (name not in present, name if name not in present else ""))
            entries = ", ".join(_entry(name, wanted[name], flow=True) for name in ordered)
            self.replace(node.start_mark.index, node.end_mark.index, f"{{{entries}}}")
        else:
            self.replace(colon, node.end_mark.index, "")
            self.add_entries(self.line_after(node.end_mark.index), wanted)

    def add_entries(self, place: int, entries: Mapping[str, str], indent: int = 2) -> None:
        for name, value in sorted(entries.items()):
            for line in _entry(name, value).split("\n"):  # two where the name is long
                self.add_line(place, " " * indent + line)

    def _set_lines(self, colon: int, indent: int, present: Mapping[str, tuple[Any, Any]], wanted: Mapping[str, str]) -> None:
        """One entry a line. A new one comes after the last whose name is smaller, and what is above the first stays there."""
        for name, (key, value) in present.items():
            if name not in wanted:
                self.replace(self.line_of(key.start_mark.index), self.line_after(value.end_mark.index), "")
            elif _canonical(value.value) != wanted[name]:
                self.replace(value.start_mark.index, value.end_mark.index, _entry("", wanted[name]).partition(": ")[2])
        if not wanted:
            self.replace(colon, colon, " {}")
        for name in sorted(set(wanted) - set(present)):
            smaller = [value.end_mark.index for other, (_key, value) in present.items() if other < name]
            self.add_entries(self.line_after(smaller[-1] if smaller else colon), {name: wanted[name]}, indent)
