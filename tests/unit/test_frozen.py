# SPDX-License-Identifier: GPL-3.0-or-later
"""What an earlier release wrote is read, and nothing of it changes: files of release 0.1.0 below ``frozen_0_1_0``, which stay as they are.

``declared.yml`` is what a play says by today's names; the other files are what that release made of it. One thing changes: a sandbox
with a systemd-networkd inside runs at a type of its own today, without which networkd may set no address. It is restarted for that.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.virt.sandbox.plugins.module_utils.engine import service_run
from ansible_collections.virt.sandbox.plugins.module_utils.host.libvirt_domain import from_xml
from ansible_collections.virt.sandbox.plugins.module_utils.model import layout, network, network_filter, unit
from ansible_collections.virt.sandbox.plugins.module_utils.model.context import Context
from ansible_collections.virt.sandbox.plugins.module_utils.model.definition import Definition, Record
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError
from ansible_collections.virt.sandbox.plugins.module_utils.model.mounts import ObservedMount
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host, Observed
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import (
    DEFAULTS,
    build,
    older_defaults,
    option,
    recorded_part,
    restart_part,
)
from ansible_collections.virt.sandbox.plugins.module_utils.model.service_plan import plan_service, wanted_definition
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import (
    NET_PROCESS_TYPE,
    ServiceRequest,
    ServiceSpec,
    dump,
    load,
    service_spec,
)

from .conftest import Declared, MakeSpec, expanded, settled

CASES = sorted((Path(__file__).parent / "frozen_0_1_0").iterdir())


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A sandbox of release 0.1.0 on its host: what is declared of it today, and what that release has left."""

    options: dict[str, Any]
    host: Host
    seen: Observed

    def spec(self, **changes: Any) -> ServiceSpec:
        assert self.seen.spec is not None
        return service_spec({**self.options, **changes}, self.seen.spec.defaults)

    def steps(self, state: str, **changes: Any) -> list[str]:
        spec = self.spec(**changes)
        host = dataclasses.replace(self.host, resolved={spec.name: [network.fixed(interface) for interface in spec.network]})
        return [step.title for step in plan_service(spec, state, self.seen, host)]


Thaw = Callable[..., Frozen]


@pytest.fixture
def frozen(host: Host) -> Thaw:
    """One of the cases, running or stopped."""

    def thaw(case: Path, running: bool = True) -> Frozen:
        options = yaml.safe_load((case / "declared.yml").read_text())
        state = seen(case, running)
        spec = service_spec(options, state.spec.defaults if state.spec else DEFAULTS)
        given = [network.fixed(interface) for interface in spec.network]
        bare = dataclasses.replace(host, bridges=["br0"], devices={"/dev/vda": "254:0"}, io_weights=True)
        return Frozen(options, dataclasses.replace(settled(bare, spec, given), filtered=network_filter.chains(spec)), state)

    return thaw


def sections(path: Path) -> dict[str, str]:
    """The files that a file of this test holds, by their paths; a link with an arrow before its target."""
    found = {}
    for section in re.split("^==> ", path.read_text(), flags=re.MULTILINE)[1:] if path.exists() else ():
        head, _newline, text = section.partition("\n")
        place, arrow, target = head.partition(" -> ")
        found[place] = arrow + target or text[:-1].replace("(CONFINEMENT)", unit.CONFINEMENT)
    return found


def seen(case: Path, running: bool) -> Observed:
    """The sandbox as its host has it, by the files of the case alone."""
    text, xml = (case / "spec.json").read_text(), (case / "domain.xml").read_text()
    spec = load(text, "spec.json")
    on_host, inside, ports = (sections(case / name) for name in ("host.txt", "inside.txt", "ports.txt"))
    ours = {path.rpartition("/")[2]: text for path, text in ports.items()}
    return Observed(
        spec_text=text,
        spec=spec,
        unit_text=on_host[spec.paths.unit_path],
        slice_text=on_host[spec.paths.slice_path],
        filter_text=on_host.get(spec.paths.filter),
        unit={"ActiveState": "active" if running else "inactive", "UnitFileState": "enabled" if spec.autostart else "disabled"},
        defined=from_xml(xml),
        active=from_xml(expanded(xml)) if running else None,
        content_context=str(Context.object(layout.ROOT_TYPE, spec.level)),
        inside={path[1:]: ("link", text[4:]) if text.startswith(" -> ") else ("text", text) for path, text in inside.items()},
        mounts={mount.target: ObservedMount(source="directory", point="directory") for mount in spec.mounts},
        ports=ours,
        ports_up=[name for name in ours if name.endswith(".socket")],
    )


