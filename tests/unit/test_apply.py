# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans carried out: what a failure ends and what it does not, and files that are whole or not there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import apply as engine
from ansible_collections.virt.sandbox.plugins.module_utils.host import nftables, systemd
from ansible_collections.virt.sandbox.plugins.module_utils.model import network_filter
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError, StepError
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host, Observed
from ansible_collections.virt.sandbox.plugins.module_utils.model.plan import Plan
from ansible_collections.virt.sandbox.plugins.module_utils.model.service_plan import plan_service

MakeSpec = Callable[..., dict[str, Any]]


def plan_of(*steps: tuple[str, str]) -> Plan:
    plan = Plan()
    for sandbox, action in steps:
        plan.add(sandbox, f"do {action}", action, number=1)
    return plan


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(SandboxError("it is broken"), id="of a tool"),
        pytest.param(OSError(28, "it is broken"), id="of the system"),
    ],
)
def test_a_failure_ends_that_sandboxes_steps_and_no_others(error: Exception) -> None:
    done = []

    def good(name: str, number: int) -> None:
        done.append((name, number))

    def bad(name: str, number: int) -> None:
        raise error

    plan = plan_of(("a", "good"), ("a", "bad"), ("b", "good"), ("a", "good"), ("c", "bad"), ("b", "good"))
    failures = engine.apply(plan, {"good": good, "bad": bad})
    assert done == [("a", 1), ("b", 1), ("b", 1)]
    assert [(one.sandbox, one.step) for one in failures] == [("a", "do bad"), ("c", "do bad")]
    assert all("it is broken" in one.reason for one in failures)


def test_a_mistake_of_ours_is_not_taken_for_a_failure_of_the_host() -> None:
    def wrong(**_ignored: Any) -> None:
        raise KeyError("unit")

    with pytest.raises(KeyError):
        engine.apply(plan_of(("a", "wrong")), {"wrong": wrong})


def test_a_failed_run_says_what_failed_and_what_did_not_is_kept() -> None:
    failures = [StepError("a", "start", "no"), StepError("b", "stop", "never")]
    assert engine.report_failures({"changed": True}, failures) == {
        "changed": True,
        "failed": True,
        "msg": "a: start: no; b: stop: never",
        "failures": [
            {"sandbox": "a", "step": "start", "reason": "no"},
            {"sandbox": "b", "step": "stop", "reason": "never"},
        ],
    }
    assert engine.report_failures({"changed": True}, []) == {"changed": True}


# Every action that a plan may name is there, and takes what the plan gives it.


