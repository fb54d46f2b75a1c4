# SPDX-License-Identifier: GPL-3.0-or-later
"""From packages to private paths, and what of them is kept outside."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host import packages
from ansible_collections.virt.sandbox.plugins.module_utils.model import private_paths
from ansible_collections.virt.sandbox.plugins.module_utils.model.private_paths import Entry, Package

INSTALLED = {
    "apache2": Package("apache2", "apache2", frozenset({"apache2-bin", "mime-support", "libc6"})),
    "apache2-bin": Package("apache2-bin", "apache2", frozenset({"apache2-data", "apache2"})),
    "apache2-data": Package("apache2-data", "apache2"),
    "javascript-common": Package("javascript-common", "javascript-common", frozenset({"apache2"})),
    "cron": Package("cron", "cron", base=True),
}


def test_packages_of_one_source() -> None:
    assert private_paths.of_one_source(["apache2", "nowhere"], INSTALLED) == ["apache2", "apache2-bin", "apache2-data"]
    assert private_paths.of_one_source(["javascript-common"], INSTALLED) == ["javascript-common"]


@pytest.mark.parametrize(
    ("paths", "whole", "expected"),
    [
        pytest.param(["/etc/http/a", "/etc/httpd/b"], ["/etc/http"], ["/etc/http", "/etc/httpd/b"], id="by components"),
        pytest.param(["/etc/my.cnf", "/etc/my.cnf.d/x"], ["/etc/my.cnf.d"], ["/etc/my.cnf", "/etc/my.cnf.d"], id="single file"),
        pytest.param(["/var/lib/a/b/c"], ["/var/lib/a", "/var/lib/a/b"], ["/var/lib/a"], id="topmost"),
        pytest.param(["/etc/cron.d/a"], [], ["/etc/cron.d/a"], id="file of a shared directory"),
    ],
)
def test_topmost(paths: list[str], whole: list[str], expected: list[str]) -> None:
    assert private_paths.topmost(paths, set(whole)) == expected


def test_only_private_places_are_candidates_and_no_keys_of_the_host() -> None:
    paths = ["/usr/sbin/a", "/etc", "/etc/a", "/etc/default", "/etc/default/a", "/etc/ssl/certs/b", "/etc/ssl/private/key", "/var/run/a",
             "/etc/init.d/a", "/srv/a", "/etcetera", "/etc/apparmor.d/a", "/etc/shadow", "/var/lib/dpkg/x"]  # fmt: skip
    assert private_paths.candidates(paths) == ["/etc/a", "/etc/default/a", "/etc/init.d/a", "/srv/a"]


def test_a_directory_with_a_plugins_files_is_the_services_and_one_of_the_base_is_not() -> None:
    owners = {"/etc/apache2": {"apache2", "javascript-common"}, "/etc/cron.odd": {"apache2", "cron"}, "/etc/own": {"apache2"}}
    assert private_paths.own_directories(owners, owners, ["apache2"], INSTALLED) == ["/etc/apache2", "/etc/own"]
    assert private_paths.own_directories(owners, owners, ["apache2", "cron"], INSTALLED) == list(owners)


def test_state_is_found_by_its_owner_and_never_roots() -> None:
    assert private_paths.state_of({0, 105}, {"/var/lib/redis": 105, "/var/lib/dpkg": 0, "/var/lib/other": 106}) == ["/var/lib/redis"]


def directory(path: str, mode: int, *children: Entry, needed: bool = False) -> Entry:
    return Entry(path, True, mode, True, needed, children)


def file(path: str, mode: int, unchanged: bool = False) -> Entry:
    return Entry(path, False, mode, unchanged, unchanged)


@pytest.mark.parametrize(
    ("entries", "reachable", "outside"),
    [
        pytest.param([file("/a", 0o644)], True, [], id="open to all"),
        pytest.param([file("/a", 0o640)], True, ["/a"], id="for some"),
        pytest.param([file("/a", 0o640, unchanged=True)], True, [], id="for some, as the package gave it"),
        pytest.param([file("/a", 0o644)], False, ["/a"], id="open, behind a closed directory"),
        pytest.param([directory("/d", 0o755, file("/d/key", 0o600), file("/d/a", 0o644))], True, ["/d/key"], id="one of a directory"),
        pytest.param([directory("/d", 0o700, file("/d/a", 0o644))], True, ["/d"], id="a closed directory as a whole"),
        pytest.param([directory("/d", 0o711, file("/d/a", 0o644))], True, ["/d"], id="a directory that cannot be listed"),
        pytest.param(
            [directory("/d", 0o750, file("/d/a", 0o644, unchanged=True), file("/d/b", 0o644), needed=True)], True, ["/d/b"],
            id="a closed directory with a file of the package",
        ),
    ],
)  # fmt: skip
def test_what_may_be_a_secret_of_the_host_stays_outside(entries: list[Entry], reachable: bool, outside: list[str]) -> None:
    assert private_paths.left_out(entries, reachable) == outside


# What package managers say

DPKG = {
    "${Package}\t": "redis\tredis\tinstalled\tno\toptional\tlibc6 (>= 2) | libc, redis-tools:any, \n"
    "base-files\tbase-files\tinstalled\tyes\trequired\t, \n"
    "cron\tcron\tinstalled\tno\timportant\t, \nold\told\tconfig-files\tno\toptional\t, \n",
    "${Conffiles}\n": "\n /etc/redis/redis.conf 0cc175b9c0f1b6a831c399e269772661\n /etc/gone obsolete d41d8 obsolete\n",
    "--search": "diversion by x from: /etc/redis\nredis, cron:amd64: /etc/redis\nredis: /lib/systemd/system/redis.service\n",
    "--listfiles": "/.\n/etc\n/etc/redis\n/etc/redis/redis.conf\nlocally diverted to: /etc/x\n\n/.\n",
}
RPM = {
    "REQUIRENAME": "redis\tlibc.so.6()(64bit)\nredis\tredis-common\nfilesystem\t\n",
    "SOURCERPM": "redis\tredis-7-1.src.rpm\nredis-common\tredis-7-1.src.rpm\nfilesystem\tfilesystem-3.src.rpm\n",
    "%{=NAME}\t%{FILENAMES}": "redis\t/etc/redis\nredis-common\t/etc/redis\nredis\t/usr/bin/redis\n",
    "FILEDIGESTS": "/etc/redis.conf\tabc\tc\n/usr/bin/redis\tdef\t\n/run/redis\t\tg\n",
}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the tools were asked; each question has its answer."""
    asked: list[list[str]] = []

    def run(arguments: Sequence[str], **_keywords: object) -> str:
        asked.append(list(arguments))
        known = DPKG if arguments[0] == "dpkg-query" else RPM
        return next(text for key, text in known.items() if key in " ".join(arguments))

    monkeypatch.setattr(packages, "run", run)
    return asked


