# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans carried out: what a failure ends and what it does not."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import apply as engine
from ansible_collections.virt.sandbox.plugins.module_utils.engine import hands
from ansible_collections.virt.sandbox.plugins.module_utils.engine.host import SandboxHost
from ansible_collections.virt.sandbox.plugins.module_utils.host import nftables, systemd
from ansible_collections.virt.sandbox.plugins.module_utils.model import network_filter
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError, StepError
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host, Observed
from ansible_collections.virt.sandbox.plugins.module_utils.model.plan import Plan, Step
from ansible_collections.virt.sandbox.plugins.module_utils.model.service_plan import plan_service
from ansible_collections.virt.sandbox.plugins.module_utils.model.steps import (
    DisableUnit,
    EnableUnit,
    ReloadSystemd,
    RestartSandbox,
    StartSandbox,
    StopSandbox,
)

from .conftest import Declared, MakeSpec

Calls = list[tuple[Any, ...]]


@dataclasses.dataclass(frozen=True)
class Does(Step):
    """A step that is what a test makes of it."""

    do: Callable[[str], None]
    title: str = "do"

    def apply(self, hands: Any) -> None:
        self.do(self.sandbox)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(SandboxError("it is broken"), "it is broken", id="of a tool"),
        pytest.param(OSError(28, "it is broken"), "[Errno 28] it is broken", id="of the system"),
        pytest.param(KeyError("unit"), "unexpected error, please report it: KeyError: 'unit'", id="of ours"),
    ],
)
def test_a_failure_ends_that_sandboxes_steps_and_no_others(error: Exception, reason: str) -> None:
    done: list[str] = []

    def bad(_name: str) -> None:
        raise error

    steps = [("a", done.append), ("a", bad), ("b", done.append), ("a", done.append), ("c", bad), ("b", done.append)]
    failures = engine.apply(Plan([Does(name, do, f"do {do.__name__}") for name, do in steps]), None)
    assert done == ["a", "b", "b"]
    assert [(failure.sandbox, failure.step, failure.reason) for failure in failures] == [("a", "do bad", reason), ("c", "do bad", reason)]


def test_a_failed_run_says_what_failed_and_what_did_not_is_kept() -> None:
    failures = [StepError("a", "start", "no"), StepError("b", "stop", "never")]
    assert engine.report_failures({"changed": True}, failures) == {
        "changed": True,
        "failed": True,
        "msg": "a: start: no. b: stop: never.",
        "failures": [
            {"sandbox": "a", "step": "start", "reason": "no"},
            {"sandbox": "b", "step": "stop", "reason": "never"},
        ],
    }
    assert engine.report_failures({"changed": True}, []) == {"changed": True}


# What of many sandboxes is done at once


@dataclasses.dataclass(frozen=True)
class Together(Step):
    """A step that fails for the sandboxes of ``bad``, and for all if it is done for them and others at once."""

    together: ClassVar[bool] = True
    calls: ClassVar[list[str]] = []
    bad: ClassVar[str] = ""
    error: ClassVar[Exception] = SandboxError("it is broken")

    @property
    def title(self) -> str:
        return "do it together"

    def apply(self, hands: Any) -> None:
        self.apply_all([self], hands)

    def apply_all(self, steps: Iterable[Together], hands: Any) -> None:
        names = "".join(step.sandbox for step in steps)
        self.calls.append(names)
        if set(names) & set(self.bad):
            raise self.error


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> type[Together]:
    monkeypatch.setattr(Together, "calls", [])
    return Together


def test_what_is_done_together_is_one_call_for_those_that_have_not_failed(together: type[Together]) -> None:
    def bad(_name: str) -> None:
        raise SandboxError("no")

    failures = engine.apply(Plan([Does("b", bad, "before"), *map(together, "abc"), Does("a", together.calls.append), together("c")]), None)
    assert together.calls == ["ac", "a", "c"]
    assert [(failure.sandbox, failure.step) for failure in failures] == [("b", "before")]