def moved(case: Path) -> bool:
    """Whether it is one whose type is another today."""
    spec = load((case / "spec.json").read_text(), "spec.json")
    return spec.process_type == NET_PROCESS_TYPE


each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_there_are_cases() -> None:
    assert len(CASES) >= 8


@each_case
def test_its_spec_is_read(case: Path, frozen: Thaw) -> None:
    one = frozen(case)
    assert one.seen.spec == one.spec()
    assert one.spec().defaults == 1


@each_case
def test_a_spec_that_was_read_is_written_in_todays_format(case: Path, frozen: Thaw) -> None:
    spec = frozen(case).seen.spec
    assert spec is not None
    assert load(dump(spec), "it") == spec


@pytest.mark.parametrize(("running", "state"), [(True, "started"), (True, "present"), (False, "stopped"), (False, "present")])
@each_case
def test_nothing_of_it_changes(case: Path, frozen: Thaw, running: bool, state: str) -> None:
    steps = ["define the sandbox"] + ["restart"] * (running and state == "started")
    assert frozen(case, running).steps(state) == (steps if moved(case) else [])


@each_case
def test_a_stopped_one_is_started_as_it_is(case: Path, frozen: Thaw) -> None:
    assert frozen(case, running=False).steps("started") == ["define the sandbox"] * moved(case) + ["start"]


@each_case
def test_a_change_restarts_it_where_it_must(case: Path, frozen: Thaw) -> None:
    one = frozen(case)
    of_type = (["define the sandbox"], ["restart"]) if moved(case) else ([], [])
    assert one.steps("started", memory="700M") == ["write the slice", "reload systemd", *of_type[0], "write the spec", *of_type[1]]
    assert one.steps("started", process_type="other_t") == ["define the sandbox", "write the spec", "restart"]
    assert one.steps("present", process_type="other_t") == ["define the sandbox", "write the spec"]
    assert frozen(case, running=False).steps("stopped", env={"NEW": "x"})[-2:] == ["define the sandbox", "write the spec"]


@each_case
def test_a_change_that_was_left_for_later_is_not_forgotten(case: Path, frozen: Thaw) -> None:
    """All is as declared but what the sandbox runs with."""
    one = frozen(case)
    spec = one.spec(process_type="other_t")
    later = dataclasses.replace(one, seen=dataclasses.replace(one.seen, spec=spec, defined=wanted_definition(spec, one.host)))
    assert later.steps("started", process_type="other_t") == ["restart"]
    # and the way back to what it runs with needs none
    assert later.steps("started") == ["define the sandbox", "write the spec"] + ["restart"] * moved(case)


def test_the_type_of_a_sandbox_with_networkd_is_another_today() -> None:
    assert {case.name for case in CASES if moved(case)} == {"everything", "httpd_dhcp", "static_network"}


@each_case
def test_an_option_of_a_later_release_restarts_it_too(case: Path, frozen: Thaw) -> None:
    assert frozen(case).steps("started", hostname="mail.example.com")[-3:] == ["define the sandbox", "write the spec", "restart"]


def test_another_address_than_it_runs_with_needs_a_restart(frozen: Thaw) -> None:
    one = frozen(next(case for case in CASES if case.name == "static_network"))
    changed = [{**one.options["network"][0], "addresses": ["10.0.0.3/24", "fd00::2/64"]}, one.options["network"][1]]
    assert one.steps("started", network=changed)[-2:] == ["stop for its new interfaces", "restart"]


def test_its_definition_is_its_own(frozen: Thaw) -> None:
    assert all(one.seen.defined is not None and one.seen.defined.ours for one in map(frozen, CASES))


def test_a_spec_of_a_later_release_is_refused() -> None:
    with pytest.raises(OptionError, match=r"expected a spec of format 1 or 2\. A newer release of the collection wrote it."):
        load(json.dumps({"format": 3, "sandbox": {}}), "web.sandbox")


# Options that come with a later release


def without(definition: Definition, *path: str) -> Definition:
    """A definition by a release that did not have an option, or a suboption of each item of a list."""
    record = definition.record
    assert record is not None
    options = json.loads(json.dumps(record.options))
    parts = [options]
    for name in path[:-1]:
        parts = [item for part in parts for item in (part[name] if isinstance(part[name], list) else [part[name]])]
    for part in parts:
        del part[path[-1]]
    return dataclasses.replace(definition, record=dataclasses.replace(record, options=options))


NEW = [("home",), ("env",), ("mounts",), ("capabilities",), ("capabilities", "keep"), ("network", "nameservers"), ("network", "type")]


