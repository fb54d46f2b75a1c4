# SPDX-License-Identifier: GPL-3.0-or-later
"""From a declared content tree and an observed one to the steps between the two."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model import image, layout
from ansible_collections.virt.sandbox.plugins.module_utils.model.backend import Stored
from ansible_collections.virt.sandbox.plugins.module_utils.model.content_plan import (
    FOREIGN,
    Observed,
    Written,
    check,
    foreign,
    level_of,
    manifest,
    plan_content,
    reported,
)
from ansible_collections.virt.sandbox.plugins.module_utils.model.content_steps import (
    AddAccounts,
    BuildContent,
    CopyPath,
    KeepOwn,
    Labelled,
    MountImage,
    Relabel,
    RemoveFiles,
    Source,
    TakeNewer,
    WriteFiles,
)
from ansible_collections.virt.sandbox.plugins.module_utils.model.disk import Limits
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import ConflictError, ContentError, OptionError
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import Level
from ansible_collections.virt.sandbox.plugins.module_utils.model.outdated import BOTH, GONE, NEWER, Accounts, Outdated
from ansible_collections.virt.sandbox.plugins.module_utils.model.plan import Plan
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ContentSpec, FileEntry
from ansible_collections.virt.sandbox.plugins.module_utils.model.steps import WriteFile

from .conftest import MakeContent

COPIED = "/var/lib/virt-sandbox/content/web.copied.json"
BUILDING = "/var/lib/libvirt/filesystems/.web.new"
ROOT = "/var/lib/libvirt/filesystems/web"
TOP = "system_u:object_r:virt_sandbox_root_t:s0:c1,c2"
OWN = "system_u:object_r:virt_sandbox_file_t:s0:c1,c2"
OLD = "system_u:object_r:virt_sandbox_file_t:s0:c7,c8"
OLD_TOP = "system_u:object_r:virt_sandbox_root_t:s0:c7,c8"
ELSEWHERE = {"format": 1, "name": "web", "path": "/srv/boxes/web"}

TYPE_ONLY = Labelled("etc/type", "system_u:object_r:etc_t:s0", OWN)
UNLABELLED = Labelled("etc/none", None, OWN)
STRANGER = Labelled("etc/theirs", "system_u:object_r:virt_sandbox_file_t:s0:c3,c4", OWN)


@pytest.fixture
def built(content: MakeContent) -> Callable[..., Observed]:
    """A tree as it should be, but for what is named."""

    def make(**changes: Any) -> Observed:
        return Observed(**{"manifest": manifest(content()), "stored": Stored(exists=True), "top_context": TOP, **changes})

    return make


Built = Callable[..., Observed]


def names(plan: Plan) -> list[str]:
    return [step.title for step in plan]


def only(plan: Plan, kind: type[Any]) -> Any:
    """The plan's one step of a class."""
    (step,) = [step for step in plan if isinstance(step, kind)]
    return step


class Recorded:
    """Hands that note what they are asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *given: self.calls.append((name, *given))


def done(plan: Plan) -> list[tuple[Any, ...]]:
    """What the plan's steps do."""
    hands = Recorded()
    for step in plan:
        step.apply(hands)
    return hands.calls


def relabelled(spec: ContentSpec, seen: Observed, mode: str) -> list[str]:
    """The paths that a run gives another label."""
    return [path for name, *given in done(plan_content(spec, "present", seen, mode)) if name == "relabel" for path in given[1]]


@pytest.mark.parametrize("half_made", [False, True])
def test_a_fresh_tree_is_claimed_before_it_is_built(content: MakeContent, half_made: bool) -> None:
    check(content(), Observed(half_made=half_made), "report")
    plan = plan_content(content(), "present", Observed(half_made=half_made), "report")
    assert names(plan) == ["write the record of the content", "build the content"]
    record, build = only(plan, WriteFile), only(plan, BuildContent)
    assert json.loads(record.text) == {"format": 1, "name": "web", "path": ROOT}
    assert (record.path, record.mode) == ("/var/lib/virt-sandbox/content/web.json", 0o600)
    paths = content().paths
    assert (paths.building, paths.root, paths.copied) == (BUILDING, ROOT, COPIED)
    assert done(plan) == [("write_file", record.path, record.text, 0o600), ("build", content(), None, [], Limits())]
    before, after = build.change()
    assert (before is None) is not half_made
    assert after == {"path": ROOT, "level": "s0:c1,c2", "file_type": "virt_sandbox_file_t", "private": ["/etc/httpd"]}


