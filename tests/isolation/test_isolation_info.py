# SPDX-License-Identifier: GPL-3.0-or-later
"""What sandbox_isolation_info says of the sandboxes of a host, and that it is what the kernel does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.virt.sandbox.tests.cycle import CONTENT, LABEL, SERVICE
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Played, Task, sandboxes_gone, shell_task

ONE, OTHER = "it-iso-a", "it-iso-b"
LEVELS = {ONE: "s0:c941,c942", OTHER: "s0:c943,c944"}
ISOLATION = "virt.sandbox.sandbox_isolation_info"
SPEC = f"/etc/libvirt-sandbox/services/{OTHER}.sandbox"


def question(title: str, **options: Any) -> Task:
    return {"name": title, ISOLATION: options}


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    names = [ONE, OTHER]
    running = [{"name": name, "level": LEVELS[name], "units": ["systemd-tmpfiles-clean.timer"]} for name in names]
    labelled = [{"name": name, "level": LEVELS[name]} for name in names]
    same = f"cp {SPEC} /run/it-spec; sed -i 's/{LEVELS[OTHER]}/{LEVELS[ONE]}/' {SPEC}"
    tasks: list[Task] = [
        *sandboxes_gone(names, " first"),
        {"name": "labels", LABEL: {"sandboxes": labelled}},
        {"name": "content", CONTENT: {"sandboxes": labelled}},
        {"name": "run", SERVICE: {"sandboxes": running}},
        question("all"),
        question("one", name=ONE),
        question("none of that name", name="nosuch"),
        shell_task("declare both at one level, by hand", same),
        question("at one level"),
        shell_task("put it right", f"mv /run/it-spec {SPEC}"),
    ]
    yield lab.play(tasks)
    lab.play(sandboxes_gone(names))


def test_separate_sandboxes_are_separate(played: Played, host: str) -> None:
    outcome = played.on(host)["all"]
    assert not outcome.failed, outcome.message
    assert outcome.result["leaks"] == []
    assert (outcome.result["separate"], outcome.result["mode"]) == (True, "enforcing")
    assert outcome.result["matrix"][ONE][OTHER] == outcome.result["matrix"][OTHER][ONE] == 0
    shown = outcome.result["sandboxes"][ONE]
    assert (shown["held"], shown["permissive"]) == (True, False)
    assert shown["process"] == f"system_u:system_r:virt_sandbox_t:{LEVELS[ONE]}"
    assert outcome.result["questions"] >= 2 * 21


def test_no_container_of_another_make_reaches_the_content(played: Played, host: str) -> None:
    found = played.on(host)["all"].result["host_processes"]
    assert any(context.split(":")[2] == "init_t" for context in found)
    assert not [context for context in found if context.split(":")[2] in ("container_t", "svirt_t", "httpd_t", "mysqld_t")]


def test_one_sandbox_is_asked_about_with_every_other(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert set(outcomes["one"].result["sandboxes"]) == {ONE}
    assert outcomes["one"].result["matrix"][OTHER][ONE] == 0
    assert outcomes["none of that name"].failed
    assert "name: 'nosuch' is not allowed; a sandbox of this host" in outcomes["none of that name"].message


def test_two_at_one_level_are_a_leak_with_both_named(played: Played, host: str) -> None:
    result = played.on(host)["at one level"].result
    assert not result["separate"]
    leaks = [leak for leak in result["leaks"] if {leak["from"], leak["to"]} == {ONE, OTHER}]
    assert {leak["why"] for leak in leaks} == {f"dominance: {LEVELS[ONE]} is {LEVELS[ONE]}"}
    assert {"file", "dir", "process", "unix_stream_socket", "shm", "sem", "msgq", "key"} <= {leak["class"] for leak in leaks}
    assert result["matrix"][ONE][OTHER] > 50
