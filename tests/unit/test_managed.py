# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces that the host sets up: which address each gets and keeps, what is refused, and what the runtime and the sandbox are told."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import observe
from ansible_collections.virt.sandbox.plugins.module_utils.host.libvirt_domain import from_xml, to_xml
from ansible_collections.virt.sandbox.plugins.module_utils.model import addresses, host_network, network, network_filter, ports, unit
from ansible_collections.virt.sandbox.plugins.module_utils.model.addresses import Entry, LibvirtNetwork
from ansible_collections.virt.sandbox.plugins.module_utils.model.definition import Definition, Known
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import ConflictError, OptionError
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host, Observed
from ansible_collections.virt.sandbox.plugins.module_utils.model.service_plan import check, plan_service, wanted_definition
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ServiceSpec

from .conftest import Declared, MakeSpec, settled

MANAGED = {"type": "managed"}
OURS = "virt-sandbox"
WEB_MAC = network.mac("web", 0)
WEB_NAME = WEB_MAC.replace(":", "-")


def given(host: Host, *specs: ServiceSpec, others: tuple[ServiceSpec, ...] = (), **changes: Any) -> dict[str, str]:
    """The address that each sandbox gets, in the network of managed interfaces as changed."""
    networks = {**host.networks, OURS: dataclasses.replace(host.networks[OURS], **changes)}
    resolved = addresses.resolve(specs, others, networks)
    return {name: of_sandbox[0][0] for name, of_sandbox in resolved.items()}


def resolved_host(host: Host, spec: ServiceSpec) -> Host:
    return dataclasses.replace(host, resolved=addresses.resolve([spec], [], host.networks))


def defined(spec: ServiceSpec, host: Host) -> Definition:
    return wanted_definition(spec, resolved_host(host, spec))


