# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters by which the host keeps a sandbox to its own addresses: libvirt's network filters, one for each kind of interface."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

# a rule of what leaves a sandbox: action, protocol, conditions ("match: no" turns them round)
_Rule = tuple[str, str, Mapping[str, str]]

# before all else: another sender's address, and answers that only a server gives (DHCP, router advertisements)
_NEVER: tuple[_Rule, ...] = (
    ("drop", "mac", {"match": "no", "srcmacaddr": "$MAC"}),
    ("drop", "ip", {"protocol": "udp", "dstportstart": "68", "dstportend": "68"}),
    ("drop", "ipv6", {"protocol": "udp", "dstportstart": "546", "dstportend": "546"}),
    ("drop", "ipv6", {"protocol": "icmpv6", "type": "134", "typeend": "134"}),
)
_IPV4: tuple[_Rule, ...] = (
    ("accept", "ip", {"srcipaddr": "$IP"}),
    ("accept", "arp", {"arpsrcmacaddr": "$MAC", "arpsrcipaddr": "$IP"}),
)
# before it has its address: whether somebody has it already, and the question for one
_PROBE: tuple[_Rule, ...] = (("accept", "arp", {"opcode": "Request", "arpsrcmacaddr": "$MAC", "arpsrcipaddr": "0.0.0.0"}),)
_ASK: _Rule = ("accept", "ip", {"srcipaddr": "0.0.0.0", "protocol": "udp", "dstportstart": "67", "dstportend": "67"})
_IPV6: tuple[_Rule, ...] = (
    ("accept", "ipv6", {"srcipaddr": "$IPV6"}),
    ("accept", "ipv6", {"srcipaddr": "::", "protocol": "icmpv6", "type": "135", "typeend": "135"}),
)
_REST: _Rule = ("drop", "mac", {})
# of an interface whose address another's DHCP server gives
_ANY_ADDRESS: tuple[_Rule, ...] = (("accept", "mac", {}),)

_RULES: dict[str, tuple[_Rule, ...]] = {
    "virt-sandbox-dhcp": (*_NEVER, *_PROBE, _ASK, *_IPV4, _REST),
    "virt-sandbox-ipv4": (*_NEVER, *_PROBE, *_IPV4, _REST),
    "virt-sandbox-ipv6": (*_NEVER, *_IPV6, _REST),
    "virt-sandbox-both": (*_NEVER, *_PROBE, *_IPV4, *_IPV6, _REST),
    "virt-sandbox-mac": (*_NEVER, *_ANY_ADDRESS),
}
NAMES = tuple(_RULES)


def name_of(network: Mapping[str, Any], addresses: Sequence[str]) -> str:
    """The filter for an interface with these addresses."""
    if network["type"] == "dhcp" and addresses:
        return "virt-sandbox-dhcp"
    families = {":" in text for text in addresses}
    if not families:
        return "virt-sandbox-mac"
    return "virt-sandbox-both" if len(families) == 2 else f"virt-sandbox-ipv{6 if families == {True} else 4}"


def parameters(addresses: Sequence[str]) -> list[tuple[str, str]]:
    return [("IPV6" if ":" in text else "IP", text) for text in addresses]


def needed(network: Sequence[Mapping[str, Any]], resolved: Sequence[Sequence[str]]) -> list[str]:
    """The filters of a sandbox's interfaces."""
    return sorted({name_of(one, addresses) for one, addresses in zip(network, resolved) if one["filter"]})


def filter_xml(name: str) -> str:
    root = ElementTree.Element("filter", name=name, chain="root")
    ElementTree.SubElement(root, "uuid").text = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.filter.virt.sandbox"))
    for place, (action, protocol, conditions) in enumerate(_RULES[name]):
        rule = ElementTree.SubElement(root, "rule", action=action, direction="out", priority=str(100 + place))
        ElementTree.SubElement(rule, protocol, dict(conditions))
    return ElementTree.tostring(root, encoding="unicode")


def canonical(xml: str) -> list[Any]:
    """What of a filter's XML is ours to say."""
    root = ElementTree.fromstring(xml)
    return [
        [
            rule.get("action"),
            rule.get("direction"),
            rule.get("priority"),
            *([child.tag, dict(sorted(child.attrib.items()))] for child in rule),
        ]
        for rule in root.iterfind("rule")
    ]
