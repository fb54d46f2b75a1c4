# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox's own units, which root inside may have made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import inside
from ansible_collections.virt.sandbox.plugins.module_utils.model import layout
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host
from ansible_collections.virt.sandbox.plugins.module_utils.model.unit_file import UnitFile
from ansible_collections.virt.sandbox.plugins.module_utils.model.unit_tree import HostUnits, Texts

from .conftest import MakeSpec

UNITS = "etc/systemd/system"


@pytest.fixture
def own(tmp_path: Path, host: Host, service: MakeSpec) -> Callable[[dict[str, str], str], dict[str, Any]]:
    """What is seen of a content tree with these files, whose sandbox runs this unit."""

    def observe(files: dict[str, str], name: str, **options: Any) -> dict[str, Any]:
        for path, text in files.items():
            place = tmp_path / UNITS / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("->"):
                place.symlink_to(text[2:])
            else:
                place.write_text(text)
        spec = service(units=[name], **options)
        systemd = dataclasses.replace(host.systemd, unit_paths={**host.systemd.unit_paths, spec.units[0]: ""})
        return inside.observe(str(tmp_path), spec, dataclasses.replace(host, systemd=systemd))

    return observe


def test_it_is_found_with_what_it_brings_along(own: Any) -> None:
    files = {
        "mine@.service": "[Unit]\nWants=other.timer\n",
        "mine@x.service.d/1.conf": "[Service]\nUser=x\n",
        "mine@.service.d/50-sandbox.conf": layout.MARK + "\n[Service]\nUser=y\n",
        "mine@x.service.d/50-sandbox.conf": layout.MARK + "\n[Service]\nUser=y\n",
        "other.timer": "[Timer]\n",
    }
    seen = own(files, "mine@x.service")
    assert {name: unit.path for name, unit in seen["own_units"].items()} == {
        "mine@x.service": f"/{UNITS}/mine@.service",
        "other.timer": f"/{UNITS}/other.timer",
    }
    assert seen["own_units"]["mine@x.service"].last("User") == "x", "what the collection itself has adapted does not count"


def test_a_mask_is_seen(own: Any) -> None:
    assert own({"mine.service": "->/dev/null"}, "mine.service")["own_units"]["mine.service"].masked == f"/{UNITS}/mine.service"


USR = Texts(
    "/usr/lib/systemd/system",
    {
        "web.service": "[Service]\nUser=usr\nGroup=usr\n",
        "web.service.d/1.conf": "[Service]\nGroup=drop-in\n",
        "web.socket": "[Socket]\nListenStream=1\n",
    },
)


@pytest.fixture
def merged(own: Any, monkeypatch: pytest.MonkeyPatch, host: Host) -> Callable[[dict[str, str], str], dict[str, UnitFile]]:
    """The units of a sandbox whose host has the above in its /usr."""
    monkeypatch.setattr(host.systemd.known, "inside", HostUnits([USR]).inside)
    return lambda files, name: own(files, name)["own_units"]


def test_a_sandboxs_drop_ins_of_a_unit_in_usr_are_merged_by_name(merged: Any) -> None:
    files = {"web.service.d/1.conf": "[Service]\nUser=own\n", "service.d/2.conf": "[Service]\nLimitNOFILE=1\n"}
    unit = merged(files, "web.service")["web.service"]
    assert (unit.path, unit.last("User"), unit.last("Group")) == ("/usr/lib/systemd/system/web.service", "own", "usr")
    assert unit.drop_ins == [f"/{UNITS}/web.service.d/1.conf", f"/{UNITS}/service.d/2.conf"]


def test_a_sandboxs_own_file_replaces_its_namesake_in_usr(merged: Any) -> None:
    unit = merged({"web.service": "[Service]\nUser=own\n"}, "web.service")["web.service"]
    assert (unit.path, unit.last("User"), unit.last("Group")) == (f"/{UNITS}/web.service", "own", "drop-in")


@pytest.mark.parametrize("mask", ["->/dev/null", ""])
def test_a_sandboxs_mask_of_a_unit_in_usr_is_seen(merged: Any, mask: str) -> None:
    assert merged({"web.service": mask}, "web.service")["web.service"].masked == f"/{UNITS}/web.service"


