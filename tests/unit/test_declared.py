# SPDX-License-Identifier: GPL-3.0-or-later
"""A spec file that cannot be read, or a sandbox that cannot be looked at, is that sandbox's trouble alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import declared, info_run, isolation_run, observe
from ansible_collections.virt.sandbox.plugins.module_utils.engine.declared import Declared
from ansible_collections.virt.sandbox.plugins.module_utils.engine.host import SandboxHost
from ansible_collections.virt.sandbox.plugins.module_utils.engine.isolation_run import Policy
from ansible_collections.virt.sandbox.plugins.module_utils.host import libvirt
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError, SandboxError
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Observed
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import dump

from .conftest import MakeSpec


def _vanishing(path: Path) -> None:
    path.symlink_to("nosuch")


def _looping(path: Path) -> None:
    path.symlink_to(path.name)


# what stands where a spec should, and what is said of it
DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "newer": (lambda path: path.write_text('{"format": 9, "sandbox": {}}'), "expected a spec of format 1 or 2. A newer release"),
    "cut": (lambda path: path.write_text('{"format": 2, "sand'), "expected a spec as sandbox_service writes it"),
    "empty": (lambda path: path.write_text(""), "expected a spec as sandbox_service writes it"),
    "binary": (lambda path: path.write_bytes(b"\xff\xfe\x00"), ""),
    "bad value": (lambda path: path.write_text('{"format": 2, "defaults": 1, "sandbox": {"name": "../x"}}'), "name: '../x' is invalid"),
    "endless": (lambda path: path.write_text("[" * 100_000), ""),
    "infinite": (lambda path: path.write_text('{"format": 2, "defaults": Infinity, "sandbox": {"name": "x"}}'), ""),
    "directory": (lambda path: path.mkdir(), "Is a directory"),
    "loop": (_looping, "Too many levels of symbolic links"),
}


@pytest.fixture
def specs(tmp_path: Path, service: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The specs of a host, one of which is good."""
    monkeypatch.setattr(declared.layout, "SPECS", str(tmp_path))
    (tmp_path / "good.sandbox").write_text(dump(service(name="good")))
    (tmp_path / "good.nft").write_text("no spec")
    return tmp_path


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_spec_keeps_no_other_from_being_read(specs: Path, service: MakeSpec, kind: str) -> None:
    make, said = DAMAGED[kind]
    make(specs / "bad.sandbox")
    known = declared.declared()
    assert known.specs == {"good": service(name="good")}
    assert list(known.damaged) == ["bad"]
    assert said in known.damaged["bad"]
    (warning,) = known.warnings()
    assert warning.startswith("bad: its level, addresses and ports were not compared with others, because its spec cannot be read: ")


def test_a_spec_that_vanishes_is_none(specs: Path, service: MakeSpec) -> None:
    _vanishing(specs / "gone.sandbox")
    assert declared.declared() == Declared({"good": service(name="good")})


@pytest.fixture
def host(specs: Path, monkeypatch: pytest.MonkeyPatch) -> SandboxHost:
    """A host on which nothing runs."""
    host = SandboxHost("")
    monkeypatch.setattr(SandboxHost, "known", {})
    monkeypatch.setattr(observe.systemd, "show", lambda units: {unit: {} for unit in units})
    monkeypatch.setattr(observe, "content_context", lambda root: None)
    return host


def test_only_the_run_of_a_sandbox_whose_spec_is_damaged_fails(host: SandboxHost, specs: Path, service: MakeSpec) -> None:
    (specs / "bad.sandbox").write_text("{")
    seen, failures = observe.sandboxes([service(name="bad"), service(name="good"), service(name="new")], host, observe.Look())
    assert {name: observed.spec for name, observed in seen.items()} == {"good": service(name="good"), "new": None}
    ((name, step, reason),) = [(failure.sandbox, failure.step, failure.reason) for failure in failures]
    assert (name, step) == ("bad", "observe")
    assert reason.endswith(f"Restore {specs}/bad.sandbox from a backup, or remove it to have it written again.")
    assert [warning.split(":")[0] for warning in host.warnings()] == ["bad"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SandboxError("no answer"), "no answer"),
        (PermissionError(13, "Permission denied", "/x"), "[Errno 13] Permission denied: '/x'"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "unexpected error, please report it: UnicodeDecodeError"),
        (KeyError("unit"), "unexpected error, please report it: KeyError: 'unit'"),
    ],
)
def test_whatever_goes_wrong_with_one_sandbox_is_its_failure_alone(
    host: SandboxHost, service: MakeSpec, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def context(root: str) -> str:
        if root.endswith("/bad"):
            raise error
        return "x"

    monkeypatch.setattr(observe, "content_context", context)
    seen, failures = observe.sandboxes([service(name="bad"), service(name="good")], host, observe.Look())
    assert list(seen) == ["good"]
    assert [(failure.sandbox, failure.step) for failure in failures] == [("bad", "observe")]
    assert failures[0].reason.startswith(reason)


def test_what_only_shows_sandboxes_says_which_it_does_not_show(host: SandboxHost, specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (specs / "bad.sandbox").write_text("{")
    monkeypatch.setattr(info_run, "require_root", lambda: None)
    monkeypatch.setattr(observe, "facts", lambda *_arguments: None)
    monkeypatch.setattr(info_run, "_with_addresses", lambda facts, _specs: facts)
    monkeypatch.setattr(info_run, "_denials", lambda *_arguments: ([], {}))
    monkeypatch.setattr(info_run, "_host", lambda _facts: {})
    monkeypatch.setattr(info_run, "_shown", lambda spec, *_rest: {"spec": spec.name})
    monkeypatch.setattr(observe, "sandboxes", lambda specs, *_rest: ({spec.name: Observed() for spec in specs}, []))
    result = info_run.run({}, False)
    assert list(result["sandboxes"]) == ["good"]
    (warning,) = result["warnings"]
    assert warning.startswith("bad: not shown, because its spec cannot be read: ")
    with pytest.raises(OptionError, match="name: 'bad' is invalid"):
        info_run.run({"name": "bad"}, False)


@pytest.mark.parametrize("damaged", [True, False])
def test_sandboxes_are_not_called_separate_where_one_of_them_is_not_known(
    specs: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    if damaged:
        (specs / "bad.sandbox").write_text("{")
    monkeypatch.setattr(isolation_run, "require_root", lambda: None)
    monkeypatch.setattr(isolation_run, "_of_the_kernel", lambda: Policy(lambda *_question: (), lambda _context: True))
    monkeypatch.setattr(isolation_run, "_of_this_kernel", lambda _chosen: {"mode": "enforcing", "permissive": []})
    result = isolation_run.run({}, False)
    assert (result["separate"], len(result["warnings"]), list(result["sandboxes"])) == (not damaged, int(damaged), ["good"])


def test_a_run_has_one_connection_and_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(libvirt, "binding", lambda: None)
    monkeypatch.setattr(libvirt, "opened", lambda: calls.append("open"))
    monkeypatch.setattr(libvirt, "close", lambda _connection: calls.append("close"))
    SandboxHost("").close()
    assert calls == []
    host = SandboxHost("")
    assert (host.runtime, host.networks) == (host.runtime, host.networks)
    host.close()
    assert calls == ["open", "close"]
