# SPDX-License-Identifier: GPL-3.0-or-later

"""What capabilities a sandbox keeps: what is refused, and how libvirt is told."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host.libvirt_domain import from_xml, to_xml
from ansible_collections.virt.sandbox.plugins.module_utils.model import capabilities
from ansible_collections.virt.sandbox.plugins.module_utils.model.definition import define
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host

from .conftest import MakeSpec

COMMAND: dict[str, Any] = {"units": [], "command": ["/bin/true"], "network": []}
GRANTED = {"net_raw", "setuid", "setgid"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"drop": ["net_rawx"]},
            "capabilities.drop: ['net_rawx'] is invalid: expected names of capabilities that libvirt knows, such as net_raw",
        ),
        ({"keep": ["bpf"]}, "capabilities.keep: ['bpf'] is invalid: expected names of capabilities"),
        ({"keep": [], "drop": ["net_raw"]}, "capabilities.drop: ['net_raw'] is invalid: expected no value together with keep"),
        ({"drop": ["setuid"]}, "capabilities.drop: must not include setuid, which systemd inside the sandbox needs."),
        ({"keep": ["net_raw"]}, "capabilities.keep: must include chown, which systemd inside the sandbox needs."),
        ({"drop": ["CAP_NET_ADMIN"]}, "capabilities.drop: must not include net_admin, which systemd-networkd"),
        ({"drop": ["net_raw"]}, "capabilities.drop: must not include net_raw, which the DHCP client needs."),
    ],
)
def test_refusals(service: MakeSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        service(capabilities=options)
    assert str(caught.value).startswith(message)


def test_a_change_of_user_needs_its_capabilities(service: MakeSpec) -> None:
    with pytest.raises(OptionError, match="must include setuid, which the change to user and group needs"):
        service(**COMMAND, user="nobody", capabilities={"keep": ["net_raw"]})
    service(**COMMAND, user="nobody", capabilities={"keep": ["setuid", "setgid"]})


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("sys_admin", "lets it change mounts without asking SELinux"),
        ("sys_boot", "boots next"),
        ("sys_nice", "real-time"),
        ("mknod", "Remove it from the list"),
        ("mac_admin", "Remove it from the list"),
    ],
)
def test_what_the_policy_does_not_give_cannot_be_kept(service: MakeSpec, name: str, why: str) -> None:
    spec = service(**COMMAND, capabilities={"keep": [name, "net_raw"]})
    with pytest.raises(OptionError, match=f"capabilities.keep: the loaded policy denies {name} to virt_sandbox_net_t.*{why}"):
        capabilities.check_policy(spec, GRANTED)
    capabilities.check_policy(spec, GRANTED | {name})
    capabilities.check_policy(service(network=[]), ())


@pytest.mark.parametrize(
    ("options", "policy"),
    [
        ({}, ("default", {})),
        ({"drop": ["SYS_PTRACE", "cap_net_raw", "net_raw"]}, ("default", {"net_raw": "off", "sys_ptrace": "off"})),
        ({"keep": ["net_raw"]}, ("deny", {"net_raw": "on"})),
        ({"keep": []}, ("deny", {})),
    ],
)
def test_libvirt_is_told(service: MakeSpec, host: Host, options: dict[str, Any], policy: tuple[str, dict[str, str]]) -> None:
    xml = to_xml(define(service(**COMMAND, capabilities=options), host.followed))
    assert from_xml(xml).capabilities == policy
    assert from_xml(xml.replace('<capabilities policy="default" />', "")).capabilities == policy
