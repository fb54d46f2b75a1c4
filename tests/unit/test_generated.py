# SPDX-License-Identifier: GPL-3.0-or-later
"""What is generated from the definitions of options is checked in, and current."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..tools import generate


@pytest.mark.parametrize(
    ("path", "text"), [pytest.param(path, text, id=str(path.relative_to(generate.CHECKOUT))) for path, text in generate.generated()]
)
def test_the_file_is_what_the_definitions_say(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run make generate"
