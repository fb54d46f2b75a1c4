# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the house that no linter knows: who may import what, how long a function is, what a file may name."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PLUGINS = CHECKOUT / "plugins"
IMPORTERS = ("__import__", "import_module", "importlib.import_module", "required", "binding.required")
UTILS = "ansible_collections.virt.sandbox.plugins.module_utils"
LONGEST_FUNCTION = 60

# What reaches out of the process: only adapters, each for its own tool.
FOR_HOST_ONLY = ("libvirt", "libvirt_lxc", "selinux", "sqlite3", "psycopg", "psycopg2", "subprocess", "dbus", "socket")


class Rule(NamedTuple):
    """In files below ``place`` nothing of ``forbidden`` is imported."""

    place: str
    forbidden: tuple[str, ...]

    def breaks(self, imported: str) -> bool:
        return any(imported == name or imported.startswith(name + ".") for name in self.forbidden)


IO_OF_THE_LANGUAGE = ("os", "shutil", "pathlib", "tempfile", "glob", "io", "fcntl", "ctypes", "pwd", "grp")
RULES = (
    Rule("module_utils/model", (f"{UTILS}.host", f"{UTILS}.engine", *FOR_HOST_ONLY, *IO_OF_THE_LANGUAGE)),
    Rule("module_utils/host", (f"{UTILS}.engine",)),
    Rule("module_utils/engine", FOR_HOST_ONLY),
    Rule("modules", FOR_HOST_ONLY),
    Rule("action", FOR_HOST_ONLY),
    Rule("connection", FOR_HOST_ONLY),
    Rule("inventory", FOR_HOST_ONLY),
    Rule("lookup", FOR_HOST_ONLY),
    Rule("filter", (f"{UTILS}.host", f"{UTILS}.engine", *FOR_HOST_ONLY)),
    Rule("test", (f"{UTILS}.host", f"{UTILS}.engine", *FOR_HOST_ONLY)),
)


def python_files(place: str = "") -> list[Path]:
    return sorted(path for path in (PLUGINS / place).rglob("*.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and full name of all that is imported anywhere, functions and ``importlib`` calls included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = parts[: len(parts) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            # "from package import submodule" names a module only with the imported name added.
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in IMPORTERS:
            yield from ((node.lineno, str(name.value)) for name in node.args[:1] if isinstance(name, ast.Constant))


def package_of(path: Path) -> str:
    return ".".join(("ansible_collections.virt.sandbox", *path.relative_to(CHECKOUT).parent.parts))


def long_functions(source: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield node.name, lines


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.place)
def test_imports_stay_within_the_layer(rule: Rule) -> None:
    broken = [
        f"{relative(path)}:{line} imports {name}"
        for path in python_files(rule.place)
        for line, name in imports(path.read_text(), package_of(path))
        if rule.breaks(name)
    ]
    assert not broken


@pytest.mark.parametrize(
    ("source", "breaks"),
    [
        ("import os.path", True),
        ("from ..host import libvirt_lxc", True),
        ("from .. import host", True),
        ("from ..engine.tree import relabel", True),
        (f"from {UTILS}.host.selinux import Selinux", True),
        ("def late():\n    import subprocess", True),
        ("importlib.import_module('selinux')", True),
        ("from .mcs import Level", False),
        ("import posixpath, re", False),
    ],
)
def test_the_rule_for_model_sees(source: str, breaks: bool) -> None:
    assert any(RULES[0].breaks(name) for _line, name in imports(source, f"{UTILS}.model")) is breaks


@pytest.mark.parametrize(
    ("source", "breaks"),
    [
        ("from ..engine.registry import Store", True),
        ("from .. import engine", True),
        (f"def late():\n    from {UTILS}.engine import tree", True),
        ("import os\nfrom ..model.registry import Store\nfrom .binding import required", False),
    ],
)
def test_the_rule_for_host_sees(source: str, breaks: bool) -> None:
    assert any(RULES[1].breaks(name) for _line, name in imports(source, f"{UTILS}.host")) is breaks


def test_functions_are_short_enough_to_read_at_once() -> None:
    found = [
        f"{relative(path)}: {name} has {lines} lines"
        for path in [*python_files(), *sorted((CHECKOUT / "tests").rglob("*.py"))]
        for name, lines in long_functions(path.read_text())
    ]
    assert not found


def test_a_long_function_is_seen() -> None:
    def function(lines: int) -> str:
        return "def long():\n" + "    pass\n" * (lines - 1)

    assert list(long_functions(function(LONGEST_FUNCTION + 1))) == [("long", LONGEST_FUNCTION + 1)]
    assert not list(long_functions(function(LONGEST_FUNCTION)))


ARGUMENT_TYPES = {"str", "bool", "int", "float", "path", "raw", "list", "dict", "json", "bytes", "bits"}


def keys(node: ast.Dict | ast.Call) -> set[object]:
    if isinstance(node, ast.Dict):
        return {key.value for key in node.keys if isinstance(key, ast.Constant)}
    return {keyword.arg for keyword in node.keywords} if ast.unparse(node.func) == "dict" else set()


def values(node: ast.Dict | ast.Call) -> set[object]:
    found = node.values if isinstance(node, ast.Dict) else [keyword.value for keyword in node.keywords]
    return {value.value for value in found if isinstance(value, ast.Constant)}


def argument_spec_literals(source: str) -> list[int]:
    """Lines where the type of an option is written out, in whatever dict, instead of coming from the options' fields."""
    dicts = (node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Dict, ast.Call)))
    return [node.lineno for node in dicts if "type" in keys(node) and values(node) & ARGUMENT_TYPES]


