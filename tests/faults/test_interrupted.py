# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that are killed, sandboxes that die, and pieces that go missing: the next run mends it, and leaves no leftovers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from ansible_collections.virt.sandbox.tests.lab_fixtures import Lab, Played, Task, sandboxes_gone, shell_task

NAME, LEVEL = "it-fault", "s0:c941,c942"
HALF, HALF_LEVEL = "it-half", "s0:c943,c944"
TREES = "/var/lib/libvirt/filesystems"
BIG, FILES = "/srv/vsbx-big", 6000
LABEL, CONTENT, SERVICE = "virt.sandbox.mcs_label", "virt.sandbox.sandbox_content", "virt.sandbox.sandbox_service"
INFO = "virt.sandbox.sandbox_info"
UNIT = f"{NAME}_sandbox.service"
SEEN = "/srv/vsbx-seen"
MOUNTS = [{"source": SEEN, "target": "/srv/seen", "relabel": True}]
SERVE: Task = {SERVICE: {"name": NAME, "level": LEVEL, "units": ["systemd-tmpfiles-clean.timer"], "mounts": MOUNTS}}
HALF_CONTENT: Task = {CONTENT: {"name": HALF, "level": HALF_LEVEL, "private": [BIG]}}
VIRSH = "virsh -q -c lxc:///system"

# Waits until somebody has the half-made tree open, and kills him.
KILLER = f"""
import glob, os, signal, time
half = "{TREES}/.{HALF}.new"
until = time.monotonic() + 60
while time.monotonic() < until:
    for path in glob.glob("/proc/[0-9]*/fd/*") if os.path.isdir(half + "/srv") else ():
        try:
            if os.readlink(path).startswith(half):
                os.kill(int(path.split("/")[2]), signal.SIGKILL)
                print("killed", flush=True)
                raise SystemExit
        except OSError:
            pass
    time.sleep(0.01)
"""
LIE_IN_WAIT = f"""
mkdir -p {BIG}
cd {BIG}
for n in $(seq 30); do mkdir -p $n; (cd $n; seq {FILES // 30} | xargs touch); done
cat >/run/vsbx-killer.py <<'END'
{KILLER}
END
nohup python3 /run/vsbx-killer.py >/run/vsbx-killer.out 2>&1 </dev/null &
"""
LOOK_HALF = f"ls -A {TREES} | grep {HALF}; cat /run/vsbx-killer.out"
SILENT = "/usr/local/bin/virsh"
VICTIM = "/var/lib/vsbx-victim"
BEGAN = f'leader=$(pgrep -o -P "$(cat /run/libvirt/lxc/{NAME}.pid)"); cut -d" " -f22 /proc/$leader/stat'


@dataclasses.dataclass(frozen=True)
class Piece:
    """A piece of a sandbox that goes missing or is changed by hand, and the steps that put it back."""

    name: str
    script: str
    steps: tuple[str, ...]
    # without its spec, a sandbox is none that this host declares
    shows: bool = True


MACHINES = "/sys/fs/cgroup/machine.slice/machine-virt_sandbox.slice"
SLICE = "'machine-virt_sandbox-it\\x2dfault.slice'"
UNIT_PATH, SLICE_PATH = f"/etc/systemd/system/{UNIT}", f"/etc/systemd/system/{SLICE}"
PIECES = (
    Piece("the unit is deleted", f"rm {UNIT_PATH}", ("write the unit", "reload systemd")),
    Piece(
        "the unit is deleted, and systemd knows it",
        f"rm {UNIT_PATH}; systemctl daemon-reload",
        ("write the unit", "reload systemd", "enable the unit"),
    ),
    Piece("the unit is edited", f"echo '# mine' >>{UNIT_PATH}", ("write the unit", "reload systemd")),
    Piece("the slice is deleted", f"rm {SLICE_PATH}", ("write the slice", "reload systemd")),
    Piece(
        "a limit is set by hand",
        f"echo 1G >{MACHINES}/{SLICE}/memory.max",
        ("apply the limits",),
    ),
    Piece("the unit is disabled", f"systemctl disable {UNIT}", ("enable the unit",)),
    Piece("the domain is undefined", f"{VIRSH} undefine {NAME}", ("define the sandbox",)),
    Piece("a file inside is deleted", f"rm {TREES}/{NAME}/etc/systemd/system/default.target", ("write the files inside",)),
    Piece("the spec is deleted", f"rm /etc/libvirt-sandbox/services/{NAME}.sandbox", ("write the spec",), shows=False),
)


def interrupted() -> Iterator[Task]:
    yield {"name": "levels", LABEL: {"sandboxes": [{"name": NAME, "level": LEVEL}, {"name": HALF, "level": HALF_LEVEL}]}}
    yield shell_task("half: lie in wait", LIE_IN_WAIT)
    yield {"name": "half: killed", **HALF_CONTENT}
    yield shell_task("half: look at what was left", LOOK_HALF)
    yield {"name": "half: next", **HALF_CONTENT}
    yield {"name": "half: again", **HALF_CONTENT}
    yield shell_task("half: look", f"{LOOK_HALF}; find {TREES}/{HALF}{BIG} -type f | wc -l")


