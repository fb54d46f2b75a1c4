# SPDX-License-Identifier: GPL-3.0-or-later
"""How the audit log is asked: whatever the caller's locale is, and without taking a refusal for silence."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host import audit, command
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError

TYPES, LEVELS = ["a_t"], {"s0:c1,c2", "s0:c3,c4"}


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
    program(ausearch, f'echo "$LC_ALL $@" >{ausearch}.asked')
    monkeypatch.setattr(time, "strftime", lambda text, _since: text)
    audit.denials(1, TYPES, LEVELS)
    asked = Path(f"{ausearch}.asked").read_text()
    assert asked == "C.UTF-8 --input-logs --raw -m AVC --subject :a_t: --start %m/%d/%y %H:%M:%S\n"


def test_no_records_and_no_daemon_are_no_denials(ausearch: Path) -> None:
    assert audit.denials(1, TYPES, LEVELS) == ([], {})
    for nothing in ("exit 1", "echo 'Error opening /var/log/audit/audit.log' >&2; exit 1"):
        program(ausearch, nothing)
        assert audit.denials(1, TYPES, LEVELS) == ([], {})


def test_a_question_that_was_not_understood_is_an_error(ausearch: Path) -> None:
    program(ausearch, "echo 'Invalid start date (x)' >&2; exit 1")
    with pytest.raises(SandboxError, match="Invalid start date"):
        audit.denials(1, TYPES, LEVELS)
    program(ausearch, "kill -s KILL $$")
    with pytest.raises(SandboxError, match="ended with code -9"):
        audit.denials(1, TYPES, LEVELS)


def event(number: int, level: str = "s0:c1,c2", process_type: str = "a_t") -> list[str]:
    """What a denial leaves in the log."""
    head = f"msg=audit(1795718700.281:{number}):"
    return [
        f"type=AVC {head} avc:  denied  {{ read }} for  pid=1 scontext=u:r:{process_type}:{level} tcontext=u:r:b_t:s0 tclass=file",
        f"type=SYSCALL {head} syscall=272",
        f"type=PROCTITLE {head} proctitle=00",
        f"type=PATH {head} item=0",
    ]


@pytest.fixture
def log(ausearch: Path) -> Callable[..., None]:
    """Writes what ausearch finds."""

    def write(*events: list[str]) -> None:
        Path(f"{ausearch}.log").write_text("".join(f"{line}\n" for one in events for line in one))
        program(ausearch, f"cat {ausearch}.log")

    return write


def numbers(found: audit.Denials) -> list[str]:
    return [re.findall(r":([0-9]+)\):", line)[0] for line in found.records]


def test_a_level_with_many_does_not_take_the_place_of_another_and_events_stay_whole(
    log: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_NEWEST", 2)
    log(event(1, "s0:c3,c4"), *(event(number) for number in range(2, 7)))
    found = audit.denials(1, TYPES, LEVELS)
    assert numbers(found) == ["1"] * 3 + ["5"] * 3 + ["6"] * 3
    assert {level: count for level, count in found.left_out.items() if count} == {"s0:c1,c2": 3}


def test_a_type_with_many_does_not_take_the_place_of_another(
    ausearch: Path, log: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_NEWEST", 1)
    log(event(1), event(2))
    program(ausearch, f"""case "$*" in *:a_t:*) cat {ausearch}.log;; *) sed 's/a_t/b_t/; s/281:/999:/' {ausearch}.log;; esac""")
    found = audit.denials(1, ["b_t", "a_t"], LEVELS)
    assert numbers(found) == ["2"] * 6
    assert ["999" in line for line in found.records] == [False] * 3 + [True] * 3


def test_what_is_at_no_level_that_is_asked_for_is_left_out(log: Callable[..., None]) -> None:
    log(event(1, "s0:c1,c20"), event(2, "s0"), event(3, process_type="other_t"), event(4))
    assert numbers(audit.denials(1, TYPES, LEVELS)) == ["4"] * 3
    assert audit.denials(1, TYPES, set()) == ([], {})


def test_what_only_looks_like_a_record_or_an_event_without_end_is_not_held(log: Callable[..., None]) -> None:
    quoted = f"type=USER msg=audit(1.1:1): msg='\x1d{event(2)[0]} \u2028{event(2)[0]}"
    log([quoted], ["x" * (1 << 16) + event(2)[0]], event(3)[:1] * 1000)
    found = audit.denials(1, TYPES, LEVELS)
    assert numbers(found) == ["3"] * audit._RECORDS
    assert found.left_out == {"s0:c1,c2": 0}


def test_a_program_that_does_not_answer_is_an_error(ausearch: Path) -> None:
    program(ausearch, "exec sleep 60")
    with pytest.raises(SandboxError, match=r"no answer within 0.1 s"):
        list(command.lines([str(ausearch)], timeout=0.1))
