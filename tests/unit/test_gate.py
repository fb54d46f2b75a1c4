# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate that what root inside has written passes before a person, a terminal or a program sees it."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host import enter
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError
from ansible_collections.virt.sandbox.plugins.module_utils.model.values import inert
from hypothesis import given
from hypothesis import strategies as st

from .test_module import ansible, ended

__all__ = ["ansible"]

PLUGINS = Path(__file__).parents[2] / "plugins"
ALL_BYTES = bytes(range(256))
HOSTILE = ALL_BYTES.decode("latin-1") + ALL_BYTES.decode("utf-8", "surrogateescape") + "\u2028\u202e\u2066"
# what a terminal takes as a command, or what is no text; newline and tab are looked at apart
COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, entry in value.items() for text in (*texts(key), *texts(entry))]
    return [text for entry in value for text in texts(entry)] if isinstance(value, list) else [value] if isinstance(value, str) else []


@pytest.mark.parametrize("failed", [False, True])
def test_no_byte_from_inside_reaches_a_terminal_as_a_command(failed: bool) -> None:
    result = {"msg": HOSTILE, "failed": failed, "steps": {HOSTILE: [HOSTILE, (HOSTILE, {"a": HOSTILE})]}, "diff": [{"before": HOSTILE}]}
    shown = ended(lambda _parameters, _check_mode: {**result, "warnings": [HOSTILE]})
    assert sum("\\x1b" in text for text in texts(shown)) == 7
    assert [text for text in texts(shown) if COMMANDS.search(text)] == []
    json.dumps(shown, ensure_ascii=False).encode()
    assert "\n" not in "".join(shown["warnings"])
    if failed:
        assert "\n" not in shown["msg"], "a message that is one line cannot forge another"


def test_neither_does_an_error() -> None:
    for error in (SandboxError(HOSTILE), ValueError(HOSTILE)):

        def run(_parameters: Any, _check_mode: bool, error: Exception = error) -> dict[str, Any]:
            raise error

        shown = ended(run)
        assert not COMMANDS.search(shown["msg"] + shown.get("exception", ""))
        assert "\n" not in shown["msg"]


def test_the_command_of_the_host_passes_it_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*_arguments: Any, **_keywords: Any) -> Any:
        raise enter.EnterError(HOSTILE)

    monkeypatch.setattr(enter, "run", run)
    monkeypatch.setattr(enter.os, "geteuid", lambda: 0)
    monkeypatch.setattr(enter.signal, "signal", lambda *_ignored: None)
    monkeypatch.setattr(enter, "_input", lambda: b"")
    assert enter.main(["exec", "web", "--", "true"]) == enter.CANNOT_ENTER
    said = capsys.readouterr().err
    assert said.startswith("virt-sandbox: \\x00\\x01")
    assert not COMMANDS.search(said)
    assert said.count("\n") == 1


def test_a_text_of_many_lines_stays_one() -> None:
    text = "one\n\ttwo \\x1b caf\u00e9 \u2603\r\nthree\n"
    assert inert(text) == text


@given(st.text())
def test_what_is_inert_stays_as_it_is(text: str) -> None:
    assert inert(inert(text)) == inert(text)
    assert not re.search("[\x00-\x08\x1b\x7f-\x9f]", inert(text))


@pytest.mark.parametrize("value", [None, True, 3, 2.5])
def test_what_is_no_text_passes(value: Any) -> None:
    assert inert({"a": [value]}) == {"a": [value]}


def test_there_is_no_way_around_it() -> None:
    """Every module ends in the two functions of engine/module.py."""
    calls = [
        str(path.relative_to(PLUGINS))
        for path in PLUGINS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("exit_json", "fail_json")
    ]
    assert calls == ["module_utils/engine/module.py"] * 2