def test_an_interrupted_run_that_has_claimed_goes_on(content: MakeContent) -> None:
    seen = Observed(manifest=manifest(content()), half_made=True)
    check(content(), seen, "report")
    assert names(plan_content(content(), "present", seen, "report")) == ["build the content"]


@pytest.mark.parametrize("mode", FOREIGN)
def test_a_tree_that_is_as_declared_needs_nothing(content: MakeContent, built: Built, mode: str) -> None:
    check(content(), built(running=True), mode)
    assert names(plan_content(content(), "present", built(running=True), mode)) == []


def test_what_is_missing_is_brought(content: MakeContent, built: Built) -> None:
    plan = plan_content(content(), "present", built(missing=["/etc/httpd", "/var/www"], unmounted=["/etc/alternatives"]), "report")
    assert names(plan) == ["copy /etc/httpd", "copy /var/www", "make a mount point for /etc/alternatives"]
    assert done(plan)[1] == ("copy", content(), "/var/www", [])
    (step,) = plan_content(content(), "present", built(missing=["/etc/httpd"], left_out=["/etc/httpd/key"]), "report")
    assert isinstance(step, CopyPath)
    assert step.without == ["/etc/httpd/key"]


FILE = {"path": "/etc/httpd/own.conf", "content": "a\n", "mode": "0644"}


WRITTEN = Written("a\n", "0644", 0, 0)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        pytest.param({}, ["write files"], id="missing"),
        pytest.param({FILE["path"]: dataclasses.replace(WRITTEN, content="b\n")}, ["write files"], id="another content"),
        pytest.param({FILE["path"]: dataclasses.replace(WRITTEN, mode="0666")}, ["write files"], id="another mode"),
        pytest.param({FILE["path"]: dataclasses.replace(WRITTEN, uid=33)}, ["write files"], id="another owner"),
        pytest.param({FILE["path"]: dataclasses.replace(WRITTEN, gid=33)}, ["write files"], id="another group"),
        pytest.param({FILE["path"]: WRITTEN}, [], id="as declared"),
    ],
)
def test_declared_files_are_written_where_they_differ(
    content: MakeContent, built: Built, there: dict[str, Written], expected: list[str]
) -> None:
    spec = content(files=[FILE])
    plan = plan_content(spec, "present", built(manifest=manifest(spec), files=there), "report")
    assert names(plan) == expected
    for step in plan:
        assert done(plan) == [("write_files", spec, list(spec.files))]
        assert step.change()[1] == {FILE["path"]: "a\n", f"{FILE['path']} (mode, owner, group)": "0644 0 0"}


USERS, GROUPS = {"root": "0", "www": "33"}, {"root": "0", "adm": "4"}


@pytest.mark.parametrize(
    ("owner", "group", "uid", "gid"),
    [("www", "adm", 33, 4), ("33", "4", 33, 4), ("root", "root", 0, 0), ("4294967294", "0", 4294967294, 0)],
)
def test_owner_and_group_are_compared_by_number(content: MakeContent, built: Built, owner: str, group: str, uid: int, gid: int) -> None:
    spec = content(files=[{**FILE, "owner": owner, "group": group}])
    seen = built(manifest=manifest(spec), users=USERS, groups=GROUPS, files={FILE["path"]: Written("a\n", "0644", uid, gid)})
    check(spec, seen, "report")
    assert names(plan_content(spec, "present", seen, "report")) == []
    for other in (Written("a\n", "0644", uid + 1, gid), Written("a\n", "0644", uid, gid + 1)):
        seen = dataclasses.replace(seen, files={FILE["path"]: other})
        assert names(plan_content(spec, "present", seen, "report")) == ["write files"]


