# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose fault it is that a sandbox cannot be: the play's ends the run, that of root inside ends nobody else's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import service_run
from ansible_collections.virt.sandbox.plugins.module_utils.engine.wanted import Wanted
from ansible_collections.virt.sandbox.plugins.module_utils.model import unit_file
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import ConflictError, OptionError, StepError
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host, Observed
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ServiceRequest, ServiceSpec

from .conftest import Declared, MakeSpec

PATH = "/etc/systemd/system/mine.service"
OWN = {"mine.service": unit_file.parse("mine.service", PATH, ["[Service]\nExecStart=/srv/mine\n"])}
WRECKED = {"mine.service": unit_file.parse("mine.service", PATH, ["[Service]\nRootDirectory=/x\n"])}
GONE = {"own_units": {}}
NO_PROGRAM = {"own_units": OWN, "missing_programs": {"mine.service": "/srv/mine"}}

Check = Callable[..., tuple[Mapping[str, str], list[str]]]
Checks = Callable[..., service_run.ServiceRun]


@pytest.fixture
def facts(host: Host) -> Host:
    """A host that was asked for the unit, and has none."""
    systemd = dataclasses.replace(host.systemd, unit_paths={**host.systemd.unit_paths, "mine.service": ""})
    return dataclasses.replace(host, systemd=systemd)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    """A run over one sandbox of such a host, after it has looked and checked."""

    def run(spec: ServiceSpec, seen: Observed, facts: Host, predicted: bool = False) -> service_run.ServiceRun:
        monkeypatch.setattr(service_run.observe, "facts", lambda *_ignored: facts)
        host: Any = SimpleNamespace(declared=SimpleNamespace(specs={}))
        wanted = [Wanted(spec, ServiceRequest())]
        result = service_run.ServiceRun(host, wanted, {"name": None}, service_run.Run(), predicted)
        result.observed = {spec.name: seen}
        result._check()
        return result

    return run


def refusals(run: service_run.ServiceRun) -> Mapping[str, str]:
    return {failure.sandbox: str(failure) for failure in run.failures}


@pytest.fixture
def checked(service: MakeSpec, facts: Host, declared: Declared, checks: Checks) -> Check:
    """How a run goes with a sandbox whose unit only the content has; what is seen of it, and whether it was declared so before."""

    def run(seen: dict[str, Any], known: bool = True, predicted: bool = False) -> tuple[Mapping[str, str], list[str]]:
        spec = service(units=["mine"])
        one = dataclasses.replace(declared(spec, **seen), spec=spec if known else service())
        result = checks(spec, one, facts, predicted)
        return refusals(result), result.warnings

    return run