def test_dpkg(answers: list[list[str]]) -> None:
    database = packages.Dpkg()
    assert database.installed() == {
        "redis": Package("redis", "redis", frozenset({"libc6", "libc", "redis-tools"})),
        "base-files": Package("base-files", "base-files", base=True),
        "cron": Package("cron", "cron", base=True),
    }
    unit = "/usr/lib/systemd/system/redis.service"
    assert database.owners([unit, "/etc/redis", "/etc/none"]) == {unit: {"redis"}, "/etc/redis": {"redis", "cron"}, "/etc/none": set()}
    assert answers[-1][:3] == ["dpkg-query", "--search", "--"]
    assert database.files(["redis"]) == {"/etc": "", "/etc/redis": "", "/etc/redis/redis.conf": "0cc175b9c0f1b6a831c399e269772661"}
    assert database.owners([]) == database.files([]) == {}


def test_rpm(answers: list[list[str]]) -> None:
    database = packages.Rpm()
    assert database.installed() == {
        "redis": Package("redis", "redis-7-1.src.rpm", frozenset({"libc.so.6", "redis-common"})),
        "redis-common": Package("redis-common", "redis-7-1.src.rpm"),
        "filesystem": Package("filesystem", "filesystem-3.src.rpm", frozenset({""}), base=True),
    }
    assert database.owners(["/etc/redis", "/etc/none"]) == {"/etc/redis": {"redis", "redis-common"}, "/etc/none": set()}
    assert database.files(["redis"]) == {"/etc/redis.conf": "abc", "/usr/bin/redis": ""}
    assert database.owners([]) == database.files([]) == {}
    assert len(answers) == 4


def test_a_configuration_file_is_as_its_package_gave_it(tmp_path: pytest.TempPathFactory) -> None:
    path = f"{tmp_path}/redis.conf"
    with open(path, "w", encoding="utf-8") as config:
        config.write("a")
    md5, sha256 = "0cc175b9c0f1b6a831c399e269772661", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    for digest, same in (("", True), (md5, True), (sha256, True), (md5[::-1], False), ("unknown", False)):
        assert packages.unchanged(path, {path: digest}) is same
    assert not packages.unchanged(path, {})
    assert not packages.unchanged(f"{path}.gone", {f"{path}.gone": md5})
