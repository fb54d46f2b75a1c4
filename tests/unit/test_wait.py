# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run waits: for the unit, the units inside, an address and ports; and when it gives up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import service_run
from ansible_collections.virt.sandbox.plugins.module_utils.engine import wait as engine
from ansible_collections.virt.sandbox.plugins.module_utils.model import layout
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError

from .conftest import MakeSpec

ACTIVE = {"ActiveState": "active"}


class Seen:
    """What the host and the sandbox show, one look after the other; the last one stays."""

    def __init__(self, **columns: list[Any]) -> None:
        self.columns: dict[str, Iterator[Any]] = {name: iter(values) for name, values in columns.items()}
        self.last: dict[str, Any] = {}

    def next(self, name: str) -> Any:
        self.last[name] = next(self.columns[name], self.last.get(name))
        if isinstance(self.last[name], Exception):
            raise self.last[name]
        return self.last[name]


Wait = Callable[..., list[str]]


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch, service: MakeSpec) -> Wait:
    clock = [0.0]

    def run(
        *,
        ports: tuple[int, ...] = (),
        timeout: float = 60,
        options: dict[str, Any] | None = None,
        resolved: Any = (("10.0.0.2",),),
        **columns: list[Any],
    ) -> list[str]:
        seen = Seen(
            **{
                "unit": [ACTIVE],
                "inside": [{"httpd.service": "active"}],
                "address": [["10.0.0.2"]],
                "closed": [[]],
                "rest": [True],
                "failed": [["httpd.service"]],
                **columns,
            }
        )
        monkeypatch.setattr(engine.time, "monotonic", lambda: clock[0])
        monkeypatch.setattr(engine.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + max(seconds, 1)))
        monkeypatch.setattr(engine.systemd, "show", lambda units: {unit: seen.next("unit") for unit in units})
        monkeypatch.setattr(engine.processes, "units_inside", lambda *_ignored: seen.next("inside"))
        monkeypatch.setattr(engine.processes, "addresses", lambda _name, _declared: seen.next("address"))
        monkeypatch.setattr(engine.processes, "not_listening", lambda _name, _ports: seen.next("closed"))
        monkeypatch.setattr(engine.processes, "at_rest", lambda _name: seen.next("rest"))
        monkeypatch.setattr(engine.processes, "failed_units", lambda _name: seen.next("failed"))
        monkeypatch.setattr(engine.processes, "last_words", lambda *_ignored: "port 80 is taken")
        monkeypatch.setattr(engine.processes, "is_up", lambda _name: True)
        one = engine.Wait(service(**(options or {})), resolved, ports)
        return [str(failure) for failure in engine.wait_until_up([one], timeout)]

    return run


def test_it_is_up_when_all_is_there(wait: Wait) -> None:
    starting = {"ActiveState": "activating"}
    assert (
        wait(unit=[starting, ACTIVE], inside=[SandboxError("not yet"), {"httpd.service": "activating"}, {"httpd.service": "active"}]) == []
    )
    assert wait(address=[[], [], ["10.0.0.2"]], closed=[[80], []], ports=(80,)) == []


def test_a_command_that_ends_at_once_with_a_failure_is_not_taken_for_one_that_runs(wait: Wait) -> None:
    command = {"units": [], "command": ["/bin/false"], "network": [{"type": "static", "addresses": ["10.0.0.2/24"]}]}
    assert wait(options=command, unit=[ACTIVE, ACTIVE, ACTIVE]) == []
    (failure,) = wait(options=command, unit=[ACTIVE, {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "1"}])
    assert failure.startswith("web: start: its unit failed (exit-code, code 1)")


