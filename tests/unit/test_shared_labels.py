# SPDX-License-Identifier: GPL-3.0-or-later
"""Levels that hosts decide between them: what the action plugins make of what hosts say. The hosts here are registries in files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleLookupError
from ansible.parsing.dataloader import DataLoader
from ansible_collections.virt.sandbox.plugins.action import mcs_label, mcs_label_info
from ansible_collections.virt.sandbox.plugins.lookup import mcs_levels
from ansible_collections.virt.sandbox.plugins.module_utils.engine import label_run
from ansible_collections.virt.sandbox.plugins.module_utils.host import levels_in_use
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError
from ansible_collections.virt.sandbox.plugins.module_utils.model.level_request import RegistryOptions, Request
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import POLICY_RANGE, InUse, Level

MODULES = {"virt.sandbox.mcs_label": label_run.run_label, "virt.sandbox.mcs_label_info": label_run.run_label_info}
ACTIONS = {"mcs_label": mcs_label.ActionModule, "mcs_label_info": mcs_label_info.ActionModule}
CONNECTION = SimpleNamespace(has_native_async=False, _shell=SimpleNamespace(tmpdir=None))
DEFAULTS = {"category_range": "c0.c1023", "state": "present"}


class Task:
    """As much of a task as an action looks at."""

    action = "mcs_label"
    async_val = 0
    delegate_to: str | None = None
    collections: tuple[str, ...] = ()

    def __init__(self, arguments: dict[str, Any], check_mode: bool) -> None:
        self.args, self.check_mode, self.diff = arguments, check_mode, True


Act = Callable[..., dict[str, Any]]


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    return tmp_path / "levels.lock.yml"


@pytest.fixture
def act(tmp_path: Path, lock_file: Path, monkeypatch: pytest.MonkeyPatch) -> Act:
    """An action for a host, of which ``in_use`` is what it carries."""
    monkeypatch.setattr(label_run, "require_root", lambda: None)
    monkeypatch.setattr(levels_in_use, "declared", set)

    def call(
        host: str,
        action: str = "mcs_label",
        in_use: tuple[InUse, ...] = (),
        check_mode: bool = False,
        delegate_to: str = "",
        **arguments: Any,
    ) -> dict[str, Any]:
        monkeypatch.setattr(label_run, "observe", lambda search: list(in_use))
        task = Task({"registry": f"yaml://{lock_file}", **arguments}, check_mode)
        task.delegate_to = delegate_to
        plugin = ACTIONS[action](task, CONNECTION, None, None, None, None)

        def module(name: str, given: dict[str, Any]) -> dict[str, Any]:
            place = tmp_path / (delegate_to or host)
            place.mkdir(exist_ok=True, parents=True)
            try:
                return MODULES[name]({**DEFAULTS, "registry": f"sqlite:///{place}/labels.db", **given}, check_mode)
            except SandboxError as error:
                return {"failed": True, "msg": str(error)}

        monkeypatch.setattr(plugin, "module", module)
        return plugin.run(task_vars={"inventory_hostname": host})

    return call


def test_hosts_have_no_level_between_them_twice_and_each_records_its_own(act: Act, lock_file: Path) -> None:
    assert act("one", name="web")["level"] == "s0:c0,c1"
    assert act("two", sandboxes=[{"name": "web"}, {"name": "db"}])["levels"] == {"web": "s0:c0,c2", "db": "s0:c1,c2"}
    assert yaml.safe_load(lock_file.read_text())["levels"] == {"one/web": "s0:c0,c1", "two/web": "s0:c0,c2", "two/db": "s0:c1,c2"}
    assert act("two", "mcs_label_info")["levels"] == {"one/web": "s0:c0,c1", "two/web": "s0:c0,c2", "two/db": "s0:c1,c2"}


def test_check_mode_foresees_it_and_a_second_run_changes_nothing(act: Act, lock_file: Path) -> None:
    foreseen = act("one", name="web", check_mode=True)
    assert not lock_file.exists()
    done = act("one", name="web")
    assert {key: foreseen[key] for key in ("changed", "level", "steps", "diff")} == {
        key: done[key] for key in ("changed", "level", "steps", "diff")
    }
    assert done["steps"] == {"web": ["allocate", "record: assign"]}
    again = act("one", name="web")
    assert (again["changed"], again["steps"], again["diff"]) == (False, {}, [])


def recorded(tmp_path: Path, host: str, request: Request) -> None:
    """What a host's own registry has from another time."""
    (tmp_path / host).mkdir(exist_ok=True)
    options = RegistryOptions(category_range=POLICY_RANGE, registry=f"sqlite:///{tmp_path}/{host}/labels.db")
    label_run.decide(options, [request], lambda search: [], False)


