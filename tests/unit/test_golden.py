# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a declaration, one directory below ``golden`` for each case.

``declared.yml`` is what a play says; the other files are what the host and the sandbox get.
GOLDEN=write in the environment writes them anew, to be reviewed as any change.
"""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from ansible_collections.virt.sandbox.plugins.module_utils.host.libvirt_domain import to_xml
from ansible_collections.virt.sandbox.plugins.module_utils.model import network, network_filter, unit
from ansible_collections.virt.sandbox.plugins.module_utils.model.definition import define
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import dump, service_spec

CASES = sorted(path.parent for path in (Path(__file__).parent / "golden").glob("*/declared.yml"))


@pytest.fixture(scope="module")
def derived(host: Host) -> dict[Path, dict[str, str]]:
    """The derived files of every case, by name."""
    return {case: derive(case, host) for case in CASES}


def derive(case: Path, host: Host) -> dict[str, str]:
    spec = service_spec(yaml.safe_load((case / "declared.yml").read_text()))
    paths = spec.paths
    resolved = [network.fixed(one) for one in spec.network]
    rules = network_filter.rules(spec, resolved)
    return {
        "spec.json": dump(spec),
        "domain.xml": indented(to_xml(define(spec, host.followed, resolved))),
        "host.txt": shown(paths.unit_path, unit.host_unit(spec))
        + shown(paths.slice_path, unit.slice_unit(spec))
        + (shown(paths.filter, rules) if rules else ""),
        "inside.txt": "".join(shown(f"/{file.path}", file.text, file.link) for file in unit.inside(spec, host.systemd, host.networks)),
    }


def indented(xml: str) -> str:
    element = ElementTree.fromstring(xml)
    ElementTree.indent(element)
    return ElementTree.tostring(element, encoding="unicode") + "\n"


def shown(path: str, text: str, link: str = "") -> str:
    if link:
        return f"==> {path} -> {link}\n"
    # what is the same in every sandbox would only hide the rest
    return f"==> {path}\n{text.replace(unit.CONFINEMENT, '(CONFINEMENT)')}\n"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden(case: Path, derived: dict[Path, dict[str, str]]) -> None:
    if os.environ.get("GOLDEN") == "write":
        for name, text in derived[case].items():
            (case / name).write_text(text)
    there = {path.name: path.read_text() for path in case.iterdir() if path.name != "declared.yml"}
    assert derived[case] == there


def test_there_are_cases() -> None:
    assert len(CASES) >= 6
