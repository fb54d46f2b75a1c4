# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers of another make beside the sandboxes: a level that podman has given to one is given to no sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.virt.sandbox.tests.cycle import LABEL
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Played, Task, sandboxes_gone, shell_task

NAME, THEIRS, OTHER = "it-beside", "s0:c961,c962", "s0:c961,c963"
ROOT = "/var/lib/it-podman-root"
# as it is created: it has its level whether it runs or not
CREATE = f"""
mkdir -p {ROOT}; podman rm -f it-podman >/dev/null 2>&1
podman create --name it-podman --network none --security-opt label=level:{THEIRS} --rootfs {ROOT} /bin/true
"""


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    packages = {"host_service_packages": [{"package": name, "units": []} for name in ("podman", "runc")]}
    tasks: list[Task] = [
        *sandboxes_gone([NAME], " first"),
        {"name": "podman", "ansible.builtin.include_role": {"name": "virt.sandbox.host", "tasks_from": "package.yml"}, "vars": packages},
        shell_task("create", CREATE),
        {"name": "info", "virt.sandbox.mcs_label_info": {}},
        {"name": "the same", LABEL: {"name": NAME, "level": THEIRS}},
        {"name": "any of three", LABEL: {"name": NAME, "category_range": "c961.c963"}},
        shell_task("remove", "podman rm -f it-podman"),
        {"name": "the same when it is gone", LABEL: {"name": f"{NAME}-2", "level": THEIRS}},
        {"name": "give it back", LABEL: {"name": f"{NAME}-2", "state": "absent"}},
    ]
    yield lab.play(tasks, gather_facts=True)
    lab.play([*sandboxes_gone([NAME]), shell_task("clean", f"podman rm -f it-podman; rm -rf {ROOT}; true")])


def test_a_level_of_a_container_is_seen(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert not outcomes["create"].failed, outcomes["create"].message
    found = [use for use in outcomes["info"].result["in_use"] if use["kind"] == "container"]
    assert [(use["holder"], use["level"]) for use in found] == [("it-podman", THEIRS)]


def test_no_sandbox_gets_it(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["the same"].failed
    assert "container it-podman" in outcomes["the same"].message
    assert not outcomes["any of three"].failed, outcomes["any of three"].message
    assert outcomes["any of three"].result["level"] == OTHER


def test_it_is_free_when_the_container_is_gone(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert not outcomes["the same when it is gone"].failed, outcomes["the same when it is gone"].message