def missing_pieces() -> Iterator[Task]:
    yield {"name": "content", CONTENT: {"name": NAME, "level": LEVEL}}
    yield shell_task("what is mounted", f"mkdir {SEEN}")
    yield {"name": "started", **SERVE}
    yield shell_task("began", BEGAN)
    for piece in PIECES:
        yield shell_task(piece.name, piece.script)
        yield {"name": f"{piece.name}: info", INFO: {"name": NAME}}
        yield {"name": f"{piece.name}: next", **SERVE}
    yield {"name": "mended: again", **SERVE}
    yield {"name": "mended: info", INFO: {"name": NAME}}
    yield shell_task("mended: began", BEGAN)


def deaths() -> Iterator[Task]:
    controller = f"$(cat /run/libvirt/lxc/{NAME}.pid)"
    wait = f"for n in $(seq 100); do systemctl is-failed --quiet {UNIT} && break; sleep 0.2; done"
    reboot = f"virt-sandbox exec {NAME} -- systemctl reboot --no-block"
    for who, death in (
        ("controller", f"kill -9 {controller}"),
        ("init", f"kill -9 $(pgrep -o -P {controller})"),
        ("reboot inside", reboot),
    ):
        yield shell_task(f"{who}: killed", f"{death}; {wait}; systemctl show -P ActiveState {UNIT}")
        yield {"name": f"{who}: info", INFO: {"name": NAME}}
        yield {"name": f"{who}: next", **SERVE}
        yield shell_task(f"{who}: look", f"systemctl is-active {UNIT}; grep -c ' /run/virt-sandbox/{NAME} ' /proc/mounts")


def replaced() -> Iterator[Task]:
    """What is mounted is a link to something else by the next start, as whoever may write beside it can bring about."""
    swap = f"systemctl stop {UNIT}; mv {SEEN} {SEEN}-kept; ln -s /etc {SEEN}"
    yield shell_task("replaced: start", f"{swap}; systemctl start {UNIT}")
    yield shell_task("replaced: look", f"systemctl is-active {UNIT}; journalctl -b -u {UNIT} -o cat | grep 'is not what it was'")
    yield {"name": "replaced: next", **SERVE}
    yield shell_task("replaced: put back", f"rm {SEEN}; mv {SEEN}-kept {SEEN}")
    yield {"name": "replaced: mended", **SERVE}


def silence() -> Iterator[Task]:
    """libvirt starts the sandbox and never says so, as it was seen to do under load."""
    silent = f"""
cat >{SILENT} <<'END'
#!/bin/sh
/usr/bin/virsh "$@" || exit
case " $* " in *" start "*) exec sleep 300 ;; esac
END
chmod 755 {SILENT}"""
    yield shell_task("silence: begin", silent)
    yield {"name": "silence: restarted", SERVICE: {**SERVE[SERVICE], "state": "restarted"}}
    yield shell_task("silence: look", f"rm {SILENT}; systemctl is-active {UNIT}; journalctl -b -u {UNIT} -o cat | grep 'did not'")
    yield {"name": "silence: again", **SERVE}


def by_hand() -> Iterator[Task]:
    """Started by hand and not by its unit: nothing labelled the cgroup, and nobody made the memory that is bound in."""
    run = f"/run/virt-sandbox/{NAME}"
    places = " ".join(f"{run}/{place}" for place in ("run/lock", "run-lock", "tmp", "dev-shm"))
    mounts = f"mkdir -p {places}; chcon -R system_u:object_r:virt_sandbox_file_t:{LEVEL} {run}"
    inside = f"virt-sandbox exec {NAME} -- sh -c 'for f in {MACHINES}/*fault.slice/*/cgroup.procs; do : >>$f; done'"
    scope = f"{MACHINES}/machine-*fault.slice/*.scope"
    yield shell_task("by hand: stop", f"systemctl stop {UNIT} {SLICE}")
    yield shell_task("by hand: start", f"{VIRSH} start {NAME}")
    yield shell_task("by hand: start with mounts", f"{mounts}; {VIRSH} start {NAME}; sleep 3; {VIRSH} domstate {NAME}")
    yield shell_task("by hand: label", f"stat -c %C {scope}")
    yield shell_task("by hand: write", inside)
    yield {"name": "by hand: next", **SERVE}
    yield {"name": "by hand: again", **SERVE}
    yield shell_task("by hand: write where the unit started it", inside)
    plant = f"rm -f /dev/initctl; ln -s {VICTIM} /dev/initctl"
    shut_down = f"virt-sandbox exec {NAME} -- sh -c '{plant}'; {VIRSH} shutdown {NAME} --mode initctl"
    yield shell_task("initctl: shut down", f"echo host >{VICTIM}; {shut_down}")
    yield shell_task("initctl: look", f"cat {VICTIM}; rm {VICTIM}", changed_when=False)
    yield shell_task("by hand: start again", f"systemctl stop {UNIT}; {mounts}; {VIRSH} start {NAME}; {VIRSH} domstate {NAME}")
    yield {"name": "by hand: absent", SERVICE: {"name": NAME, "state": "absent"}}
    yield shell_task("by hand: look", f"{VIRSH} list --all --name | grep {NAME}; grep {run} /proc/mounts; rm -r {run}; true")


