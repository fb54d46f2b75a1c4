# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces: what contradicts itself, which address each gets, what the networks are told, and which ports lead inside."""

from __future__ import annotations

import dataclasses
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host import sockets
from ansible_collections.virt.sandbox.plugins.module_utils.host.libvirt_networks import entry_xml
from ansible_collections.virt.sandbox.plugins.module_utils.model import addresses, network, network_filter, ports
from ansible_collections.virt.sandbox.plugins.module_utils.model.addresses import Entry, LibvirtNetwork
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import ConflictError, OptionError
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host, Observed
from ansible_collections.virt.sandbox.plugins.module_utils.model.service_plan import check, plan_service, wanted_definition
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ServiceSpec
from ansible_collections.virt.sandbox.plugins.module_utils.model.steps import ClosePorts, PublishPorts

from .conftest import Declared, MakeSpec, settled

STATIC = {"type": "static", "addresses": ["192.168.122.10/24"], "gateway": "192.168.122.1"}
OTHER = {"type": "static", "source": "other", "addresses": ["10.0.0.5/24"]}
WEB_MAC = network.mac("web", 0)
OPEN = {"filter": False, "connections": "unlimited"}


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        pytest.param([{"source": "a", "bridge": "b"}], r"network\[0\].bridge: 'b' .* no value together with source", id="in two networks"),
        pytest.param([{"type": "static"}], r"network\[0\].addresses: required when type is static", id="static without an address"),
        pytest.param([{"addresses": ["10.0.0.1/8"]}], r"network\[0\].addresses: not valid when type is dhcp", id="dhcp and static"),
        pytest.param([{**STATIC, "lease": "10.0.0.1"}], r"network\[0\].lease: only valid when type is dhcp", id="static with a lease"),
        pytest.param([{"bridge": "br0", "lease": "10.0.0.1"}], r"network\[0\].lease: .* bridge", id="lease of another's server"),
        pytest.param([{"lease": "fe80::1"}], r"network\[0\].lease: 'fe80::1' .* IPv4", id="lease of IPv6"),
        pytest.param(
            [{**STATIC, "gateway": "10.9.9.9"}],
            r"network\[0\].gateway: '10.9.9.9' .* in 192.168.122.0/24, which the interface reaches",
            id="far gateway",
        ),
        pytest.param([{**STATIC, "gateway": "192.168.122.10"}], r"network\[0\].gateway: .* other than the interface's own", id="itself"),
        pytest.param(
            [{**STATIC, "routes": [{"to": "10.0.0.0/8", "via": "10.0.0.1"}]}], r"network\[0\].routes\[0\].via: '10.0.0.1'", id="far router"
        ),
        pytest.param(
            [{"routes": [{"to": "10.0.0.1/8", "via": "10.0.0.1"}]}], r"routes\[0\].to: '10.0.0.1/8' .* has host bits", id="host bits"
        ),
        pytest.param(
            [STATIC, {**STATIC, "gateway": None}], r"network\[1\].addresses: .* outside of 192.168.122.0/24", id="one subnet twice"
        ),
        pytest.param(
            [STATIC, {**OTHER, "gateway": "10.0.0.1"}], r"network\[1\].gateway: network\[0\] already has a gateway", id="two gateways"
        ),
        pytest.param([{}, {"mac": WEB_MAC}], r"network\[1\].mac: network\[0\] already has the MAC address", id="one MAC address twice"),
        pytest.param(
            [{"lease": "10.0.0.1"}, {"lease": "10.0.0.1"}],
            r"network\[1\].lease: network\[0\] already has the address 10.0.0.1",
            id="one lease twice",
        ),
        pytest.param(
            [{"ports": [{"host_port": 80}, {"host_port": 80}]}],
            r"ports\[1\].host_port: host port 80 is published twice",
            id="one port twice",
        ),
        pytest.param(
            [{"ports": [{"host_port": 80}]}, {"ports": [{"host_port": 80, "address": "10.0.0.1"}]}],
            r"network\[1\].ports: host port 80 is already published by network\[0\]",
            id="at all addresses",
        ),
        pytest.param(
            [{"bridge": "br0", "ports": [{"host_port": 80}]}],
            r"network\[0\].ports: .* the host does not know the address",
            id="port to nowhere",
        ),
        pytest.param([{"ports": [{"host_port": 0}]}], r"network\[0\].ports\[0\].host_port: 0 .* 1 to 65535", id="no port"),
        pytest.param([{"bridge": "../x"}], r"network\[0\].bridge: '../x'", id="no bridge"),
        pytest.param([{"nameservers": ["x"]}], r"network\[0\].nameservers: \['x'\]", id="no name server"),
    ],
)
def test_what_contradicts_itself_is_refused(service: MakeSpec, networks: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        service(network=networks)


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        pytest.param(
            [{"source": "unknown"}],
            r"network\[0\].source: libvirt network 'unknown' does not exist or is not active. Active networks: bare, default",
            id="network",
        ),
        pytest.param([{"bridge": "br9"}], r"network\[0\].bridge: bridge 'br9' does not exist on this host. Bridges: br0", id="bridge"),
        pytest.param([{"source": "bare"}], r"network\[0\].type: 'dhcp' .* gives no addresses", id="no server"),
        pytest.param([{"lease": "10.1.1.1"}], r"network\[0\].lease: '10.1.1.1' .* of the network default \(192.168.122.1/24\)", id="lease"),
        pytest.param([{"lease": "192.168.122.1"}], r"network\[0\].lease: .* an address other than the host's own", id="the host's"),
        pytest.param(
            [{"type": "static", "addresses": ["10.1.1.1/8"]}], r"network\[0\].addresses: '10.1.1.1' .* of the network default", id="address"
        ),
    ],
)
def test_what_the_host_cannot_give_is_refused(
    service: MakeSpec, host: Host, declared: Declared, networks: list[dict[str, Any]], message: str
) -> None:
    known = dataclasses.replace(host, networks={**host.networks, "bare": LibvirtNetwork()}, bridges=["br0"])
    spec = service(network=networks)
    with pytest.raises(OptionError, match=message):
        check(spec, declared(spec), known)