def test_a_level_that_the_host_had_given_is_kept(act: Act, tmp_path: Path) -> None:
    recorded(tmp_path, "one", Request("web", True, Level.parse("s0:c7,c8")))
    assert act("one", name="web")["level"] == "s0:c7,c8"
    assert act("one", name="other", level="s0:c7,c9")["level"] == "s0:c7,c9"


def test_a_level_that_only_the_content_carries_is_kept(act: Act) -> None:
    """As where a file of SQLite that is not the default gave it."""
    carried = (InUse(Level.parse("s0:c7,c8"), "content", "web"), InUse(Level.parse("s0:c9"), "content", "other"))
    assert act("one", name="web", in_use=carried)["level"] == "s0:c7,c8"
    assert act("one", name="db", in_use=carried)["level"] == "s0:c0,c1"


def test_a_level_that_no_policy_has_is_an_error_that_names_the_host(act: Act) -> None:
    refused = act("one", name="web", in_use=(InUse(Level.of([5000]), "process", "x"),))
    assert refused["failed"]
    assert (
        "one: mcs_label_info returned a level in use that is invalid: expected categories of the policy, c0 to c1023, which has no c5000"
        in refused["msg"]
    )


def test_what_was_edited_in_the_file_holds_on_the_host(act: Act, lock_file: Path) -> None:
    act("one", name="web")
    lock_file.write_text(lock_file.read_text().replace("s0:c0,c1", "s0:c40,c41"))
    result = act("one", name="web")
    assert (result["level"], result["steps"]) == ("s0:c40,c41", {"web": ["record: assign"]})


def test_what_the_host_carries_is_not_given(act: Act) -> None:
    machine = InUse(Level.parse("s0:c0"), "machine", "vm")
    assert act("one", name="web", in_use=(machine,))["level"] == "s0:c1,c2"
    refused = act("one", name="db", level="s0:c0,c5", in_use=(machine,))
    assert refused["failed"]
    assert "in use on this host by machine one/vm (s0:c0)" in refused["msg"]


def test_a_released_level_rests_until_its_own_host_was_searched(act: Act) -> None:
    act("one", name="web")
    assert act("one", name="web", state="absent")["steps"] == {"web": ["release", "record: release"]}
    # only the host that had it can say that nothing there carries it any more
    assert act("two", name="web")["level"] == "s0:c0,c2"
    carried = InUse(Level.parse("s0:c0,c1"), "file", "/var/lib/libvirt/filesystems/web/x")
    assert act("one", name="db", in_use=(carried,))["level"] == "s0:c1,c2"
    assert act("one", name="mail")["level"] == "s0:c0,c1"


def test_a_level_that_the_host_still_records_is_given_to_nobody(act: Act, tmp_path: Path) -> None:
    """As after a run that was cut off between the two records, and of a sandbox that no play names any more."""
    recorded(tmp_path, "one", Request("old", True, Level.parse("s0:c0,c1")))
    assert act("one", name="web")["level"] == "s0:c0,c2"


def test_a_level_that_rests_on_the_host_and_is_carried_is_given_to_nobody_else(act: Act, tmp_path: Path) -> None:
    """As where a released sandbox's tree was given another name: the host would not take it down as the other's."""
    recorded(tmp_path, "one", Request("old", True, Level.parse("s0:c0,c1")))
    recorded(tmp_path, "one", Request("old", False))
    carried = InUse(Level.parse("s0:c0,c1"), "content", "web")
    given = act("one", name="web", in_use=(carried,))
    assert not given.get("failed"), given
    assert given["level"] == "s0:c0,c2"


def test_the_host_is_the_one_on_which_it_is_done(act: Act, lock_file: Path) -> None:
    for host in ("one", "two"):
        act("localhost", name="web", delegate_to=host)
    assert yaml.safe_load(lock_file.read_text())["levels"] == {"one/web": "s0:c0,c1", "two/web": "s0:c0,c2"}