def test_what_another_run_has_changed_is_not_even_stopped(
    service: MakeSpec, host: Host, declared: Declared, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = service()
    monkeypatch.setattr(service_run.observe, "facts", lambda *_ignored: host)
    monkeypatch.setattr(service_run.declarations, "changed", lambda *_ignored: "web was changed by another run since this one began.")
    known: Any = SimpleNamespace(declared=SimpleNamespace(specs={}))
    wanted = [Wanted(spec, ServiceRequest(state="stopped", declaration="mine"))]
    run = service_run.ServiceRun(known, wanted, {"name": None}, service_run.Run(), False)
    run.observed = {"web": declared(spec)}
    run._check()
    assert [str(failure) for failure in run.failures] == ["web: check: web was changed by another run since this one began."]
    assert len(run._plan()) == 0


def test_one_that_cannot_be_looked_at_is_no_stranger_on_its_own_ports(
    service: MakeSpec, host: Host, declared: Declared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What listens on its port is its own socket, which nobody has seen."""
    published, other = service(network=[{"ports": [{"host_port": 8080}]}]), service(name="db", level="s0:c3,c4")
    lost = StepError("web", "observe", "its spec is damaged")
    monkeypatch.setattr(service_run.observe, "facts", lambda *_ignored: host)
    monkeypatch.setattr(service_run.observe, "sandboxes", lambda *_ignored: ({"db": declared(other)}, [lost]))
    monkeypatch.setattr(service_run.sockets, "listening", lambda: [("0.0.0.0", 8080)])
    known: Any = SimpleNamespace(declared=SimpleNamespace(specs={}))
    wanted = [Wanted(spec, ServiceRequest()) for spec in (published, other)]
    run = service_run.ServiceRun(known, wanted, {"name": None}, service_run.Run(), True)
    run._observe()
    assert run.failures == [lost]


def test_what_works_is_not_refused(checked: Check) -> None:
    assert checked({"own_units": OWN}) == ({}, [])


def test_a_name_that_the_host_has_for_another_address_ends_the_run(
    service: MakeSpec, host: Host, declared: Declared, checks: Checks
) -> None:
    facts = dataclasses.replace(host, resolved={"web": [["192.168.122.10"]]}, named_otherwise={"web": ["10.0.0.5"]})
    with pytest.raises(ConflictError, match=r"web is already the name of 10\.0\.0\.5 in the host"):
        checks(service(), declared(service()), facts)


@pytest.mark.parametrize("seen", [GONE, NO_PROGRAM, {"own_units": WRECKED}], ids=["unit", "program", "wrecked"])
def test_what_root_inside_took_away_is_that_sandboxes_failure(checked: Check, seen: dict[str, Any]) -> None:
    refused, warnings = checked(seen)
    assert list(refused) == ["web"]
    assert "units: 'mine.service' is invalid" in refused["web"]
    assert warnings == []


@pytest.mark.parametrize("predicted", [True, False])
def test_content_that_cannot_be_read_is_that_sandboxes_failure(checked: Check, predicted: bool) -> None:
    refused, warnings = checked({"unreadable": "/content/etc/x: is held"}, known=False, predicted=predicted)
    assert refused == {"web": "web: observe: /content/etc/x: is held"}
    assert warnings == []


@pytest.mark.parametrize("seen", [GONE, NO_PROGRAM, {"own_units": WRECKED}], ids=["unit", "program", "wrecked"])
def test_what_a_play_names_wrongly_ends_the_run(checked: Check, seen: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"web: units: 'mine.service' is invalid"):
        checked(seen, known=False)


def test_a_unit_that_was_there_is_not_the_plays_fault_though_another_is_new(
    service: MakeSpec, facts: Host, declared: Declared, checks: Checks
) -> None:
    spec, before = service(units=["mine", "httpd"]), service(units=["mine"])
    one = dataclasses.replace(declared(spec, **GONE), spec=before)
    assert list(refusals(checks(spec, one, facts))) == ["web"]


def test_in_check_mode_the_rest_is_looked_at_all_the_same(service: MakeSpec, facts: Host, declared: Declared, checks: Checks) -> None:
    spec = service(units=["mine"], network=[{"source": "gone"}])
    with pytest.raises(OptionError, match=r"network\[0\].source: libvirt network 'gone'"):
        checks(spec, declared(service(units=["mine"]), **GONE), facts, predicted=True)


def test_in_check_mode_the_host_administrators_unit_is_what_will_be_copied(
    service: MakeSpec, host: Host, declared: Declared, checks: Checks
) -> None:
    spec = service(units=["mine"])
    unit = {"mine.service": unit_file.parse("mine.service", PATH, ["[Service]\nDynamicUser=yes\n"])}
    systemd = dataclasses.replace(host.systemd, unit_paths={**host.systemd.unit_paths, "mine.service": PATH}, units=unit)
    facts = dataclasses.replace(host, systemd=systemd)
    systemd = checks(spec, declared(spec, **GONE), facts, predicted=True).observed["web"].systemd(facts)
    assert systemd.units["mine.service"].yes("DynamicUser")
    assert systemd.unit_paths["mine.service"] == PATH


@pytest.mark.parametrize("seen", [GONE, NO_PROGRAM], ids=["unit", "program"])
def test_in_check_mode_another_task_may_bring_it(checked: Check, seen: dict[str, Any]) -> None:
    refused, (warning,) = checked(seen, known=False, predicted=True)
    assert refused == {}
    assert warning.startswith("This run would fail, unless an earlier task provides what is missing: web: units: 'mine.service'")
