# SPDX-License-Identifier: GPL-3.0-or-later
"""The watch of the audit log: whose records it leaves out, and for how long."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host import audit, nftables

SCRIPT = Path(__file__).resolve().parents[2] / "roles" / "host" / "files" / "virt-sandbox-audit"
SANDBOX, OTHER = ("virt_sandbox_t", "s0:c1,c2"), ("virt_sandbox_t", "s0:c3,c4")
AVC = "type=AVC msg=audit(1.0:1): avc:  denied  {{ read }} for  pid=1 scontext={} tcontext=system_u:object_r:etc_t:s0 tclass=file\n"
SYSCALL = 'type=SYSCALL msg=audit(1.0:1): arch=c000003e syscall=2 success=no exe="/x" subj={} key=(null)\n'


@pytest.fixture
def watch(tmp_path: Path) -> Any:
    """A watch that has begun, of an empty log; ``rules`` is what it has told the kernel."""
    loader = importlib.machinery.SourceFileLoader("virt_sandbox_audit", str(SCRIPT))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    (tmp_path / "audit.log").touch()
    rules: list[tuple[int, tuple[str, str]]] = []

    def change(kind: int, subject: tuple[str, str]) -> str:
        rules.append((kind, subject))
        return ""

    made = module.Watch(str(tmp_path / "audit.log"), str(tmp_path / "audit.json"), change)
    made.rules, made.module = rules, module
    made.look(0.0)
    return made


def write(watch: Any, number: int, context: str = "system_u:system_r:virt_sandbox_t:s0:c1,c2", line: str = AVC) -> None:
    with open(watch.log, "a", encoding="utf-8") as file:
        file.write(line.format(context) * number)


def test_threat_36_a_flood_is_left_out_until_it_is_within_its_share(watch: Any) -> None:
    write(watch, 600)
    watch.look(1.0)
    assert watch.rules == []
    write(watch, 500, line=SYSCALL)
    watch.look(2.0)
    assert watch.rules == [(watch.module.ADD_RULE, SANDBOX)]
    watch.look(100.0)
    assert len(watch.rules) == 1
    watch.look(200.0)
    assert watch.rules[1:] == [(watch.module.DELETE_RULE, SANDBOX)]
    assert json.loads(Path(watch.state).read_text()) == {"s0:c1,c2": {"times": 1, "seconds": 198, "now": False}}


def test_threat_36_each_subject_has_its_own_share_and_the_host_has_none(watch: Any) -> None:
    for _round in range(10):
        write(watch, 100)
        write(watch, 50, "system_u:system_r:virt_sandbox_t:s0:c3,c4")
        for host in ("system_u:system_r:sshd_t:s0-s0:c0.c1023", "system_u:system_r:ntpd_t:s0"):
            write(watch, 200, host)
        watch.look(1.0)
    assert watch.rules == [(watch.module.ADD_RULE, SANDBOX)]


def test_threat_36_it_follows_the_log_when_that_is_rotated(watch: Any) -> None:
    write(watch, 300)
    Path(watch.log).rename(watch.log + ".1")
    write(watch, 400)
    watch.look(1.0)
    assert watch.rules == [(watch.module.ADD_RULE, SANDBOX)]


def test_threat_36_a_forged_context_accuses_nobody_else(watch: Any) -> None:
    """What root inside writes into a message stands before the kernel's own words, or is quoted."""
    text = "type=USER msg=audit(1.0:1): pid=1 subj={} msg='text=x subj=a:b:sshd_t:s0:c9,c8 '\n"
    write(watch, 700, line=text)
    watch.look(1.0)
    assert watch.rules == [(watch.module.ADD_RULE, SANDBOX)]


def test_threat_36_what_it_had_counted_is_kept_when_it_starts_again(watch: Any) -> None:
    write(watch, 700)
    watch.look(1.0)
    again = watch.module.Watch(watch.log, watch.state, watch.change_rules)
    assert again.record["s0:c1,c2"]["times"] == 1


def test_threat_30_what_was_dropped_is_counted_by_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    counter, accept = {"counter": {"packets": 3, "bytes": 120}}, {"accept": None}
    rules = [{"rule": {"chain": "vs1-opener", "expr": [counter, accept]}}, {"rule": {"chain": "vs1-opener", "expr": [counter]}}]
    maps = [{"map": {"name": name, "elem": [["vs1", {"goto": {"target": "x"}}]]}} for name in ("interfaces", "openers")]
    monkeypatch.setattr(nftables.os.path, "exists", lambda _path: True)
    monkeypatch.setattr(nftables, "run", lambda *_ignored, **_keywords: json.dumps({"nftables": [*maps, *rules]}))
    assert nftables.dropped(nftables.table()) == {"vs1-opener": 6}
    assert nftables.filtered(nftables.table()) == ["vs1", "vs1-opener"]


def test_threat_36_what_the_kernel_has_lost_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit.os.path, "exists", lambda _path: True)
    monkeypatch.setattr(audit, "run", lambda *_ignored, **_keywords: "enabled 1\nbacklog_limit 8192\nlost 58854\nbacklog 0\n")
    assert audit.lost() == 58854