@pytest.mark.parametrize("path", NEW, ids=".".join)
def test_a_new_option_with_its_default_changes_nothing(service: MakeSpec, host: Host, declared: Declared, path: tuple[str, ...]) -> None:
    spec = service()
    older = without(wanted_definition(spec, host), *path)
    assert plan_service(spec, "started", declared(spec, defined=older, active=older), host).summary() == {}
    assert plan_service(spec, "present", declared(spec, running=False, defined=older), host).summary() == {}


@pytest.mark.parametrize(
    ("path", "options"),
    [
        (("env",), {"env": {"A": "x"}}),
        (("capabilities", "drop"), {"capabilities": {"drop": ["sys_ptrace"]}}),
        (("network", "nameservers"), {"network": [{"nameservers": ["10.0.0.1"]}]}),
    ],
)
def test_a_new_option_with_another_value_needs_a_restart(
    service: MakeSpec, host: Host, declared: Declared, path: tuple[str, ...], options: dict[str, Any]
) -> None:
    spec = service(**options)
    older = without(wanted_definition(service(), host), *path)
    steps = [step.title for step in plan_service(spec, "started", declared(spec, defined=older, active=older), host)]
    assert steps == ["define the sandbox", "restart"]


def test_an_option_that_is_gone_is_none_of_todays(service: MakeSpec, host: Host, declared: Declared) -> None:
    spec = service()
    today = wanted_definition(spec, host)
    assert today.record is not None
    older = dataclasses.replace(today, record=dataclasses.replace(today.record, options={**today.record.options, "gone": 1}))
    assert plan_service(spec, "started", declared(spec, defined=older, active=older), host).summary() == {}


@pytest.mark.parametrize("options", [{}, [], {"network": None}, {"network": ["type"]}, {"capabilities": 5}])
def test_a_record_that_somebody_has_changed_needs_a_restart(service: MakeSpec, host: Host, declared: Declared, options: Any) -> None:
    spec = service()
    changed = dataclasses.replace(wanted_definition(spec, host), record=Record(options))
    steps = [step.title for step in plan_service(spec, "started", declared(spec, active=changed), host)]
    assert steps[-1] == "restart"


# Defaults that a later release changes


@dataclasses.dataclass(frozen=True)
class Part:
    mode: str = option("open", earlier=((1, "closed"),))


@dataclasses.dataclass(frozen=True)
class Box:
    """Its size had another default in two generations, its colour in one."""

    name: str = option("", required=True, effect="restart")
    size: int = option(30, type="int", earlier=((1, 10), (2, 20)), effect="restart")
    colour: str = option("red", earlier=((1, "blue"),))
    part: Part = option({}, type="dict", of=Part)
    parts: tuple[Part, ...] = option([], type="list", elements="dict", of=Part)


@pytest.mark.parametrize(
    ("generation", "size", "colour", "mode"),
    [(1, 10, "blue", "closed"), (2, 20, "red", "open"), (3, 30, "red", "open"), (9, 30, "red", "open")],
)
def test_a_default_is_that_of_the_generation(generation: int, size: int, colour: str, mode: str) -> None:
    box = build(Box, {"name": "a", "parts": [{}]}, generation=generation)
    assert box == Box("a", size, colour, Part(mode), (Part(mode),))
    assert build(Box, {"name": "a", "size": 5}, generation=generation).size == 5


def test_older_defaults_are_named() -> None:
    box = build(Box, {"name": "a", "parts": [{"mode": "open"}, {}]}, generation=1)
    assert older_defaults(box, 1) == ["size", "colour", "part.mode", "parts[1].mode"]
    assert older_defaults(build(Box, {"name": "a", "colour": "green"}, generation=2), 2) == ["size"]
    assert older_defaults(build(Box, {"name": "a"}), 9) == []


def test_a_record_from_before_an_option_has_its_first_default() -> None:
    assert recorded_part(Box, {"name": "a"}) == {"name": "a", "size": 10}
    assert recorded_part(Box, {"name": "a"}) == restart_part(build(Box, {"name": "a"}, generation=1))


@pytest.mark.parametrize(("name", "upgrade", "generation"), [("web", False, 3), ("web", True, 7), ("new", False, 7), ("new", True, 7)])
def test_todays_defaults_are_for_new_sandboxes_and_where_the_play_says_so(
    monkeypatch: pytest.MonkeyPatch, service: MakeSpec, name: str, upgrade: bool, generation: int
) -> None:
    monkeypatch.setattr(ServiceSpec, "defaults", 7)
    host: Any = SimpleNamespace(declared=SimpleNamespace(specs={"web": dataclasses.replace(service(), defaults=3)}))
    assert service_run._generation(name, ServiceRequest(upgrade_defaults=upgrade), host) == generation
