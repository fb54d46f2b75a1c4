# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools of the host: what they are given, and their errors as sentences."""

from __future__ import annotations

import os

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host.command import run
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError


def test_the_output_is_returned() -> None:
    assert run(["printf", "%s", "a b\n;c"]) == "a b\n;c"


def test_arguments_are_no_shells() -> None:
    assert run(["echo", "$(id)", ";", "*"]) == "$(id) ; *\n"


def test_the_environment_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("LANG", "tlh")
    # dash adds PWD
    names = {line.partition("=")[0] for line in run(["env"]).splitlines()} - {"PWD"}
    assert names == {"PATH", "LC_ALL", "HOME"}


def test_nobody_waits_for_input() -> None:
    reader, writer = os.pipe()
    stdin = os.dup(0)
    os.dup2(reader, 0)
    try:
        assert run(["cat"], timeout=2) == ""
    finally:
        os.dup2(stdin, 0)
        for descriptor in (reader, writer, stdin):
            os.close(descriptor)


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        pytest.param(["no-such-tool"], {}, "no-such-tool is not installed. Run the role virt.sandbox.host.", id="missing"),
        pytest.param(
            ["sh", "-c", "echo why >&2; echo what; exit 3"], {}, "sh -c echo why >&2; echo what; exit 3: why", id="said on stderr"
        ),
        pytest.param(["sh", "-c", "echo what; exit 3"], {}, "sh -c echo what; exit 3: what", id="said on stdout"),
        pytest.param(["sh", "-c", "exit 3"], {}, "sh -c exit 3: ended with code 3", id="said nothing"),
        pytest.param(["sh", "-c", "exit 3"], {"accept": (0, 1)}, "sh -c exit 3: ended with code 3", id="another code accepted"),
        pytest.param(["/etc/passwd"], {}, "/etc/passwd cannot be run: Permission denied", id="no program"),
        pytest.param(["sleep", "9"], {"timeout": 0.05}, "sleep 9: no answer within 0.05 s", id="hangs"),
    ],
)
def test_failures_are_sentences(arguments: list[str], keywords: dict[str, float], message: str) -> None:
    with pytest.raises(SandboxError) as caught:
        run(arguments, **keywords)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_accepted_codes_are_no_failure() -> None:
    assert run(["sh", "-c", "echo it; exit 5"], accept=(0, 5)) == "it\n"


def test_output_that_is_no_text_is_kept() -> None:
    assert run(["printf", r"\377"]) == "\udcff"
