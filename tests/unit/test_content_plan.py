# SPDX-License-Identifier: GPL-3.0-or-later
"""From a declared content tree and an observed one to the steps between the two."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model import image, layout
from ansible_collections.virt.sandbox.plugins.module_utils.model.content_plan import (
    FOREIGN,
    Image,
    Labelled,
    Observed,
    Source,
    check,
    foreign,
    level_of,
    manifest,
    plan_content,
    reported,
)
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import ConflictError, OptionError
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import Level
from ansible_collections.virt.sandbox.plugins.module_utils.model.outdated import BOTH, GONE, NEWER, Accounts, Outdated
from ansible_collections.virt.sandbox.plugins.module_utils.model.plan import Plan

MakeSpec = Callable[..., dict[str, Any]]

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
def built(content: MakeSpec) -> Callable[..., Observed]:
    """A tree as it should be, but for what is named."""

    def make(**changes: Any) -> Observed:
        return Observed(**{"manifest": manifest(content()), "exists": True, "top_context": TOP, **changes})

    return make


Built = Callable[..., Observed]


def names(plan: Plan) -> list[str]:
    return [step.name for step in plan]


def relabelled(spec: dict[str, Any], seen: Observed, mode: str) -> list[str]:
    """The paths that a run gives another label."""
    return [path for step in plan_content(spec, "present", seen, mode) if step.name == "relabel" for path in step.arguments["paths"]]


@pytest.mark.parametrize("half_made", [False, True])
def test_a_fresh_tree_is_claimed_before_it_is_built(content: MakeSpec, half_made: bool) -> None:
    check(content(), Observed(half_made=half_made), "report")
    plan = plan_content(content(), "present", Observed(half_made=half_made), "report")
    assert names(plan) == ["record the content as ours", "build the content"]
    record, build = plan
    assert json.loads(record.arguments["text"]) == {"format": 1, "name": "web", "path": ROOT}
    assert record.arguments["path"] == "/var/lib/virt-sandbox/content/web.json"
    assert build.arguments == {
        "building": "/var/lib/libvirt/filesystems/.web.new",
        "root": ROOT,
        "private": ["/etc/httpd"],
        "copied": COPIED,
        "without": [],
        "files": [],
        "file_type": "virt_sandbox_file_t",
        "level": "s0:c1,c2",
    }
    assert (build.before is None) is not half_made


def test_an_interrupted_run_that_has_claimed_goes_on(content: MakeSpec) -> None:
    seen = Observed(manifest=manifest(content()), half_made=True)
    check(content(), seen, "report")
    assert names(plan_content(content(), "present", seen, "report")) == ["build the content"]


@pytest.mark.parametrize("mode", FOREIGN)
def test_a_tree_that_is_as_declared_needs_nothing(content: MakeSpec, built: Built, mode: str) -> None:
    check(content(), built(running=True), mode)
    assert names(plan_content(content(), "present", built(running=True), mode)) == []


def test_what_is_missing_is_brought(content: MakeSpec, built: Built) -> None:
    plan = plan_content(content(), "present", built(missing=["/etc/httpd", "/var/www"], unmounted=["/etc/alternatives"]), "report")
    assert names(plan) == ["copy /etc/httpd", "copy /var/www", "make a place for /etc/alternatives"]
    assert plan.steps[1].arguments == {
        "root": ROOT,
        "source": "/var/www",
        "copied": COPIED,
        "without": [],
        "file_type": "virt_sandbox_file_t",
        "level": "s0:c1,c2",
    }


FILE = {"path": "/etc/httpd/own.conf", "content": "a\n", "mode": "0644"}


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        pytest.param({}, ["write files"], id="missing"),
        pytest.param({FILE["path"]: ("b\n", "0644")}, ["write files"], id="another content"),
        pytest.param({FILE["path"]: ("a\n", "0666")}, ["write files"], id="another mode"),
        pytest.param({FILE["path"]: ("a\n", "0644")}, [], id="as declared"),
    ],
)
def test_declared_files_are_written_where_they_differ(
    content: MakeSpec, built: Built, there: dict[str, tuple[str, str]], expected: list[str]
) -> None:
    spec = content(files=[FILE])
    plan = plan_content(spec, "present", built(manifest=manifest(spec), files=there), "report")
    assert names(plan) == expected
    for step in plan:
        assert step.arguments["files"] == [FILE]
        assert step.after == {FILE["path"]: "a\n"}


def test_a_file_that_is_no_longer_declared_goes_before_it_is_forgotten(content: MakeSpec, built: Built) -> None:
    seen = built(manifest=manifest(content(files=[FILE, {**FILE, "path": "/etc/httpd/other.conf"}])), files={FILE["path"]: ("a\n", "0644")})
    plan = plan_content(content(files=[FILE]), "present", seen, "report")
    assert names(plan) == ["remove files that are no longer declared", "record the content as ours"]
    assert plan.steps[0].arguments["paths"] == ["/etc/httpd/other.conf"]
    assert json.loads(plan.steps[1].arguments["text"])["files"] == [FILE["path"]]


def test_a_private_path_that_was_a_file_of_the_play_is_the_hosts_again(content: MakeSpec, built: Built) -> None:
    spec = content(private=["/etc/app.conf"])
    record = {**manifest(spec), "files": ["/etc/app.conf", "/etc/other.conf"]}
    plan = plan_content(spec, "present", built(manifest=record), "report")
    assert names(plan) == ["remove files that are no longer declared", "record the content as ours", "copy /etc/app.conf"]


def test_a_directory_where_a_declared_file_is_to_be_is_named(content: MakeSpec, built: Built) -> None:
    spec = content(files=[{"path": "/etc/a"}, {"path": "/var/lib/mysql"}])
    with pytest.raises(OptionError, match=r"files\[1\].path: '/var/lib/mysql' is invalid: expected a path at which no directory stands"):
        check(spec, built(directories=["/var/lib/mysql"]), "report")


def test_a_fresh_tree_is_built_with_its_files_and_without_secrets(content: MakeSpec) -> None:
    build = plan_content(content(files=[FILE]), "present", Observed(left_out=["/etc/httpd/key"]), "report").steps[1]
    assert (build.arguments["files"], build.arguments["without"]) == ([FILE], ["/etc/httpd/key"])
    assert build.after["files"] == {FILE["path"]: "a\n"}


# Whose tree it is


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        pytest.param(Observed(exists=True), f"path: {ROOT} exists, and it is not a tree that this collection made", id="foreign directory"),
        pytest.param(
            Observed(exists=True, manifest=ELSEWHERE),
            f"path: the content of web is in /srv/boxes/web, not in {ROOT}; name that path, or remove it there first",
            id="ours elsewhere, foreign here",
        ),
        pytest.param(Observed(manifest=ELSEWHERE), f"path: the content of web is in /srv/boxes/web, not in {ROOT}", id="ours elsewhere"),
    ],
)
def test_what_is_not_ours_is_neither_taken_over_nor_removed(content: MakeSpec, seen: Observed, message: str) -> None:
    with pytest.raises(ConflictError) as caught:
        check(content(), seen, "fix")
    assert str(caught.value).startswith(message)
    with pytest.raises(ConflictError) as caught:
        plan_content(content(), "absent", seen, "fix")
    assert str(caught.value).startswith(message)


def test_private_paths_that_the_host_lacks_are_named(content: MakeSpec, built: Built) -> None:
    with pytest.raises(OptionError) as caught:
        check(content(), built(unknown=["/etc/httpd"]), "report")
    assert str(caught.value) == "private: ['/etc/httpd'] is invalid: expected paths that the host has; is the package installed?"


# Labels


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("report", ["etc/none", "etc/type"]),
        ("keep", ["etc/none", "etc/type"]),
        ("fix", ["etc/none", "etc/theirs", "etc/type"]),
    ],
)
def test_foreign_entries_are_relabelled_only_if_asked_for(content: MakeSpec, built: Built, mode: str, expected: list[str]) -> None:
    seen = built(mislabelled=[TYPE_ONLY, STRANGER, UNLABELLED])
    check(content(), seen, mode)
    assert relabelled(content(), seen, mode) == expected


def test_foreign_entries_fail_a_run_that_says_so(content: MakeSpec, built: Built) -> None:
    seen = built(mislabelled=[TYPE_ONLY, STRANGER], owners={"s0:c3,c4": "db"})
    with pytest.raises(ConflictError) as caught:
        check(content(), seen, "fail")
    assert str(caught.value) == f"foreign: 1 entries of {ROOT} are at another level: /etc/theirs at s0:c3,c4, which is db's"
    check(content(), built(mislabelled=[TYPE_ONLY, UNLABELLED]), "fail")


def test_a_relabel_says_what_was_and_what_will_be(content: MakeSpec, built: Built) -> None:
    (step,) = plan_content(content(), "present", built(mislabelled=[TYPE_ONLY]), "report")
    assert step.before == {"/etc/type": "system_u:object_r:etc_t:s0"}
    assert step.after == {"/etc/type": OWN}
    assert step.arguments == {"root": ROOT, "file_type": "virt_sandbox_file_t", "level": "s0:c1,c2", "paths": ["etc/type"]}


@pytest.mark.parametrize(
    ("context", "found"),
    [
        pytest.param("system_u:object_r:x_t:s0:c3,c4", "s0:c3,c4", id="another level"),
        pytest.param("system_u:object_r:x_t:s0:c1", "s0:c1", id="part of ours"),
        pytest.param("system_u:object_r:x_t:s0:c2,c1,c3", "s0:c1.c3", id="more than ours, spelt otherwise"),
        pytest.param("system_u:object_r:x_t:s0:c2,c1", None, id="ours, spelt otherwise"),
        pytest.param("system_u:object_r:x_t:s0", None, id="no category"),
        pytest.param("system_u:object_r:x_t", None, id="no level"),
        pytest.param("system_u:object_r:x_t:SystemLow", None, id="translated"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="none"),
    ],
)
def test_what_is_foreign(content: MakeSpec, context: str | None, found: str | None) -> None:
    entries = foreign(content(), [Labelled("a", context, OWN)], {"s0:c3,c4": "db"})
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
    content: MakeSpec, built: Built, mode: str, expected: list[str]
) -> None:
    seen = built(top_context=OLD_TOP, mislabelled=[*MOVED, STRANGER])
    check(content(), seen, mode)
    assert relabelled(content(), seen, mode) == expected


def test_moving_is_no_failure_where_foreign_entries_are_one(content: MakeSpec, built: Built) -> None:
    check(content(), built(top_context=OLD_TOP, mislabelled=MOVED), "fail")
    assert relabelled(content(), built(top_context=OLD_TOP, mislabelled=MOVED), "fail") == ["", "etc/old"]
    with pytest.raises(ConflictError, match=r"1 entries of .* at another level: /etc/theirs at s0:c3,c4"):
        check(content(), built(top_context=OLD_TOP, mislabelled=[*MOVED, STRANGER]), "fail")


def test_a_level_that_rests_for_the_sandbox_itself_is_its_own(content: MakeSpec, built: Built) -> None:
    seen = built(top_context=OLD_TOP, mislabelled=MOVED, owners={"s0:c7,c8": "former web"})
    assert relabelled(content(), seen, "fail") == ["", "etc/old"]


@pytest.mark.parametrize("owner", ["db", "former db"])
@pytest.mark.parametrize(("mode", "expected"), [("report", []), ("keep", []), ("fix", ["", "etc/old"])])
@pytest.mark.parametrize("running", [True, False])
def test_a_tree_at_the_level_of_another_sandbox_is_not_taken_over(
    content: MakeSpec, built: Built, mode: str, expected: list[str], running: bool, owner: str
) -> None:
    seen = built(top_context=OLD_TOP, mislabelled=MOVED, owners={"s0:c7,c8": owner}, running=running)
    check(content(), seen, mode)
    assert relabelled(content(), seen, mode) == expected
    with pytest.raises(ConflictError, match=rf"2 entries of .* at another level: / at s0:c7,c8, which is {owner}'s"):
        check(content(), seen, "fail")


def test_names_that_are_no_text_are_shown_and_found_again(content: MakeSpec, built: Built) -> None:
    entry = Labelled("srv/caf\udce9\n", OLD, OWN)
    (step,) = plan_content(content(), "present", built(mislabelled=[entry]), "fix")
    assert list(step.before) == list(step.after) == [r"/srv/caf\udce9\n"]
    assert step.arguments["paths"] == [entry.path]
    assert foreign(content(), [entry], {})[0]["path"] == r"/srv/caf\udce9\n"


def test_a_running_sandbox_is_not_moved(content: MakeSpec, built: Built) -> None:
    with pytest.raises(OptionError) as caught:
        check(content(), built(top_context=OLD_TOP, mislabelled=MOVED, running=True), "fix")
    message = "level: 's0:c1,c2' is invalid: expected the level it runs at, s0:c7,c8, while it runs; stop the sandbox first"
    assert str(caught.value) == message


def test_a_top_without_a_level_can_be_labelled_while_it_runs(content: MakeSpec, built: Built) -> None:
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
            Observed(manifest={**ELSEWHERE, "path": ROOT}, half_made=True), ["remove the content", "forget the content"], id="half made"
        ),
        pytest.param(Observed(manifest={**ELSEWHERE, "path": ROOT}, exists=True), ["remove the content", "forget the content"], id="whole"),
        pytest.param(Observed(manifest={**ELSEWHERE, "path": ROOT}), ["forget the content"], id="removed, not yet forgotten"),
    ],
)
def test_removal(content: MakeSpec, seen: Observed, expected: list[str]) -> None:
    plan = plan_content(content(), "absent", seen, "report")
    assert names(plan) == expected
    for step in plan:
        if step.action == "remove":
            assert step.arguments["paths"] == [f"{BUILDING}", f"{BUILDING}.img", ROOT, f"{ROOT}.img"]


def test_the_content_of_a_running_sandbox_stays(content: MakeSpec, built: Built) -> None:
    with pytest.raises(ConflictError, match="name: web is running; stop it before its content is removed"):
        plan_content(content(), "absent", built(running=True), "report")


def test_removal_needs_no_level(content: MakeSpec, built: Built) -> None:
    assert names(plan_content(content(level=None), "absent", built(), "report")) == ["remove the content", "forget the content"]


# Clones

SOURCE = Source("/srv/boxes/db", "/var/lib/virt-sandbox/content/db.copied.json", known=["db"])


def test_a_clone_is_built_from_another_tree(content: MakeSpec) -> None:
    spec, seen = content(clone_of="db"), Observed(source=SOURCE)
    check(spec, seen, "report")
    plan = plan_content(spec, "present", seen, "report")
    assert names(plan) == ["record the content as ours", "clone the content of db"]
    build = plan.steps[1]
    assert build.action == "build"
    assert build.after["clone_of"] == "db"
    assert {key: build.arguments[key] for key in ("source", "source_copied", "source_name", "level")} == {
        "source": "/srv/boxes/db",
        "source_copied": SOURCE.copied,
        "source_name": "db",
        "level": "s0:c1,c2",
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source(known=["a", "b"]), "a sandbox that has content (a, b)"),
        (Source(), "a sandbox that has content (none has)"),
        (Source("/srv/boxes/db", running=True), "a sandbox that is stopped; db is running"),
        (Source("/srv/boxes/db", strangers=["/var/x"]), "a sandbox whose content is its own; /var/x of /srv/boxes/db is not"),
    ],
)
def test_what_is_not_cloned(content: MakeSpec, built: Built, source: Source, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        check(content(clone_of="db"), Observed(source=source), "report")
    assert str(caught.value) == f"clone_of: 'db' is invalid: expected {message}"
    # a clone that is there is its own
    check(content(clone_of="db"), built(source=source), "report")
    assert names(plan_content(content(clone_of="db"), "present", built(source=source), "report")) == []


def test_nothing_is_a_clone_of_itself(content: MakeSpec) -> None:
    with pytest.raises(OptionError, match="clone_of: 'web' is invalid: expected another sandbox"):
        content(clone_of="web")


# What the host has newer

FILES = [Outdated("etc/a", NEWER, "file 1"), Outdated("etc/b", BOTH, "file 2"), Outdated("etc/c", GONE, "file 3")]


@pytest.mark.parametrize(
    ("update", "step", "paths", "left"),
    [
        ("report", None, [], ["/etc/a", "/etc/b", "/etc/c"]),
        ("take", "take what the host has newer", ["/etc/a", "/etc/c"], ["/etc/b"]),
        ("keep", "keep what the sandbox has", ["/etc/a", "/etc/b", "/etc/c"], []),
    ],
)
def test_what_becomes_of_outdated_files(
    content: MakeSpec, built: Built, update: str, step: str | None, paths: list[str], left: list[str]
) -> None:
    plan = plan_content(content(), "present", built(outdated=FILES), "report", update)
    assert names(plan) == ([step] if step else [])
    assert [path for one in plan for path in one.before] == paths
    assert [entry["path"] for entry in reported(FILES, Accounts(), update)] == left


def test_what_was_changed_on_both_sides_is_not_taken(content: MakeSpec, built: Built) -> None:
    assert names(plan_content(content(), "present", built(outdated=FILES[1:2]), "report", "take")) == []


@pytest.mark.parametrize("update", ["report", "take", "keep"])
def test_new_system_accounts_are_added_whatever_becomes_of_files(content: MakeSpec, built: Built, update: str) -> None:
    accounts = Accounts(users=["x:x:101:101::/:/bin/false"], groups=["x:x:101:"], members=[("ssl", "x")], taken=["y"])
    (step,) = plan_content(content(), "present", built(accounts=accounts), "report", update)
    assert step.name == "add the host's new system accounts"
    assert step.after == {"users": ["x"], "groups": ["x"]}
    assert reported([], accounts, update) == [{"path": "/etc/passwd", "state": "the number of the host's account y is another's here"}]


# Content in an image

MIB = 1 << 20
MOUNT = r"var-lib-libvirt-filesystems-web.mount"
MOUNTED = Image(64 * MIB, True, True, image.mount_unit(layout.Layout("web", "/var/lib/libvirt/filesystems")))
IN_IMAGE = {"method": "image", "size": "64M"}


def test_an_image_is_built_before_it_is_mounted_in_its_place(content: MakeSpec) -> None:
    spec, seen = content(**IN_IMAGE), Observed(needed=MIB)
    check(spec, seen, "report")
    plan = plan_content(spec, "present", seen, "report")
    assert names(plan) == ["record the content as ours", "build the content", "write the mount unit", "reload systemd", "mount the content"]
    assert {key: plan.steps[1].arguments[key] for key in ("image", "building_image", "size")} == {
        "image": f"{ROOT}.img",
        "building_image": f"{BUILDING}.img",
        "size": 64 * MIB,
    }
    assert plan.steps[4].arguments == {"unit": MOUNT, "root": ROOT}


@pytest.mark.parametrize(
    ("seen", "size", "expected"),
    [
        pytest.param(MOUNTED, "64M", [], id="as declared"),
        pytest.param(MOUNTED, None, [], id="the size that it has"),
        pytest.param(MOUNTED, "128M", ["grow the image"], id="larger"),
        pytest.param(MOUNTED, "66M", [], id="larger by what ext4 leaves unused"),
        pytest.param(dataclasses.replace(MOUNTED, mounted=False), "64M", ["mount the content"], id="unmounted"),
        pytest.param(dataclasses.replace(MOUNTED, enabled=False), "64M", ["mount the content"], id="not mounted at boot"),
        pytest.param(
            Image(64 * MIB), "128M", ["write the mount unit", "reload systemd", "mount the content", "grow the image"], id="interrupted"
        ),
    ],
)
def test_an_image_that_is_there(content: MakeSpec, built: Built, seen: Image, size: str | None, expected: list[str]) -> None:
    spec = content(method="image", size=size)
    check(spec, built(image=seen), "report")
    assert names(plan_content(spec, "present", built(image=seen), "report")) == expected


@pytest.mark.parametrize(
    ("options", "seen", "message"),
    [
        ({"method": "image"}, {"exists": False}, "size: expected the size of the image, such as 512M"),
        (IN_IMAGE, {"exists": False, "needed": 64 * MIB}, "size: 67108864 is invalid: expected at least 78M for the 67108864 bytes"),
        (
            {"method": "image", "size": "32M"},
            {"image": MOUNTED},
            "size: 33554432 is invalid: expected at least the 67108864 bytes that the image",
        ),
        (IN_IMAGE, {}, "method: 'image' is invalid: expected what the content of web is, a directory; remove it"),
        ({}, {"image": MOUNTED}, "method: 'directory' is invalid: expected what the content of web is, an image; remove it"),
    ],
)
def test_images_that_cannot_be(content: MakeSpec, built: Built, options: dict[str, Any], seen: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        check(content(**options), built(**seen), "report")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "64M"}, "size: '64M' is invalid: expected none where the content is a directory"),
        ({"method": "image", "size": "1M"}, "size: '1M' is invalid: expected a size from 32M"),
        ({"method": "image", "size": "lots"}, "size: 'lots' is invalid: expected a size above 0"),
        ({"method": "tape"}, "method: 'tape' is invalid: expected one of directory, image"),
    ],
)
def test_sizes_and_methods_that_are_none(content: MakeSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        content(**options)
    assert str(caught.value).startswith(message)


def test_an_image_is_removed_whatever_the_play_says_it_is(content: MakeSpec, built: Built) -> None:
    plan = plan_content(content(), "absent", built(image=MOUNTED), "report")
    assert names(plan) == ["unmount the content", "remove the mount unit", "reload systemd", "remove the content", "forget the content"]


def test_a_foreign_mount_unit_is_not_taken_over(content: MakeSpec, built: Built) -> None:
    seen = built(image=dataclasses.replace(MOUNTED, unit_text="[Mount]\n"))
    with pytest.raises(ConflictError, match="was not made by this collection"):
        check(content(**IN_IMAGE), seen, "report")


@pytest.mark.parametrize("size", [32 * MIB, 64 * MIB, 512 * MIB, 1 << 34])
def test_a_size_for_content_has_room_for_it(size: int) -> None:
    fitting = image.size_for(image.capacity(size)) << 20
    assert size * 0.9 <= fitting <= size * 1.2
    assert image.capacity(fitting) >= image.capacity(size) > size * 0.7
