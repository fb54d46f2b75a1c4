# SPDX-License-Identifier: GPL-3.0-or-later
"""The host name inside a sandbox: its own name, or another one that the host gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model import unit
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ServiceSpec, started_with

MakeSpec = Callable[..., ServiceSpec]
WAIT = "etc/systemd/system/systemd-tmpfiles-setup.service.d/50-sandbox.conf"


def inside(spec: ServiceSpec, host: Host) -> dict[str, str]:
    return {file.path: file.text for file in unit.inside(spec, host.systemd, host.networks)}


def test_by_default_it_is_the_name_of_the_sandbox(service: MakeSpec, host: Host) -> None:
    files = inside(service(), host)
    assert files["etc/hostname"] == "web\n"
    assert "127.0.1.1 web\n" in files["etc/hosts"]
    assert WAIT not in files
    assert "hostname:" not in unit.host_unit(service())


def test_the_full_name_stands_first_and_the_host_sets_it(service: MakeSpec, host: Host) -> None:
    spec = service(hostname="mail.example.com")
    files = inside(spec, host)
    assert files["etc/hostname"] == "mail.example.com\n"
    assert "127.0.1.1 mail.example.com mail web\n" in files["etc/hosts"]
    assert 'until test "$$(uname -n)" = mail.example.com;' in files[WAIT]
    assert " hostname:mail.example.com " in unit.host_unit(spec)


def test_a_change_needs_a_restart(service: MakeSpec) -> None:
    assert started_with(service(hostname="a.b")) != started_with(service())


@pytest.mark.parametrize(
    "value",
    ["", "-a", "a-", "a..b", "a.b.", "A.b", "a b", "a;b", "a\n", "x" * 64, "localhost", "localhost.example.com", ".".join(["a" * 30] * 3)],
)
def test_a_bad_name_is_refused(service: MakeSpec, value: str) -> None:
    with pytest.raises(OptionError, match=r"hostname: .* expected a host name of at most 64 characters"):
        service(hostname=value)


@pytest.mark.parametrize("value", ["a", "1", "mail.example.com", "x" * 63])
def test_a_good_name_is_taken(service: MakeSpec, value: Any) -> None:
    assert service(hostname=value).hostname == value