@pytest.mark.parametrize(
    ("option", "value", "known"),
    [
        pytest.param("owner", "adm", {}, id="no user of this name"),
        pytest.param("group", "www", {}, id="no group of this name"),
        pytest.param("owner", "x", {"x": "4294967295"}, id="root inside gave it the number that means no change"),
        pytest.param("owner", "x", {"x": "²"}, id="root inside gave it no number"),
        pytest.param("owner", "x", {"x": "-1"}, id="or less than one"),
        pytest.param("owner", "x", {"x": "9" * 5000}, id="or one that is none"),
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_owners_that_the_sandbox_has_not_are_refused(
    content: MakeContent, built: Built, option: str, value: str, known: dict[str, str], exists: bool
) -> None:
    """Before anything changes; and where there is content already, it was for root inside to have them."""
    spec = content(files=[{"path": "/etc/a"}, {**FILE, option: value}])
    seen = built(stored=Stored(exists=exists), manifest=manifest(spec), users={**USERS, **known}, groups=GROUPS)
    where = "/etc/passwd" if option == "owner" else "/etc/group"
    with pytest.raises(OptionError) as caught:
        check(spec, seen, "report")
    assert str(caught.value) == (f"files[1].{option}: {value!r} is invalid: expected a number, or a name in the sandbox's own {where}.")
    assert isinstance(caught.value, ContentError) is exists


def test_an_owner_may_come_with_a_package_that_is_only_announced(content: MakeContent, built: Built) -> None:
    spec = content(files=[{**FILE, "owner": "memcache"}])
    seen = built(stored=Stored(exists=False), manifest=None, users=USERS, groups=GROUPS)
    with pytest.raises(OptionError, match="memcache"):
        check(spec, seen, "report")
    check(spec, seen, "report", to_come=True)


def test_a_file_of_which_only_the_mode_changes_shows_what_changes(content: MakeContent, built: Built) -> None:
    spec = content(files=[{**FILE, "mode": "0600"}])
    before, after = only(
        plan_content(spec, "present", built(manifest=manifest(spec), files={FILE["path"]: WRITTEN}), "report"), WriteFiles
    ).change()
    assert before[FILE["path"]] == after[FILE["path"]]
    changed = {key: (before[key], after[key]) for key in after if before[key] != after[key]}
    assert changed == {f"{FILE['path']} (mode, owner, group)": ("0644 0 0", "0600 0 0")}


def test_accounts_are_added_before_files_that_may_be_theirs_are_written(content: MakeContent, built: Built) -> None:
    spec = content(files=[{**FILE, "owner": "db"}])
    seen = built(manifest=manifest(spec), users={"db": "102"}, accounts=Accounts(users=["db:x:102:103::/:/bin/false"]))
    plan = plan_content(spec, "present", seen, "report")
    assert [type(step) for step in plan] == [AddAccounts, WriteFiles]


def test_a_file_that_is_no_longer_declared_goes_before_it_is_forgotten(content: MakeContent, built: Built) -> None:
    seen = built(manifest=manifest(content(files=[FILE, {**FILE, "path": "/etc/httpd/other.conf"}])), files={FILE["path"]: WRITTEN})
    plan = plan_content(content(files=[FILE]), "present", seen, "report")
    assert names(plan) == ["remove files that are no longer declared", "write the record of the content"]
    assert only(plan, RemoveFiles).paths == ["/etc/httpd/other.conf"]
    assert done(plan)[0] == ("remove_files", ROOT, ["/etc/httpd/other.conf"])
    assert json.loads(only(plan, WriteFile).text)["files"] == [FILE["path"]]


def test_a_private_path_that_was_a_file_of_the_play_is_the_hosts_again(content: MakeContent, built: Built) -> None:
    spec = content(private=["/etc/app.conf"])
    record = {**manifest(spec), "files": ["/etc/app.conf", "/etc/other.conf"]}
    plan = plan_content(spec, "present", built(manifest=record), "report")
    assert names(plan) == ["remove files that are no longer declared", "write the record of the content", "copy /etc/app.conf"]


def test_a_directory_where_a_declared_file_is_to_be_is_named(content: MakeContent, built: Built) -> None:
    spec = content(files=[{"path": "/etc/a"}, {"path": "/var/lib/mysql"}])
    with pytest.raises(OptionError, match=r"files\[1\].path: '/var/lib/mysql' is invalid: expected a path that is not a directory"):
        check(spec, built(directories=["/var/lib/mysql"]), "report")


def test_a_fresh_tree_is_built_with_its_files_and_without_secrets(content: MakeContent) -> None:
    build = only(plan_content(content(files=[FILE]), "present", Observed(left_out=["/etc/httpd/key"]), "report"), BuildContent)
    assert (build.spec.files, build.without) == ((FileEntry(**FILE),), ["/etc/httpd/key"])
    assert build.change()[1]["files"] == {FILE["path"]: "a\n"}


# Whose tree it is


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        pytest.param(
            Observed(stored=Stored(exists=True)),
            f"path: {ROOT} exists, but this collection did not create it",
            id="foreign directory",
        ),
        pytest.param(
            Observed(stored=Stored(exists=True), manifest=ELSEWHERE),
            f"path: the content of web is in /srv/boxes/web, not in {ROOT}. Name that path, or remove the content there first.",
            id="ours elsewhere, foreign here",
        ),
        pytest.param(Observed(manifest=ELSEWHERE), f"path: the content of web is in /srv/boxes/web, not in {ROOT}", id="ours elsewhere"),
    ],
)
def test_what_is_not_ours_is_neither_taken_over_nor_removed(content: MakeContent, seen: Observed, message: str) -> None:
    with pytest.raises(ConflictError) as caught:
        check(content(), seen, "fix")
    assert str(caught.value).startswith(message)
    with pytest.raises(ConflictError) as caught:
        plan_content(content(), "absent", seen, "fix")
    assert str(caught.value).startswith(message)


