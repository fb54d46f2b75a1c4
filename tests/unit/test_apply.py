# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans carried out: what a failure ends and what it does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import apply as engine
from ansible_collections.virt.sandbox.plugins.module_utils.host import nftables, systemd
from ansible_collections.virt.sandbox.plugins.module_utils.model import network_filter
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError, StepError
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host, Observed
from ansible_collections.virt.sandbox.plugins.module_utils.model.plan import Plan
from ansible_collections.virt.sandbox.plugins.module_utils.model.service_plan import plan_service

MakeSpec = Callable[..., dict[str, Any]]


def plan_of(*steps: tuple[str, str]) -> Plan:
    plan = Plan()
    for sandbox, action in steps:
        plan.add(sandbox, f"do {action}", action, number=1)
    return plan


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(SandboxError("it is broken"), id="of a tool"),
        pytest.param(OSError(28, "it is broken"), id="of the system"),
    ],
)
def test_a_failure_ends_that_sandboxes_steps_and_no_others(error: Exception) -> None:
    done = []

    def good(name: str, number: int) -> None:
        done.append((name, number))

    def bad(name: str, number: int) -> None:
        raise error

    plan = plan_of(("a", "good"), ("a", "bad"), ("b", "good"), ("a", "good"), ("c", "bad"), ("b", "good"))
    failures = engine.apply(plan, {"good": good, "bad": bad})
    assert done == [("a", 1), ("b", 1), ("b", 1)]
    assert [(one.sandbox, one.step) for one in failures] == [("a", "do bad"), ("c", "do bad")]
    assert all("it is broken" in one.reason for one in failures)


def test_a_mistake_of_ours_is_not_taken_for_a_failure_of_the_host() -> None:
    def wrong(**_ignored: Any) -> None:
        raise KeyError("unit")

    with pytest.raises(KeyError):
        engine.apply(plan_of(("a", "wrong")), {"wrong": wrong})


def test_a_failed_run_says_what_failed_and_what_did_not_is_kept() -> None:
    failures = [StepError("a", "start", "no"), StepError("b", "stop", "never")]
    assert engine.report_failures({"changed": True}, failures) == {
        "changed": True,
        "failed": True,
        "msg": "a: start: no; b: stop: never",
        "failures": [
            {"sandbox": "a", "step": "start", "reason": "no"},
            {"sandbox": "b", "step": "stop", "reason": "never"},
        ],
    }
    assert engine.report_failures({"changed": True}, []) == {"changed": True}


# Every action that a plan may name is there, and takes what the plan gives it.


class Recorded:
    """libvirt and systemd, as far as they are asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def file(self, call: str) -> Callable[..., None]:
        return lambda **keywords: self.calls.append((call, keywords.get("path")))

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.calls.append((name, *arguments))


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    record = Recorded()
    for name in ("daemon_reload", "start", "stop", "reload", "reset_failed", "enable", "disable"):
        monkeypatch.setattr(systemd, name, getattr(record, name))
    monkeypatch.setattr(nftables, "load", lambda text: record.calls.append(("nft", text)))
    for name in ("write_file", "unlink", "write_inside"):
        monkeypatch.setattr(engine, name, record.file(name))
    return record


WRITES = [
    ("write_inside", None),
    ("write_file", "/etc/systemd/system/machine-web.slice"),
    ("write_file", "/etc/systemd/system/web_sandbox.service"),
]
FILTER = ("write_file", "/etc/libvirt-sandbox/services/web.nft")
UNIT = "web_sandbox.service"
CODE = "/run/virt-sandbox/web.code"


@pytest.mark.parametrize(
    ("state", "running", "last"),
    [
        ("started", False, [("unlink", CODE), ("start", [UNIT])]),
        ("restarted", True, [("stop", [UNIT]), ("unlink", CODE), ("start", [UNIT])]),
        ("reloaded", True, [("reload", UNIT)]),
        ("stopped", True, [("stop", [UNIT]), ("destroy", "web")]),
    ],
)
def test_a_service_is_made_with_systemd_and_libvirt(
    service: MakeSpec, host: Host, recorded: Recorded, state: str, running: bool, last: list[tuple[Any, ...]]
) -> None:
    seen = Observed(unit={"ActiveState": "active"}) if running else Observed()
    assert engine.apply(plan_service(service(), state, seen, host), engine.service_actions(recorded)) == []  # type: ignore[arg-type]
    loaded = [("nft", network_filter.rules(service(), ()))] if running else []
    define, *rest = recorded.calls[5 + len(loaded) :]
    assert recorded.calls[: 5 + len(loaded)] == [*WRITES, ("daemon_reload",), *loaded, FILTER]
    assert define[0] == "define"
    assert define[1].startswith("<domain")
    assert rest == [("enable", UNIT), ("write_file", "/etc/libvirt-sandbox/services/web.sandbox"), *last]


def test_a_service_is_removed_with_systemd_and_libvirt(
    service: MakeSpec, host: Host, recorded: Recorded, declared: Callable[..., Observed]
) -> None:
    plan = plan_service(service(), "absent", declared(service()), host)
    assert engine.apply(plan, engine.service_actions(recorded)) == []  # type: ignore[arg-type]
    assert recorded.calls == [
        ("stop", [UNIT]),
        ("destroy", "web"),
        ("disable", UNIT),
        ("undefine", "web"),
        ("nft", network_filter.without(network_filter.devices(service()))),
        ("unlink", FILTER[1]),
        ("stop", [UNIT]),
        ("reset_failed", [UNIT]),
        ("unlink", "/etc/systemd/system/web_sandbox.service"),
        ("stop", ["machine-web.slice"]),
        ("reset_failed", ["machine-web.slice"]),
        ("unlink", "/etc/systemd/system/machine-web.slice"),
        ("unlink", "/etc/libvirt-sandbox/services/web.sandbox"),
        ("daemon_reload",),
    ]


@pytest.mark.parametrize(("uid", "refused"), [(0, False), (1000, True)])
def test_only_root_can(monkeypatch: pytest.MonkeyPatch, uid: int, refused: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    if refused:
        with pytest.raises(SandboxError, match="become: true"):
            engine.require_root()
    else:
        engine.require_root()