def test_an_address_is_reserved_that_stays_the_same_and_is_nobody_elses(service: MakeSpec, host: Host) -> None:
    spec = service()
    first = addresses.resolve([spec], [], host.networks)["web"][0][0]
    assert addresses.resolve([spec], [], host.networks)["web"] == ((first,),)
    known = host.networks["default"]
    for taken in (
        dataclasses.replace(known, reserved={"52:54:00:00:00:01": (first, "other")}),
        dataclasses.replace(known, leases={first: "52:54:00:00:00:01"}),
        dataclasses.replace(known, gateway=first, subnets=(f"{first}/24",)),
    ):
        assert addresses.resolve([spec], [], {"default": taken})["web"][0][0] != first
    neighbour = service(name="db", network=[{"lease": first}])
    assert addresses.resolve([spec], [neighbour], host.networks)["web"][0][0] != first


def test_what_an_interface_has_already_it_keeps(service: MakeSpec, host: Host) -> None:
    known = host.networks["default"]
    for has in (
        dataclasses.replace(known, reserved={WEB_MAC: ("192.168.122.77", "web")}),
        dataclasses.replace(known, leases={"192.168.122.77": WEB_MAC}),
    ):
        assert addresses.resolve([service()], [], {"default": has})["web"] == (("192.168.122.77",),)


def test_a_range_is_used_up_to_its_last_address(service: MakeSpec) -> None:
    small = {"default": LibvirtNetwork("10.0.0.1", ("10.0.0.1/24",), (("10.0.0.2", "10.0.0.4"), ("10.0.0.9", "10.0.0.9")))}
    specs = [service(name=f"s{number}") for number in range(4)]
    given = addresses.resolve(specs, [], small)
    assert sorted(each[0][0] for each in given.values()) == ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.9"]
    with pytest.raises(OptionError, match=r"network\[0\].source: network 'default' has no free address for s4"):
        addresses.resolve([*specs, service(name="s4")], [], small)


