# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes, addresses and resource use of a sandbox, as the kernel's files say them."""

from __future__ import annotations

import builtins
import inspect
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host import cgroup, enter, processes
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """The figures of a cgroup."""
    figures = {
        "memory.current": "1048576\n",
        "memory.peak": "2097152\n",
        "memory.events": "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n",
        "pids.current": "7\n",
        "pids.events": "max 3\n",
        "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_throttled 4\nthrottled_usec 1500000\n",
        "io.stat": "8:0 rbytes=100 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n254:0 rbytes=1 wbytes=2 rios=1 wios=1\n",
    }
    for name, text in figures.items():
        (tmp_path / name).write_text(text)
    return tmp_path


ALL = {
    "memory_bytes": 1048576,
    "memory_peak_bytes": 2097152,
    "out_of_memory_kills": 1,
    "tasks": 7,
    "tasks_refused": 3,
    "cpu_seconds": 2.5,
    "cpu_throttled_seconds": 1.5,
    "read_bytes": 101,
    "written_bytes": 22,
    "read_operations": 2,
    "write_operations": 2,
}
TRAFFIC = {"read_bytes", "written_bytes", "read_operations", "write_operations"}


@pytest.mark.parametrize(
    ("missing", "left_out"),
    [
        pytest.param([], set(), id="all"),
        pytest.param(["memory.peak"], {"memory_peak_bytes"}, id="an older kernel"),
        pytest.param(["io.stat"], TRAFFIC, id="no controller for io"),
        pytest.param(
            ["memory.current", "memory.peak", "memory.events", "pids.current", "pids.events", "cpu.stat", "io.stat"],
            set(ALL),
            id="no cgroup",
        ),
    ],
)
def test_what_is_not_counted_is_left_out(group: Path, missing: list[str], left_out: set[str]) -> None:
    for name in missing:
        (group / name).unlink()
    assert cgroup.usage(str(group)) == {key: value for key, value in ALL.items() if key not in left_out}


def test_refused_tasks_are_counted_where_the_kernel_counts_them(group: Path) -> None:
    (group / "scope").mkdir()
    (group / "scope" / "pids.events").write_text("max 4\n")
    # an older kernel: where the task was
    assert cgroup.usage(str(group))["tasks_refused"] == 7
    # a newer one: where the limit is, what is below included
    (group / "pids.events.local").write_text("max 0\n")
    assert cgroup.usage(str(group))["tasks_refused"] == 3


def test_what_nothing_was_read_of_yet_is_none(group: Path) -> None:
    (group / "io.stat").write_text("")
    assert {cgroup.usage(str(group))[key] for key in TRAFFIC} == {0}