@pytest.mark.parametrize("target", ["/usr/lib/systemd/system/web.service", "/lib/systemd/system/web.service", "web.service"])
def test_another_name_of_a_unit_is_that_unit(merged: Any, target: str) -> None:
    unit = merged({"www.service": f"->{target}", "www.service.d/2.conf": "[Service]\nUser=own\n"}, "www.service")["www.service"]
    assert (unit.name, unit.aliases, unit.last("User")) == ("web.service", ["www.service"], "own")


def test_a_link_leads_to_a_unit_elsewhere_in_the_content(merged: Any) -> None:
    files = {"mine.service": "->../../../srv/mine.service", "../../../srv/mine.service": "[Service]\nUser=own\n"}
    assert merged(files, "mine.service")["mine.service"].last("User") == "own"


def test_text_in_another_encoding_is_read(merged: Any, tmp_path: Path) -> None:
    (tmp_path / UNITS).mkdir(parents=True)
    (tmp_path / UNITS / "mine.service").write_bytes("# café\n[Service]\nUser=own\nGroup=café\n".encode("latin-1"))
    unit = merged({}, "mine.service")["mine.service"]
    assert (unit.last("User"), unit.fault) == ("own", f"/{UNITS}/mine.service: line 4 is not UTF-8")


@pytest.mark.parametrize("text", ["->/etc/passwd", "->../../../../../../etc/passwd"])
def test_a_link_is_not_followed(own: Any, text: str) -> None:
    assert own({"mine.service": text}, "mine.service")["own_units"] == {}


@pytest.mark.parametrize(
    ("program", "there"),
    [
        ("/bin/sh -c true", True),
        ("-/srv/gone", True),
        ("@/usr/bin/env x", True),
        ("/srv/gone", False),
        ("+/usr/bin/gone-for-good", False),
        ("/opt/gone", False),
        ("/boot", False),
        ("/etc/../usr/bin/env", True),
        ("/srv/../etc/gone", False),
        ("/srv//mine", True),
        ("//usr//bin/env", True),
        ("/srv/current/run", True),
        ("/usr/bin/\0env", True),
        ("/mnt/mine", True),
        ("/mnt/mine/run", True),
        ("/mnt/mine2", False),
        ("/etc/" + "a" * 300, True),
        ("/etc" + "/a" * 3000, True),
        ("/etc" + "/a" * 1000, False),
        ("relative", True),
    ],
)
def test_a_program_that_is_not_there_is_named(own: Any, program: str, there: bool) -> None:
    """What is mounted, or behind a link, may be there; a name that no file can have is for systemd to refuse."""
    files = {"mine.service": f"[Service]\nExecStart={program}\n", "../../../srv/mine": "", "../../../srv/current": "->r1"}
    seen = own(files, "mine.service", mounts=[{"source": "/opt/mine", "target": "/mnt/mine"}])
    assert seen["missing_programs"] == ({} if there else {"mine.service": program.lstrip("+")})


def test_a_drop_in_may_name_another_program(own: Any) -> None:
    drop_in = "[Service]\nExecStart=\nExecStart=/usr/bin/env\n"
    files = {"mine.service": "[Service]\nExecStart=/srv/gone\n", "mine.service.d/1.conf": drop_in}
    assert own(files, "mine.service")["missing_programs"] == {}


def test_units_without_end_are_not_followed_for_ever(own: Any) -> None:
    """Each instance of a template may want two others."""
    seen = own({"mine@.service": "[Unit]\nWants=mine@%i0.service mine@%i1.service\n"}, "mine@x.service")
    assert 2 < len(seen["own_units"]) < 100


def test_units_that_need_each_other_come_to_an_end(own: Any) -> None:
    files = {"mine.service": "[Unit]\nRequires=other.service\n", "other.service": "[Unit]\nRequires=mine.service ../../x.service\n"}
    assert sorted(own(files, "mine.service")["own_units"]) == ["mine.service", "other.service"]