def test_one_address_is_not_given_to_two(service: MakeSpec, host: Host) -> None:
    one, other = service(network=[STATIC]), service(name="db", network=[{"lease": "192.168.122.10"}])
    with pytest.raises(ConflictError, match=r"sandbox web has 192.168.122.10 in default. Choose another one for db"):
        addresses.resolve([one, other], [], host.networks)
    with pytest.raises(ConflictError, match=r"sandbox db has 192.168.122.10 in default. Choose another one for web"):
        addresses.resolve([one], [other], host.networks)


def test_the_networks_are_told_who_has_which_address_and_name(service: MakeSpec, host: Host) -> None:
    spec = service(network=[STATIC, {"source": "other"}, {"bridge": "br0"}])
    given = addresses.resolve([spec], [], host.networks)["web"]
    assert given[0] == ("192.168.122.10",)
    assert given[2] == ()
    leased = given[1][0]
    assert addresses.entries(spec, given, host.networks) == [
        Entry("default", "lease", "192.168.122.10", WEB_MAC),
        Entry("default", "name", "192.168.122.10"),
        Entry("other", "lease", leased, network.mac("web", 1)),
        Entry("other", "name", leased),
    ]
    assert ElementTree.fromstring(entry_xml(Entry("default", "lease", "10.0.0.1", "52:54:00:00:00:01"), "web")).attrib == {
        "mac": "52:54:00:00:00:01",
        "ip": "10.0.0.1",
        "name": "web",
    }
    assert entry_xml(Entry("default", "name", "10.0.0.1"), "web") == '<host ip="10.0.0.1"><hostname>web</hostname></host>'


def as_seen(spec: ServiceSpec, host: Host, declared: Declared, running: bool = True) -> Observed:
    given = host.addresses(spec.name)
    definition = wanted_definition(spec, host)
    texts = ports.units(spec, given)
    up = [name for name in texts if name.endswith(".socket")]
    rules = network_filter.rules(spec, given)
    return declared(spec, running, defined=definition, active=definition if running else None, ports=texts, ports_up=up, filter_text=rules)


def test_a_second_run_has_nothing_to_do(service: MakeSpec, host: Host, declared: Declared) -> None:
    spec = service(network=[{**STATIC, "ports": [{"host_port": 8080, "sandbox_port": 80}]}])
    after = settled(host, spec)
    for state in ("started", "present"):
        assert plan_service(spec, state, as_seen(spec, after, declared), after).summary() == {}


def test_a_published_port_comes_and_goes_without_a_restart(service: MakeSpec, host: Host, declared: Declared) -> None:
    before, after = service(network=[STATIC]), service(network=[{**STATIC, "ports": [{"host_port": 8080}]}])
    known = settled(host, before)
    seen = dataclasses.replace(as_seen(before, known, declared), spec=before)
    steps = plan_service(after, "started", seen, known).summary()["web"]
    assert steps == [
        "write web_sandbox-8080.socket",
        "write web_sandbox-8080.service",
        "reload systemd",
        "write the spec",
        "publish ports",
    ]
    seen = dataclasses.replace(as_seen(after, known, declared), spec=after)
    steps = plan_service(before, "started", seen, known).summary()["web"]
    assert steps[:3] == ["close ports", "remove web_sandbox-8080.service", "remove web_sandbox-8080.socket"]
    assert "restart" not in steps


def test_another_address_is_told_to_all_and_needs_a_restart(service: MakeSpec, host: Host, declared: Declared) -> None:
    before, after = service(network=[{"lease": "192.168.122.7"}]), service(network=[{"lease": "192.168.122.8"}])
    known = settled(host, before)
    resolved = addresses.resolve([after], [], known.networks, [before])
    seen = dataclasses.replace(as_seen(before, known, declared), spec=before)
    steps = plan_service(after, "started", seen, dataclasses.replace(known, resolved=resolved)).summary()["web"]
    assert {"release the addresses", "reserve the addresses", "update /etc/hosts", "stop for its new interfaces", "restart"} <= set(steps)


def test_absent_gives_everything_back(service: MakeSpec, host: Host, declared: Declared) -> None:
    spec = service(network=[{**STATIC, "ports": [{"host_port": 8080}]}])
    known = settled(host, spec)
    steps = plan_service(spec, "absent", as_seen(spec, known, declared), known).summary()["web"]
    assert {"close ports", "remove web_sandbox-8080.socket", "release the addresses", "update /etc/hosts"} <= set(steps)


