# SPDX-License-Identifier: GPL-3.0-or-later
"""Threats 1 and 2 on a kernel that enforces: root inside a running sandbox moves things about while the host labels its content.

What is in the way of the engine here is in ``tests/threats`` at every system call; here it is for real, as an attacker has it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from ansible_collections.virt.sandbox.tests.cycle import CONTENT, LABEL, SERVICE
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Played, Task, sandboxes_gone, shell_task

NAME, LEVEL = "it-race", "s0:c961,c962"
ARENA = f"/var/lib/libvirt/filesystems/{NAME}/srv/arena"
# beside the arena, where its label stays while what is in the arena is spoiled
SWAPS = f"/var/lib/libvirt/filesystems/{NAME}/srv/swaps"
VICTIM = "/var/lib/it-race-victim"
ROUNDS = int(os.environ.get("VSBX_RACES", "8"))
SCENE = f"""
rm -rf {VICTIM}; mkdir -p {VICTIM}/sub {ARENA}/dir/sub
for n in $(seq 40); do
  for place in {VICTIM} {VICTIM}/sub {ARENA}/dir {ARENA}/dir/sub; do echo words >$place/f$n; done
done
chcon -R system_u:object_r:shadow_t:s0 {VICTIM}; chmod -R go-rwx {VICTIM}
"""
# inside: directories and files are links to the host's in one moment and themselves in the next; /proc/self/root leads there too
RACER = f"""
import ctypes, os, time
rename = ctypes.CDLL(None).renameat2
os.chdir("/srv/arena")
for name, target in {{"evil": "{VICTIM}", "evil-sub": "{VICTIM}/sub", "evil-file": "{VICTIM}/f1"}}.items():
    os.symlink(target, name)
pairs = [(b"dir", b"evil"), (b"dir/sub", b"evil-sub"), (b"dir/f1", b"evil-file")]
swaps, end = 0, time.monotonic() + 600
while time.monotonic() < end and not os.path.exists("stop"):
    for one, other in pairs:
        swaps += rename(-100, one, -100, other, 2) == 0
    if not swaps % 999:
        open("../swaps", "w").write(str(swaps))
open("../swaps", "w").write(str(swaps))
"""
START = f"""
cat >{ARENA}/racer.py <<'END'{RACER}END
setsid sh -c 'exec virt-sandbox exec {NAME} -- python3 /srv/arena/racer.py' >/run/it-racer.log 2>&1 </dev/null &
for n in $(seq 50); do test -e {SWAPS} && break; sleep 0.2; done; test -e {SWAPS}
"""
# by descriptors of what is no link: the test itself must not be misled
SPOIL = f"""
import os, stat
def spoil(top):
    for entry in os.listdir(top):
        try:
            fd = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=top)
        except OSError:
            continue
        os.setxattr(fd, "security.selinux", b"system_u:object_r:var_t:s0")
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            spoil(fd)
        os.close(fd)
spoil(os.open("{ARENA}", os.O_RDONLY | os.O_NOFOLLOW))
"""
LOOK = f"find {VICTIM} -printf '%Z %u:%g %m %n %p\\n' | sort"
STOP = f"""
touch {ARENA}/stop
for n in $(seq 50); do pgrep -f arena/racer.py >/dev/null || break; sleep 0.2; done
cat {SWAPS} /run/it-racer.log
"""


def tasks() -> Iterator[Task]:
    content = {"name": NAME, "level": LEVEL}
    yield {"name": "label", LABEL: {"name": NAME, "level": LEVEL}}
    yield {"name": "content", CONTENT: content}
    yield {"name": "run", SERVICE: {"name": NAME, "units": ["systemd-tmpfiles-clean.timer"]}}
    yield shell_task("scene", SCENE)
    yield {"name": "its labels", CONTENT: content}
    yield shell_task("before", LOOK, changed_when=False)
    yield shell_task("start", START)
    for number in range(ROUNDS):
        yield shell_task(f"spoil {number}", f"python3 - <<'END'{SPOIL}END\n")
        yield {"name": f"label {number}", CONTENT: content}
    yield shell_task("stop", STOP)
    yield shell_task("after", LOOK, changed_when=False)
    yield {"name": "in peace", CONTENT: content}
    yield {"name": "in peace again", CONTENT: content}


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    yield lab.play([*sandboxes_gone([NAME], " first"), *tasks()])
    lab.play([*sandboxes_gone([NAME]), shell_task("clean", f"rm -rf {VICTIM} /run/it-racer.log")])


def test_threat_02_root_inside_moves_nothing_of_the_host_into_the_engines_hands(played: Played, host: str) -> None:
    outcomes = played.on(host)
    for title in ("run", "scene", "start", "stop"):
        assert not outcomes[title].failed, outcomes[title].message
    assert int(outcomes["stop"].stdout.splitlines()[0]) > 1000
    assert "shadow_t" in outcomes["before"].stdout
    assert outcomes["after"].stdout == outcomes["before"].stdout


def test_threat_02_the_engine_goes_on_and_the_next_run_in_peace_mends_all(played: Played, host: str) -> None:
    outcomes = played.on(host)
    tried = [outcomes[f"label {number}"] for number in range(ROUNDS)]
    assert any(outcome.changed for outcome in tried)
    for outcome in tried:
        # one that could not finish says where
        assert not outcome.failed or "/srv/arena" in outcome.message, outcome.message
    assert not outcomes["in peace"].failed, outcomes["in peace"].message
    assert not outcomes["in peace again"].changed