def test_argument_specs_come_from_the_options() -> None:
    assert not [f"{relative(path)}:{line}" for path in python_files("modules") for line in argument_spec_literals(path.read_text())]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("AnsibleModule(argument_spec={'name': {'type': 'str'}})", [1]),
        ("AnsibleModule(argument_spec=dict(name=dict(type='str')))", [1]),
        ("spec = argument_spec(Run)\nspec['name'] = {'type': 'str', 'required': True}", [2]),
        ("AnsibleModule(argument_spec={**argument_spec(Run), 'x': known.argument()})", []),
        ("name: str = option(type='str')", []),
        ("event = {'type': 'AVC'}", []),
    ],
)
def test_a_written_out_argument_spec_is_seen(source: str, lines: list[int]) -> None:
    assert argument_spec_literals(source) == lines


# A place that exists on one machine only has no business in files that others get.
MACHINE_PATHS = [path for path in (str(CHECKOUT), sys.base_prefix) if len(Path(path).parts) > 2]


def tracked_files() -> list[Path]:
    command = ["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return [CHECKOUT / name for name in names if name and (CHECKOUT / name).is_file()]


def test_no_file_names_a_place_of_one_machine() -> None:
    found = [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in tracked_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if any(re.search(rf"(?<![\w.]){re.escape(place)}\b", line) for place in MACHINE_PATHS)
    ]
    assert not found


def test_every_file_says_its_licence() -> None:
    said = "SPDX-License-Identifier: GPL-3.0-or-later"
    texts = {path: path.read_text() for path in tracked_files() if path.suffix in (".py", ".sh", ".yml", ".toml", ".cil")}
    assert not [relative(path) for path, text in texts.items() if text and said not in "".join(text.splitlines()[:6])]


def test_threat_12_labels_are_read_and_written_raw() -> None:
    """What mcstransd makes of a level can be anything; the binding's calls that ask it have a raw sister."""
    cooked = re.compile(r"selinux\.(?!\w+_raw\b)(?:\w*(?:con|context|compute_\w+))\(")
    assert cooked.search("selinux.getfilecon(path)")
    assert not cooked.search("selinux.getfilecon_raw(path)")
    found = {str(path): cooked.findall(path.read_text(encoding="utf-8")) for path in (CHECKOUT / "plugins").rglob("*.py")}
    assert {path: calls for path, calls in found.items() if calls} == {}
