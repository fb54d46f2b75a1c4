# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model.context import Context
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import POLICY_RANGE, Level, LevelError, LevelRange

WEB = Level.of([1, 2])
ALL = Level(POLICY_RANGE.mask)


@pytest.mark.parametrize(
    ("text", "context"),
    [
        ("system_u:object_r:container_file_t:s0:c1,c2", Context.object("container_file_t", WEB)),
        ("system_u:system_r:container_t:s0:c1,c2", Context.process("container_t", WEB)),
        ("system_u:system_r:init_t:s0", Context("system_u", "system_r", "init_t", Level())),
        (
            "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023",
            Context("unconfined_u", "unconfined_r", "unconfined_t", LevelRange(Level(), ALL)),
        ),
    ],
)
def test_a_context_is_read_and_written(text: str, context: Context) -> None:
    assert Context.parse(text) == context
    assert str(context) == text


@pytest.mark.parametrize("level", ["s0:c2,c1", "s0:c1,c2-s0:c1,c2"])
def test_every_spelling_of_a_context_is_the_same_context(level: str) -> None:
    context = Context.parse(f"system_u:object_r:container_file_t:{level}")
    assert context == Context.object("container_file_t", WEB)
    assert str(context).endswith(":s0:c1,c2")


def test_both_levels_of_a_context_are_levels() -> None:
    cleared = Context.parse("system_u:system_r:virtd_t:s0:c1-s0:c0.c1023")
    assert (cleared.low, cleared.high) == (Level.of([1]), ALL)
    plain = Context.process("container_t", WEB)
    assert (plain.low, plain.high) == (WEB, WEB)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "system_u:object_r:container_file_t",
        "system_u::container_file_t:s0",
        "system_u:object_r:container file_t:s0",
        "system_u:object_r:container_file_t:",
        "system_u:object_r:container_file_t:s1:c1,c2",
        "system_u:object_r:container_file_t:s0:c1024",
        "system_u:object_r:container_file_t:s0-",
        "system_u:object_r:container_file_t:s0:c1,c2\n",
        "system_u:object_r:container_file_t:s0-s0:c1-s0:c2",
    ],
)
def test_what_is_no_context_is_refused(text: str) -> None:
    with pytest.raises(LevelError):
        Context.parse(text)
