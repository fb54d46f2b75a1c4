# SPDX-License-Identifier: GPL-3.0-or-later
"""What the libraries and the files of a host raise is said as one sentence that names what was asked."""

from __future__ import annotations

import errno
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host import (
    cgroup,
    file_contexts,
    image,
    libvirt,
    libvirt_lxc,
    nftables,
    packages,
    selinux,
)
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError


def refuse(*_arguments: object) -> Any:
    raise OSError(errno.EIO, "Input/output error")


class LibvirtError(Exception):
    """As libvirt's binding has it."""

    def get_error_code(self) -> int:
        return 38


def gone(*_arguments: object) -> Any:
    raise LibvirtError("the daemon is gone")


@pytest.fixture
def bindings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Libraries that fail, and tools that answer what nobody understands."""
    library = types.SimpleNamespace(
        SELABEL_CTX_FILE=0,
        selabel_open=refuse,
        selinux_file_context_local_path=lambda: str(tmp_path),
        string_to_security_class=lambda _name: 1,
        av_decision=object,
        security_compute_av_flags_raw=refuse,
    )
    binding = types.SimpleNamespace(
        libvirtError=LibvirtError, VIR_DOMAIN_XML_INACTIVE=2, VIR_ERR_NO_DOMAIN=42, registerErrorHandler=lambda *_ignored: None
    )
    monkeypatch.setattr(selinux, "binding", lambda: library)
    monkeypatch.setattr(file_contexts, "binding", lambda: library)
    monkeypatch.setattr(libvirt, "binding", lambda: binding)
    monkeypatch.setattr(libvirt, "serves", lambda _uri: True)
    connection = types.SimpleNamespace(listAllDomains=gone, close=lambda: None)
    monkeypatch.setattr(libvirt, "connect", lambda *_ignored: connection)
    monkeypatch.setattr(nftables.os.path, "exists", lambda _path: True)
    monkeypatch.setattr(nftables, "run", lambda *_ignored, **_keywords: '{"nft')


@pytest.mark.usefixtures("bindings")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda _path: file_contexts.labelled(["/x"]), "policy cannot be read: Input/output error", id="file contexts"),
        pytest.param(lambda _path: file_contexts.local_rules(), "cannot be read: Is a directory", id="local rules"),
        pytest.param(lambda _path: selinux.decide("a", "b", "file", "read"), r"what a may do to b \(file\)", id="decision"),
        pytest.param(
            lambda _path: libvirt_lxc.Lxc(libvirt.opened()).known(), "does not list its domains: the daemon is gone", id="domains"
        ),
        pytest.param(lambda _path: libvirt.domain_labels("lxc:///"), "does not list its domains: the daemon is gone", id="labels"),
        pytest.param(lambda _path: nftables.filtered(nftables.table()), "list of filtered interfaces cannot be read", id="nftables"),
        pytest.param(lambda path: image.size_of(f"{path}/none"), "/none cannot be read: No such file", id="image"),
        pytest.param(lambda path: packages.unchanged(f"{path}/{'x' * 300}", {f"{path}/{'x' * 300}": "0" * 32}), "too long", id="package"),
        pytest.param(lambda path: cgroup.limit(str(path), {"no/memory.max": "5"}), "no/memory.max: the kernel rejects '5'", id="limit"),
    ],
)
def test_what_fails_is_named(tmp_path: Path, call: Callable[[Path], object], message: str) -> None:
    with pytest.raises(SandboxError, match=message):
        call(tmp_path)


def test_local_rules_may_have_any_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "file_contexts.local"
    path.write_bytes(b"# caf\xe9 \x85\n/srv/a <<none>>\n/srv/\xe9 <<none>>\n/srv/b system_u:object_r:x_t:s0\n")
    monkeypatch.setattr(file_contexts, "binding", lambda: types.SimpleNamespace(selinux_file_context_local_path=lambda: str(path)))
    assert file_contexts.local_rules() == ["/srv/a", "/srv/\udce9"]


def test_a_connection_to_a_daemon_that_is_gone_can_be_closed(bindings: None) -> None:
    connection = types.SimpleNamespace(close=gone)
    libvirt.close(connection)
