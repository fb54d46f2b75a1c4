# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 (scripts are read by lines)
"""Content that is cloned, that is an image, and that follows what the host's updates bring to /etc."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.virt.sandbox.tests.cycle import CONTENT, LABEL, SERVICE
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Played, Task, sandboxes_gone, shell_task, snapshot_task

NAME, TWIN, IMAGE = "it-life", "it-life-2", "it-img"
NAMES = (NAME, TWIN, IMAGE)
TREES = "/var/lib/libvirt/filesystems"
UNITS = ["systemd-tmpfiles-clean.timer"]
PRIVATE = ["/etc/it-life", "/srv/it-life"]
MB = 1024 * 1024

PREPARE = """
rm -rf /etc/it-life /srv/it-life /srv/it-large; mkdir /etc/it-life /srv/it-life /srv/it-large
for name in same host sandbox both gone; do echo "first $name" >/etc/it-life/$name; done
echo 'it-life is not it-life-2, nor httpd httpd.service' >/srv/it-life/words
ln /srv/it-life/words /srv/it-life/link; dd if=/dev/urandom of=/srv/it-large/data bs=1M count=40 status=none
userdel it-new 2>/dev/null; rm -f /etc/ssl/certs/it-life.pem; true
"""
CLEAN = "rm -rf /etc/it-life /srv/it-life /srv/it-large /etc/ssl/certs/it-life.pem; userdel it-new 2>/dev/null; true"

# what one sandbox is known by, and what of the content is the same in both
IDENTITY = """
name=%s; tree=/var/lib/libvirt/filesystems/$name
pid=$(pgrep -o -P "$(cat /run/libvirt/lxc/$name.pid)")
echo "machine=$(cat $tree/etc/machine-id)"
echo "host=$(cat $tree/etc/hostname)"
echo "mac=$(nsenter -n -t $pid ip -brief link show dev eth0 | awk '{print $3}')"
echo "address=$(nsenter -n -t $pid ip -4 -o address show dev eth0 | awk '{print $4}')"
echo "uuid=$(virsh -c lxc:///system domuuid $name | head -n 1)"
echo "key=$(ssh-keygen -lf $tree/etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2)"
echo "private=$(ssh-keygen -lf $tree/etc/ssh/ssh_host_ed25519_key | cut -d' ' -f2)"
echo "label=$(ps -o label= -p $pid)"
echo "labels=$(find $tree -exec stat -c %%C {} + | cut -d: -f4- | sort -u | paste -sd ' ')"
echo "words=$(cat $tree/srv/it-life/words)"
echo "links=$(stat -c %%h $tree/srv/it-life/words)"
"""


def listed(*names: str, **options: Any) -> dict[str, Any]:
    return {"sandboxes": [{"name": name, **options} for name in names]}


def clone_tasks() -> Iterator[Task]:
    yield {"name": "labels", LABEL: listed(*NAMES)}
    yield {"name": "content", CONTENT: {"name": NAME, "private": PRIVATE}}
    key = f"{TREES}/{NAME}/etc/ssh/ssh_host_ed25519_key"
    yield shell_task("a host key inside", f"mkdir -p $(dirname {key}); ssh-keygen -q -t ed25519 -N '' -f {key}")
    yield {"name": "original", SERVICE: {"name": NAME, "units": UNITS, "network": [{"type": "managed"}]}}
    twin = {"name": TWIN, "clone_of": NAME, "private": PRIVATE}
    yield {"name": "clone of a running one", CONTENT: twin}
    yield shell_task("nothing half made", f"ls -A {TREES} | grep {TWIN}; test ! -e /var/lib/virt-sandbox/content/{TWIN}.json && echo none")
    yield {"name": "stop the original", SERVICE: {"name": NAME, "units": UNITS, "network": [{"type": "managed"}], "state": "stopped"}}
    yield {"name": "clone in check mode", CONTENT: twin, "check_mode": True}
    yield {"name": "clone", CONTENT: twin}
    yield {"name": "clone again", CONTENT: twin}
    yield {"name": "both", SERVICE: listed(NAME, TWIN, units=UNITS, network=[{"type": "managed"}])}
    for name in (NAME, TWIN):
        yield shell_task(f"identity of {name}", IDENTITY % name, changed_when=False)


def image_tasks() -> Iterator[Task]:
    image = {"name": IMAGE, "private": PRIVATE, "method": "image"}
    large = {**image, "private": [*PRIVATE, "/srv/it-large"]}
    yield {"name": "an image that is too small", CONTENT: {**large, "size": "32M"}}
    yield shell_task("no image half made", f"ls -A {TREES} | grep {IMAGE} || echo none")
    yield {"name": "image in check mode", CONTENT: {**image, "size": "64M"}, "check_mode": True}
    yield {"name": "image", CONTENT: {**image, "size": "64M"}}
    yield {"name": "image again", CONTENT: {**image, "size": "64M"}}
    yield {"name": "run the image", SERVICE: {"name": IMAGE, "units": UNITS}}
    fill = "dd if=/dev/zero of=/var/tmp/full bs=1M count=500 2>&1 | grep -o 'No space left on device'; stat -c %s /var/tmp/full; rm /var/tmp/full"
    yield shell_task("fill it", f'virt-sandbox exec {IMAGE} -- sh -c "{fill}"')
    yield {"name": "grow the image", CONTENT: {**image, "size": "96M"}}
    yield {"name": "grow it again", CONTENT: {**image, "size": "96M"}}
    yield shell_task("its size inside", f"virt-sandbox exec {IMAGE} -- df --output=size -B1M /var | tail -n 1", changed_when=False)
    yield {"name": "an image made smaller", CONTENT: {**image, "size": "64M"}}
    yield {"name": "an image as a directory", CONTENT: {"name": IMAGE, "private": PRIVATE}}


CHANGE = f"""
cd /etc/it-life; echo 'second host' >host; echo 'second both' >both; rm gone; echo 'first new' >new
cd {TREES}/{NAME}/etc/it-life; echo 'own sandbox' >sandbox; echo 'own both' >both
useradd --system --no-create-home it-new; echo it-life >/etc/ssl/certs/it-life.pem; ldconfig
"""
FILES = f'cd {TREES}/{NAME}/etc/it-life; for file in *; do echo "$file $(cat $file)"; done; grep -c ^it-new: ../passwd ../shadow'


def update_tasks() -> Iterator[Task]:
    arguments = {"name": NAME, "private": PRIVATE}
    yield shell_task("the host changes", CHANGE)
    yield shell_task("a certificate inside at once", f"virt-sandbox exec {NAME} -- cat /etc/ssl/certs/it-life.pem", changed_when=False)
    yield {"name": "report", CONTENT: arguments}
    yield shell_task("after report", FILES, changed_when=False)
    yield {"name": "take in check mode", CONTENT: {**arguments, "update": "take"}, "check_mode": True}
    yield {"name": "take", CONTENT: {**arguments, "update": "take"}}
    yield shell_task("after take", FILES, changed_when=False)
    yield {"name": "take again", CONTENT: {**arguments, "update": "take"}}
    yield {"name": "keep", CONTENT: {**arguments, "update": "keep"}}
    yield {"name": "after keep", CONTENT: arguments}
    yield {"name": "restarted", SERVICE: {"name": NAME, "units": UNITS, "network": [{"type": "managed"}], "state": "restarted"}}
    sums = "sha256sum /etc/ld.so.cache | cut -d' ' -f1"
    yield shell_task("the linker's cache", f'{sums}; virt-sandbox exec {NAME} -- sh -c "{sums}"', changed_when=False)


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    tasks = [*sandboxes_gone(NAMES, " first"), shell_task("prepare", PREPARE), *clone_tasks(), *image_tasks(), *update_tasks()]
    stop = [{"name": "stop all", SERVICE: listed(*NAMES, state="absent")}, snapshot_task("before the end")]
    gone = [
        {"name": "content gone", CONTENT: listed(*NAMES, state="absent")},
        shell_task("what is left", f"ls -A {TREES} | grep it- || echo none"),
    ]
    yield lab.play([*tasks, *stop, *gone], timeout=1200)
    lab.play([*sandboxes_gone(NAMES), shell_task("clean up the host", CLEAN)])


def lines(played: Played, host: str, task: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in played.on(host)[task].stdout.splitlines())


def test_a_clone_is_itself_in_all_that_it_is_known_by(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["clone in check mode"].steps(TWIN) == outcomes["clone"].steps(TWIN)
    assert not outcomes["clone"].failed, outcomes["clone"].message
    assert not outcomes["clone again"].changed, outcomes["clone again"].result["steps"]
    assert not outcomes["both"].failed, outcomes["both"].message
    one, other = (lines(played, host, f"identity of {name}") for name in (NAME, TWIN))
    for key in ("machine", "host", "mac", "address", "uuid", "key", "label", "labels"):
        assert one[key], key
        assert other[key], key
        assert one[key] != other[key], key
    assert other["private"] == other["key"]
    assert (one["host"], other["host"]) == (NAME, TWIN)
    # text is never replaced, and hard links are links still
    assert one["words"] == other["words"] == "it-life is not it-life-2, nor httpd httpd.service"
    assert other["links"] == "2"
    assert len(other["labels"].split()) == 1


def test_a_running_sandbox_is_not_cloned(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["clone of a running one"].failed
    assert (
        f"clone_of: {NAME!r} is invalid: expected a stopped sandbox. Stop the sandbox {NAME} first."
        in outcomes["clone of a running one"].message
    )
    assert outcomes["nothing half made"].stdout == "none"


def test_an_image_bounds_the_content(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["an image that is too small"].failed
    assert "size: " in outcomes["an image that is too small"].message
    assert "bytes of content of it-img" in outcomes["an image that is too small"].message
    assert outcomes["no image half made"].stdout == "none"
    assert outcomes["image in check mode"].steps(IMAGE) == outcomes["image"].steps(IMAGE)
    assert not outcomes["image"].failed, outcomes["image"].message
    assert not outcomes["image again"].changed, outcomes["image again"].result["steps"]
    assert not outcomes["run the image"].failed, outcomes["run the image"].message
    full, size = outcomes["fill it"].stdout.splitlines()
    assert full == "No space left on device"
    assert int(size) < 64 * MB


def test_an_image_grows_and_never_shrinks(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["grow the image"].steps(IMAGE) == ["grow the image"]
    assert not outcomes["grow it again"].changed
    assert 64 < int(outcomes["its size inside"].stdout) <= 96
    assert "An image only grows." in outcomes["an image made smaller"].message
    assert "expected image, the method of the existing content of it-img" in outcomes["an image as a directory"].message


def test_what_the_host_changed_is_reported(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["a certificate inside at once"].stdout == "it-life"
    report = {entry["path"]: entry["state"] for entry in outcomes["report"].result["outdated"][NAME]}
    assert set(report) == {"/etc/it-life/host", "/etc/it-life/both", "/etc/it-life/gone", "/etc/it-life/new"}
    after = outcomes["after report"].stdout.splitlines()
    assert {"host first host", "both own both", "gone first gone", "sandbox own sandbox"} <= set(after)
    # new accounts are there in any case, without a password
    assert after[-2:] == ["../passwd:1", "../shadow:1"]


def test_what_the_host_changed_is_taken_and_nothing_is_lost(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["take in check mode"].steps(NAME) == outcomes["take"].steps(NAME) == ["update files from the host"]
    after = outcomes["after take"].stdout.splitlines()
    assert {"host second host", "both own both", "new first new", "sandbox own sandbox", "same first same"} <= set(after)
    assert not any(line.startswith("gone ") for line in after)
    assert [entry["path"] for entry in outcomes["take"].result["outdated"][NAME]] == ["/etc/it-life/both"]
    assert not outcomes["take again"].changed
    assert [entry["path"] for entry in outcomes["take again"].result["outdated"][NAME]] == ["/etc/it-life/both"]


def test_what_was_merged_by_hand_is_reported_no_more(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["keep"].steps(NAME) == ["keep the sandbox's own files"]
    assert not outcomes["after keep"].changed
    assert outcomes["after keep"].result["outdated"] == {}
    assert not outcomes["restarted"].failed, outcomes["restarted"].message
    of_the_host, inside = outcomes["the linker's cache"].stdout.splitlines()
    assert of_the_host == inside


def test_content_that_is_removed_is_removed_whole(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert not outcomes["content gone"].failed, outcomes["content gone"].message
    assert outcomes["what is left"].stdout == "none"
