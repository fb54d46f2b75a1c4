# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs all checks as make targets, side by side where they do not need each other, and sums what their tests say.

The lab's hosts take minutes to build and wait for packages and disks more than for a processor: meanwhile the
checks that need no host are done. Each host has its own stage of tests, so that none waits for another; they begin as
soon as the lab runs, with packages to install, beside what is left of the other checks. The last line is
``N passed, N failed``; a stage that fails counts as one failure where no test of its own has failed.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree

import yaml

INVENTORY = Path(__file__).resolve().parents[2] / "playbooks" / "inventory" / "lab.yml"
HOSTS = tuple(yaml.safe_load(INVENTORY.read_text(encoding="utf-8"))["lab"]["hosts"])
CHECK = (("sanity",), ("lint", "unit"))
WITHOUT_HOSTS = (("lint", "unit"), ("threats", "sanity"))
TESTS_ON_HOSTS = tuple((f"hosts-{host}",) for host in HOSTS)
# the scenario of molecule is run on the last of them
ALL_ON_HOSTS = (*TESTS_ON_HOSTS[:-1], (*TESTS_ON_HOSTS[-1], "molecule-one"))
ONLY = {"check": CHECK, "hosts": TESTS_ON_HOSTS}
AFTERWARDS = ("lab-down",)
LIMIT = 80 * 60.0
# the hosts that the stage "lab-tests" starts without anything of the collection, nor what it needs
PLAIN = {"VSBX_PLAIN": "debian12", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"}


@dataclasses.dataclass
class Result:
    stage: str
    seconds: float = 0.0
    status: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    note: str = ""
    failures: list[str] = dataclasses.field(default_factory=list)

    def line(self) -> str:
        word = "failed" if self.failed else "ok"
        counts = f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"
        tests = counts if self.passed or self.skipped else self.note
        return f"{word:<7}{self.stage:<14}{self.seconds:7.1f} s  {tests}".rstrip()


def failures(suite: ElementTree.Element) -> list[str]:
    """Each test that failed, with the first line of what it says; the whole of it stands in the stage's log."""
    found = []
    for case in suite.iter("testcase"):
        for failure in (*case.iter("failure"), *case.iter("error")):
            said = next(iter(failure.get("message", "").splitlines()), "")
            found.append(f"{case.get('classname', '')}.{case.get('name', '')}: {said[:300]}")
    return found


def count(report: Path, result: Result) -> None:
    """Adds what pytest's report says; without one the stage's own exit is all there is."""
    if report.exists():
        for suite in ElementTree.parse(report).iter("testsuite"):
            tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
            failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            result.passed += tests - skipped - failed
            result.failed += failed
            result.skipped += skipped
            result.failures += failures(suite)
    if result.status and not result.failed:
        result.failed = 1


@dataclasses.dataclass
class Runner:
    logs: Path
    results: list[Result] = dataclasses.field(default_factory=list)
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def say(self, stage: str, text: str) -> None:
        with self.lock:
            print(f"{stage:>14} | {text}" if stage else text, flush=True)

    def run(self, stage: str) -> Result:
        report, log = self.logs / f"{stage}.xml", self.logs / f"{stage}.log"
        report.unlink(missing_ok=True)
        result = Result(stage)
        start = time.monotonic()
        # Into a file and not a pipe: a host that goes on running would hold a pipe open.
        with open(log, "wb") as output:
            process = subprocess.Popen(
                ["make", "--no-print-directory", stage],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTEST_ADDOPTS": f"--junitxml={report}", **PLAIN},
                start_new_session=True,
            )
        result.status = self.follow(process, log, stage)
        result.seconds = time.monotonic() - start
        count(report, result)
        self.results.append(result)
        self.say(stage, result.line())
        return result

    def follow(self, process: subprocess.Popen[bytes], log: Path, stage: str) -> int:
        """Shows what the stage writes until it ends, or ends it."""
        until = time.monotonic() + LIMIT
        with open(log, "rb") as written:
            try:
                while (status := process.poll()) is None and time.monotonic() < until:
                    self.show(written, stage)
                    time.sleep(0.05)
                self.show(written, stage, ended=True)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGTERM)
                    process.wait()
        if status is None:
            self.say(stage, f"stopped after {LIMIT / 60:.0f} minutes")
            return 1
        return status

    def show(self, written: BinaryIO, stage: str, ended: bool = False) -> None:
        """Whole lines only: one that is being written stays for the next time."""
        *lines, rest = written.read().split(b"\n")
        if ended and rest:
            lines.append(rest)
        written.seek(-len(rest), os.SEEK_CUR)
        for line in lines:
            self.say(stage, line.decode(errors="replace"))

    def lane(self, stages: Sequence[str]) -> None:
        for stage in stages:
            self.run(stage)

    def beside_each_other(self, lanes: Sequence[Callable[[], None]]) -> None:
        threads = [threading.Thread(target=lane) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def lanes(self, lanes: Sequence[Sequence[str]]) -> None:
        self.beside_each_other([functools.partial(self.lane, stages) for stages in lanes])

    def lab_and_hosts(self) -> None:
        if self.run("lab-tests").status:
            self.results += [Result(stage, status=1, failed=1, note="not run: no hosts") for lane in ALL_ON_HOSTS for stage in lane]
        else:
            self.lanes(ALL_ON_HOSTS)

    def everything(self) -> None:
        self.beside_each_other([self.lab_and_hosts, functools.partial(self.lanes, WITHOUT_HOSTS)])

    def close(self) -> int:
        self.say("", "")
        for result in self.results:
            self.say("", result.line())
            for failure in result.failures:
                self.say("", f"       {failure}")
        passed, failed, skipped = (sum(getattr(r, n) for r in self.results) for n in ("passed", "failed", "skipped"))
        self.say("", f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
        return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=Path, required=True, help="where each stage's output is kept")
    parser.add_argument("--keep-lab", action="store_true", help="leave the hosts running, for a look around")
    parser.add_argument("--only", choices=ONLY, help="some stages, and the lab as it is")
    arguments = parser.parse_args()
    arguments.logs.mkdir(parents=True, exist_ok=True)
    runner = Runner(arguments.logs)
    if arguments.only:
        runner.lanes(ONLY[arguments.only])
        return runner.close()
    runner.everything()
    if not arguments.keep_lab:
        runner.lane(AFTERWARDS)
    return runner.close()


if __name__ == "__main__":
    sys.exit(main())
