# SPDX-License-Identifier: GPL-3.0-or-later
"""How the audit log is asked: whatever the caller's locale is, and without taking a refusal for silence."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host import audit
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError

TYPES = ["a_t"]


@pytest.fixture
def ausearch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in place of ausearch, which a test writes."""
    path = tmp_path / "ausearch"
    monkeypatch.setattr(audit, "_AUSEARCH", str(path))
    return path


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_the_date_is_written_as_the_c_locale_does(ausearch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(ausearch, 'echo "$LC_ALL $@"')
    monkeypatch.setattr(time, "strftime", lambda text, _since: text)
    assert audit.denials(1, TYPES)[0].startswith("C.UTF-8 --input-logs --raw -m AVC --subject :a_t: --start %m/%d/%y %H:%M:%S")


def test_no_records_and_no_daemon_are_no_denials(ausearch: Path) -> None:
    assert audit.denials(1, TYPES) == []
    for nothing in ("exit 1", "echo 'Error opening /var/log/audit/audit.log' >&2; exit 1"):
        program(ausearch, nothing)
        assert audit.denials(1, TYPES) == []


def test_a_question_that_was_not_understood_is_an_error(ausearch: Path) -> None:
    program(ausearch, "echo 'Invalid start date (x)' >&2; exit 1")
    with pytest.raises(SandboxError, match="Invalid start date"):
        audit.denials(1, TYPES)
    program(ausearch, "kill -s KILL $$")
    with pytest.raises(SandboxError, match="ended with code -9"):
        audit.denials(1, TYPES)


def test_a_type_with_many_does_not_take_the_place_of_another(ausearch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_NEWEST", 3)
    program(ausearch, """case "$*" in *:a_t:*) seq 9;; *) echo one;; esac""")
    assert audit.denials(1, ["b_t", "a_t"]) == ["7", "8", "9", "one"]