def test_a_port_of_the_host_is_one_sandboxes(service: MakeSpec) -> None:
    web, db = (
        service(network=[{"ports": [{"host_port": 80}]}]),
        service(name="db", network=[{"ports": [{"host_port": 80, "address": "10.0.0.1"}]}]),
    )
    for specs, others in (([web, db], []), ([db], [web])):
        with pytest.raises(
            OptionError, match=r"network\[0\].ports: host port 80 is already published by sandbox web. Choose another port."
        ):
            ports.check(specs, others, set(), set())
    with pytest.raises(OptionError, match=r"network\[0\].ports: host port 80 is already in use on this host"):
        ports.check([web], [], {("127.0.0.1", 80)}, set())
    ports.check([db], [], {("127.0.0.1", 80)}, set())
    # what listens is its own socket
    ports.check([web], [], {("::", 80)}, {"web_sandbox-80.socket"})
    # or one of a sandbox that gives the port up in the same run
    ports.check([db], [], {("0.0.0.0", 80)}, {"web_sandbox-80.socket"})
    with pytest.raises(OptionError, match="is already in use on this host"):
        ports.check([db], [], {("0.0.0.0", 80)}, {"web_sandbox-8080.socket"})


def test_a_change_of_what_a_port_leads_to_closes_it_meanwhile(service: MakeSpec, host: Host, declared: Declared) -> None:
    before = service(network=[{**STATIC, "ports": [{"host_port": 8080, "sandbox_port": 80}]}])
    after = service(network=[{**STATIC, "ports": [{"host_port": 8080, "sandbox_port": 81}]}])
    known = settled(host, before)
    seen = dataclasses.replace(as_seen(before, known, declared), spec=before)
    plan = plan_service(after, "started", seen, known)
    assert [step.units for step in plan if isinstance(step, ClosePorts)] == [["web_sandbox-8080.service", "web_sandbox-8080.socket"]]
    assert [step.units for step in plan if isinstance(step, PublishPorts)] == [["web_sandbox-8080.socket"]]