def test_limits_are_read_whole_and_written_a_line_at_a_time(group: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (group / "io.max").write_text("8:16 rbps=1\n8:0 rbps=2\n")
    (group / "pids.max").write_text("max\n")
    names = ("io.max", "pids.max", "io.weight")
    assert cgroup.limits(str(group), names) == {"io.max": "8:0 rbps=2\n8:16 rbps=1", "pids.max": "max"}
    (group / "io.max").write_text("")
    assert cgroup.limits(str(group), names)["io.max"] == "", "a file without lines is not one that is missing"
    written: list[str] = []

    class File(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    monkeypatch.setattr(builtins, "open", lambda *_arguments, **_options: File())
    cgroup.limit(str(group), {"io.max": "8:0 rbps=1\n8:16 rbps=2", "pids.max": "5"})
    assert written == ["8:0 rbps=1", "8:16 rbps=2", "5"]


class Proc:
    """Files below /proc, as a sandbox's host would have them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: dict[str, str] = {}
        real = builtins.open

        def open_file(path: Any, *arguments: Any, **keywords: Any) -> Any:
            if isinstance(path, str) and path.startswith("/proc/") and path.split("/")[2].isdigit():
                if path not in self.files:
                    raise FileNotFoundError(2, "No such file or directory", path)
                return io.StringIO(self.files[path])
            return real(path, *arguments, **keywords)

        monkeypatch.setattr(builtins, "open", open_file)

    def add(self, pid: int, status: str, command: str) -> None:
        self.files[f"/proc/{pid}/status"] = f"Name:\tx\n{status}\nThreads:\t1\n"
        self.files[f"/proc/{pid}/comm"] = command + "\n"


@pytest.fixture
def proc(monkeypatch: pytest.MonkeyPatch) -> Proc:
    monkeypatch.setattr(enter, "context_of", lambda pid: f"context of {pid}")
    return Proc(monkeypatch)


def test_processes_of_a_sandbox_are_those_that_have_a_pid_inside(proc: Proc, tmp_path: Path) -> None:
    inner = tmp_path / "machine.scope" / "system.slice"
    inner.mkdir(parents=True)
    (tmp_path / "cgroup.procs").write_text("")
    (tmp_path / "machine.scope" / "cgroup.procs").write_text("100\n")
    (inner / "cgroup.procs").write_text("103\n102\n101\n104\n")
    proc.add(100, "NSpid:\t100", "libvirt_lxc")
    proc.add(101, "NSpid:\t101\t1", "systemd")
    proc.add(103, "NSpid:\t103\t30\t2", "ht\x1btpd\udcff")
    proc.add(104, "State:\tZ (zombie)", "old kernel")
    # 102 ended meanwhile
    assert processes.of_sandbox(str(tmp_path)) == [
        {"pid": 101, "inside": 1, "command": "systemd", "context": "context of 101"},
        {"pid": 103, "inside": 30, "command": "ht\\x1btpd\\udcff", "context": "context of 103"},
    ]


def test_a_sandbox_without_a_cgroup_has_no_processes(tmp_path: Path) -> None:
    assert processes.of_sandbox(str(tmp_path / "none")) == []


ADDRESSES = [
    {"ifname": "lo", "addr_info": [{"local": "127.0.0.1", "scope": "host"}, {"local": "::1", "scope": "host"}, {}]},
    {
        "ifname": "eth0",
        "addr_info": [
            {"local": "192.168.122.51", "prefixlen": 24, "scope": "global", "dynamic": True},
            {"local": "fd00:0:0::51", "prefixlen": 64, "scope": "global"},
            {"local": "fd00::52", "prefixlen": 64, "scope": "global", "tentative": True},
            {"local": "fd00::53", "prefixlen": 64, "scope": "global", "dadfailed": True, "tentative": True},
            {"local": "fe80::51", "prefixlen": 64, "scope": "link"},
            {"local": "fe80::52", "prefixlen": 64, "scope": "link"},
        ],
    },
    {"ifname": "odd"},
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The questions about the network of a sandbox, which this test stands in for."""
    questions: list[Sequence[str]] = []

    def lines(arguments: Sequence[str], **_limits: Any) -> list[str]:
        questions.append(arguments)
        return [json.dumps(ADDRESSES)]

    monkeypatch.setattr(enter, "leader", lambda _name: os.getpid())
    monkeypatch.setattr(processes, "lines", lines)
    return questions


def test_addresses_are_those_that_can_be_used(asked: list[Sequence[str]]) -> None:
    assert processes.addresses("web") == ["192.168.122.51", "fd00::51"]
    assert processes.addresses("web", ["fe80::52"]) == ["192.168.122.51", "fd00::51", "fe80::52"]
    assert asked[0][0] == "nsenter"
    assert asked[0][2:] == ["--", "ip", "--json", "address", "show"]


@pytest.mark.parametrize("answer", ["[", "{}]", "3", '[{"addr_info": [{"local": "x"}]}]', '["x"]'])
def test_addresses_that_cannot_be_read_are_an_error(asked: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr(processes, "lines", lambda *_ignored, **_limits: [answer])
    with pytest.raises(SandboxError, match=r"^web: its addresses cannot be read: "):
        processes.addresses("web")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="needs root, and ip")
def test_addresses_are_read_in_the_network_of_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "ip link set lo up && ip address add 10.9.9.9/24 dev lo && ip address add fd00::9/64 dev lo nodad && echo up && exec sleep 30"
    with subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as inside:
        assert inside.stdout
        up = inside.stdout.readline() == b"up\n"
        monkeypatch.setattr(enter, "leader", lambda _name: inside.pid)
        try:
            if not up:
                pytest.skip("no network of its own can be made here")
            assert processes.addresses("web") == ["10.9.9.9", "fd00::9"]
        finally:
            inside.kill()


def not_running(*_arguments: object, **_keywords: object) -> int:
    raise enter.EnterError("web is not running")


def test_a_sandbox_that_does_not_run_has_no_address(asked: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter([os.getpid(), 1])
    monkeypatch.setattr(enter, "leader", lambda _name: next(numbers))
    assert processes.addresses("web") == [], "it ended between the two questions"
    monkeypatch.setattr(enter, "leader", not_running)
    assert processes.addresses("web") == []
    assert not asked


@pytest.mark.parametrize(("mode", "has"), [("2", True), ("0", False), ("1", False)])
def test_a_sandbox_has_the_filter_that_its_controller_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str, has: bool) -> None:
    real = open
    (tmp_path / "status").write_text(f"Name:\tlibvirt_lxc\nSeccomp:\t{mode}\nSeccomp_filters:\t1\n")
    monkeypatch.setattr(enter, "controller", lambda _name: 7)
    monkeypatch.setattr(
        builtins, "open", lambda path, **keywords: real(tmp_path / "status" if path == "/proc/7/status" else path, **keywords)
    )
    assert processes.has_filter("web") is has


def test_a_sandbox_that_does_not_run_has_none_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enter, "controller", not_running)
    assert processes.has_filter("web") is None


def answer(code: int, output: bytes, errors: bytes = b"") -> Any:
    def run(name: str, command: Sequence[str], timeout: float, most: int) -> enter.Outcome:
        assert list(command)[:2] == ["/usr/bin/systemctl", "show"]
        return enter.Outcome(code=code, output=output, errors=errors, context="")

    return run


def shown(**properties: object) -> bytes:
    """A unit as systemctl shows it; one that was never started unless said otherwise."""
    inactive = {"Type": "oneshot", "ActiveState": "inactive", "Result": "success", "ConditionResult": "no"}
    times = {"InactiveExitTimestampMonotonic": 0, "ConditionTimestampMonotonic": 0}
    return "".join(f"{key}={value}\n" for key, value in {**inactive, **times, **properties}.items()).encode()


STARTED = {"ConditionResult": "yes", "ConditionTimestampMonotonic": 5, "InactiveExitTimestampMonotonic": 6}


@pytest.mark.parametrize(
    ("properties", "state"),
    [
        pytest.param({"ActiveState": "active", "Type": "simple", **STARTED}, "active", id="active"),
        pytest.param({"ActiveState": "activating", **STARTED}, "activating", id="activating"),
        pytest.param({"ActiveState": "failed", "Result": "exit-code", **STARTED}, "failed", id="failed"),
        pytest.param({}, "inactive", id="never started"),
        pytest.param(STARTED, "done", id="ran and ended in success"),
        pytest.param({**STARTED, "Result": "exit-code"}, "inactive", id="ended without success"),
        pytest.param({**STARTED, "Type": "simple"}, "inactive", id="a daemon that ended"),
        pytest.param({"ConditionTimestampMonotonic": 5}, "skipped", id="a condition is not met"),
        pytest.param({"Type": "simple", "ConditionTimestampMonotonic": 5}, "skipped", id="a condition of a daemon is not met"),
        pytest.param({**STARTED, "ConditionResult": "no"}, "skipped", id="a condition is not met any more"),
    ],
)
def test_a_unit_whose_start_was_a_success_is_not_down(monkeypatch: pytest.MonkeyPatch, properties: dict[str, object], state: str) -> None:
    monkeypatch.setattr(enter, "run", answer(0, shown(**properties)))
    assert processes.units_inside("web", ["a.service"]) == {"a.service": state}
    assert (state in processes.UP) is (state in ("active", "done", "skipped"))


def test_the_state_of_units_is_what_the_systemd_inside_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enter, "run", answer(0, shown(ActiveState="active") + b"\n" + shown(ActiveState="failed")))
    assert processes.units_inside("web", ["a.service", "b.service"]) == {"a.service": "active", "b.service": "failed"}