@pytest.mark.parametrize("error", [SandboxError("it is broken"), OSError(1, "it is broken"), TypeError("it is broken")])
def test_where_all_at_once_fails_each_failure_is_one_sandboxs(
    together: type[Together], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(together, "bad", "b")
    monkeypatch.setattr(together, "error", error)
    done: list[str] = []
    failures = engine.apply(Plan([*map(together, "abc"), *(Does(name, done.append) for name in "abc")]), None)
    assert together.calls == ["abc", "a", "b", "c"]
    assert [(failure.sandbox, failure.step) for failure in failures] == [("b", "do it together")]
    assert "it is broken" in failures[0].reason
    assert done == ["a", "c"]


# What the steps of a service do to systemd and libvirt


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What is asked of systemd, libvirt and the files of the host, in place of it being done."""
    record: Calls = []

    def recorded(name: str) -> Callable[..., None]:
        return lambda *given: record.append(
            (name, *(one if isinstance(one, str) or not isinstance(one, Iterable) else [*one] for one in given))
        )

    for name in ("daemon_reload", "start", "stop", "reload", "reset_failed", "enable", "disable"):
        monkeypatch.setattr(systemd, name, recorded(name))
    monkeypatch.setattr(nftables, "load", recorded("nft"))
    monkeypatch.setattr(hands, "write_file", lambda path, _text, _mode: record.append(("write_file", path)))
    monkeypatch.setattr(hands, "unlink", recorded("unlink"))
    monkeypatch.setattr(hands.ServiceHands, "write_inside", lambda *_arguments: record.append(("write_inside",)))
    runtime = type("Runtime", (), {name: staticmethod(recorded(name)) for name in ("define", "undefine", "destroy")})
    monkeypatch.setattr(SandboxHost, "runtime", runtime)
    return record


@pytest.fixture
def service_hands(calls: Calls) -> hands.ServiceHands:
    return hands.ServiceHands(SandboxHost("sqlite:////nowhere/labels.db"))


WRITES = [
    ("write_inside",),
    ("write_file", "/etc/systemd/system/machine-virt_sandbox-web.slice"),
    ("write_file", "/etc/systemd/system/web_sandbox.service"),
]
FILTER = "/etc/libvirt-sandbox/services/web.nft"
UNIT = "web_sandbox.service"
CODE = "/run/virt-sandbox/web.code"


@pytest.mark.parametrize(
    ("state", "running", "last"),
    [
        ("started", False, [("unlink", CODE), ("start", [UNIT])]),
        ("restarted", True, [("stop", [UNIT]), ("destroy", "web"), ("unlink", CODE), ("start", [UNIT])]),
        ("reloaded", True, [("reload", UNIT)]),
        ("stopped", True, [("stop", [UNIT]), ("destroy", "web")]),
    ],
)
def test_a_service_is_made_with_systemd_and_libvirt(
    service: MakeSpec, host: Host, calls: Calls, service_hands: hands.ServiceHands, state: str, running: bool, last: Calls
) -> None:
    seen = Observed(unit={"ActiveState": "active"}) if running else Observed()
    assert engine.apply(plan_service(service(), state, seen, host), service_hands) == []
    loaded = [("nft", network_filter.rules(service(), ()))] if running else []
    define, *rest = calls[5 + len(loaded) :]
    assert calls[: 5 + len(loaded)] == [*WRITES, ("daemon_reload",), *loaded, ("write_file", FILTER)]
    assert (define[0], define[1].name) == ("define", "web")
    assert rest == [("enable", [UNIT]), ("write_file", "/etc/libvirt-sandbox/services/web.sandbox"), *last]


def test_a_service_is_removed_with_systemd_and_libvirt(
    service: MakeSpec, host: Host, calls: Calls, service_hands: hands.ServiceHands, declared: Declared
) -> None:
    plan = plan_service(service(), "absent", declared(service()), host)
    assert engine.apply(plan, service_hands) == []
    assert calls == [
        ("stop", [UNIT]),
        ("destroy", "web"),
        ("disable", [UNIT]),
        ("undefine", "web"),
        ("nft", network_filter.without(network_filter.chains(service()))),
        ("unlink", FILTER),
        ("stop", [UNIT]),
        ("reset_failed", [UNIT]),
        ("unlink", "/etc/systemd/system/web_sandbox.service"),
        ("stop", ["machine-virt_sandbox-web.slice"]),
        ("reset_failed", ["machine-virt_sandbox-web.slice"]),
        ("unlink", "/etc/systemd/system/machine-virt_sandbox-web.slice"),
        ("unlink", "/etc/libvirt-sandbox/services/web.sandbox"),
        ("daemon_reload",),
    ]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (lambda name: EnableUnit(name, f"{name}.service"), [("enable", ["a.service", "b.service"])]),
        (lambda name: DisableUnit(name, f"{name}.service"), [("disable", ["a.service", "b.service"])]),
        (ReloadSystemd, [("daemon_reload",)]),
        (
            lambda name: StopSandbox(name, f"{name}.service"),
            [("stop", ["a.service", "b.service"]), ("destroy", "a"), ("destroy", "b")],
        ),
        (
            lambda name: StartSandbox(name, f"{name}.service"),
            [("unlink", CODE.replace("web", "a")), ("unlink", CODE.replace("web", "b")), ("start", ["a.service", "b.service"])],
        ),
        (
            lambda name: RestartSandbox(name, f"{name}.service", "running"),
            [
                ("stop", ["a.service", "b.service"]), ("destroy", "a"), ("destroy", "b"),
                ("unlink", CODE.replace("web", "a")), ("unlink", CODE.replace("web", "b")), ("start", ["a.service", "b.service"]),
            ],
        ),
    ],
    ids=["enable", "disable", "reload", "stop", "start", "restart"],
)  # fmt: skip
def test_systemd_is_asked_once_for_all_sandboxes(
    calls: Calls, service_hands: hands.ServiceHands, step: Callable[[str], Step], expected: Calls
) -> None:
    assert engine.apply(Plan([step("a"), step("b")]), service_hands) == []
    assert calls == expected


def test_a_unit_that_systemd_does_not_start_keeps_no_other_from_starting(
    calls: Calls, service_hands: hands.ServiceHands, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(units: Iterable[str]) -> None:
        if "b.service" in units:
            raise SandboxError("no such unit")
        calls.append(("start", list(units)))

    monkeypatch.setattr(systemd, "start", start)
    failures = engine.apply(Plan([StartSandbox(name, f"{name}.service") for name in "abc"]), service_hands)
    assert [str(failure) for failure in failures] == ["b: start: no such unit"]
    assert [call for call in calls if call[0] == "start"] == [("start", ["a.service"]), ("start", ["c.service"])]


def test_systemd_reads_its_files_again_only_after_more_were_written(calls: Calls, service_hands: hands.ServiceHands) -> None:
    for _time in range(2):
        service_hands.reload_systemd()
    service_hands.write_file("/x", "", 0o644)
    for _time in range(2):
        service_hands.reload_systemd()
    assert calls == [("daemon_reload",), ("write_file", "/x"), ("daemon_reload",)]


@pytest.mark.parametrize(("uid", "refused"), [(0, False), (1000, True)])
def test_only_root_can(monkeypatch: pytest.MonkeyPatch, uid: int, refused: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    if refused:
        with pytest.raises(SandboxError, match="become: true"):
            engine.require_root()
    else:
        engine.require_root()