@pytest.mark.parametrize(
    ("interfaces", "message"),
    [
        ([{**MANAGED, "bridge": "br0"}], r"network\[0\].addresses: required when type is managed on a bridge"),
        ([{**MANAGED, "lease": "10.7.0.40"}], r"network\[0\].lease: only valid when type is dhcp"),
        ([{**MANAGED, "addresses": ["10.7.0.40/22"], "gateway": "10.9.0.1"}], r"network\[0\].gateway: '10.9.0.1' .* in 10.7.0.0/22"),
    ],
)
def test_what_contradicts_itself_is_refused(service: MakeSpec, interfaces: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        service(network=interfaces)


@pytest.mark.parametrize(
    ("interface", "message"),
    [
        ({"addresses": ["10.7.0.7/22"]}, r"10.7.0.7 is in the DHCP range of the network virt-sandbox \(10.7.0.2 to 10.7.0.31\)"),
        ({"addresses": ["10.8.0.7/22"]}, r"addresses: '10.8.0.7' .* of the network virt-sandbox"),
        ({"addresses": ["10.7.0.1/22"]}, "an address other than the host's own"),
        ({"gateway": "10.8.0.1"}, r"gateway: '10.8.0.1' .* in 10.7.0.1/22, which the interface reaches"),
        ({"routes": [{"to": "10.9.0.0/16", "via": "10.8.0.1"}]}, r"routes\[0\].via: '10.8.0.1' .* in 10.7.0.1/22"),
    ],
)
def test_what_the_network_cannot_give_is_refused(
    service: MakeSpec, host: Host, declared: Declared, interface: dict[str, Any], message: str
) -> None:
    spec = service(network=[{**MANAGED, **interface}])
    with pytest.raises(OptionError, match=message):
        check(spec, declared(spec), host)


def test_a_host_without_the_network_is_told_which_role_makes_it(service: MakeSpec, host: Host, declared: Declared) -> None:
    bare = dataclasses.replace(host, networks={"default": host.networks["default"]})
    spec = service(network=[MANAGED])
    with pytest.raises(OptionError, match=r"'virt-sandbox' does not exist or is not active.*role virt.sandbox.host makes and starts it"):
        check(spec, declared(spec), bare)


def test_a_network_that_is_all_dhcp_is_refused_with_the_remedy(service: MakeSpec, host: Host) -> None:
    spec = service(network=[{**MANAGED, "source": "default"}])
    message = r"network\[0\].source: network 'default' has no address outside its DHCP range .* virt-sandbox, or set type: dhcp"
    with pytest.raises(OptionError, match=message):
        addresses.resolve([spec], [], host.networks)
    with pytest.raises(OptionError, match=r"has no IPv4 subnet of libvirt's .* Declare addresses"):
        addresses.resolve([spec], [], {"default": LibvirtNetwork()})


def test_every_address_outside_the_range_is_given_once(service: MakeSpec) -> None:
    small = {OURS: LibvirtNetwork("10.0.0.3", ("10.0.0.3/28",), (("10.0.0.4", "10.0.0.9"), ("10.0.0.12", "10.0.0.12")))}
    specs = [service(name=f"s{number}", network=[MANAGED]) for number in range(6)]
    chosen = sorted(each[0][0] for each in addresses.resolve(specs, [], small).values())
    assert chosen == ["10.0.0.1", "10.0.0.10", "10.0.0.11", "10.0.0.13", "10.0.0.14", "10.0.0.2"]
    with pytest.raises(OptionError, match=r"network 'virt-sandbox' has no free address for s6"):
        addresses.resolve([*specs, service(name="s6", network=[MANAGED])], [], small)


def test_hundreds_have_room(service: MakeSpec, host: Host) -> None:
    specs = [service(name=f"s{number}", network=[MANAGED]) for number in range(900)]
    chosen = set(given(host, *specs).values())
    assert len(chosen) == 900
    assert all(int(ipaddress.ip_address(text)) > int(ipaddress.ip_address("10.7.0.31")) for text in chosen)


def test_an_address_stays_and_is_nobody_elses(service: MakeSpec, host: Host) -> None:
    web, db = service(network=[MANAGED]), service(name="db", network=[MANAGED])
    first = given(host, web)["web"]
    assert given(host, web)["web"] == first
    # whatever tells of another's: a name with or without an owner, a lease, a reservation, a definition, a declaration
    other = network.mac("db", 0)
    for changes in (
        {"named": {first: ("x",)}},
        {"named": {first: ("db", other.replace(":", "-"))}},
        {"leases": {first: other}},
        {"reserved": {other: (first, "db")}},
        {"defined": {other: [first]}},
    ):
        assert given(host, web, **changes)["web"] != first
        assert len(set(given(host, web, db, **changes).values())) == 2
    declared_there = service(name="db", network=[{**MANAGED, "addresses": [f"{first}/22"]}])
    assert given(host, web, others=(declared_there,))["web"] != first
    with pytest.raises(ConflictError, match=rf"{first} is reserved for web in virt-sandbox. Choose another one for db"):
        given(host, declared_there, named={first: ("web", WEB_NAME)})


def test_what_it_has_it_keeps(service: MakeSpec, host: Host) -> None:
    web = service(network=[MANAGED])
    assert given(host, web, named={"10.7.1.1": ("web", WEB_NAME)})["web"] == "10.7.1.1"
    # by its definition alone, where somebody has removed the name
    assert given(host, web, defined={WEB_MAC: ["10.7.1.2"]})["web"] == "10.7.1.2"
    # not what DHCP may give to another by now, nor what is no address of the network any more
    assert given(host, web, named={"10.7.0.9": ("web", WEB_NAME)})["web"] != "10.7.0.9"
    assert given(host, web, defined={WEB_MAC: ["10.99.1.2"]})["web"] != "10.99.1.2"


def test_definitions_tell_which_addresses_are_in_use(service: MakeSpec, host: Host) -> None:
    web = service(network=[MANAGED])
    known = {"web": Known(defined(web, host), None), "old": Known(None, defined(service(name="old", network=[MANAGED]), host))}
    networks = observe.addresses_defined(host.networks, known)
    assert set(networks[OURS].defined) == {WEB_MAC, network.mac("old", 0)}
    assert [len(each) for each in networks[OURS].defined.values()] == [1, 1]
    assert networks["default"].defined == {}


def test_a_name_and_no_reservation(service: MakeSpec, host: Host) -> None:
    web = service(network=[MANAGED, MANAGED])
    resolved = addresses.resolve([web], [], host.networks)["web"]
    first, second = addresses.entries(web, resolved, host.networks)
    assert first == Entry(OURS, "name", resolved[0][0], WEB_MAC)
    assert first.names("web") == ["web", WEB_NAME]
    assert second.names("web") == [network.mac("web", 1).replace(":", "-")]
    after = settled(host, web, resolved)
    known = dataclasses.replace(after.networks[OURS], named={entry.address: tuple(entry.names("web")) for entry in (first, second)})
    # found by the MAC address, whatever the spec says by now
    found = addresses.entries_of("web", [], {OURS: known})
    assert sorted(found, key=lambda entry: entry.address) == sorted([first, second], key=lambda entry: entry.address)
    addresses.check_name("web", [], {OURS: known})
    with pytest.raises(ConflictError, match="web is already the name of"):
        addresses.check_name("web", [], {OURS: dataclasses.replace(known, named={resolved[0][0]: ("web",)})})


def test_the_runtime_sets_it_up(service: MakeSpec, host: Host) -> None:
    web = service(network=[{**MANAGED, "routes": [{"to": "10.9.0.0/16", "via": "10.7.0.9"}]}])
    (device,) = defined(web, host).devices
    address = given(host, web)["web"]
    assert device.addresses == (f"{address}/22",)
    assert device.routes == (("0.0.0.0/0", "10.7.0.1"), ("10.9.0.0/16", "10.7.0.9"))
    assert from_xml(to_xml(defined(web, host))) == defined(web, host)


@pytest.mark.parametrize(
    ("interfaces", "routers"),
    [
        ([MANAGED], [["10.7.0.1"]]),
        ([{**MANAGED, "gateway": "10.7.0.5"}], [["10.7.0.5"]]),
        ([{**MANAGED, "addresses": ["10.7.0.40/22", "fd00:7::2/64"]}], [["10.7.0.1", "fd00:7::1"]]),
        ([MANAGED, MANAGED], [["10.7.0.1"], []]),
        ([{"type": "dhcp"}, MANAGED], [[], []]),
        ([MANAGED, {**MANAGED, "bridge": "br0", "addresses": ["10.8.0.2/24"], "gateway": "10.8.0.1"}], [[], ["10.8.0.1"]]),
        ([{**MANAGED, "bridge": "br0", "addresses": ["10.8.0.2/24"]}], [[]]),
        ([{**MANAGED, "source": "alone"}, MANAGED], [[], ["10.7.0.1"]]),
    ],
)
def test_one_default_route_of_each_family(
    service: MakeSpec, host: Host, interfaces: list[dict[str, Any]], routers: list[list[str]]
) -> None:
    both = dataclasses.replace(host.networks[OURS], subnets=("10.7.0.1/22", "fd00:7::1/64"))
    alone = LibvirtNetwork("10.6.0.1", ("10.6.0.1/24",), forwards=False)
    known = dataclasses.replace(host, networks={**host.networks, OURS: both, "alone": alone}, bridges=["br0"])
    devices = defined(service(network=interfaces), known).devices
    assert [[router for destination, router in device.routes if destination.endswith("/0")] for device in devices] == routers


def test_no_networkd_runs_where_the_host_sets_all_up(service: MakeSpec, host: Host) -> None:
    def paths(*interfaces: dict[str, Any]) -> list[str]:
        return [file.path for file in unit.inside(service(network=list(interfaces)), host.systemd, host.networks) if "network" in file.path]

    assert paths(MANAGED) == []
    assert paths(MANAGED, {"type": "dhcp"}) == [
        "etc/systemd/network/11-eth1.network",
        "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
    ]
    files = unit.inside(service(network=[MANAGED]), host.systemd, host.networks)
    assert next(file.text for file in files if file.path == "etc/resolv.conf") == "nameserver 10.7.0.1\n"
    bare = dataclasses.replace(host.systemd, unit_paths={"httpd.service": "/usr/lib/systemd/system/httpd.service"})
    without = dataclasses.replace(host, systemd=bare)
    web = service(network=[MANAGED])
    assert "ipv4:eth0" in unit.host_unit(web)
    assert "ipv4:" not in unit.host_unit(service(network=[{**MANAGED, "addresses": ["fd00::1/64"]}]))
    with pytest.raises(OptionError, match=r"needs systemd-networkd.service.*set type: managed"):
        check(service(), Observed(), without)


@pytest.mark.parametrize(
    ("options", "process_type"),
    [
        ({"network": [MANAGED]}, "virt_sandbox_t"),
        ({"network": []}, "virt_sandbox_t"),
        ({"network": [MANAGED, {"type": "dhcp"}]}, "virt_sandbox_net_t"),
        ({"network": [{"type": "static", "addresses": ["10.0.0.5/24"]}]}, "virt_sandbox_net_t"),
        ({"network": [{"type": "static", "addresses": ["10.0.0.5/24"]}], "units": [], "command": ["/usr/bin/true"]}, "virt_sandbox_t"),
        ({"network": [], "units": [], "command": ["/usr/bin/ping"], "capabilities": {"keep": ["net_raw"]}}, "virt_sandbox_net_t"),
        ({"network": [{"type": "dhcp"}], "process_type": "virt_sandbox_t"}, "virt_sandbox_t"),
        ({"network": [MANAGED], "process_type": "virt_sandbox_net_t"}, "virt_sandbox_net_t"),
    ],
)
def test_the_type_follows_from_who_sets_up_the_interfaces(service: MakeSpec, options: dict[str, Any], process_type: str) -> None:
    assert service(**options).process_type == process_type


def test_a_declared_type_that_networkd_cannot_work_at_is_refused(service: MakeSpec, host: Host, declared: Declared) -> None:
    spec = service(process_type="virt_sandbox_t")
    message = "process_type: the loaded policy denies net_admin to virt_sandbox_t, and systemd-networkd inside needs it. Leave process_type"
    with pytest.raises(OptionError, match=message):
        check(spec, declared(spec), dataclasses.replace(host, granted={"virt_sandbox_t": ["chown"]}))


def test_a_second_run_has_nothing_to_do_and_absent_gives_all_back(service: MakeSpec, host: Host, declared: Declared) -> None:
    web = service(network=[{**MANAGED, "ports": [{"host_port": 8080}]}])
    after = settled(host, web)
    definition = wanted_definition(web, after)
    texts = ports.units(web, after.addresses("web"))
    observed = declared(
        web, defined=definition, active=definition, filter_text=network_filter.rules(web, after.addresses("web")), ports=texts,
        ports_up=[name for name in texts if name.endswith(".socket")],
    )  # fmt: skip
    for state in ("started", "present"):
        assert plan_service(web, state, observed, after).summary() == {}
    steps = plan_service(web, "absent", observed, after).summary()["web"]
    assert {"release the addresses", "undefine the sandbox"} <= set(steps)


@pytest.mark.parametrize(
    ("subnet", "message"),
    [
        ("10.0.0.1/22", "expected an IPv4 network with its prefix"),
        ("10.0.0.0/8", "expected a prefix from /16 to /26"),
        ("10.0.0.0/27", "expected a prefix from /16 to /26"),
        ("fd00::/64", "expected an IPv4 network"),
    ],
)
def test_a_subnet_that_cannot_be_one_is_refused(subnet: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        host_network.layout("host_managed_subnet", subnet)


def test_the_dhcp_range_leaves_most_of_the_subnet() -> None:
    wanted = {"netmask": "255.255.252.0", "gateway": "10.7.0.1", "first": "10.7.0.2", "last": "10.7.0.31"}
    assert host_network.layout("host_managed_subnet", "10.7.0.0/22") == wanted


@pytest.mark.parametrize(
    ("route", "what"),
    [
        ({"dst": "10.7.2.0/24", "dev": "eth0"}, "overlaps with the route to 10.7.2.0/24 on eth0 of this host. Choose another subnet."),
        ({"dst": "10.0.0.0/8", "dev": "tun0"}, "overlaps with the route to 10.0.0.0/8 on tun0"),
        ({"type": "local", "dst": "10.7.0.9", "dev": "eth1"}, "overlaps with the address 10.7.0.9 on eth1"),
        ({"type": "blackhole", "dst": "10.7.0.0/16"}, "overlaps with the route to 10.7.0.0/16 of this host"),
    ],
)
def test_a_subnet_that_the_host_has_in_use_is_refused(route: dict[str, Any], what: str) -> None:
    with pytest.raises(OptionError, match=f"host_managed_subnet: 10.7.0.0/22 {what}"):
        host_network.check_free("host_managed_subnet", "10.7.0.0/22", [route], "virbr-vsbx")


def test_what_is_elsewhere_or_its_own_is_in_nobodys_way() -> None:
    routes = [{"dst": "default", "dev": "eth0"}, {"dst": "10.8.0.0/22", "dev": "eth0"}, {"dst": "10.7.0.0/22", "dev": "virbr-vsbx"}]
    host_network.check_free("host_managed_subnet", "10.7.0.0/22", routes, "virbr-vsbx")