def test_what_a_unit_said_is_cut_to_what_a_message_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    said = b"a\x1b[2Jb\n\n" + b"x" * 5000
    monkeypatch.setattr(enter, "run", lambda *_ignored, **_limits: enter.Outcome(0, said, b"", ""))
    words = processes.last_words("web", "a.service")
    assert words.startswith("a\\x1b[2Jb / xxx")
    assert len(words) < 1100


def test_a_sandbox_makes_cgroups_as_deep_as_it_likes(tmp_path: Path) -> None:
    place = tmp_path
    for _level in range(200):
        place /= "a"
        place.mkdir()
    (place / "cgroup.procs").write_text(f"{os.getpid()}\n")
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        assert list(processes._pids(str(tmp_path))) == [os.getpid()]
        assert "tasks_refused" not in cgroup.usage(str(tmp_path))
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        pytest.param(
            answer(1, b"", b"Failed to connect to bus: \xff\n"), "its systemd does not answer yet \\(Failed to connect", id="no bus"
        ),
        pytest.param(answer(0, shown()), "its systemd does not answer yet \\(Type=oneshot / ", id="too few answers"),
        pytest.param(not_running, "web: /usr/bin/systemctl show: web is not running", id="not running"),
    ],
)
def test_no_answer_is_said_so(monkeypatch: pytest.MonkeyPatch, run: Any, message: str) -> None:
    monkeypatch.setattr(enter, "run", run)
    with pytest.raises(SandboxError, match=message):
        processes.units_inside("web", ["a", "b"])


