# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that the role host installs: they name what the collection names, and an outdated host is refused."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import service_run
from ansible_collections.virt.sandbox.plugins.module_utils.engine.wanted import Wanted
from ansible_collections.virt.sandbox.plugins.module_utils.model import command, layout, network_filter, scripts
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host, Observed
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ServiceRequest

MakeSpec = Callable[..., dict[str, Any]]
FILES = Path(__file__).resolve().parents[2] / "roles" / "host" / "files"
INSTALLED = {path: FILES / Path(path).name for path in scripts.EXPECTED}


SCRIPTS = (layout.HELPER, layout.INIT)


@pytest.mark.parametrize("path", INSTALLED)
def test_a_script_is_of_the_version_that_is_expected(path: str) -> None:
    text = INSTALLED[path].read_text()
    assert layout.MARK in text.splitlines()[:3]
    assert scripts.version(text) == scripts.EXPECTED[path]
    if path in SCRIPTS:
        assert text.startswith("#!/bin/sh\n")


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck")
@pytest.mark.parametrize("path", SCRIPTS)
def test_a_script_passes_shellcheck(path: str) -> None:
    done = subprocess.run(["shellcheck", "--shell=sh", INSTALLED[path]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (layout.HELPER, f"machine-virt_sandbox-*) slice=$slice/{layout.SANDBOXES}/$3 ;;"),
        (layout.HELPER, f"run={layout.RUN}/$name"),
        (layout.HELPER, f"{network_filter.NFT} -f"),
        (layout.HELPER, f"s/^add chain bridge {network_filter.TABLE} //p"),
        (layout.HELPER, f"for place in {' '.join(layout.FOLLOWED)}; do"),
        (layout.HELPER, f'chcon -h "system_u:object_r:{layout.SLICE_TYPE}:$level" "$slice"'),
        (layout.HELPER, f'mkfifo -m 600 "$run{command.OUTPUT}"'),
        (layout.HELPER, f'dd if="$run{command.OUTPUT}"'),
        (layout.HELPER, f'dd if="$run{command.EXIT}"'),
        (layout.HELPER, f'flock --close "{layout.RUN}/.start"'),
        (layout.HELPER, f'exec timeout -k 10 120 {layout.COMMAND} exec "$name" -- '),
        (layout.HELPER, f"<emulator>{layout.CONTROLLER}</emulator>"),
        (layout.HELPER, f"test -e {layout.SECCOMP}"),
        (layout.HELPER, f"new={layout.SPECS}/$name.xml"),
        (layout.CONTROLLER, f'SECCOMP = "{layout.SECCOMP}"'),
        (layout.INIT, f"exec </dev/null >{command.OUTPUT} 2>&1"),
        (layout.INIT, f'echo "$code" >{command.EXIT}'),
    ],
)
def test_a_script_names_what_the_collection_names(path: str, line: str) -> None:
    assert line in INSTALLED[path].read_text()


@pytest.mark.parametrize(
    ("text", "version"),
    [
        pytest.param(None, None, id="missing"),
        pytest.param("#!/bin/sh\nset -eu\n", 1, id="of 0.1.0, which has no number"),
        pytest.param("#!/bin/sh\n# VERSION=12\n", 12, id="numbered"),
        pytest.param("#!/bin/sh\necho '# VERSION=9'\n", 1, id="a number elsewhere"),
    ],
)
def test_the_version_of_a_text(text: str | None, version: int | None) -> None:
    assert scripts.version(text) == version


UNITS: dict[str, Any] = {}
COMMAND = {"units": [], "command": ["/usr/bin/sleep", "1"], "network": []}
AGAIN = "Run the role virt.sandbox.host."
HELPER = scripts.EXPECTED[layout.HELPER]
# of every sandbox
EVERY = {path: version for path, version in scripts.EXPECTED.items() if path != layout.INIT}


@pytest.mark.parametrize(
    ("options", "installed", "message"),
    [
        (UNITS, EVERY, ""),
        (UNITS, {**EVERY, layout.HELPER: HELPER + 1}, ""),
        (UNITS, {}, f"web: {layout.HELPER} is missing, expected version {HELPER}. {AGAIN}"),
        (UNITS, {layout.HELPER: 1, layout.INIT: 1}, f"web: {layout.HELPER} is of version 1, expected {HELPER}. {AGAIN}"),
        (UNITS, {**EVERY, layout.SECCOMP: None}, f"web: {layout.SECCOMP} is missing, expected version 1. {AGAIN}"),
        (COMMAND, {**EVERY, layout.INIT: 1}, ""),
        (COMMAND, {**EVERY, layout.INIT: None}, f"web: {layout.INIT} is missing, expected version 1. {AGAIN}"),
    ],
)
def test_what_a_host_lacks(service: MakeSpec, options: dict[str, Any], installed: dict[str, int | None], message: str) -> None:
    assert scripts.missing([service(**options)], installed) == message


@pytest.mark.parametrize("check_mode", [False, True])
def test_an_outdated_host_is_refused_before_anything_changes(
    service: MakeSpec, host: Host, declared: Callable[..., Observed], monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    spec = service()
    facts = dataclasses.replace(host, scripts={layout.HELPER: 1})
    monkeypatch.setattr(service_run.observe, "facts", lambda *_: facts)
    monkeypatch.setattr(service_run.observe, "sandboxes", lambda *_: ({"web": declared(spec, running=False)}, []))
    monkeypatch.setattr(service_run.sockets, "listening", list)
    monkeypatch.setattr(service_run, "apply", lambda *_: pytest.fail("it changes something"))
    known: Any = SimpleNamespace(declared=SimpleNamespace(specs={}))
    wanted = [Wanted(spec, ServiceRequest())]
    run = service_run.ServiceRun(known, wanted, {"name": "web"}, service_run.Run(), check_mode)
    lacking = f"web: {layout.HELPER} is of version 1, expected {HELPER}. {AGAIN}"
    if check_mode:
        assert [warning.partition("missing: ")[2] for warning in run.carried_out()["warnings"]] == [lacking]
    else:
        with pytest.raises(SandboxError) as caught:
            run.carried_out()
        assert str(caught.value) == lacking
