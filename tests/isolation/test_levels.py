# SPDX-License-Identifier: GPL-3.0-or-later
"""Levels as the model reads them and as the kernel does: thousands of generated spellings, valid and not, and no disagreement."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import Level, LevelError
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

COUNT = int(os.environ.get("VSBX_LEVELS", "6000"))
CONTEXT = "system_u:object_r:virt_sandbox_file_t:"
# asks the kernel of each: its canonical spelling, or null where it takes none
ASK = f"""
import json, selinux, sys
def canonical(text):
    try:
        code, context = selinux.security_canonicalize_context_raw({CONTEXT!r} + text)
        return context.split(":", 3)[3]
    except OSError:
        return None
print(json.dumps([canonical(text) for text in json.load(sys.stdin)]))
"""

category = st.integers(0, 1030).map(lambda number: f"c{number}")
near = st.integers(0, 6).map(lambda number: f"c{number}")
part = st.one_of(near, category, st.tuples(near, near).map(".".join), st.tuples(category, category).map(".".join))
listed = st.lists(part, min_size=1, max_size=6).map(",".join)
level = st.one_of(listed.map(lambda text: f"s0:{text}"), st.just("s0"), listed.map(lambda text: f"s1:{text}"))
noise = st.text("s0:c,.-19 Cx\t", max_size=3)
broken = st.tuples(level, st.integers(0, 30), noise).map(lambda each: each[0][: each[1]] + each[2] + each[0][each[1] :])
spelling = st.one_of(level, level, broken, st.text("s0:c,.12 ", max_size=14))


def spellings() -> list[str]:
    found: dict[str, None] = {}

    @seed(20261126)
    @settings(max_examples=COUNT, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(spelling)
    def collect(text: str) -> None:
        # a range of two levels is another thing (LevelRange)
        if "-" not in text:
            found[text] = None

    collect()
    return list(found)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return spellings()


def read(text: str) -> str | None:
    try:
        return str(Level.parse(text))
    except LevelError:
        return None


def test_the_kernel_and_the_model_read_the_same_levels(lab: Lab, host: str, texts: list[str]) -> None:
    script = f"cat >/run/it-ask.py <<'END'{ASK}END\npython3 /run/it-ask.py <<'END-OF-TEXTS'\n{json.dumps(texts)}\nEND-OF-TEXTS\n"
    asked = lab.ssh(host, script, timeout=300)
    answers = dict(zip(texts, json.loads(asked.stdout)))
    valid = [text for text, answer in answers.items() if answer is not None]
    # neither side would be tested if nearly all were one kind
    assert len(texts) > COUNT / 3
    assert len(valid) > 500
    assert len(texts) - len(valid) > 500
    differences = {text: (answer, read(text)) for text, answer in answers.items() if answer != read(text)}
    assert differences == {}