def test_this_process_is_no_sandboxes() -> None:
    with open(f"/proc/{os.getpid()}/status", encoding="utf-8") as file:
        depth = len(next(line for line in file if line.startswith("NSpid:")).split()) - 1
    assert (processes._inside_pid(os.getpid()) == 0) is (depth == 1)


MAPS = """\
5581e0000000-5581e0010000 r--p 00000000 08:01 131  /usr/sbin/apache2 (deleted)
5581e0010000-5581e0020000 r-xp 00010000 08:01 131  /usr/sbin/apache2 (deleted)
7f0000000000-7f0000001000 r-xp 00000000 08:01 140  /usr/lib/x86_64-linux-gnu/libc.so.6
7f0000002000-7f0000003000 r-xp 00000000 08:01 141  /usr/lib/x86_64-linux-gnu/lib with space.so (deleted)
7f0000004000-7f0000005000 rw-s 00000000 00:01 7    /dev/zero (deleted)
7f0000006000-7f0000007000 rw-s 00000000 00:01 8    /memfd:x (deleted)
7f0000008000-7f0000009000 rw-p 00000000 00:00 0
7fff00000000-7fff00021000 rw-p 00000000 00:00 0    [stack]
"""


def test_files_of_usr_that_were_replaced_are_found() -> None:
    replaced = ["/usr/lib/x86_64-linux-gnu/lib with space.so", "/usr/sbin/apache2"]
    assert processes.replaced_files(MAPS.splitlines(keepends=True)) == replaced
    assert processes.replaced_files([]) == []


def test_a_sandbox_that_left_a_question_open_is_not_asked_at_once_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """But later it is, and others are meanwhile."""
    monkeypatch.setattr(processes, "_silent", {})
    now, asked = [1000.0], []

    def run(name: str, *_arguments: object, **_keywords: object) -> enter.Outcome:
        asked.append(name)
        if name == "web":
            raise enter.EnterStopped(name, 30)
        return enter.Outcome(0, b"", b"", "")

    monkeypatch.setattr(processes.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(enter, "run", run)
    with pytest.raises(SandboxError, match=r"web: /usr/bin/systemctl list-jobs: .*does not answer within 30 seconds"):
        processes.at_rest("web")
    with pytest.raises(
        SandboxError, match=r"web: /usr/bin/systemctl list-units: not asked, because the sandbox has just left another question"
    ):
        processes.failed_units("web")
    assert processes.at_rest("db")
    now[0] += 31
    with pytest.raises(SandboxError, match="does not answer"):
        processes.at_rest("web")
    assert asked == ["web", "db", "web"]


def test_files_of_processes_without_end_are_not_looked_at_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n" * 3)
    times = iter([0.0, 1.0, 31.0])
    monkeypatch.setattr(processes.time, "monotonic", lambda: next(times))
    with pytest.raises(SandboxError, match="cannot be looked at within 30 seconds, because they are so many"):
        processes.stale(str(tmp_path))
