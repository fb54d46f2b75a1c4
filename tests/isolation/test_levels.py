# SPDX-License-Identifier: GPL-3.0-or-later
"""Levels as the model reads them and as the kernel does: thousands of generated spellings, valid and not, and no disagreement."""

from __future__ import annotations

import itertools
import json
import os
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import Level, LevelError, LevelRange
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

COUNT = int(os.environ.get("VSBX_LEVELS", "6000"))
CONTEXT = "system_u:object_r:virt_sandbox_file_t:"
# asks the kernel of each: its canonical spelling, or null where it takes none; it must check as it spells
ASK = f"""
import json, selinux, sys
def canonical(text):
    taken = True
    try:
        selinux.security_check_context_raw({CONTEXT!r} + text)
    except OSError:
        taken = False
    try:
        code, context = selinux.security_canonicalize_context_raw({CONTEXT!r} + text)
    except OSError:
        context = None
    assert taken == (context is not None), text
    return context and context.split(":", 3)[3]
print(json.dumps([canonical(text) for text in json.load(sys.stdin)]))
"""
# asks it of each pair of levels: whether a virtual machine, which is held to dominance, and a sandbox may read what is there
ASK_OF_PAIRS = """
import json, selinux, sys
tclass = selinux.string_to_security_class("file")
read = selinux.string_to_av_perm(tclass, "read")
def granted(process, file, one, other):
    decision = selinux.av_decision()
    source, target = f"system_u:system_r:{process}:{one}", f"system_u:object_r:{file}:{other}"
    selinux.security_compute_av_raw(source, target, tclass, read, decision)
    return bool(decision.allowed & read)
kinds = (("svirt_t", "svirt_image_t"), ("virt_sandbox_t", "virt_sandbox_file_t"))
print(json.dumps([[granted(*kind, *pair) for kind in kinds] for pair in json.load(sys.stdin)]))
"""

category = st.integers(0, 1030).map(lambda number: f"c{number}")
near = st.integers(0, 6).map(lambda number: f"c{number}")
part = st.one_of(near, category, st.tuples(near, near).map(".".join), st.tuples(category, category).map(".".join))
listed = st.lists(part, min_size=1, max_size=6).map(",".join)
level = st.one_of(listed.map(lambda text: f"s0:{text}"), st.just("s0"), listed.map(lambda text: f"s1:{text}"))
noise = st.text("s0:c,.-19 Cx\t", max_size=3)
broken = st.tuples(level, st.integers(0, 30), noise).map(lambda each: each[0][: each[1]] + each[2] + each[0][each[1] :])
spelling = st.one_of(level, level, broken, st.text("s0:c,.12 ", max_size=14))
# a range of two levels is another thing
ranged = st.tuples(level, level).map("-".join)


def spellings(strategy: st.SearchStrategy[str], count: int, ranges: bool) -> list[str]:
    found: dict[str, None] = {}

    @seed(20261126)
    @settings(max_examples=count, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(strategy)
    def collect(text: str) -> None:
        if ("-" in text) == ranges:
            found[text] = None

    collect()
    return list(found)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return spellings(spelling, COUNT, ranges=False) + spellings(ranged, COUNT // 6, ranges=True)


def read(text: str) -> str | None:
    try:
        return str(Level.parse(text))
    except LevelError:
        return None


def ask(lab: Lab, host: str, script: str, about: object) -> list[Any]:
    text = f"cat >/run/it-ask.py <<'END'{script}END\npython3 /run/it-ask.py <<'END-OF-TEXTS'\n{json.dumps(about)}\nEND-OF-TEXTS\n"
    answers: list[Any] = json.loads(lab.ssh(host, text, timeout=300).stdout)
    return answers


@pytest.fixture(scope="module")
def answers(lab: Lab, texts: list[str]) -> dict[str, dict[str, str | None]]:
    """The kernel's spelling of each text, by host."""
    return lab.each(lambda host: dict(zip(texts, ask(lab, host, ASK, texts))))


def test_the_kernel_and_the_model_read_the_same_levels(answers: dict[str, dict[str, str | None]], host: str) -> None:
    levels = {text: answer for text, answer in answers[host].items() if "-" not in text}
    valid = [text for text, answer in levels.items() if answer is not None]
    # neither side would be tested if nearly all were one kind
    assert len(levels) > COUNT / 3
    assert len(valid) > 500
    assert len(levels) - len(valid) > 500
    assert {text: (answer, read(text)) for text, answer in levels.items() if answer != read(text)} == {}


def test_the_model_reads_every_range_that_the_kernel_has(answers: dict[str, dict[str, str | None]], host: str) -> None:
    ranges = [answer for text, answer in answers[host].items() if "-" in text and answer]
    assert len([text for text in ranges if "-" in text]) > 20
    for text in ranges:
        found = LevelRange.parse(text)
        sides = text.replace("s1", "s0").split("-")
        assert [str(found.low), str(found.high)] == [sides[0], sides[-1]]
        assert found.high >= found.low


def test_dominance_and_equality_are_the_kernels(lab: Lab, host: str) -> None:
    near = [Level.of(some) for size in range(5) for some in itertools.combinations((0, 1, 5, 1023), size)]
    pairs = list(itertools.product(near, repeat=2))
    found = ask(lab, host, ASK_OF_PAIRS, [[str(one), str(other)] for one, other in pairs])
    assert found == [[one >= other, one == other] for one, other in pairs]
