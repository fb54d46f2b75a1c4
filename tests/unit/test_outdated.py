# SPDX-License-Identifier: GPL-3.0-or-later
"""Three-way: what was copied from the host, what the host has now, what the sandbox has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import outdated as engine
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError
from ansible_collections.virt.sandbox.plugins.module_utils.model.outdated import (
    BOTH,
    GONE,
    NEW,
    NEWER,
    Accounts,
    Copied,
    compare,
    new_accounts,
    system_names,
    with_accounts,
)


@pytest.mark.parametrize(
    ("copied", "host", "inside", "state"),
    [
        pytest.param("1", "1", "1", None, id="nothing happened"),
        pytest.param("1", "1", "2", None, id="changed in the sandbox only"),
        pytest.param("1", "1", None, None, id="removed in the sandbox only"),
        pytest.param("1", "2", "1", NEWER, id="changed on the host only"),
        pytest.param("1", "2", "2", None, id="changed alike"),
        pytest.param("1", "2", "3", BOTH, id="changed on both sides"),
        pytest.param("1", "2", None, BOTH, id="changed on the host, removed in the sandbox"),
        pytest.param(None, "1", None, NEW, id="new on the host"),
        pytest.param(None, "1", "1", None, id="the same from elsewhere"),
        pytest.param(None, "1", "2", BOTH, id="another of that name"),
        pytest.param("1", None, "1", GONE, id="removed on the host only"),
        pytest.param("1", None, "2", None, id="removed on the host, changed in the sandbox"),
        pytest.param("1", None, None, None, id="removed on both sides"),
    ],
)
def test_compare(copied: str | None, host: str | None, inside: str | None, state: str | None) -> None:
    def side(signature: str | None) -> dict[str, str]:
        return {} if signature is None else {"etc/a": signature}

    found = compare(side(copied), side(host), lambda _path: inside)
    assert [(one.path, one.state, one.inside) for one in found] == ([("etc/a", state, inside)] if state else [])


def test_the_sandbox_is_asked_only_about_what_the_host_changed() -> None:
    asked: list[str] = []

    def inside(path: str) -> str:
        asked.append(path)
        return "1"

    compare({"etc/a": "1", "etc/b": "1"}, {"etc/a": "1", "etc/b": "2"}, inside)
    assert asked == ["etc/b"]


PASSWD = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/:/bin/false\n"
GROUP = "root:x:0:\nwww:x:33:\nssl:x:101:\n"
HOST_PASSWD = PASSWD + "db:x:102:103:DB,,,:/var/lib/db:/bin/false\nme:x:1000:1000::/home/me:/bin/bash\n"
HOST_GROUP = "root:x:0:\nwww:x:33:\nssl:x:101:www,db\ndb:x:103:\nme:x:1000:\n"


def test_a_new_system_account_comes_with_its_groups() -> None:
    found = new_accounts(Copied({}, ["www"], ["ssl", "www"]), (HOST_PASSWD, HOST_GROUP), (PASSWD, GROUP))
    assert found == Accounts(["db:x:102:103:DB,,,:/var/lib/db:/bin/false"], ["db:x:103:"], [("ssl", "db")], [])
    assert with_accounts(GROUP, found.groups, found.members) == "root:x:0:\nwww:x:33:\nssl:x:101:db\ndb:x:103:\n"
    assert with_accounts(PASSWD, found.users) == PASSWD + found.users[0] + "\n"


def test_an_account_that_was_removed_inside_stays_removed() -> None:
    assert not new_accounts(Copied({}, ["db"], ["db"]), (HOST_PASSWD, HOST_GROUP), (PASSWD, GROUP))


def test_again_there_is_nothing_to_add() -> None:
    assert not new_accounts(Copied(), (HOST_PASSWD, HOST_GROUP), (HOST_PASSWD, HOST_GROUP))


def test_a_number_that_is_anothers_inside_is_not_given_twice() -> None:
    found = new_accounts(Copied(), (HOST_PASSWD, HOST_GROUP), (PASSWD + "other:x:102:102::/:/bin/sh\n", HOST_GROUP))
    assert (found.users, found.in_conflict) == ([], ["db"])


def test_lines_that_are_none_are_left_alone() -> None:
    text = "root:x:0:0::/:/bin/sh\n+::::::\n# note\n"
    assert system_names(text) == []
    assert with_accounts(text, []) == text


@pytest.mark.parametrize("number", ["\u00b2", "9" * 5000, "", "-5"])
def test_a_number_that_is_none_is_root_insides_to_write(number: str) -> None:
    inside = f"{PASSWD}x:x:{number}:1::/:/bin/sh\n"
    assert new_accounts(Copied(), (HOST_PASSWD, HOST_GROUP), (inside, GROUP)).in_conflict == []
    assert system_names(inside) == ["www"]


LATIN = b"db:x:102:103:Caf\xe9 \x85 \xc2\x85,,,:/var/lib/db:/bin/false\n"


@pytest.fixture
def host_passwd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A host whose /etc/passwd is older than UTF-8."""
    (tmp_path / "passwd").write_bytes(PASSWD.encode() + LATIN)
    (tmp_path / "group").write_text(GROUP + "db:x:103:\n")
    monkeypatch.setattr(engine, "_read", lambda path, real=engine._read: real(str(tmp_path / os.path.basename(path))))


@pytest.mark.usefixtures("host_passwd")
def test_accounts_whose_bytes_are_no_text_come_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, written = tmp_path / "root", {}
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").write_bytes(PASSWD.encode() + b"own:x:1:1:\xe9\x85:/:/bin/sh\n")
    (root / "etc" / "group").write_text(GROUP)
    monkeypatch.setattr(engine.tree, "write_file", lambda _top, path, data, **_attributes: written.update({path: data}))
    _files, accounts = engine.observe(str(root), [], Copied({}, ["www"], ["ssl", "www"]))
    engine.add_accounts(str(root), lambda *_ignored: "", accounts)
    assert written["etc/passwd"] == (root / "etc" / "passwd").read_bytes() + LATIN
    assert written["etc/group"] == GROUP.encode() + b"db:x:103:\n"


@pytest.mark.parametrize("text", ["{", "[]", '{"files": {}}'])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "copied").write_text(text)
    with pytest.raises(SandboxError, match="copied is damaged"):
        engine.copied(str(tmp_path / "copied"))
    assert engine.copied(str(tmp_path / "none")) == Copied()