class Recorded:
    """libvirt and systemd, as far as they are asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def file(self, call: str) -> Callable[..., None]:
        return lambda **keywords: self.calls.append((call, keywords.get("path")))

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.calls.append((name, *arguments))


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    record = Recorded()
    for name in ("daemon_reload", "start", "stop", "reload", "reset_failed", "enable", "disable"):
        monkeypatch.setattr(systemd, name, getattr(record, name))
    monkeypatch.setattr(nftables, "load", lambda text: record.calls.append(("nft", text)))
    for name in ("write_file", "unlink", "write_inside"):
        monkeypatch.setattr(engine, name, record.file(name))
    return record


WRITES = [
    ("write_inside", None),
    ("write_file", "/etc/systemd/system/machine-web.slice"),
    ("write_file", "/etc/systemd/system/web_sandbox.service"),
]
FILTER = ("write_file", "/etc/libvirt-sandbox/services/web.nft")
UNIT = "web_sandbox.service"
CODE = "/run/virt-sandbox/web.code"


@pytest.mark.parametrize(
    ("state", "running", "last"),
    [
        ("started", False, [("unlink", CODE), ("start", [UNIT])]),
        ("restarted", True, [("stop", [UNIT]), ("unlink", CODE), ("start", [UNIT])]),
        ("reloaded", True, [("reload", UNIT)]),
        ("stopped", True, [("stop", [UNIT]), ("destroy", "web")]),
    ],
)
def test_a_service_is_made_with_systemd_and_libvirt(
    service: MakeSpec, host: Host, recorded: Recorded, state: str, running: bool, last: list[tuple[Any, ...]]
) -> None:
    seen = Observed(unit={"ActiveState": "active"}) if running else Observed()
    assert engine.apply(plan_service(service(), state, seen, host), engine.service_actions(recorded)) == []  # type: ignore[arg-type]
    loaded = [("nft", network_filter.rules(service(), ()))] if running else []
    define, *rest = recorded.calls[5 + len(loaded) :]
    assert recorded.calls[: 5 + len(loaded)] == [*WRITES, ("daemon_reload",), *loaded, FILTER]
    assert define[0] == "define"
    assert define[1].startswith("<domain")
    assert rest == [("enable", UNIT), ("write_file", "/etc/libvirt-sandbox/services/web.sandbox"), *last]


def test_a_service_is_removed_with_systemd_and_libvirt(
    service: MakeSpec, host: Host, recorded: Recorded, declared: Callable[..., Observed]
) -> None:
    plan = plan_service(service(), "absent", declared(service()), host)
    assert engine.apply(plan, engine.service_actions(recorded)) == []  # type: ignore[arg-type]
    assert recorded.calls == [
        ("stop", [UNIT]),
        ("destroy", "web"),
        ("disable", UNIT),
        ("undefine", "web"),
        ("nft", network_filter.without(network_filter.devices(service()))),
        ("unlink", FILTER[1]),
        ("stop", [UNIT]),
        ("reset_failed", [UNIT]),
        ("unlink", "/etc/systemd/system/web_sandbox.service"),
        ("stop", ["machine-web.slice"]),
        ("reset_failed", ["machine-web.slice"]),
        ("unlink", "/etc/systemd/system/machine-web.slice"),
        ("unlink", "/etc/libvirt-sandbox/services/web.sandbox"),
        ("daemon_reload",),
    ]


# Files of the host


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_a_file_is_written_with_its_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "new" / "sub" / "file"
    before = os.umask(0o077)
    try:
        engine.write_file(str(path), "tëxt\n", mode, name="web")
    finally:
        os.umask(before)
    assert path.read_text(encoding="utf-8") == "tëxt\n"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert os.listdir(path.parent) == ["file"]


def test_a_file_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    """Others hold the old one open, or have a link to it: they keep what they have."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    hard, link = tmp_path / "hard", tmp_path / "link"
    os.link(elsewhere, hard)
    link.symlink_to(elsewhere)
    for path in (hard, link):
        engine.write_file(str(path), "ours", 0o644)
        assert path.read_text() == "ours"
        assert not path.is_symlink()
    assert elsewhere.read_text() == "theirs"


def test_what_an_interrupted_run_left_does_not_stop_the_next(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    (tmp_path / ".file.virt-sandbox-new").symlink_to(victim)
    engine.write_file(str(tmp_path / "file"), "ours", 0o644)
    assert (tmp_path / "file").read_text() == "ours"
    assert victim.read_text() == "theirs"
    assert sorted(os.listdir(tmp_path)) == ["file", "victim"]


@pytest.mark.parametrize("call", ["fsync", "fchmod", "rename"])
def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space"):
            engine.write_file(str(path), "new", 0o644)
        assert path.read_text() == "old"
    engine.write_file(str(path), "new", 0o644)
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_the_new_file_is_on_the_disk_before_it_takes_the_place_of_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    for name in ("fsync", "rename"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *arguments, name=name, real=real: (order.append(name), real(*arguments)))
    engine.write_file(str(tmp_path / "file"), "text", 0o644)
    assert order == ["fsync", "rename"]


def test_what_is_to_go_may_be_gone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    engine.unlink(str(path), name="web")
    engine.unlink(str(path), name="web")
    assert not path.exists()


@pytest.mark.parametrize(("uid", "refused"), [(0, False), (1000, True)])
def test_only_root_can(monkeypatch: pytest.MonkeyPatch, uid: int, refused: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    if refused:
        with pytest.raises(SandboxError, match="become: true"):
            engine.require_root()
    else:
        engine.require_root()
