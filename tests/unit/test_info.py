# SPDX-License-Identifier: GPL-3.0-or-later
"""What sandbox_info asks of the host beside the sandboxes themselves."""

from __future__ import annotations

import math
import os
import types
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import info_run
from ansible_collections.virt.sandbox.plugins.module_utils.engine.levels import Levels
from ansible_collections.virt.sandbox.plugins.module_utils.host import audit, policy_file
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError, SandboxError, StepError
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import Level
from ansible_collections.virt.sandbox.plugins.module_utils.model.options import build
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ServiceSpec

ALLOW, BOOLEAN, TERULE, BADTCON = 0, 3, 2, -3


@pytest.mark.parametrize("hours", [math.nan, math.inf, -math.inf, 1e14, -1.0, 87601.0])
def test_hours_from_which_no_date_follows_are_refused(hours: float) -> None:
    with pytest.raises(OptionError, match=r"denials: .* is invalid: expected a number of hours from 0 to 87600 \(ten years\)"):
        build(info_run.Run, {"denials": hours})


def test_hours_may_be_any_part_of_ten_years() -> None:
    assert [build(info_run.Run, {"denials": hours}).denials for hours in (0.0, 0.5, 87600.0, None)] == [0, 0.5, 87600, 24]


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """The policy is read once in a run."""
    info_run._policy.cache_clear()
    yield
    info_run._policy.cache_clear()


@pytest.fixture
def sepol(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """libsepol's answers by the object's type, in place of a policy; the policies that were read."""
    answers = {
        "urandom_device_t": (BOOLEAN, [("global_ssp", 1), ("strict", 0)]),
        "usr_t": (ALLOW, None),
        "shadow_t": (TERULE, None),
        "gone_t": (BADTCON, None),
    }
    read: list[str] = []

    def init(path: str) -> int:
        # the kernel lets one have the loaded policy open at a time
        assert not any(
            os.path.samefile(path, f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")
        )
        read.append(path)
        return 0

    fake = types.SimpleNamespace(BOOLEAN=BOOLEAN, init=init, analyze=lambda _source, target, *_asked: answers[target.split(":")[2]])
    monkeypatch.setattr(policy_file, "required", lambda module, package: fake)
    (tmp_path / "policy").touch()
    monkeypatch.setattr(info_run.policy_rules, "LOADED", str(tmp_path / "policy"))
    return read


def test_the_loaded_policy_names_the_booleans_and_is_read_once(sepol: list[str]) -> None:
    def asked(target: str) -> list[str]:
        return list(info_run._booleans("u:r:virt_sandbox_t:s0:c1,c2", f"u:r:{target}:s0", "file", ("read",)))

    assert asked("urandom_device_t") == ["global_ssp on", "strict off"]
    assert [asked(target) for target in ("usr_t", "shadow_t", "gone_t")] == [[], [], []]
    assert sepol == [info_run.policy_rules.LOADED]


def test_without_a_policy_that_can_be_read_no_boolean_is_known(sepol: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info_run.policy_rules, "LOADED", "/nosuch/policy")
    assert info_run._booleans("u:r:a_t:s0", "u:r:urandom_device_t:s0", "file", ("read",)) == ()


def test_denials_are_asked_for_of_what_is_shown_and_told_with_all_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    line = (
        "type=AVC msg=audit(1.1:1): avc:  denied  { signal } for  pid=1 scontext=u:r:a_t:s0:c1,c2 tcontext=u:r:b_t:s0:c3,c4 tclass=process "
        "permissive=0"
    )
    asked: list[Any] = []

    def found(*question: Any) -> audit.Denials:
        asked.append(question)
        return audit.Denials([line], {"s0:c1,c2": 7})

    monkeypatch.setattr(info_run.audit, "denials", found)
    web, other = Level.parse("s0:c1,c2"), Level.parse("s0:c3,c4")
    monkeypatch.setattr(info_run.levels, "known", lambda url: Levels({"web": web}, {other: f"x of {url}"}))
    every = {
        name: ServiceSpec(name=name, level=Level.parse(level), process_type=f"{name}_t") for name, level in (("a", "s0:c5"), ("b", "s0:c6"))
    }
    every["web"] = ServiceSpec(name="web", level=web, process_type="a_t")
    (one,), left_out = info_run._denials(every, {"web": every["web"]}, info_run.Run(denials=2, registry="URL"))
    assert asked == [(2, {"a_t", "b_t"}, {"s0:c1,c2"})]
    assert (one.sandbox, one.owner, left_out) == ("web", "former x of URL", {"s0:c1,c2": 7})
    assert info_run._denials(every, every, info_run.Run(denials=0, registry="URL")) == ([], {})
    assert len(asked) == 1


def test_a_systemd_that_does_not_answer_is_said_to_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    def units_inside(*_ignored: object) -> dict[str, str]:
        raise SandboxError("web: /usr/bin/systemctl show: it is frozen")

    monkeypatch.setattr(info_run.processes, "units_inside", units_inside)
    failures: list[StepError] = []
    assert info_run._units(ServiceSpec(name="web", units=("a.service",)), failures) == {"a.service": "unknown"}
    assert list(map(str, failures)) == ["web: look: the states of its units are unknown: web: /usr/bin/systemctl show: it is frozen"]