def test_private_paths_that_the_host_lacks_are_named(content: MakeContent, built: Built) -> None:
    with pytest.raises(OptionError) as caught:
        check(content(), built(unknown=["/etc/httpd"]), "report")
    assert (
        str(caught.value)
        == "private: ['/etc/httpd'] is invalid: expected paths that exist on the host. Check that the package is installed."
    )


# Labels


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("report", ["etc/none", "etc/type"]),
        ("keep", ["etc/none", "etc/type"]),
        ("fix", ["etc/none", "etc/theirs", "etc/type"]),
    ],
)
def test_foreign_entries_are_relabelled_only_if_asked_for(content: MakeContent, built: Built, mode: str, expected: list[str]) -> None:
    seen = built(mislabelled=[TYPE_ONLY, STRANGER, UNLABELLED])
    check(content(), seen, mode)
    assert relabelled(content(), seen, mode) == expected


RELABEL = "Remove them, or set foreign: fix to relabel them."


def test_foreign_entries_fail_a_run_that_says_so(content: MakeContent, built: Built) -> None:
    seen = built(mislabelled=[TYPE_ONLY, STRANGER], owners={Level.parse("s0:c3,c4"): "db"})
    with pytest.raises(ConflictError) as caught:
        check(content(), seen, "fail")
    assert str(caught.value) == f"foreign: 1 entries of {ROOT} are at another level, such as /etc/theirs at s0:c3,c4 of db. {RELABEL}"
    check(content(), built(mislabelled=[TYPE_ONLY, UNLABELLED]), "fail")


def test_a_relabel_says_what_was_and_what_will_be(content: MakeContent, built: Built) -> None:
    (step,) = plan_content(content(), "present", built(mislabelled=[TYPE_ONLY]), "report")
    assert isinstance(step, Relabel)
    assert step.change() == ({"/etc/type": "system_u:object_r:etc_t:s0"}, {"/etc/type": OWN})
    assert done(Plan([step])) == [("relabel", content(), ["etc/type"])]


