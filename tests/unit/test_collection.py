# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection says of itself: groups of modules, and what a user who installs it gets."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
SHIPPED = {
    "CHANGELOG.md",
    "COPYING",
    "FILES.json",
    "MANIFEST.json",
    "README.md",
    "changelogs",
    "docs",
    "meta",
    "playbooks",
    "plugins",
    "roles",
}


def groups() -> dict[str, list[str]]:
    found: dict[str, list[str]] = yaml.safe_load((CHECKOUT / "meta" / "runtime.yml").read_text())["action_groups"]
    return found


def modules() -> dict[str, str]:
    return {path.stem: path.read_text() for path in sorted((CHECKOUT / "plugins" / "modules").glob("*.py"))}


def test_defaults_can_be_given_to_all_modules() -> None:
    assert groups()["all"] == sorted(modules())


def test_a_registry_can_be_given_to_all_that_take_one() -> None:
    fragment = "extends_documentation_fragment:\n  - virt.sandbox.sandbox\n"
    assert groups()["registry"] == sorted(name for name, text in modules().items() if "\n  registry:\n" in text or fragment in text)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in the tarball of a checkout in which work was done."""
    place = tmp_path_factory.mktemp("build")
    checkout = place / "checkout"
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout
    for name in names.splitlines():
        if (CHECKOUT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).write_bytes((CHECKOUT / name).read_bytes())
    for junk in (
        ".mypy_cache/x",
        ".pytest_cache/x",
        ".hypothesis/x",
        ".ruff_cache/x",
        "tests/output/x",
        "plugins/modules/__pycache__/x.pyc",
    ):
        (checkout / junk).parent.mkdir(parents=True, exist_ok=True)
        (checkout / junk).write_text("junk")
    command = ["ansible-galaxy", "collection", "build", "--output-path", str(place)]
    subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=120, check=True)
    (tarball,) = place.glob("*.tar.gz")
    with tarfile.open(tarball) as archive:
        return archive.getnames()


def test_what_users_need_is_shipped_and_no_more(built: list[str]) -> None:
    assert {name.split("/")[0] for name in built} == SHIPPED


def test_no_junk_is_shipped(built: list[str]) -> None:
    assert [name for name in built if "cache" in name.lower() or name.endswith((".pyc", "/x"))] == []