def test_ports_are_written_even_where_systemd_is_to_be_reloaded_anyway(service: MakeSpec, host: Host, declared: Declared) -> None:
    before, after = service(network=[STATIC]), service(network=[{**STATIC, "ports": [{"host_port": 8080}]}])
    known = settled(host, before)
    unit = {"ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "yes"}
    seen = dataclasses.replace(as_seen(before, known, declared), spec=before, unit=unit)
    assert "write web_sandbox-8080.socket" in plan_service(after, "started", seen, known).summary()["web"]


def test_what_leads_to_a_running_sandbox_stays_until_it_is_restarted(service: MakeSpec, host: Host, declared: Declared) -> None:
    before = service(network=[{"lease": "192.168.122.7", "ports": [{"host_port": 8080}]}])
    after = service(network=[{"lease": "192.168.122.8", "ports": [{"host_port": 8080}]}])
    known = settled(host, before)
    seen = dataclasses.replace(as_seen(before, known, declared), spec=before)
    facts = dataclasses.replace(known, resolved=addresses.resolve([after], [], known.networks, [before]))
    assert plan_service(after, "present", seen, facts).summary()["web"] == ["write the filter", "define the sandbox", "write the spec"]


def test_who_has_an_address_already_keeps_it(service: MakeSpec, host: Host) -> None:
    old = service(name="old")
    (((wanted,),),) = (addresses.resolve([service(name="new")], [], host.networks)["new"],)
    known = {"default": dataclasses.replace(host.networks["default"], reserved={network.mac("old", 0): (wanted, "old")})}
    given = addresses.resolve([service(name="new"), old], [], known, [old])
    assert given["old"] == ((wanted,),)
    assert given["new"] != ((wanted,),)


def test_what_others_have_in_a_network_is_theirs(service: MakeSpec, host: Host) -> None:
    machine = dataclasses.replace(
        host.networks["default"], reserved={"52:54:00:aa:bb:cc": ("192.168.122.40", "web")}, named={"192.168.122.40": ("web",)}
    )
    assert addresses.entries_of("web", [service()], {"default": machine}) == []
    with pytest.raises(ConflictError, match=r"name: web is already the name of 192.168.122.40 in the network default"):
        addresses.check_name("web", [service()], {"default": machine})
    with pytest.raises(ConflictError, match=r"192.168.122.40 is reserved for web in default. Choose another one for db"):
        addresses.resolve([service(name="db", network=[{"lease": "192.168.122.40"}])], [], {"default": machine})
    same = [{"mac": "52:54:00:00:00:01"}]
    with pytest.raises(ConflictError, match=r"sandbox web has 52:54:00:00:00:01 in default"):
        addresses.resolve([service(network=same), service(name="db", network=same)], [], host.networks)


def test_two_interfaces_in_one_network_are_called_by_the_first(service: MakeSpec, host: Host) -> None:
    spec = service(network=[{}, {}])
    given = addresses.resolve([spec], [], host.networks)["web"]
    leases = [entry for entry in addresses.entries(spec, given, host.networks) if entry.kind == "lease"]
    assert [entry.called for entry in leases] == [True, False]
    assert "name=" not in entry_xml(leases[1], "web")
    assert len([entry for entry in addresses.entries(spec, given, host.networks) if entry.kind == "name"]) == 1


def test_a_port_leads_to_the_address_of_its_interface(service: MakeSpec) -> None:
    given = [{"host_port": 8080, "sandbox_port": 80}, {"host_port": 53, "address": "::1"}]
    spec = service(network=[{}, {"source": "other", "ports": given}])
    found = ports.units(spec, (("192.168.122.9",), ("fd00::9",)))
    assert sorted(found) == [
        "web_sandbox-53-__1.service",
        "web_sandbox-53-__1.socket",
        "web_sandbox-8080.service",
        "web_sandbox-8080.socket",
    ]
    assert "ListenStream=8080\n" in found["web_sandbox-8080.socket"]
    assert "ListenStream=[::1]:53\n" in found["web_sandbox-53-__1.socket"]
    assert found["web_sandbox-8080.service"].endswith(" [fd00::9]:80\n")


def filtered(spec: ServiceSpec, resolved: addresses.Resolved) -> list[str]:
    """The rules of a sandbox's first interface."""
    text = network_filter.rules(spec, resolved)
    assert text is not None
    chain = f"add rule bridge virt_sandbox {network.host_device('web', 0)} "
    return [line.removeprefix(chain) for line in text.splitlines() if line.startswith(chain)]


@pytest.mark.parametrize(
    ("own", "accepted"),
    [
        pytest.param([], [], id="not known"),
        pytest.param(["10.0.0.1", "10.0.0.2"], ["ip saddr { 10.0.0.1, 10.0.0.2 } accept"], id="IPv4"),
        pytest.param(["fd00::1"], ["ip6 saddr { fd00::1 } accept"], id="IPv6"),
        pytest.param(["fd00::1", "10.0.0.1"], ["ip saddr { 10.0.0.1 } accept", "ip6 saddr { fd00::1 } accept"], id="both"),
    ],
)
def test_what_an_interface_sends_is_its_own(service: MakeSpec, own: list[str], accepted: list[str]) -> None:
    spec = service(network=[{"bridge": "br0"} if not own else {"type": "static", "addresses": [f"{text}/24" for text in own]}])
    lines = filtered(spec, [own])
    assert lines[0] == f"ether saddr != {network.mac('web', 0)} drop"
    assert [line for line in lines if re.fullmatch(r"ip6? saddr \{[^}]*\} accept", line)] == accepted
    assert (lines[-1] == "drop") == bool(own)


def test_only_who_asks_for_an_address_may_ask_and_for_itself(service: MakeSpec) -> None:
    mac = network.mac("web", 0).replace(":", "")
    asks = filtered(service(), [["10.0.0.1"]])
    assert [line for line in asks if "dport 67" in line] == [
        *(
            f"ip saddr {{ 0.0.0.0, 10.0.0.1 }} udp dport 67 @th,64,24 0x010106 @th,160,32 {has} @th,288,48 0x{mac} accept"
            for has in ("0x00000000", "0x0a000001")
        ),
        "udp dport 67 drop",
    ]
    fixed = filtered(service(network=[{"type": "static", "addresses": ["10.0.0.1/24"]}]), [["10.0.0.1"]])
    assert [line for line in fixed if "dport 67" in line] == ["udp dport 67 drop"]


def test_interfaces_that_are_not_filtered_have_no_rules(service: MakeSpec) -> None:
    assert network_filter.rules(service(network=[OPEN]), [["10.0.0.1"]]) is None
    assert network_filter.rules(service(network=[]), []) is None
    both = service(network=[OPEN, {"source": "other"}])
    assert network_filter.chains(both) == [network.host_device("web", 1), f"{network.host_device('web', 1)}-opener"]
    assert network.host_device("web", 0) not in str(network_filter.rules(both, [["10.0.0.1"], ["10.0.1.1"]]))


def test_a_filter_comes_and_goes_while_the_sandbox_runs(service: MakeSpec, host: Host, declared: Declared) -> None:
    before, after = service(), service(network=[OPEN])
    known = settled(host, before)
    off = ["write the unit", "reload systemd", "remove the nftables rules", "remove the filter", "write the spec"]
    assert plan_service(after, "started", as_seen(before, known, declared), known).summary()["web"] == off
    on = ["write the unit", "reload systemd", "load the nftables rules", "write the filter", "write the spec"]
    assert plan_service(before, "started", as_seen(after, known, declared), known).summary()["web"] == on


def test_threat_30_the_connections_that_a_sandbox_opens_are_counted(service: MakeSpec) -> None:
    """The rate comes before the count, and a packet of a known connection reaches neither."""
    device = network.host_device("web", 0)
    text = str(network_filter.rules(service(network=[{"filter": False, "connections": "1000"}]), ()))
    rules = [line.partition(f"{device}-opener ")[2] for line in text.splitlines() if line.startswith("add rule") and device in line]
    assert rules == ["limit rate over 125/second burst 1000 packets counter drop", "ct count over 1000 counter drop"]
    assert "opened ct state new iifname vmap @openers" in text
    assert f'openers {{ "{device}" : goto {device}-opener }}' in text


@pytest.mark.parametrize("value", ["15", "65537", "0", "-1", "many", "4096.5", "\u0664\u0660\u0669\u0666", ""])
def test_threat_30_a_number_of_connections_is_one_that_the_kernel_counts(service: MakeSpec, value: str) -> None:
    with pytest.raises(OptionError, match=r"network\[0\]\.connections: .* is invalid: expected a number of connections from 16 to 65536"):
        service(network=[{"connections": value}])


def test_threat_30_a_number_of_connections_changes_while_the_sandbox_runs(service: MakeSpec, host: Host, declared: Declared) -> None:
    before, more, none = (service(network=[{"connections": value}]) for value in ("4096", "8192", "unlimited"))
    known = settled(host, before)
    steps = ["load the nftables rules", "write the filter", "write the spec"]
    assert plan_service(more, "started", as_seen(before, known, declared), known).summary()["web"] == steps
    steps = ["remove the nftables rules", *steps]
    assert plan_service(none, "started", as_seen(before, known, declared), known).summary()["web"] == steps


def test_rules_that_somebody_flushed_are_loaded_again(service: MakeSpec, host: Host, declared: Declared) -> None:
    known = settled(host, service())
    flushed = dataclasses.replace(known, filtered=())
    assert plan_service(service(), "started", as_seen(service(), known, declared), flushed).summary()["web"] == ["load the nftables rules"]
    assert plan_service(service(), "stopped", as_seen(service(), known, declared, running=False), flushed).summary() == {}


def test_what_listens_is_read_as_the_kernel_writes_it() -> None:
    table = [
        "  sl  local_address rem_address   st",
        "   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000",
        "   1: 0100007F:1234 0100007F:0CEA 01 00000000:00000000",
        "   2: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A",
    ]
    assert set(sockets.parse(table)) == {("127.0.0.1", 3306), ("::1", 22)}
