# SPDX-License-Identifier: GPL-3.0-or-later
"""Every message of the code is plain: what is expected completes a sentence, and the next step is a sentence of its own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
GAP = "\0"
"""What stands for a value that is only known when the message is made."""

# the errors whose arguments are option, value, what is expected, advice; and those whose last arguments are sentences
REFUSALS = ("OptionError", "MissingError", "ContentError")
EXPECTED = ("ValueError", "LevelError")
SENTENCES = ("SandboxError", "ConflictError", "StepError", "EnterError", "StartError") + tuple(
    f"Ansible{kind}" for kind in ("Error", "FilterError", "ParserError", "LookupError", "ConnectionFailure", "FileNotFound")
)
TREES = ("TreeError", "LabelError", "MountError", "ExchangedError", "ProtectedPathError")
RIDDLES = re.compile(r"is not allowed|\bis none\b|that is there\b|\bnone (?:beside|where|when|for)\b|;|\?|\{\w+\}")


class Message(NamedTuple):
    """A text of a call, and what it is: ``expected``, ``advice`` or ``sentence``."""

    place: str
    kind: str
    text: str


def text_of(node: ast.expr, names: dict[str, str]) -> str:
    """A text as far as the source says it, with gaps for the rest."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part, names) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left, names) + text_of(node.right, names)
    if isinstance(node, ast.FormattedValue):
        return text_of(node.value, names) if isinstance(node.value, ast.Name) else GAP
    return names.get(node.id, GAP) if isinstance(node, ast.Name) else GAP


def texts(call: ast.Call, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The kind and the text of each message in a call."""
    function = call.func
    said = isinstance(function, ast.Attribute) and function.attr == "said"
    name = function.id if isinstance(function, ast.Name) else ""
    arguments = [text_of(argument, names) for argument in call.args]
    if said:
        yield "sentences", arguments[2]
    elif name in REFUSALS or (name == "error" and len(arguments) > 2):
        yield "expected", arguments[2]
        yield from (("advice", text) for text in arguments[3:])
    elif name in EXPECTED and arguments:
        yield "expected", arguments[0]
    elif name in TREES and len(arguments) > 2:
        yield "sentence", arguments[1]
        yield "advice", arguments[2]
    elif name in SENTENCES and arguments:
        yield "sentence", arguments[-1]


def messages(source: str, place: str) -> list[Message]:
    """All messages of a file, with the values of the names that are a text."""
    tree = ast.parse(source)
    found = []
    for scope in ast.walk(tree):
        if not isinstance(scope, (ast.Module, ast.FunctionDef)):
            continue
        names: dict[str, str] = {}
        for node in [*tree.body, *ast.walk(scope)]:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                names[node.targets[0].id] = text_of(node.value, names)
        calls = [node for node in ast.walk(scope) if isinstance(node, ast.Call)] if scope is not tree else []
        found += [Message(f"{place}:{call.lineno}", kind, text) for call in calls for kind, text in texts(call, names)]
    return sorted(set(found))


def faults(kind: str, text: str) -> Iterator[str]:
    """What is wrong with a text."""
    if match := RIDDLES.search(text):
        yield f"has {match.group()!r}"
    if text == GAP:
        return
    first, last = text[0], text[-1]
    if kind == "expected":
        if first.isupper() and not re.match(r"[A-Z]{2,}", text):
            yield "begins with a capital"
        if last == ".":
            yield "ends with a full stop"
        return
    if kind == "advice" and not (first.isupper() or first == GAP):
        yield "begins without a capital"
    if kind in ("advice", "sentences") and last not in f".{GAP}":
        yield "ends without a full stop"
    if kind == "sentence" and re.search(r"\. [A-Z]", text) and last != "." and GAP not in text.rpartition(". ")[2]:
        yield "has a last sentence without a full stop"


ALL = [
    message
    for path in sorted(PLUGINS.rglob("*.py"))
    # what a unit's file says wrong completes "it is not loaded by systemd: …"
    for message in (messages(path.read_text(encoding="utf-8"), str(path.relative_to(PLUGINS))) if path.name != "unit_file.py" else ())
]


def test_the_messages_are_found() -> None:
    kinds = [message.kind for message in ALL]
    assert len(ALL) > 250
    assert all(kinds.count(kind) > 20 for kind in ("expected", "sentence", "sentences", "advice"))


def test_messages_are_plain_sentences() -> None:
    wrong = [f"{place}: {kind} {fault}: {text.replace(GAP, '{}')}" for place, kind, text in ALL for fault in faults(kind, text)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ('OptionError("user", user, "None beside units")', "begins with a capital"),
        ('OptionError("user", user, "a name.")', "ends with a full stop"),
        ('OptionError("user", user, "none beside units")', "has 'none beside'"),
        ('OptionError("user", user, f"a name, {user} is none")', "has 'is none'"),
        ('OptionError("user", user, "a name; it is for a command")', "has ';'"),
        ('OptionError("user", user, "a name", "look it up.")', "begins without a capital"),
        ('MissingError("user", user, "a name", "Look it up")', "ends without a full stop"),
        ('OptionError.said("user", user, "required")', "ends without a full stop"),
        ('SandboxError(f"{path} is missing; see the log")', "has ';'"),
        ('SandboxError(f"{path} is missing. Run the role")', "has a last sentence without a full stop"),
        ('ConflictError(f"name: {name} is there; is it yours?")', "has ';'"),
        ('ConflictError(f"{name} is in use. " "Remove {name} first.")', "has '{name}'"),
        ('ValueError("80 is not allowed")', "has 'is not allowed'"),
        ('TreeError(path, "is a mount", "unmount it.")', "begins without a capital"),
    ],
)
def test_a_bad_message_is_seen(call: str, fault: str) -> None:
    source = f"def check(user, path, name):\n    raise {call}\n"
    assert fault in [one for message in messages(source, "x") for one in faults(message.kind, message.text)]


def test_a_text_that_has_a_name_is_seen() -> None:
    source = '_ALLOWED = "a file; or none"\n\n\ndef check(path):\n    advice = "look"\n    raise OptionError("x", path, _ALLOWED, advice)\n'
    assert [(kind, text) for _place, kind, text in messages(source, "x")] == [("advice", "look"), ("expected", "a file; or none")]
