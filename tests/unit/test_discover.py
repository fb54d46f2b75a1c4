# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of units a sandbox gets, and which of a play count as such."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import discover
from ansible_collections.virt.sandbox.plugins.module_utils.model import unit_file
from ansible_collections.virt.sandbox.plugins.module_utils.model.unit_tree import HostUnits, Texts

USR = Texts("/usr/lib/systemd/system", {"web.service": "[Service]\nEnvironmentFile=/etc/web\n", "db.service": "[Service]\n"})
ETC = unit_file.ADMINISTRATORS


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover.systemd, "units", lambda: HostUnits([USR]))


def test_a_play_may_declare_a_unit_or_a_drop_in() -> None:
    declared = {
        f"{ETC}/web.service.d/1.conf": "[Unit]\nWants=mine.timer db.service\n",
        f"{ETC}/mine.timer": "[Timer]\nOnBootSec=1\n",
        "/etc/other": "x",
    }
    given = discover._given(["web.service"], declared)
    assert sorted(given) == ["mine.timer", "web.service"], "db.service is the host's alone"
    assert given["web.service"].last("EnvironmentFile") == "/etc/web"


def test_an_administrators_unit_comes_with_its_other_names_and_what_is_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_file, "ADMINISTRATORS", str(tmp_path))
    for name in ("a-b@.service.d", "a-.service.d", "service.d", "c.service.wants"):
        (tmp_path / name).mkdir()
    (tmp_path / "a-b@.service").touch()
    (tmp_path / "c@.service").symlink_to("a-b@.service")
    unit = unit_file.parse("a-b@x.service", f"{tmp_path}/a-b@.service", [], aliases=["c@x.service"])
    names = ["a-b@.service", "c@.service", "a-b@.service.d", "a-.service.d"]
    assert discover._administrators([unit], {}) == [f"{tmp_path}/{name}" for name in names]