@pytest.mark.parametrize(
    ("context", "found"),
    [
        pytest.param("system_u:object_r:x_t:s0:c3,c4", "s0:c3,c4", id="another level"),
        pytest.param("system_u:object_r:x_t:s0:c1", "s0:c1", id="part of ours"),
        pytest.param("system_u:object_r:x_t:s0:c2,c1,c3", "s0:c1.c3", id="more than ours, spelt otherwise"),
        pytest.param("system_u:object_r:x_t:s0:c2,c1", None, id="ours, spelt otherwise"),
        pytest.param("system_u:object_r:x_t:s0", None, id="not the category"),
        pytest.param("system_u:object_r:x_t", None, id="no level"),
        pytest.param("system_u:object_r:x_t:SystemLow", None, id="translated"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="none"),
    ],
)
def test_what_is_foreign(content: MakeContent, context: str | None, found: str | None) -> None:
    entries = foreign(content(), [Labelled("a", context, OWN)], {Level.parse("s0:c3,c4"): "db"})
    assert [entry["level"] for entry in entries] == ([found] if found else [])
    assert [entry["owner"] for entry in entries] == (["db" if found == "s0:c3,c4" else None] if found else [])
    assert [entry["path"] for entry in entries] == (["/a"] if found else [])


@pytest.mark.parametrize(
    ("context", "level"),
    [
        (None, None),
        ("nonsense", None),
        ("u:r:t:s0", Level()),
        ("u:r:t:s0:c1,c2", Level.of([1, 2])),
        ("u:r:t:s0-s0:c1", Level.of([1])),
    ],
)
def test_the_level_of_a_context(context: str | None, level: Level | None) -> None:
    assert level_of(context) == level


# Another level than before

MOVED = [Labelled("", OLD_TOP, TOP), Labelled("etc/old", OLD, OWN)]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("report", ["", "etc/old"]),
        ("keep", ["", "etc/old"]),
        ("fix", ["", "etc/old", "etc/theirs"]),
    ],
)
def test_a_stopped_sandbox_is_moved_to_its_new_level_with_all_that_was_its_own(
    content: MakeContent, built: Built, mode: str, expected: list[str]
) -> None:
    seen = built(top_context=OLD_TOP, mislabelled=[*MOVED, STRANGER])
    check(content(), seen, mode)
    assert relabelled(content(), seen, mode) == expected


def test_moving_is_no_failure_where_foreign_entries_are_one(content: MakeContent, built: Built) -> None:
    check(content(), built(top_context=OLD_TOP, mislabelled=MOVED), "fail")
    assert relabelled(content(), built(top_context=OLD_TOP, mislabelled=MOVED), "fail") == ["", "etc/old"]
    with pytest.raises(ConflictError, match=r"1 entries of .* at another level, such as /etc/theirs at s0:c3,c4"):
        check(content(), built(top_context=OLD_TOP, mislabelled=[*MOVED, STRANGER]), "fail")


def test_a_level_that_rests_for_the_sandbox_itself_is_its_own(content: MakeContent, built: Built) -> None:
    seen = built(top_context=OLD_TOP, mislabelled=MOVED, owners={Level.parse("s0:c7,c8"): "former web"})
    assert relabelled(content(), seen, "fail") == ["", "etc/old"]


@pytest.mark.parametrize("owner", ["db", "former db"])
@pytest.mark.parametrize(("mode", "expected"), [("report", []), ("keep", []), ("fix", ["", "etc/old"])])
@pytest.mark.parametrize("running", [True, False])
def test_a_tree_at_the_level_of_another_sandbox_is_not_taken_over(
    content: MakeContent, built: Built, mode: str, expected: list[str], running: bool, owner: str
) -> None:
    seen = built(top_context=OLD_TOP, mislabelled=MOVED, owners={Level.parse("s0:c7,c8"): owner}, running=running)
    check(content(), seen, mode)
    assert relabelled(content(), seen, mode) == expected
    with pytest.raises(ConflictError, match=rf"2 entries of .* at another level, such as / at s0:c7,c8 of {owner}"):
        check(content(), seen, "fail")


