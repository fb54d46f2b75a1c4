# SPDX-License-Identifier: GPL-3.0-or-later
"""Registries that the lab's hosts have between them: a lock file on the controller, and a PostgreSQL server in a sandbox."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError
from ansible_collections.virt.sandbox.plugins.module_utils.model.level_request import Request
from ansible_collections.virt.sandbox.tests.cycle import CONTENT, LABEL
from ansible_collections.virt.sandbox.tests.fight import fight, opened
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Played, Task, sandboxes_gone, shell_task

NAMES = ["it-share-a", "it-share-b"]
DATABASE = "it-share-db"
PASSWORD = "not-secret-on-a-lab"
INFO = "virt.sandbox.mcs_label_info"
LABEL_OF = f"stat -c %C /var/lib/libvirt/filesystems/{NAMES[0]}"
# of the categories with which the database is tried; a fight leaves all of its own in quarantine
FIRST, OTHER_FIRST = 700, 600


def labels(title: str, registry: str, names: list[str], **keywords: Any) -> Task:
    return {"name": title, LABEL: {"registry": registry, "sandboxes": [{"name": name} for name in names]}, "diff": True, **keywords}


def gone(title: str, registry: str) -> Task:
    return {"name": title, LABEL: {"registry": registry, "sandboxes": [{"name": name, "state": "absent"} for name in NAMES]}}


def tasks(kind: str, registry: str) -> list[Task]:
    content = {"registry": registry, "sandboxes": [{"name": name} for name in NAMES]}
    return [
        labels(f"{kind}: in check mode", registry, NAMES[:1], check_mode=True),
        labels(f"{kind}: one", registry, NAMES[:1]),
        labels(f"{kind}: both", registry, NAMES),
        labels(f"{kind}: again", registry, NAMES),
        {"name": f"{kind}: content", CONTENT: content},
        shell_task(f"{kind}: its label", LABEL_OF),
        {"name": f"{kind}: what the host knows", INFO: {}},
        {"name": f"{kind}: what all know", INFO: {"registry": registry}},
    ]


@pytest.fixture(scope="module")
def lock_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("repository") / "levels.lock.yml"


@pytest.fixture(scope="module")
def database(lab: Lab) -> Iterator[str]:
    """A real server in a sandbox of one of the hosts, reached from here through ssh."""
    host = lab.hosts[-1]
    role: Task = {
        "name": "database",
        "ansible.builtin.include_role": {"name": "virt.sandbox.postgresql"},
        "vars": {"postgresql_password": PASSWORD, "postgresql_sandboxes": [{"name": DATABASE, "network": [{"type": "managed"}]}]},
    }
    made = lab.play([*sandboxes_gone([DATABASE], " first"), role, {"name": "look", "virt.sandbox.sandbox_info": {"name": DATABASE}}],
                    limit=[host], gather_facts=True)  # fmt: skip
    found = made.on(host)["look"].result["sandboxes"][DATABASE]
    assert found["state"] == "running", made.output[-3000:]
    with forwarded(lab, host, found["addresses"][0]) as port:
        os.environ["PGPASSWORD"] = PASSWORD
        yield f"postgresql://admin@127.0.0.1:{port}/postgres"
        del os.environ["PGPASSWORD"]
    lab.play(sandboxes_gone([DATABASE]), limit=[host])


@contextlib.contextmanager
def forwarded(lab: Lab, host: str, address: str) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = ["ssh", "-F", lab.ssh_config, "-o", "ControlPath=none", "-N", "-L", f"127.0.0.1:{port}:{address}:5432", f"root@{host}"]
    with subprocess.Popen(command) as process:
        try:
            until = time.monotonic() + 20
            while time.monotonic() < until:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def played(lab: Lab, lock_file: Path, database: str) -> Iterator[Played]:
    file = f"yaml://{lock_file}"
    removed = [gone("released in the file", file), gone("released in the database", database)]
    clean = [*sandboxes_gone(NAMES, " first"), gone("released by hosts first", "sqlite:////var/lib/virt-sandbox/labels.db")]
    # the second registry takes over what the first has given
    yield lab.play([*clean, *tasks("file", file), *tasks("database", database)])
    lab.play([*sandboxes_gone(NAMES), *removed])


@pytest.mark.parametrize("kind", ["file", "database"])
def test_check_mode_foresees_and_a_second_run_changes_nothing(played: Played, host: str, kind: str) -> None:
    outcomes = played.on(host)
    for title in ("in check mode", "one", "both", "again", "content"):
        assert not outcomes[f"{kind}: {title}"].failed, outcomes[f"{kind}: {title}"].message
    assert outcomes[f"{kind}: in check mode"].steps(NAMES[0]) == outcomes[f"{kind}: one"].steps(NAMES[0])
    assert outcomes[f"{kind}: one"].changed
    assert outcomes[f"{kind}: both"].steps(NAMES[0]) == []
    assert not outcomes[f"{kind}: again"].changed


@pytest.mark.parametrize("kind", ["file", "database"])
def test_no_level_is_given_on_two_hosts_and_each_host_knows_its_own(played: Played, kind: str) -> None:
    given = {host: outcomes[f"{kind}: both"].result["levels"] for host, outcomes in played.outcomes.items()}
    every = [level for of_host in given.values() for level in of_host.values()]
    assert len(every) == len(set(every)) == 2 * len(played.outcomes)
    for host, outcomes in played.outcomes.items():
        assert given[host].items() <= outcomes[f"{kind}: what the host knows"].result["levels"].items()
        assert {f"{host}/{name}": level for name, level in given[host].items()}.items() <= outcomes[f"{kind}: what all know"].result[
            "levels"
        ].items()
        assert outcomes[f"{kind}: its label"].stdout.endswith(f":{given[host][NAMES[0]]}")


def test_moving_to_another_registry_keeps_every_level(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["database: both"].result["levels"] == outcomes["file: both"].result["levels"]
    assert outcomes["database: one"].steps(NAMES[0]) == ["assign"]
    assert not outcomes["database: content"].changed


def test_the_file_is_what_a_repository_reviews(played: Played, lock_file: Path) -> None:
    levels = yaml.safe_load(lock_file.read_text())["levels"]
    assert set(levels) == {f"{host}/{name}" for host in played.outcomes for name in NAMES}


# The database alone, with the registry's own code here


def test_many_at_once_and_some_killed_in_mid_transaction(database: str) -> None:
    fight(database, FIRST)


def test_a_connection_that_is_cut_in_mid_transaction_changes_nothing(lab: Lab, database: str) -> None:
    host, address = lab.hosts[-1], lab.ssh(lab.hosts[-1], f"virt-sandbox exec {DATABASE} -- hostname -I").stdout.split()[0]
    with forwarded(lab, host, address) as port:
        url = f"postgresql://admin@127.0.0.1:{port}/postgres"
        with pytest.raises(SandboxError, match="Changes that were not committed were not made"):
            allocate_and_lose_the_server(lab, host, url)
    with opened(database, OTHER_FIRST) as registry:
        assert "cut/off" not in registry.owners()
        assert len(registry.apply([Request("cut/off")], [])) == 1
        registry.apply([Request("cut/off", False)], [])


def allocate_and_lose_the_server(lab: Lab, host: str, url: str) -> None:
    with opened(url, OTHER_FIRST) as registry, registry._store.transaction(write=True):
        registry._store.write(registry._decide([Request("cut/off")], [], []).changes)
        kill_sessions(lab, host)


def kill_sessions(lab: Lab, host: str) -> None:
    """As a server that goes down does to a session."""
    sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'virt.sandbox'"
    lab.ssh(host, f'virt-sandbox exec {DATABASE} -- runuser -u postgres -- psql -tAc "{sql}"')
