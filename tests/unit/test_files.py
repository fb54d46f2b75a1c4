# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the host: whole or not there, whoever else writes them at the same time; and the host's own /etc/hosts."""

from __future__ import annotations

import multiprocessing
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import files, hosts_file
from ansible_collections.virt.sandbox.plugins.module_utils.model import hosts_file as model
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import ConflictError, SandboxError


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_a_file_is_written_with_its_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "new" / "sub" / "file"
    before = os.umask(0o077)
    try:
        files.write_file(str(path), "tëxt\n", mode)
    finally:
        os.umask(before)
    assert path.read_text(encoding="utf-8") == "tëxt\n"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert os.listdir(path.parent) == ["file"]


def test_a_file_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    """Others hold the old one open, or have a link to it: they keep what they have."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    hard, link = tmp_path / "hard", tmp_path / "link"
    os.link(elsewhere, hard)
    link.symlink_to(elsewhere)
    for path in (hard, link):
        files.write_file(str(path), "ours", 0o644)
        assert path.read_text() == "ours"
        assert not path.is_symlink()
    assert elsewhere.read_text() == "theirs"


@pytest.mark.parametrize("call", ["fsync", "fchmod", "rename"])
def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space"):
            files.write_file(str(path), "new", 0o644)
        assert path.read_text() == "old"
    files.write_file(str(path), "new", 0o644)
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_the_new_file_is_on_the_disk_before_it_takes_the_place_of_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    for name in ("fsync", "rename"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *arguments, name=name, real=real: (order.append(name), real(*arguments)))
    files.write_file(str(tmp_path / "file"), "text", 0o644)
    assert order == ["fsync", "rename"]


def test_what_is_to_go_may_be_gone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    files.unlink(str(path))
    files.unlink(str(path))
    assert not path.exists()


@pytest.mark.parametrize("name", [".file.virt-sandbox-new", ".file.0123.virt-sandbox-new"])
def test_what_killed_runs_left_is_removed_once_it_is_old(tmp_path: Path, name: str) -> None:
    victim, left, young = tmp_path / "victim", tmp_path / name, tmp_path / ".file.4567.virt-sandbox-new"
    victim.write_text("theirs")
    left.symlink_to(victim)
    os.utime(left, (0, 0), follow_symlinks=False)
    young.touch()
    files.write_file(str(tmp_path / "file"), "ours", 0o644)
    assert victim.read_text() == "theirs"
    assert sorted(os.listdir(tmp_path)) == [young.name, "file", "victim"]


def test_a_link_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "link"
    for target in ("/nowhere/a", "/nowhere/b"):
        files.link(str(path), target)
        assert os.readlink(path) == target
    (tmp_path / "directory").mkdir()
    with pytest.raises(IsADirectoryError):
        files.link(str(tmp_path / "directory"), "/nowhere/a")
    assert sorted(os.listdir(tmp_path)) == ["directory", "link"]


def _write_often(path: str, text: str, until: float) -> None:
    while time.monotonic() < until:
        files.write_file(path, text, 0o755)


def test_two_runs_write_one_file_at_the_same_time(tmp_path: Path) -> None:
    path, text = tmp_path / "helper", "#!/bin/sh\n" * 1000
    files.write_file(str(path), text, 0o755)
    until = time.monotonic() + 1
    writers = [multiprocessing.get_context("fork").Process(target=_write_often, args=(str(path), text, until)) for _number in range(2)]
    for writer in writers:
        writer.start()
    while time.monotonic() < until:
        assert path.read_text() == text
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert os.listdir(tmp_path) == ["helper"]


# The host's /etc/hosts

ADMINISTRATORS = b"127.0.0.1\tlocalhost # web\n10.0.0.9 mail\n# caf\xe9\n# a\xc2\x8510.9.9.9 ghost\n# b\x0c10.9.9.8 ghost\r\n"


@pytest.mark.parametrize("end", [b"", b"10.0.0.8 last"])
def test_names_on_the_host_are_ours_alone_to_change(tmp_path: Path, end: bytes) -> None:
    path, lock = tmp_path / "hosts", str(tmp_path / "run" / "lock")
    path.write_bytes(ADMINISTRATORS + end)
    hosts_file.write("web", ["10.0.0.1", "fd00::1"], str(path), lock)
    hosts_file.write("db", ["10.0.0.2"], str(path), lock)
    assert model.of_sandboxes(hosts_file.read(str(path))) == {"web": ["10.0.0.1", "fd00::1"], "db": ["10.0.0.2"]}
    assert path.read_bytes().startswith(ADMINISTRATORS + end)
    hosts_file.write("web", [], str(path), lock)
    hosts_file.write("db", [], str(path), lock)
    assert path.read_bytes() == ADMINISTRATORS + end + (b"\n" if end else b"")


def test_a_hosts_file_stays_what_it_is(tmp_path: Path) -> None:
    """Behind its link, with its mode and owner; where there is none, one is made."""
    path, target, lock = tmp_path / "hosts", tmp_path / "etc" / "hosts", str(tmp_path / "run" / "lock")
    target.parent.mkdir()
    target.write_bytes(b"")
    target.chmod(0o664)
    if os.geteuid() == 0:
        os.chown(target, 1, 2)
    before = target.stat()
    path.symlink_to("etc/hosts")
    hosts_file.write("web", ["10.0.0.1"], str(path), lock)
    after = target.stat()
    assert path.is_symlink()
    assert target.read_bytes() == b"10.0.0.1\tweb\t# virt.sandbox\n"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    hosts_file.write("web", ["10.0.0.1"], str(tmp_path / "new"), lock)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o644


def test_a_hosts_file_keeps_its_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, given = tmp_path / "hosts", []
    path.touch()
    monkeypatch.setattr(os, "listxattr", lambda _path: ["security.ima", "security.selinux"])
    monkeypatch.setattr(os, "getxattr", lambda _path, name: name.encode())
    monkeypatch.setattr(os, "setxattr", lambda _file, name, value: given.append((name, value)))
    files.rewrite(str(path), b"")
    assert given == [("security.selinux", b"security.selinux")]


def test_a_hosts_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match=f"^{tmp_path} cannot be read: Is a directory$"):
        hosts_file.read(str(tmp_path))


def test_the_names_that_others_have() -> None:
    ours = b"10.0.0.1\tweb\t# virt.sandbox\n"
    assert model.of_others(ADMINISTRATORS + ours + b"fd00::1 DB db.example # web") == {
        "localhost": ["127.0.0.1"],
        "mail": ["10.0.0.9"],
        "db": ["fd00::1"],
        "db.example": ["fd00::1"],
    }


@pytest.mark.parametrize(
    ("addresses", "others", "refused"),
    [
        pytest.param(["10.0.0.1"], {"db": ["10.0.0.5"]}, "10.0.0.5", id="another address"),
        pytest.param(["10.0.0.1"], {"db": ["10.0.0.1", "fd00::5"]}, "fd00::5", id="one more address"),
        pytest.param(["10.0.0.1"], {"db": ["\udce9"]}, r"\\udce9", id="no address"),
        pytest.param(["10.0.0.1", "fd00::1"], {"db": ["FD00:0::1"]}, "", id="the same address"),
        pytest.param([], {"db": ["10.0.0.5"]}, "", id="not named"),
        pytest.param(["10.0.0.1"], {"mail": ["10.0.0.5"]}, "", id="another name"),
    ],
)
def test_a_name_of_the_administrator_is_refused(addresses: list[str], others: dict[str, list[str]], refused: str) -> None:
    if refused:
        with pytest.raises(ConflictError, match=rf"^name: db is already the name of {refused} in the host's /etc/hosts\."):
            model.check("db", addresses, others)
    else:
        model.check("db", addresses, others)