def test_names_that_are_no_text_are_shown_and_found_again(content: MakeContent, built: Built) -> None:
    entry = Labelled("srv/caf\udce9\n", OLD, OWN)
    (step,) = plan_content(content(), "present", built(mislabelled=[entry]), "fix")
    assert [list(side) for side in step.change()] == [[r"/srv/caf\udce9\n"]] * 2
    assert done(Plan([step])) == [("relabel", content(), [entry.path])]
    assert foreign(content(), [entry], {})[0]["path"] == r"/srv/caf\udce9\n"


def test_a_running_sandbox_is_not_moved(content: MakeContent, built: Built) -> None:
    with pytest.raises(OptionError) as caught:
        check(content(), built(top_context=OLD_TOP, mislabelled=MOVED, running=True), "fix")
    message = "level: 's0:c1,c2' is invalid: expected s0:c7,c8 while the sandbox runs. Stop the sandbox to change its level."
    assert str(caught.value) == message


def test_a_top_without_a_level_can_be_labelled_while_it_runs(content: MakeContent, built: Built) -> None:
    top = Labelled("", "system_u:object_r:virt_sandbox_root_t:s0", TOP)
    seen = built(top_context=top.actual, mislabelled=[top], running=True)
    check(content(), seen, "report")
    assert relabelled(content(), seen, "report") == [""]


# Absent


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(Observed(), [], id="never there"),
        pytest.param(Observed(half_made=True), ["remove the content"], id="half made, not yet claimed"),
        pytest.param(
            Observed(manifest={**ELSEWHERE, "path": ROOT}, half_made=True),
            ["remove the content", "remove the record of the content"],
            id="half made",
        ),
        pytest.param(
            Observed(manifest={**ELSEWHERE, "path": ROOT}, stored=Stored(exists=True)),
            ["remove the content", "remove the record of the content"],
            id="whole",
        ),
        pytest.param(Observed(manifest={**ELSEWHERE, "path": ROOT}), ["remove the record of the content"], id="removed, not yet forgotten"),
    ],
)
def test_removal(content: MakeContent, seen: Observed, expected: list[str]) -> None:
    plan = plan_content(content(), "absent", seen, "report")
    assert names(plan) == expected
    for call in done(plan):
        assert call in (
            ("remove", [BUILDING, f"{BUILDING}.img", ROOT, f"{ROOT}.img"]),
            ("forget_project", "/var/lib/libvirt/filesystems", 0),
            ("forget", [COPIED, "/var/lib/virt-sandbox/content/web.json"]),
        )


def test_the_content_of_a_running_sandbox_stays(content: MakeContent, built: Built) -> None:
    with pytest.raises(ConflictError, match=r"name: web is running\. Stop it before its content is removed"):
        plan_content(content(), "absent", built(running=True), "report")


def test_removal_needs_no_level(content: MakeContent, built: Built) -> None:
    assert names(plan_content(content(level=None), "absent", built(), "report")) == [
        "remove the content",
        "remove the record of the content",
    ]


# Clones

SOURCE = Source("db", "/srv/boxes/db", "/var/lib/virt-sandbox/content/db.copied.json", known=["db"])