def test_a_host_whose_name_begins_another_says_nothing_of_it(act: Act) -> None:
    act("a/b", name="web")
    act("a/b", name="web", state="absent")
    assert act("a", name="web")["level"] == "s0:c0,c2"
    assert act("a", "mcs_label_info")["quarantine"] == [{"level": "s0:c0,c1", "owner": "a/b/web", "carried_by": None}]


def test_conflicts_are_those_of_the_host_that_is_asked(act: Act) -> None:
    act("two", name="web")
    container = InUse(Level.parse("s0:c0,c1"), "container", "x")
    assert act("one", "mcs_label_info", in_use=(container,))["conflicts"] == []
    assert len(act("two", "mcs_label_info", in_use=(container,))["conflicts"]) == 1


def test_a_link_to_the_file_stays_one_and_its_mode_too(act: Act, lock_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere" / "levels.yml"
    file.parent.mkdir()
    file.write_text("levels: {}")
    file.chmod(0o640)
    lock_file.symlink_to(file)
    act("one", name="web")
    assert lock_file.is_symlink()
    assert (file.stat().st_mode & 0o777, yaml.safe_load(file.read_text())["levels"]) == (0o640, {"one/web": "s0:c0,c1"})


@pytest.mark.parametrize(
    ("registry", "says"),
    [
        ("postgresql://levels:secret@db/levels", "without a password"),
        ("postgresql://db/levels?password=secret", "without a password"),
        ("postgres://levels:secret@db/levels", "without a password"),
        ("postgresql://[::1/levels", "expected the URL"),
    ],
)
def test_a_url_that_cannot_be_is_refused_and_no_password_shown(act: Act, registry: str, says: str) -> None:
    refused = act("one", "mcs_label", name="web", registry=registry)
    assert refused["failed"]
    assert says in refused["msg"]
    assert "secret" not in refused["msg"]


BAD_FILES = [
    (
        "levels: {one/a: 's0:c1,c2'}\nquarantine: {'s0:c1': two/b}",
        r"one/a \(s0:c1,c2\) and s0:c1, which rests until nothing of two/b carries it any more, are not separate",
    ),
    ("levels: {one/a: 's0:c1,c2', one/b: 's0:c1'}", r"one/a \(s0:c1,c2\) and one/b \(s0:c1\) are not separate"),
    (
        "levels: {a: 's0:c1,c2', b: 's0:c2,c1', c: s0:c3, d: 's0:c3,c4'}\nquarantine: {s0:c3: e}",
        r"a \(s0:c1,c2\) and b \(s0:c1,c2\) .* c \(s0:c3\) and d .* c \(s0:c3\) and s0:c3, which rests .* e .* d \(s0:c3,c4\) and s0:c3",
    ),
    ("levels: {level 's0:c2000' of one/a}", "level 's0:c2000' of one/a"),
    ("levels: {one/a: s0}", "level 's0' of one/a"),
    ("levels: {one/a: 's0:c1,c1'}", "expected different categories"),
    ("levels: {one/a: 5}", "level '5' of one/a"),
    ("levels: {one/a: [5]}", "The value of levels is not a mapping of texts"),
    ("levels: {[one, a]: 's0:c1,c2'}", "unhashable"),
    ("categories: -1\nlevels: {}", "The value of categories is '-1', not a number from 1 to 8"),
    ("categories: 2.0\nlevels: {}", "The value of categories is '2.0', not a number from 1 to 8"),
    ("categories: true\nlevels: {}", "The value of categories is 'true', not a number from 1 to 8"),
    ("categories: [2]\nlevels: {}", "not a number from 1 to 8"),
    ("levels: []", "It has no mapping named levels"),
    ("format: 9\nlevels: {}", "format 9"),
    ("a: [", "a file of levels as mcs_label writes it"),
    ("[" * 3000, "a file of levels as mcs_label writes it"),
    ("levels:\n  one/a: s0:c0,c1\nlevels:\n  one/b: s0:c2,c3\n", r"These keys occur twice: 'levels' in line 3"),
    ("levels:\n  one/a: s0:c0,c1\n  one/b: s0:c2,c3\n  one/a: s0:c4,c5\n  'one/b': s0:c6,c7\n", "'one/a' in line 4, 'one/b' in line 5"),
    ("levels: {}\nquarantine: {'s0:c0,c1': one/a, 's0:c1,c0': one/b}", "Level s0:c0,c1 is in quarantine twice, for one/a and for one/b"),
    ("levels: {}\nquarantine: {'s0:c0,c1': one/a, 's0:c0,c1': one/b}", "'s0:c0,c1' in line 2"),
    ("base: &base {one/a: 's0:c0,c1'}\nlevels:\n  <<: *base\n", "Its key 'base' is not one of format, categories, levels, quarantine"),
    ("levels:\n  <<: {one/a: 's0:c0,c1'}\n", "The value of levels is not a mapping of texts"),
    ("levels: &all {one/a: *all}", "recursive"),
    ("levels: {one/a: 's0:c0,c1'}\nlevles: {one/b: 's0:c2,c3'}", "Its key 'levles' is not one of format"),
    ("<<<<<<< HEAD\nlevels: {}\n", "a file of levels as mcs_label writes it"),
    ("levels: {}\n---\nlevels: {one/a: 's0:c0,c1'}\n", "expected a single document"),
    ('levels: {"one/a\\e[2J": "s0:c0,c1"}', r"'one/a\\x1b\[2J' is not a text"),
    ("levels: {'': 's0:c0,c1'}", "The owner '' is not a text"),
]


@pytest.mark.parametrize(("text", "says"), BAD_FILES)
def test_a_file_that_says_what_cannot_be_fails_before_a_host_is_asked(act: Act, lock_file: Path, text: str, says: str) -> None:
    lock_file.write_text(text)
    refused = act("one", name="web")
    assert not (lock_file.parent / "one").exists()
    assert refused["failed"]
    assert re.search(says, refused["msg"])
    assert lock_file.read_text() == text
    with pytest.raises(AnsibleLookupError, match=says):
        read_by_a_check(lock_file)


def read_by_a_check(path: Path) -> list[dict[str, str]]:
    return mcs_levels.LookupModule(loader=DataLoader()).run([str(path)], {})


@pytest.mark.parametrize(
    "text",
    [
        "format: 1\ncategories: 2\nlevels:\n  one/web: s0:c3,c2\nquarantine:\n  s0:c0,c1: one/old\n",
        "levels: {one/web: 's0:c3,c2'}\nquarantine:\n",
        "\ufefflevels:\r\n  one/web: s0:c3,c2\r\n",
    ],
)
def test_a_file_is_the_same_to_a_run_and_to_a_check_of_the_repository(act: Act, lock_file: Path, text: str) -> None:
    lock_file.write_bytes(text.encode())
    assert read_by_a_check(lock_file) == [{"one/web": "s0:c2,c3"}]
    assert act("one", name="web")["level"] == "s0:c2,c3"
    assert act("one", name="db", level="s0:c8,c9")["changed"]
    assert read_by_a_check(lock_file) == [{"one/web": "s0:c2,c3", "one/db": "s0:c8,c9"}]
    assert ("s0:c0,c1: one/old" in lock_file.read_text()) == ("one/old" in text)


def test_a_check_of_a_file_that_is_not_there_fails(tmp_path: Path) -> None:
    with pytest.raises(AnsibleLookupError, match="does not exist"):
        read_by_a_check(tmp_path / "other.yml")


def test_a_directory_is_no_lock_file(act: Act, lock_file: Path) -> None:
    lock_file.mkdir()
    assert "It is not a regular file" in act("one", name="web")["msg"]


COMMENTED = """\
# Our levels.

format: 1   # of mcs_label
categories: 2
# all of them
levels:   # by host
  # the oldest
  one/web: s0:c3,c2   # as in 2019

  # in the cellar
  two/db:  's0:c8,c9'  # never change
  one/app: s0:c4,c5
# what was
quarantine:
  # was moved
  s0:c7,c6: one/old   # until May
# the end
"""


def test_what_a_person_wrote_in_a_lock_file_stays_in_its_place(act: Act, lock_file: Path) -> None:
    lock_file.write_text(COMMENTED)
    carried = (InUse(Level.parse("s0:c6,c7"), "file", "/srv/x"),)
    act("one", name="web", in_use=carried)
    assert lock_file.read_text() == COMMENTED
    act("one", name="new", in_use=carried)
    act("one", name="zoo", level="s0:c20,c21", in_use=carried)
    added = COMMENTED.replace("  one/app: s0:c4,c5\n", "  one/app: s0:c4,c5\n  one/new: s0:c0,c1\n  one/zoo: s0:c20,c21\n")
    assert lock_file.read_text() == added
    act("one", name="zoo", state="absent", in_use=carried)
    act("one", name="new", state="absent", in_use=carried)
    resting = COMMENTED.replace("quarantine:\n", "quarantine:\n  s0:c0,c1: one/new\n  s0:c20,c21: one/zoo\n")
    assert lock_file.read_text() == resting
    act("one", name="app", level="s0:c30,c31", in_use=carried)
    assert "\n  one/app: s0:c30,c31\n# what was\n" in lock_file.read_text()
    for name in ("web", "app"):
        act("one", name=name, state="absent", in_use=carried)
    act("two", name="db", state="absent", in_use=carried)
    emptied = lock_file.read_text()
    assert "\nlevels: {}   # by host\n  # the oldest\n\n  # in the cellar\n# what was\n" in emptied
    act("two", name="db", in_use=carried)
    assert lock_file.read_text().splitlines()[5:8] == ["levels:   # by host", "  two/db: s0:c8,c9", "  # the oldest"]
    assert all(line in emptied.splitlines() for line in COMMENTED.splitlines() if "#" in line and "/" not in line and "levels:" not in line)


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("levels: {} # none\n", "categories: 2\nlevels: # none\n  one/a: s0:c0,c1\n"),
        ("levels:\n    one/b: s0:c8,c9", "categories: 2\nlevels:\n    one/a: s0:c0,c1\n    one/b: s0:c8,c9\n"),
        ("levels: {one/b: 's0:c9,c8'}  # one\n", "categories: 2\nlevels: {one/b: 's0:c8,c9', one/a: 's0:c0,c1'}  # one\n"),
        (
            "# x\r\nlevels:\r\n  one/b: s0:c8,c9 # y\r\n",
            "# x\r\ncategories: 2\r\nlevels:\r\n  one/a: s0:c0,c1\r\n  one/b: s0:c8,c9 # y\r\n",
        ),
        ("categories:\nlevels: {}\nquarantine:\n", "categories: 2\nlevels:\n  one/a: s0:c0,c1\nquarantine:\n"),
        ('"levels" :\n  ? one/b\n  : s0:c8,c9\n', 'categories: 2\n"levels" :\n  one/a: s0:c0,c1\n  ? one/b\n  : s0:c8,c9\n'),
    ],
)
def test_a_lock_file_that_a_person_made_keeps_its_form(act: Act, lock_file: Path, text: str, after: str) -> None:
    lock_file.write_bytes(text.encode())
    assert act("one", name="a")["changed"]
    assert lock_file.read_bytes().decode() == after
    act("one", name="a", state="absent")
    assert "quarantine:\n  s0:c0,c1: one/a\n" in lock_file.read_text()
    assert all(line in lock_file.read_text() for line in text.splitlines() if "one/b" in line and "{" not in line)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{levels: {one/a: 's0:c8,c9'}}\n", "each level on a line of its own"),
        ("categories: 2\nlevels: {one/b: 's0:c8,c9',  # b\n  one/c: 's0:c5,c6'}\n", "each level on a line of its own"),
        ("categories: 2\nlevels:\n  one/a: s0:c5,c6\n...\n", "each level on a line of its own"),
    ],
)
def test_a_lock_file_that_cannot_be_changed_in_place_is_left_alone(act: Act, lock_file: Path, text: str, says: str) -> None:
    lock_file.write_text(text)
    assert says in act("one", name="a", level="s0:c1,c2")["msg"]
    assert lock_file.read_text() == text


def test_an_owner_of_a_long_name_is_written_and_read(act: Act, lock_file: Path) -> None:
    host = "h" * 150
    act(host, name="web")
    act(host, name="db")
    assert read_by_a_check(lock_file) == [{f"{host}/web": "s0:c0,c1", f"{host}/db": "s0:c0,c2"}]
