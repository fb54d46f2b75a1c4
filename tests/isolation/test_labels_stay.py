# SPDX-License-Identifier: GPL-3.0-or-later
"""Threats 16 and 17: what relabels a host, and what restores a backup, leaves each sandbox's labels, or the next run mends them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.virt.sandbox.tests.cycle import CONTENT, LABEL
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Played, Task, sandboxes_gone, shell_task

NAME, OTHER, ELSEWHERE = "it-stay", "it-stay-2", "it-stay-3"
LEVELS = {NAME: "s0:c951,c952", OTHER: "s0:c953,c954", ELSEWHERE: "s0:c955,c956"}
TREES = "/var/lib/libvirt/filesystems"
# a place for content that a relabel of the host would label otherwise, and one for many
PLACE, CROWD = "/srv/it-places", "/srv/it-crowd"
MANY = [f"it-many-{number}" for number in range(100)]
SOURCE = "/srv/it-stay"
# without the SELinux user, which separates nothing: it is that of whoever made the file
LABELS = f"find {TREES}/{NAME} {TREES}/{OTHER} {PLACE}/{ELSEWHERE} -printf '%Z %p\\n' | sed 's/^[a-z_]*://' | sort"
# what goes over a host's labels, by administrators, packages and boots
PACKAGE = """
rm -rf /run/it-deb; mkdir -p /run/it-deb/DEBIAN; cd /run/it-deb
printf 'Package: it-relabel\\nVersion: 1\\nArchitecture: all\\nMaintainer: <a@b>\\nDescription: relabels\\n' >DEBIAN/control
printf '#!/bin/sh\\nrestorecon -RF /var/lib/libvirt /srv /etc\\n' >DEBIAN/postinst; chmod 755 DEBIAN/postinst
dpkg-deb --build . /run/it-relabel.deb && dpkg --install /run/it-relabel.deb && dpkg --purge it-relabel
"""
WIPES = {
    "restorecon": "restorecon -RF /var/lib/libvirt /srv",
    "a package's scriptlet": PACKAGE,
    "a relabel of all": "fixfiles -F restore >/run/it-fixfiles 2>&1",
}
# something of the host beside the content, which a relabel puts right
BESIDE = "/srv/it-beside"
BACK = f"cd {TREES}/{NAME}/srv/it-stay"
ASIDE = "/root/it-stay-backup"
TAR = "tar --xattrs --xattrs-include='*'"
# a backup of one sandbox's files, and its return in ways that keep the labels and ways that do not
RESTORES = {
    "tar with xattrs": f"{BACK}; {TAR} -cf {ASIDE}.tar .; rm -rf *; {TAR} -xf {ASIDE}.tar",
    "tar without": f"{BACK}; tar -cf {ASIDE}.tar .; rm -rf *; tar -xf {ASIDE}.tar",
    "rsync with xattrs": f"{BACK}; rsync -aX ./ {ASIDE}/; rm -rf *; rsync -aX {ASIDE}/ ./",
    "rsync without": f"{BACK}; rsync -a --delete ./ {ASIDE}/; rm -rf *; rsync -a {ASIDE}/ ./",
    "moved in": f"{BACK}; rm -rf {ASIDE}; cp -r . {ASIDE}; rm -rf *; mv {ASIDE}/* .",
}
KEPT = ("tar with xattrs", "tar without", "rsync with xattrs", "rsync without")
BY_HAND = f"{BACK}; chcon -l {LEVELS[OTHER]} a; chcon -t var_t sub/b; chcon system_u:object_r:virt_sandbox_file_t:s0 sub"
CLEAN = f"rm -rf {BESIDE} {SOURCE} {ASIDE} {ASIDE}.tar; rmdir {PLACE} {CROWD}"
RULES = "cat /etc/selinux/*/contexts/files/file_contexts.local; true"
TRANSACTIONS = "tr -d '\\000' </var/lib/selinux/default/active/commit_num"


def content(title: str, **options: str) -> Task:
    sandboxes = [{"name": name, "level": level, "private": [SOURCE]} for name, level in LEVELS.items()]
    sandboxes[-1]["path"] = PLACE
    return {"name": title, CONTENT: {"sandboxes": sandboxes, **options}}


def gone(title: str) -> list[Task]:
    """Nothing is left of what is not in the usual place either."""
    places = [{"name": ELSEWHERE, "path": PLACE}, *({"name": name, "path": CROWD} for name in MANY)]
    elsewhere = {"name": f"{title}: elsewhere", CONTENT: {"sandboxes": [{**one, "state": "absent"} for one in places]}}
    return [elsewhere, *sandboxes_gone([*LEVELS, *MANY], title)]


def crowd_tasks() -> Iterator[Task]:
    """Many sandboxes at once, in a place that has no rules yet."""
    yield {"name": "labels of many", LABEL: {"sandboxes": [{"name": name} for name in MANY]}}
    yield shell_task("transactions before", TRANSACTIONS, changed_when=False)
    many: Task = {CONTENT: {"sandboxes": [{"name": name, "path": CROWD} for name in MANY]}}
    yield {"name": "many", **many}
    yield shell_task("transactions after", TRANSACTIONS, changed_when=False)
    yield shell_task("rules", RULES, changed_when=False)
    yield {"name": "many again", **many}


def tasks() -> Iterator[Task]:
    rsync = {"host_service_packages": [{"package": "rsync", "units": ["rsync.service"]}]}
    yield {"name": "rsync", "ansible.builtin.include_role": {"name": "virt.sandbox.host", "tasks_from": "package.yml"}, "vars": rsync}
    yield shell_task("prepare", f"{CLEAN}; mkdir -p {SOURCE}/sub; echo a >{SOURCE}/a; echo b >{SOURCE}/sub/b; ln -s a {SOURCE}/link")
    yield {"name": "labels", LABEL: {"sandboxes": [{"name": name, "level": level} for name, level in LEVELS.items()]}}
    yield content("content")
    yield shell_task("at first", LABELS, changed_when=False)
    for name, script in {**WIPES, **RESTORES}.items():
        yield shell_task(name, f"touch {BESIDE}; chcon -t etc_t {BESIDE}\n{script}")
        yield shell_task(f"beside {name}", f"stat -c %C {BESIDE}", changed_when=False)
        yield shell_task(f"after {name}", LABELS, changed_when=False)
        yield content(f"next run after {name}")
        yield shell_task(f"at last after {name}", LABELS, changed_when=False)
    yield shell_task("by hand", BY_HAND)
    yield content("report")
    yield content("fail", foreign="fail")
    yield content("keep", foreign="keep")
    yield shell_task("after keep", LABELS, changed_when=False)
    yield content("fix", foreign="fix")
    yield shell_task("after fix", LABELS, changed_when=False)
    yield shell_task("all by hand", f"chcon -R -l {LEVELS[OTHER]} {TREES}/{NAME}")
    yield content("all: report")
    yield content("all: fail", foreign="fail")
    yield content("all: fix", foreign="fix")
    yield shell_task("all: after fix", LABELS, changed_when=False)


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    yield lab.play(
        [*gone(" first"), *tasks(), *crowd_tasks(), *gone(" last"), shell_task("rules at last", RULES, changed_when=False)],
        gather_facts=True,
    )
    lab.play([*gone(""), shell_task("clean", CLEAN)])


@pytest.mark.parametrize("name", WIPES)
def test_threat_17_a_relabel_of_the_host_leaves_every_level(played: Played, host: str, name: str) -> None:
    outcomes = played.on(host)
    assert not outcomes[name].failed, outcomes[name].message
    for top in (f"{LEVELS[NAME]} {TREES}/{NAME}", f"{LEVELS[ELSEWHERE]} {PLACE}/{ELSEWHERE}"):
        assert f":{top}/srv/it-stay/sub/b" in outcomes["at first"].stdout
    assert ":var_t:" in outcomes[f"beside {name}"].stdout
    assert outcomes[f"after {name}"].stdout == outcomes["at first"].stdout
    assert not outcomes[f"next run after {name}"].changed


@pytest.mark.parametrize("name", KEPT)
def test_threat_16_a_restored_backup_is_the_sandboxes_own(played: Played, host: str, name: str) -> None:
    outcomes = played.on(host)
    assert not outcomes[name].failed, outcomes[name].message
    assert outcomes[f"after {name}"].stdout == outcomes["at first"].stdout


def test_threat_16_what_is_moved_in_has_no_level_until_the_next_run(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["after moved in"].stdout != outcomes["at first"].stdout
    assert f":{LEVELS[NAME]} {TREES}/{NAME}/srv/it-stay/a" not in outcomes["after moved in"].stdout
    assert outcomes["next run after moved in"].changed
    assert outcomes["at last after moved in"].stdout == outcomes["at first"].stdout


def test_labels_changed_by_hand_are_mended_or_named_with_whose_they_are(played: Played, host: str) -> None:
    outcomes = played.on(host)
    (foreign,) = outcomes["report"].result["foreign"][NAME]
    assert (foreign["path"], foreign["level"], foreign["owner"]) == ("/srv/it-stay/a", LEVELS[OTHER], OTHER)
    assert outcomes["fail"].failed
    assert f"/srv/it-stay/a at {LEVELS[OTHER]}" in outcomes["fail"].message
    assert not outcomes["keep"].failed
    assert not outcomes["keep"].result.get("warnings")
    assert f"virt_sandbox_file_t:{LEVELS[OTHER]} {TREES}/{NAME}/srv/it-stay/a" in outcomes["after keep"].stdout
    assert outcomes["fix"].changed
    assert outcomes["after fix"].stdout == outcomes["at first"].stdout


def test_threat_16_a_tree_at_another_sandboxes_level_is_not_taken_over(played: Played, host: str) -> None:
    outcomes = played.on(host)
    strangers = outcomes["all: report"].result["foreign"][NAME]
    assert {one["owner"] for one in strangers} == {OTHER}
    assert {"/", "/srv/it-stay/a"} <= {one["path"] for one in strangers}
    assert not outcomes["all: report"].changed
    assert outcomes["all: fail"].failed
    assert outcomes["all: fix"].changed
    assert outcomes["all: after fix"].stdout == outcomes["at first"].stdout


def test_rules_for_a_hundred_sandboxes_are_one_transaction(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert not outcomes["many"].failed, outcomes["many"].message
    assert int(outcomes["transactions after"].stdout) - int(outcomes["transactions before"].stdout) == 1
    rules = [line for line in outcomes["rules"].stdout.splitlines() if CROWD in line]
    assert len(rules) == len(MANY)
    assert not outcomes["many again"].changed, outcomes["many again"].result["steps"]


def test_rules_go_with_the_content(played: Played, host: str) -> None:
    assert "it-" not in played.on(host)["rules at last"].stdout
