# SPDX-License-Identifier: GPL-3.0-or-later
"""What units' files are merged into: on the host, in a sandbox, and compared with what systemd itself makes of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host import systemd
from ansible_collections.virt.sandbox.plugins.module_utils.model import unit_file, unit_fit
from ansible_collections.virt.sandbox.plugins.module_utils.model.unit_file import UnitFile
from ansible_collections.virt.sandbox.plugins.module_utils.model.unit_tree import Texts, UnitTree, drop_in_names
from hypothesis import assume, given, settings
from hypothesis import strategies as st


@pytest.fixture
def place(tmp_path: Path) -> Path:
    files = {
        "usr/a@.service": "[Service]\nUser=%i\n",
        "usr/a@.service.d/10-x.conf": "[Service]\nGroup=x\n",
        "usr/a@x.service.d/20-y.conf": "[Service]\nGroup=y\n",
        "usr/a@x.service.d/README": "[Service]\nGroup=z\n",
        "usr/b.service": "[Unit]\nWants=a@x.service c.service\n",
        "usr/d.socket": "[Socket]\nListenStream=1\n",
        "usr/d.service": "[Service]\n",
        "etc/e.service": "[Service]\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "usr/b.service.wants").mkdir()
    (tmp_path / "usr/b.service.wants/d.socket").symlink_to("../d.socket")
    (tmp_path / "usr/gone.service").symlink_to("/dev/null")
    return tmp_path


def files(place: Path, *units: str) -> dict[str, UnitFile]:
    known = systemd.units_in([str(place / "usr")], str(place / "etc"), str(place / "run"))
    return unit_file.brought(units, known.find)


def test_units_are_read_with_all_that_they_bring_along(place: Path) -> None:
    found = files(place, "b.service", "e.service")
    assert sorted(found) == ["a@x.service", "b.service", "d.service", "d.socket", "e.service"]
    assert (found["a@x.service"].last("User"), found["a@x.service"].last("Group")) == ("x", "y")


def test_text_in_another_encoding_is_read(place: Path) -> None:
    (place / "usr/l.service").write_bytes("# café\n[Service]\nUser=l\n".encode("latin-1"))
    assert files(place, "l.service")["l.service"].last("User") == "l"


def test_what_the_host_says_of_all_services_is_not_copied_and_does_not_count(place: Path) -> None:
    for directory in ("service.d", "e.service.d"):
        (place / "etc" / directory).mkdir()
        (place / "etc" / directory / f"{directory}.conf").write_text("[Service]\nUser=x\n")
    assert files(place, "e.service")["e.service"].drop_ins == [f"{place}/etc/e.service.d/e.service.d.conf"]


def test_another_name_of_an_administrators_unit_is_that_unit(place: Path) -> None:
    (place / "etc/other.service").symlink_to("e.service")
    found = files(place, "other.service")["other.service"]
    assert (found.name, found.path, found.aliases) == ("e.service", f"{place}/etc/e.service", ["other.service"])


def test_a_link_to_an_instance_is_another_name_of_it_though_only_the_template_is_there(place: Path) -> None:
    (place / "usr/c@x.service").symlink_to("a@x.service")
    assert {name: unit.name for name, unit in files(place, "a@x.service", "c@x.service").items()} == dict.fromkeys(
        ("a@x.service", "c@x.service"), "a@x.service"
    )
    assert files(place, "a@x.service")["a@x.service"].aliases == ["c@x.service"]


def test_a_name_that_only_the_hosts_etc_gives_to_a_unit_in_usr_is_none(place: Path) -> None:
    (place / "etc/other.service").symlink_to(place / "usr/d.service")
    assert not files(place, "other.service")


def test_the_hosts_usr_comes_before_its_administrator(place: Path) -> None:
    (place / "etc/d.service").write_text("[Service]\nUser=x\n")
    assert files(place, "d.service")["d.service"].path == str(place / "usr/d.service")


@pytest.mark.parametrize(("mask", "name"), [("a@.service", "a@x.service"), ("a@x.service", "a@x.service"), ("d.service", "d.socket")])
def test_a_masked_unit_is_refused(place: Path, mask: str, name: str) -> None:
    (place / "etc" / mask).symlink_to("/dev/null")
    assert f"is masked by {place}/etc/{mask}" in unit_fit.obstacle(name, files(place, name))


def test_a_unit_that_its_package_masks_is_refused(place: Path) -> None:
    assert unit_fit.obstacle("gone.service", files(place, "gone.service")) == f"It is masked by {place}/usr/gone.service."


@pytest.mark.parametrize(
    ("name", "directories"),
    [
        ("foo.service", ["foo.service"]),
        ("foo-bar-baz.service", ["foo-bar-baz.service", "foo-bar-.service", "foo-.service"]),
        ("foo@x-y.service", ["foo@x-y.service", "foo@.service"]),
        (
            "foo-bar@x.service",
            ["foo-bar@x.service", "foo-bar@.service", "foo-.service", "foo-@x.service", "foo-@.service"],
        ),
        ("-foo-.service", ["-foo-.service"]),
    ],
)
def test_the_directories_that_add_to_a_unit(name: str, directories: list[str]) -> None:
    assert list(drop_in_names(name)) == directories


def test_files_that_are_not_anywhere_yet_are_merged_too() -> None:
    usr = Texts("/usr", {"a.service": "[Service]\nUser=a\n", "a.service.d/1.conf": "[Service]\nGroup=a\n"})
    etc = Texts("/etc", {"a.service.d/1.conf": "[Service]\nUser=b\n", "service.d/0.conf": "[Service]\nUser=c\nGroup=c\n"})
    found = UnitTree([etc, usr]).find("a.service")
    assert found
    assert (found.last("User"), found.last("Group")) == ("b", "c")
    assert found.drop_ins == ["/etc/service.d/0.conf", "/etc/a.service.d/1.conf"]


# Compared with systemd

# the same few in each run, unless more are asked for
MORE = os.environ.get("UNIT_TREE_EXAMPLES")
PLACES = ("etc", "run", "local", "usr")
SERVICES = ("foo-bar.service", "foo-bar@.service", "foo-bar@x.service", "other.service", "other@.service", "other@x.service")
NAMES = (*SERVICES, "foo-bar.target")
ASKED = (
    "foo-bar.service",
    "foo-bar@x.service",
    "foo-bar@y.service",
    "other.service",
    "other@x.service",
    "other@y.service",
    "foo-bar.target",
)
PREFIXES = ("foo-.service", "foo-@.service", "foo-@x.service", "service", "foo-.target", "target")
LINES = (
    "[Unit]", "[Unit]", "[Service]", "[Service]", "[Service]", "[Install]", "[X-Foo]", "# \udce9", "  ; x", "", "nonsense",
    "Requires=dep-1.service dep-2.service", "Requires=dep\\x2d3.service", "Requires=", "Requires=dep-%i.service", "Wants=dep-1.service \\",
    "Wants=dep-4.service", "BindsTo=dep-5.service", "Requisite=", "ConditionPathExists=/a", "ConditionHost=|!b", "ConditionUser=",
    "AssertPathExists=/c", "AssertHost=", "User=a", "User=b", "Description=x \\", "User=", "Group=%p", "Group=", "DynamicUser=yes",
    "DynamicUser=no", "ReadWritePaths=/a\\x41 '/b c'", "ReadWritePaths=", "ReadWriteDirectories=/d", "StateDirectory=a\\x41 b",
    "StateDirectory=",
    "ExecStart=/bin/x\\x41 caf\\xc3\\xa9 \\", "ExecStart=/bin/y 'z\\u00e9'", "ExecStart=",
)  # fmt: skip
TEXTS = st.one_of(
    st.lists(st.sampled_from(LINES), max_size=8).map("\n".join),
    st.lists(st.sampled_from((*LINES, "User=\udce9", "[Unit")), max_size=8).map("\n".join),
)
# an entry of a directory of units: a text, or, after an arrow, where a link leads
LINKS = st.sampled_from(("->/dev/null", "->../gone"))
UNIT = TEXTS.map(lambda text: f"[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStop=/bin/true\n{text}")
ALIAS = st.builds(lambda place, name: f"->../{place}/{name}", st.sampled_from((*PLACES, "linked")), st.sampled_from(NAMES))
DEPENDENCIES = st.sampled_from(("dep-6.service", "dep-7.service", "dep-8@.service", "dep-9@x.service", "nonsense"))


def paths(names: tuple[str, ...], suffix: str) -> Any:
    return st.builds(lambda place, name: f"{place}/{name}{suffix}", st.sampled_from(PLACES), st.sampled_from(names))


def beside(suffix: str, files: Any, entries: Any, most: int) -> Any:
    keys = st.builds(lambda directory, file: f"{directory}/{file}", paths(NAMES + PREFIXES, suffix), files)
    return st.dictionaries(keys, entries, max_size=most)


TREES = st.builds(
    lambda *parts: {path: entry for part in parts for path, entry in part.items()},
    st.dictionaries(paths(NAMES, ""), UNIT | UNIT | ALIAS | ALIAS | LINKS | st.just(""), min_size=1, max_size=6),
    beside(".d", st.sampled_from(("1.conf", "2.conf", "a.conf", ".h.conf", "x.txt")), TEXTS | TEXTS | TEXTS | LINKS | st.just(""), 8),
    beside(".wants", DEPENDENCIES, st.just("->../gone") | LINKS | st.sampled_from(("", "[Unit]")), 4),
    beside(".requires", DEPENDENCIES, st.just("->../gone") | LINKS, 2),
)


def lay_out(top: Path, tree: dict[str, str]) -> None:
    for place in (*PLACES, "linked"):
        (top / place).mkdir()
    for name in SERVICES:
        (top / "linked" / name).write_text(
            "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStop=/bin/linked\nUser=linked\n"
        )
    for path, entry in tree.items():
        (top / path).parent.mkdir(exist_ok=True)
        if entry.startswith("->"):
            (top / path).symlink_to(entry[2:])
        else:
            (top / path).write_bytes(entry.encode("utf-8", "surrogateescape"))


def by_systemd(top: Path, name: str) -> dict[str, Any]:
    """What systemd-analyze says of a unit that it has loaded from the directories, without a manager that runs."""
    places = ":".join(str(top / place) for place in PLACES)
    environment = {"PATH": os.environ["PATH"], "SYSTEMD_UNIT_PATH": places, "SYSTEMD_LOG_LEVEL": "debug", "LC_ALL": "C.UTF-8"}
    command = ["systemd-analyze", "--man=no", "--generators=no", "verify", name]
    answer = subprocess.run(command, env=environment, cwd=top, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False)
    if f"Unit {name} is masked." in answer.stderr:
        return {"state": "masked"}
    dump = re.split(r"^\t-> Unit ", answer.stdout, flags=re.MULTILINE)[1:]
    if not dump:
        assert re.search(f"Unit {re.escape(name)} (not found|failed to load properly|has a bad unit file setting)", answer.stderr), (
            answer.stderr
        )
        return {"state": "not found" if f"Unit {name} not found" in answer.stderr else "fault"}
    return understood(dump[0])


def understood(dump: str) -> dict[str, Any]:
    fields: dict[str, list[str]] = {}
    for line in dump.splitlines()[1:]:
        key, _colon, value = line.strip().partition(": ")
        fields.setdefault(key, []).append(value)
    own = {
        key: {value.partition(" ")[0] for value in fields.get(key, ()) if value.startswith("dep") and "origin-file" in value}
        for key in ("Requires", "Requisite", "BindsTo", "Wants")
    }
    conditions = [
        f"{key}: {value.split()[0]}" for key in fields if key.startswith(("Condition", "Assert")) for value in fields[key] if "/" in value
    ]
    return {
        "state": "loaded",
        "name": dump.partition(":\n")[0],
        "files": [*fields.get("Fragment Path", ()), *fields.get("DropIn Path", ())],
        "aliases": sorted(fields.get("Alias", ())),
        **own,
        **{key: fields.get(key, [""])[-1] for key in ("User", "Group")},
        "DynamicUser": fields.get("DynamicUser", ["no"])[-1] == "yes",
        "ReadWritePaths": fields.get("ReadWritePaths", [""])[0].split(" ") if "ReadWritePaths" in fields else [],
        "StateDirectory": fields.get("StateDirectory", []),
        "ExecStart": dump.partition("-> ExecStart:")[2].partition("-> ExecStop:")[0].count("Command Line:"),
        "conditions": sorted(conditions),
    }


def by_tree(top: Path, name: str) -> dict[str, Any]:
    """The same of what is under test."""
    unit = UnitTree([systemd.Place(str(top / place)) for place in PLACES]).find(name)
    if not unit or unit.masked or unit.fault:
        return {"state": "not found" if not unit else "masked" if unit.masked else "fault"}
    return {
        "state": "loaded",
        "name": unit.name,
        "files": [unit.path, *unit.drop_ins],
        "aliases": sorted(unit.aliases),
        **{key: {word for word in unit.units(key) if word.startswith("dep")} for key in ("Requires", "Requisite", "BindsTo", "Wants")},
        **{key: unit.last(key) for key in ("User", "Group")},
        "DynamicUser": unit.yes("DynamicUser"),
        "ReadWritePaths": " ".join(unit.words("ReadWritePaths")).split(" ") if unit.words("ReadWritePaths") else [],
        # systemd makes a directory that is named twice once
        "StateDirectory": list(dict.fromkeys(unit.words("StateDirectory"))),
        "ExecStart": len(unit.all("ExecStart")),
        "conditions": sorted(
            f"{key}: {value}"
            for _section, key in unit.settings
            for value in unit.all(key)
            if "/" in value and key.startswith(("Condition", "Assert"))
        ),
    }


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed: install the package systemd")
@settings(max_examples=int(MORE or 60), deadline=None, derandomize=not MORE)
@given(TREES, st.sampled_from(ASKED))
def test_units_are_merged_as_systemd_merges_them(tree: dict[str, str], name: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory).resolve()
        lay_out(top, tree)
        known = by_tree(top, name)
        # which of several other names comes first is a matter of systemd's hash table
        assume(len(known.get("aliases", ())) < 2)
        answer = by_systemd(top, name)
        if answer.get("DynamicUser"):
            # systemd has filled them in
            known.update(User="", Group="")
            answer.update(User="", Group="")
        assert known == answer