def test_a_clone_is_built_from_another_tree(content: MakeContent) -> None:
    spec, seen = content(clone_of="db"), Observed(source=SOURCE)
    check(spec, seen, "report")
    plan = plan_content(spec, "present", seen, "report")
    assert names(plan) == ["write the record of the content", "clone the content of db"]
    build = only(plan, BuildContent)
    assert build.change()[1]["clone_of"] == "db"
    assert done(plan)[1] == ("build", spec, SOURCE, [], Limits())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source("db", known=["a", "b"]), "a sandbox that has content (a, b)."),
        (Source("db"), "a sandbox that has content (none has)."),
        (Source("db", "/srv/boxes/db", running=True), "a stopped sandbox. Stop the sandbox db first."),
        (
            Source("db", "/srv/boxes/db", strangers=["/var/x"]),
            "a sandbox whose content is all at its own level. Entries at another level in /srv/boxes/db: /var/x.",
        ),
    ],
)
def test_what_is_not_cloned(content: MakeContent, built: Built, source: Source, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        check(content(clone_of="db"), Observed(source=source), "report")
    assert str(caught.value) == f"clone_of: 'db' is invalid: expected {message}"
    # a clone that is there is its own
    check(content(clone_of="db"), built(source=source), "report")
    assert names(plan_content(content(clone_of="db"), "present", built(source=source), "report")) == []


def test_nothing_is_a_clone_of_itself(content: MakeContent) -> None:
    with pytest.raises(OptionError, match="clone_of: a sandbox cannot be a clone of itself"):
        content(clone_of="web")


# What the host has newer

FILES = [Outdated("etc/a", NEWER, "file 1"), Outdated("etc/b", BOTH, "file 2"), Outdated("etc/c", GONE, "file 3")]


@pytest.mark.parametrize(
    ("update", "step", "paths", "left"),
    [
        ("report", None, [], ["/etc/a", "/etc/b", "/etc/c"]),
        ("take", "update files from the host", ["/etc/a", "/etc/c"], ["/etc/b"]),
        ("keep", "keep the sandbox's own files", ["/etc/a", "/etc/b", "/etc/c"], []),
    ],
)
def test_what_becomes_of_outdated_files(
    content: MakeContent, built: Built, update: str, step: str | None, paths: list[str], left: list[str]
) -> None:
    plan = plan_content(content(), "present", built(outdated=FILES), "report", update)
    assert names(plan) == ([step] if step else [])
    assert [path for one in plan for path in one.change()[0]] == paths
    assert all(isinstance(one, TakeNewer if update == "take" else KeepOwn) for one in plan)
    assert [entry["path"] for entry in reported(FILES, Accounts(), update)] == left


def test_what_was_changed_on_both_sides_is_not_taken(content: MakeContent, built: Built) -> None:
    assert names(plan_content(content(), "present", built(outdated=FILES[1:2]), "report", "take")) == []


@pytest.mark.parametrize("update", ["report", "take", "keep"])
def test_new_system_accounts_are_added_whatever_becomes_of_files(content: MakeContent, built: Built, update: str) -> None:
    accounts = Accounts(users=["x:x:101:101::/:/bin/false"], groups=["x:x:101:"], members=[("ssl", "x")], in_conflict=["y"])
    (step,) = plan_content(content(), "present", built(accounts=accounts), "report", update)
    assert step.title == "add the host's new system accounts"
    assert step.change() == (None, {"users": ["x"], "groups": ["x"]})
    assert reported([], accounts, update) == [{"path": "/etc/passwd", "state": "the number of the host's account y is another's here"}]


# Content in an image

MIB = 1 << 20
MOUNT = r"var-lib-libvirt-filesystems-web.mount"
IMAGE = Stored("image", True, False, 64 * MIB)
MOUNTED = dataclasses.replace(
    IMAGE, readable=True, mounted=True, enabled=True, unit_text=image.mount_unit(layout.Layout("web", "/var/lib/libvirt/filesystems"))
)
IN_IMAGE = {"method": "image", "size": "64M"}


def test_an_image_is_built_before_it_is_mounted_in_its_place(content: MakeContent) -> None:
    spec, seen = content(**IN_IMAGE), Observed(needed=Limits(MIB))
    check(spec, seen, "report")
    plan = plan_content(spec, "present", seen, "report")
    assert names(plan) == [
        "write the record of the content",
        "build the content",
        "write the mount unit",
        "reload systemd",
        "mount the content",
    ]
    assert (spec.paths.image, spec.paths.building_image) == (f"{ROOT}.img", f"{BUILDING}.img")
    build = only(plan, BuildContent)
    assert (build.spec.size, build.change()[1]["method"], build.change()[1]["size"]) == (64 * MIB, "image", 64 * MIB)
    assert done(Plan([only(plan, MountImage)])) == [("mount", ROOT, MOUNT)]


@pytest.mark.parametrize(
    ("seen", "size", "expected"),
    [
        pytest.param(MOUNTED, "64M", [], id="as declared"),
        pytest.param(MOUNTED, None, [], id="the size that it has"),
        pytest.param(MOUNTED, "128M", ["grow the image"], id="larger"),
        pytest.param(MOUNTED, "66M", [], id="larger by what ext4 leaves unused"),
        pytest.param(dataclasses.replace(MOUNTED, mounted=False), "64M", ["mount the content"], id="unmounted"),
        pytest.param(dataclasses.replace(MOUNTED, enabled=False), "64M", ["mount the content"], id="not mounted at boot"),
        pytest.param(IMAGE, "128M", ["write the mount unit", "reload systemd", "mount the content", "grow the image"], id="interrupted"),
    ],
)
def test_an_image_that_is_there(content: MakeContent, built: Built, seen: Stored, size: str | None, expected: list[str]) -> None:
    spec = content(method="image", size=size)
    check(spec, built(stored=seen), "report")
    assert names(plan_content(spec, "present", built(stored=seen), "report")) == expected


@pytest.mark.parametrize(
    ("options", "seen", "message"),
    [
        ({"method": "image"}, {"stored": Stored()}, "size: required when an image is created. Set a size such as 512M."),
        (
            IN_IMAGE,
            {"stored": Stored(), "needed": Limits(64 * MIB)},
            "size: 67108864 is invalid: expected at least 78M for the 67108864 bytes",
        ),
        (
            {"method": "image", "size": "32M"},
            {"stored": MOUNTED},
            "size: 33554432 is invalid: expected at least 67108864 bytes, the size of the image of web. An image only grows.",
        ),
        (IN_IMAGE, {}, "method: 'image' is invalid: expected directory, the method of the existing content of web. Remove the content, or"),
        (
            {},
            {"stored": MOUNTED},
            "method: 'directory' is invalid: expected image, the method of the existing content of web. Remove the content, or",
        ),
    ],
)
def test_images_that_cannot_be(content: MakeContent, built: Built, options: dict[str, Any], seen: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        check(content(**options), built(**seen), "report")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "64M"}, "size: only valid when method is image."),
        ({"method": "image", "size": "1M"}, "size: '1M' is invalid: expected a size from 32M"),
        ({"method": "image", "size": "lots"}, "size: 'lots' is invalid: expected a size above 0"),
        ({"method": "tape"}, "method: 'tape' is invalid: expected one of directory, image"),
    ],
)
def test_sizes_and_methods_that_are_none(content: MakeContent, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        content(**options)
    assert str(caught.value).startswith(message)


def test_an_image_is_removed_whatever_the_play_says_it_is(content: MakeContent, built: Built) -> None:
    plan = plan_content(content(), "absent", built(stored=MOUNTED), "report")
    assert names(plan) == [
        "unmount the content",
        "remove the mount unit",
        "reload systemd",
        "remove the content",
        "remove the record of the content",
    ]


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("options", [IN_IMAGE, {}], ids=["image", "directory"])
def test_a_foreign_mount_unit_is_not_taken_over(content: MakeContent, built: Built, options: dict[str, Any], exists: bool) -> None:
    seen = built(stored=dataclasses.replace(MOUNTED, unit_text="[Mount]\n", exists=exists))
    for record in (seen.manifest, None):
        foreign = dataclasses.replace(seen, manifest=record)
        with pytest.raises(ConflictError, match="was not created by this collection"):
            check(content(**options), foreign, "report")
        with pytest.raises(ConflictError, match="was not created by this collection"):
            plan_content(content(**options), "absent", foreign, "report")


def test_files_in_an_image_are_removed_after_it_is_mounted(content: MakeContent, built: Built) -> None:
    seen = built(stored=dataclasses.replace(MOUNTED, readable=False, mounted=False))
    seen = dataclasses.replace(seen, manifest={**(seen.manifest or {}), "files": ["/etc/gone"]})
    steps = names(plan_content(content(**IN_IMAGE), "present", seen, "report"))
    assert steps[:2] == ["mount the content", "remove files that are no longer declared"]


@pytest.mark.parametrize("size", [32 * MIB, 64 * MIB, 512 * MIB, 1 << 34])
def test_a_size_for_content_has_room_for_it(size: int) -> None:
    fitting = image.size_for(image.capacity(size)) << 20
    assert size * 0.9 <= fitting <= size * 1.2
    assert image.capacity(fitting) >= image.capacity(size) > size * 0.7