def test_a_command_that_has_ended_in_success_is_not_waited_for(wait: Wait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether systemd still knows of it or has forgotten; one whose start is queued, or that was never started, is waited for."""
    code = tmp_path / "web.code"
    monkeypatch.setattr(layout.Layout, "code", str(code))
    command = {"units": [], "command": ["/bin/true"], "network": []}
    queued, inactive = {"ActiveState": "inactive", "Job": "7"}, {"ActiveState": "inactive", "Job": ""}
    never = ["web: wait: not up after 0.5 s: web_sandbox.service is inactive"]
    assert wait(options=command, unit=[queued, inactive], timeout=0.5) == never
    code.write_text("0\n")
    assert wait(options=command, unit=[queued, inactive], timeout=3) == []
    assert wait(options=command, unit=[queued], timeout=0.5) == never


def test_a_unit_that_stays_failed_is_not_waited_for(wait: Wait) -> None:
    assert wait(inside=[{"httpd.service": "failed"}]) == ["web: wait: httpd.service failed inside: port 80 is taken"]


def test_a_unit_whose_need_failed_is_not_waited_for(wait: Wait) -> None:
    assert wait(inside=[{"httpd.service": "inactive"}], failed=[["disk.service"]]) == [
        "web: wait: disk.service failed inside: port 80 is taken"
    ]
    assert wait(inside=[{"httpd.service": "inactive"}], failed=[[]]) == ["web: wait: httpd.service has ended inside: port 80 is taken"]


@pytest.mark.parametrize(("state", "down"), [("done", False), ("skipped", False), ("active", False), ("inactive", True), ("failed", True)])
def test_only_a_unit_that_is_down_is_started(monkeypatch: pytest.MonkeyPatch, service: MakeSpec, state: str, down: bool) -> None:
    monkeypatch.setattr(engine.processes, "units_inside", lambda _name, units: dict.fromkeys(units, state))
    assert engine.down(service()) == ({"httpd.service": state} if down else {})


def test_a_run_reports_the_units_and_addresses(monkeypatch: pytest.MonkeyPatch, service: MakeSpec) -> None:
    asked = []
    monkeypatch.setattr(service_run.observe.processes, "addresses", lambda _name, declared: asked.extend(declared) or ["fe80::2"])
    spec = service(network=[{"type": "static", "addresses": ["fe80::2/64"]}])
    found = service_run.report(spec, {"httpd.service": "skipped"})
    assert (found["units"], found["addresses"], asked) == ({"httpd.service": "skipped"}, ["fe80::2"], ["fe80::2"])
    monkeypatch.setattr(service_run.observe.processes, "addresses", not_asked)
    assert service_run.report(spec, {})["addresses"] == []


def not_asked(*_ignored: object) -> list[str]:
    raise SandboxError("ip is not installed")


@pytest.mark.parametrize("state", ["done", "skipped"])
def test_a_unit_that_need_not_run_any_more_is_up(wait: Wait, state: str) -> None:
    assert wait(inside=[{"httpd.service": state}]) == []


def test_addresses_of_ipv6_are_waited_for(wait: Wait) -> None:
    both = (("10.0.0.2", "fd00::2"),)
    assert wait(resolved=both, address=[["10.0.0.2"], ["10.0.0.2", "fd00::2"]]) == []
    assert wait(resolved=both) == ["web: wait: not up after 60 s: it has no address yet (fd00::2)"]


def test_what_dhcp_gives_is_of_ipv4(wait: Wait) -> None:
    assert wait(resolved=((),), address=[["fd00::2"], ["10.0.0.7"]]) == []
    assert wait(resolved=((),), address=[["fd00::2"]]) == ["web: wait: not up after 60 s: it has no address yet"]


def test_a_unit_that_is_still_to_be_started_is_waited_for(wait: Wait) -> None:
    down, up = {"httpd.service": "inactive"}, {"httpd.service": "active"}
    assert wait(inside=[down] * 20 + [up], rest=[False], failed=[[]]) == []


def test_a_unit_that_is_started_again_is_waited_for(wait: Wait) -> None:
    assert wait(inside=[{"httpd.service": "failed"}, {"httpd.service": "activating"}, {"httpd.service": "active"}]) == []


def test_a_sandbox_whose_own_unit_failed_is_not_waited_for(wait: Wait) -> None:
    unit = {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "1"}
    assert wait(unit=[unit]) == ["web: start: its unit failed (exit-code, code 1). Run journalctl -u web_sandbox.service to see why."]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        pytest.param({"unit": [{"ActiveState": "activating"}]}, "web_sandbox.service is activating", id="unit"),
        pytest.param({"inside": [{"httpd.service": "activating"}]}, "httpd.service is activating", id="unit inside"),
        pytest.param({"inside": [SandboxError("no answer")]}, "its systemd is silent (no answer)", id="systemd inside"),
        pytest.param({"address": [[]]}, "it has no address yet (10.0.0.2)", id="address"),
        pytest.param({"address": [SandboxError("ip is not installed")]}, "ip is not installed", id="unknown addresses"),
        pytest.param({"closed": [[80, 443]]}, "nothing listens on port 80, 443", id="ports"),
    ],
)
def test_at_the_end_it_says_what_is_missing(wait: Wait, columns: dict[str, Any], reason: str) -> None:
    assert wait(**columns) == [f"web: wait: not up after 60 s: {reason}"]


OURS = {"pid": 7, "command": "apache2", "context": "system_u:system_r:virt_sandbox_net_t:s0:c1,c2"}
ON_ITS_WAY = {"pid": 9, "command": "libvirt_lxc", "context": "system_u:system_r:virtd_lxc_t:s0"}


@pytest.mark.parametrize(
    ("later", "failures"),
    [
        pytest.param([OURS, {**OURS, "pid": 9}], [], id="it has its label now"),
        pytest.param([OURS], [], id="it is gone"),
        pytest.param([OURS, {**ON_ITS_WAY, "pid": 10}], [], id="another one is on its way"),
        pytest.param(
            [OURS, ON_ITS_WAY],
            ["web: verify labels: process 9 (libvirt_lxc) is system_u:system_r:virtd_lxc_t:s0, not virt_sandbox_net_t:s0:c1,c2"],
            id="it stays",
        ),
    ],
)
def test_a_label_that_stays_wrong_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, service: MakeSpec, later: list[dict[str, Any]], failures: list[str]
) -> None:
    monkeypatch.setattr(service_run.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(service_run.selinux, "mode", lambda: "enforcing")
    monkeypatch.setattr(service_run.processes, "of_sandbox", lambda *_ignored: later)
    spec = service()
    assert [str(one) for one in service_run.wrong_labels([spec], {spec.name: {"processes": [OURS, ON_ITS_WAY]}})] == failures
    assert service_run.wrong_labels([spec], {spec.name: {"processes": [OURS]}}) == []
