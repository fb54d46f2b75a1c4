# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandboxes of a run, whose levels are filled in before anything else is done with them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import wanted as engine
from ansible_collections.virt.sandbox.plugins.module_utils.engine.levels import Levels
from ansible_collections.virt.sandbox.plugins.module_utils.engine.wanted import Wanted, with_levels
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import Level
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import Common, ServiceRequest, ServiceSpec

OWNERS = {"web": Level.of((1, 2)), "db": Level.of((3, 4)), "old": Level.of((5, 6))}
HOST: Any = SimpleNamespace(levels=Levels(OWNERS), declared=SimpleNamespace(specs={}))


@pytest.fixture
def required(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the host is asked for before anything changes."""
    questions: list[tuple[Any, ...]] = []
    monkeypatch.setattr(engine.selinux, "require", lambda *question, enforcing: questions.append((*question, enforcing)))
    return questions


def sandbox(name: str, state: str) -> Wanted[ServiceSpec, ServiceRequest]:
    return Wanted(ServiceSpec(name=name), ServiceRequest(state))


def test_what_is_to_be_there_gets_its_level_and_what_goes_stays_as_it_is(required: list[tuple[Any, ...]]) -> None:
    sandboxes = [sandbox("web", "started"), sandbox("old", "absent"), sandbox("db", "present")]
    settings = Common(require_enforcing=False)
    levelled = with_levels(sandboxes, HOST, settings, False, lambda spec: f"{spec.name}_t")
    assert [(after.name, after.request, str(after.spec.level)) for after in levelled] == [
        ("web", sandboxes[0].request, "s0:c1,c2"),
        ("old", sandboxes[1].request, "s0"),
        ("db", sandboxes[2].request, "s0:c3,c4"),
    ]
    assert required == [(f"{name}_t", ServiceSpec.file_type, OWNERS[name], False) for name in ("web", "db")]


def test_where_all_goes_no_registry_is_read_and_nothing_is_required(required: list[tuple[Any, ...]]) -> None:
    sandboxes = [sandbox("old", "absent")]
    without_registry: Any = SimpleNamespace()
    assert with_levels(sandboxes, without_registry, Common(), False, lambda spec: spec.process_type) == sandboxes
    assert required == []