@pytest.fixture(scope="module")
def played(lab: Lab) -> Iterator[Played]:
    yield lab.play(
        [*sandboxes_gone((NAME, HALF), " first"), *interrupted(), *missing_pieces(), *deaths(), *replaced(), *silence(), *by_hand()]
    )
    lab.play([*sandboxes_gone((NAME, HALF)), shell_task("the rest", f"rm -rf {BIG} {SEEN}* /run/vsbx-killer.* {SILENT}")])


def test_a_build_that_was_killed_leaves_no_tree_under_its_name(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["half: killed"].failed
    assert outcomes["half: look at what was left"].stdout.split() == [f".{HALF}.new", "killed"]


def test_the_next_build_is_whole(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert not outcomes["half: next"].failed, outcomes["half: next"].message
    assert outcomes["half: next"].steps(HALF) == ["build the content"]
    assert outcomes["half: look"].stdout.split() == [HALF, "killed", str(FILES)]
    assert not outcomes["half: again"].changed, outcomes["half: again"].result["steps"]


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: piece.name)
def test_a_missing_piece_is_named_and_put_back(played: Played, host: str, piece: Piece) -> None:
    outcomes = played.on(host)
    assert not outcomes[piece.name].failed, outcomes[piece.name].result
    info, mended = outcomes[f"{piece.name}: info"], outcomes[f"{piece.name}: next"]
    if piece.shows:
        assert info.result["sandboxes"][NAME]["drift"] == list(piece.steps)
    else:
        assert info.failed
        assert f"name: '{NAME}' is invalid: expected a sandbox of this host" in info.message
    assert not mended.failed, mended.message
    assert mended.steps(NAME) == list(piece.steps)


def test_mending_did_not_restart_it(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["began"].stdout.isdigit()
    assert outcomes["began"].stdout == outcomes["mended: began"].stdout
    assert not outcomes["mended: again"].changed, outcomes["mended: again"].result["steps"]
    assert outcomes["mended: info"].result["sandboxes"][NAME]["drift"] == []


@pytest.mark.parametrize("who", ["controller", "init", "reboot inside"])
def test_a_sandbox_that_dies_shows_as_failed_and_starts_again(played: Played, host: str, who: str) -> None:
    outcomes = played.on(host)
    assert outcomes[f"{who}: killed"].stdout == "failed"
    assert outcomes[f"{who}: info"].result["sandboxes"][NAME]["state"] == "failed"
    assert not outcomes[f"{who}: next"].failed, outcomes[f"{who}: next"].message
    assert outcomes[f"{who}: next"].steps(NAME) == ["start"]
    assert outcomes[f"{who}: look"].stdout.split() == ["active", "1"]


def test_threat_10_what_is_mounted_must_be_what_it_was(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["replaced: start"].failed
    reason = f"{SEEN} is not what it was: it is missing, or a link"
    assert outcomes["replaced: look"].stdout.splitlines() == ["failed", reason]
    assert f"mounts[/srv/seen].source: '{SEEN}' is invalid: expected a path without symbolic links" in outcomes["replaced: next"].message
    assert not outcomes["replaced: mended"].failed, outcomes["replaced: mended"].message


def test_one_that_runs_without_libvirts_word_is_kept(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert not outcomes["silence: restarted"].failed, outcomes["silence: restarted"].message
    assert outcomes["silence: look"].stdout.splitlines() == ["active", f"libvirt did not answer for {NAME}, which runs"]
    assert not outcomes["silence: again"].changed, outcomes["silence: again"].result["steps"]


def test_one_started_by_hand_fails_closed(played: Played, host: str) -> None:
    """Threat 19: without the unit nothing labels the cgroup, and in an unlabelled one nothing is writable."""
    outcomes = played.on(host)
    assert outcomes["by hand: start"].failed
    assert "virt_sandbox_cgroup_t" not in outcomes["by hand: label"].stdout
    assert outcomes["by hand: write"].failed
    assert not outcomes["by hand: write where the unit started it"].failed, outcomes["by hand: write where the unit started it"].result


def test_one_started_by_hand_is_taken_over(played: Played, host: str) -> None:
    outcomes = played.on(host)
    # an init that cannot make a cgroup ends soon
    assert outcomes["by hand: start with mounts"].stdout in ("running", "shut off")
    assert not outcomes["by hand: next"].failed, outcomes["by hand: next"].message
    assert not outcomes["by hand: again"].changed, outcomes["by hand: again"].result["steps"]


def test_threat_09_libvirt_is_not_led_out_by_the_sandboxes_devices(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["initctl: shut down"].failed, "the link leads nowhere inside"
    assert outcomes["initctl: look"].stdout == "host"


def test_absent_stops_one_started_by_hand(played: Played, host: str) -> None:
    outcomes = played.on(host)
    assert outcomes["by hand: start again"].stdout == "running"
    assert not outcomes["by hand: absent"].failed, outcomes["by hand: absent"].message
    assert outcomes["by hand: look"].stdout == ""
