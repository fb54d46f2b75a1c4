# SPDX-License-Identifier: GPL-3.0-or-later
"""Threats 16 and 17: what relabels a host, and what restores a backup, leaves each sandbox's labels, or the next run mends them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.virt.sandbox.tests.cycle import CONTENT, LABEL
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Played, Task, sandboxes_gone, shell_task

NAME, OTHER = "it-stay", "it-stay-2"
LEVELS = {NAME: "s0:c951,c952", OTHER: "s0:c953,c954"}
TREES = "/var/lib/libvirt/filesystems"
SOURCE = "/srv/it-stay"
# without the SELinux user, which separates nothing: it is that of whoever made the file
LABELS = f"cd {TREES} && find {NAME} {OTHER} -printf '%Z %p\\n' | sed 's/^[a-z_]*://' | sort"
# what goes over a host's labels, by administrators, packages and boots
WIPES = {
    "restorecon": "restorecon -RF /var/lib/libvirt",
    "a package's scriptlet": "restorecon -R -F /var/lib/libvirt/filesystems /etc/libvirt-sandbox",
    "an offline relabel": "fixfiles -F restore 2>&1 | tail -n 3",
}
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
CLEAN = f"rm -rf {SOURCE} {ASIDE} {ASIDE}.tar"


def content(title: str, **options: str) -> Task:
    sandboxes = [{"name": name, "level": level, "private": [SOURCE]} for name, level in LEVELS.items()]
    return {"name": title, CONTENT: {"sandboxes": sandboxes, **options}}


def tasks() -> Iterator[Task]:
    yield shell_task("prepare", f"{CLEAN}; mkdir -p {SOURCE}/sub; echo a >{SOURCE}/a; echo b >{SOURCE}/sub/b; ln -s a {SOURCE}/link")
    yield {"name": "labels", LABEL: {"sandboxes": [{"name": name, "level": level} for name, level in LEVELS.items()]}}
    yield content("content")
    yield shell_task("at first", LABELS, changed_when=False)
    for name, script in {**WIPES, **RESTORES}.items():
        yield shell_task(name, script)
        yield shell_task(f"after {name}", LABELS, changed_when=False)
        yield content(f"next run after {name}")
        yield shell_task(f"at last after {name}", LABELS, changed_when=False)
    yield shell_task("by hand", BY_HAND)
    yield content("report")
    yield content("fail", foreign="fail")
    yield content("fix", foreign="fix")
    yield shell_task("after fix", LABELS, changed_when=False)


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    yield lab.play([*sandboxes_gone(list(LEVELS), " first"), *tasks()])
    lab.play([*sandboxes_gone(list(LEVELS)), shell_task("clean", CLEAN)])


@pytest.mark.parametrize("name", WIPES)
def test_threat_17_a_relabel_of_the_host_leaves_every_level(played: Played, host: str, name: str) -> None:
    outcomes = played.on(host)
    assert not outcomes[name].failed, outcomes[name].message
    assert f":{LEVELS[NAME]} {NAME}/srv/it-stay/sub/b" in outcomes["at first"].stdout
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
    assert f":{LEVELS[NAME]} {NAME}/srv/it-stay/a" not in outcomes["after moved in"].stdout
    assert outcomes["next run after moved in"].changed
    assert outcomes["at last after moved in"].stdout == outcomes["at first"].stdout


def test_labels_changed_by_hand_are_mended_or_named_with_whose_they_are(played: Played, host: str) -> None:
    outcomes = played.on(host)
    (foreign,) = outcomes["report"].result["foreign"][NAME]
    assert (foreign["path"], foreign["level"], foreign["owner"]) == ("/srv/it-stay/a", LEVELS[OTHER], OTHER)
    assert outcomes["fail"].failed
    assert f"/srv/it-stay/a at {LEVELS[OTHER]}" in outcomes["fail"].message
    assert outcomes["fix"].changed
    assert outcomes["after fix"].stdout == outcomes["at first"].stdout
