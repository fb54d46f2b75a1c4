# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection says of itself: groups of modules, and what a user who installs it gets."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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


# Examples, in the modules' documentation and in the guides


@functools.cache
def documented() -> dict[str, Any]:
    """What ansible-doc says of each module."""
    names = [f"virt.sandbox.{name}" for name in modules()]
    done = subprocess.run(["ansible-doc", "--json", *names], capture_output=True, text=True, check=True)
    return {name.rpartition(".")[2]: entry for name, entry in json.loads(done.stdout).items()}


def options(module: str) -> dict[str, Any]:
    found: dict[str, Any] = documented()[module]["doc"]["options"]
    return found


def tasks(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each use of a module of ours in a playbook or list of tasks, at any depth."""
    if isinstance(value, dict):
        for key, arguments in value.items():
            if key.startswith("virt.sandbox.") and key.rpartition(".")[2] in modules() and isinstance(arguments, dict):
                yield key.rpartition(".")[2], arguments
            yield from tasks(arguments)
    elif isinstance(value, list):
        for entry in value:
            yield from tasks(entry)


def unknown(given: Mapping[str, Any], options: Mapping[str, Any], place: str = "") -> list[str]:
    """The names that no option has, suboptions included."""
    names = []
    for name, value in given.items():
        if name not in options:
            names.append(place + name)
        elif options[name].get("suboptions"):
            items = value if isinstance(value, list) else [value]
            for item in (item for item in items if isinstance(item, dict)):
                names += unknown(item, options[name]["suboptions"], f"{place}{name}.")
    return names


def yaml_blocks(path: Path) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("module", modules())
def test_the_examples_of_a_module_use_options_that_there_are(module: str) -> None:
    examples = yaml.safe_load(documented()[module]["examples"])
    assert [task for task in examples if any(key.startswith("virt.sandbox.") for key in task)]
    wrong = [(name, unknown(arguments, options(name))) for name, arguments in tasks(examples)]
    assert [(name, names) for name, names in wrong if names] == []


def test_so_do_those_of_the_guides() -> None:
    pages = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md")), *sorted((CHECKOUT / "roles").rglob("*.md"))]
    used = [
        (path.name, name, arguments) for path in pages for block in yaml_blocks(path) for name, arguments in tasks(yaml.safe_load(block))
    ]
    assert len(used) > 5
    wrong = {(path, name): unknown(arguments, options(name)) for path, name, arguments in used}
    assert {key: names for key, names in wrong.items() if names} == {}
