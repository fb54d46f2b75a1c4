# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that a play declares never take away what is inside: not a directory, whatever the play or root inside made of the path."""

from __future__ import annotations

import dataclasses
import os
import stat
from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import content
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import ConflictError, SandboxError
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import Level
from ansible_collections.virt.sandbox.plugins.module_utils.model.outdated import Accounts
from ansible_collections.virt.sandbox.plugins.module_utils.model.spec import ContentSpec, FileEntry

from .conftest import NEW, SECRET, Scene

FILE = FileEntry("/var/lib/data", "declared")


def spec(scene: Scene) -> ContentSpec:
    """A sandbox whose content is the tree."""
    return ContentSpec(name=scene.top.name, path=str(scene.place), level=Level.of((1, 2)))


@pytest.fixture
def data(scene: Scene) -> Path:
    """Something precious in a directory of the tree."""
    directory = scene.top / "var" / "lib" / "data"
    directory.mkdir(parents=True)
    (directory / "precious").write_bytes(SECRET)
    return directory


def test_a_directory_in_the_place_of_a_file_stays(scene: Scene, data: Path) -> None:
    with pytest.raises(ConflictError, match=r"is a directory\. Remove it, or name another file"):
        content.write_files(spec(scene), [FILE])
    content.remove_files(str(scene.top), [FILE.path])
    assert (data / "precious").read_bytes() == SECRET


@pytest.mark.parametrize("kind", ["link", "pipe", "file"])
def test_anything_else_is_replaced_and_removed(scene: Scene, data: Path, kind: str) -> None:
    path = data / "x"
    {"link": lambda: path.symlink_to(data / "precious"), "pipe": lambda: os.mkfifo(path), "file": lambda: path.write_text("old")}[kind]()
    declared = dataclasses.replace(FILE, path="/var/lib/data/x")
    content.write_files(spec(scene), [declared])
    assert path.read_text() == "declared"
    assert os.getxattr(path, "security.selinux").rstrip(b"\0").decode() == NEW
    content.remove_files(str(scene.top), [declared.path])
    assert os.listdir(data) == ["precious"]
    assert (data / "precious").read_bytes() == SECRET


PASSWD, GROUP = "root:x:0:0::/:/bin/sh\nwww:x:10033:10033::/:/bin/false\n", "root:x:0:\nadm:x:10004:\n"


@pytest.fixture
def accounts(scene: Scene) -> None:
    """The tree's own users and groups, which the host has not."""
    (scene.top / "etc").mkdir()
    (scene.top / "etc" / "passwd").write_text(PASSWD)
    (scene.top / "etc" / "group").write_text(GROUP)


@pytest.mark.usefixtures("accounts")
@pytest.mark.parametrize(("owner", "group", "uid", "gid"), [("www", "adm", 10033, 10004), ("10033", "0", 10033, 0), ("root", "root", 0, 0)])
def test_a_file_is_its_owners_as_the_sandbox_has_them(scene: Scene, owner: str, group: str, uid: int, gid: int) -> None:
    declared = FileEntry("/var/lib/x", "declared", "2750", owner, group)
    content.write_files(spec(scene), [declared])
    status = (scene.top / "var" / "lib" / "x").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (uid, gid, 0o2750)
    seen = content._files(str(scene.top), [declared.path])[declared.path]
    assert (seen.content, seen.mode, seen.uid, seen.gid) == ("declared", "2750", uid, gid)


@pytest.mark.usefixtures("accounts")
@pytest.mark.parametrize("option", ["owner", "group"])
def test_an_owner_whom_root_inside_has_removed_gets_no_file(scene: Scene, option: str) -> None:
    with pytest.raises(SandboxError, match=r"/var/lib/x: the sandbox no longer has gone among its users and groups"):
        content.write_files(spec(scene), [dataclasses.replace(FILE, path="/var/lib/x", **{option: "gone"})])
    assert not (scene.top / "var" / "lib" / "x").exists()


@pytest.mark.usefixtures("accounts")
def test_whom_a_file_may_belong_to_is_asked_of_the_content_or_else_of_the_host(scene: Scene) -> None:
    declared = dataclasses.replace(spec(scene), files=(FILE,))
    inside = {"users": {"root": "0", "www": "10033"}, "groups": {"root": "0", "adm": "10004"}}
    assert content._own_accounts(declared, str(scene.top)) == inside
    new = Accounts(users=["db:x:102:103::/:/bin/false"], groups=["db:x:103:"])
    assert content._own_accounts(declared, str(scene.top), new) == {
        "users": {**inside["users"], "db": "102"},
        "groups": {**inside["groups"], "db": "103"},
    }
    # content that is still to be made, or of which nothing can be seen, is made from the host's
    for root in ("", str(scene.place / "nosuch")):
        of_host = content._own_accounts(declared, root)
        assert (of_host["users"]["root"], of_host["groups"]["root"]) == ("0", "0")
        assert set(of_host["users"]) == {line.split(":")[0] for line in Path("/etc/passwd").read_text().splitlines()}
    assert content._own_accounts(spec(scene), str(scene.top)) == {}
