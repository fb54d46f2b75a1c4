# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts, watches and ends the lab's processes, and never a process that is not the lab's.

What was started is recorded in DIRECTORY/NAME.json: process id, the kernel's start time of it and the boot it
belongs to. A process is ours only if all three agree, so that a recycled process id is never taken for it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import glob
import json
import os
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator

TAIL = 40


@dataclasses.dataclass(frozen=True)
class Process:
    """One row of /proc: what identifies a process, and the session it is in."""

    pid: int
    session: int
    start: int
    state: str


def look(pid: int) -> Process | None:
    """The process with this id, if there is one."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Process(pid, int(fields[3]), int(fields[19]), fields[0])


def everyone() -> Iterator[Process]:
    """All processes."""
    for name in os.listdir("/proc"):
        process = look(int(name)) if name.isdigit() else None
        if process:
            yield process


def this_boot() -> str:
    """What tells this boot of the machine from every other."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


@dataclasses.dataclass(frozen=True)
class Record:
    """What is remembered of a process that the lab started. It leads a session of its own."""

    pid: int
    start: int
    boot: str
    argv: list[str]

    def leader(self) -> Process | None:
        """The process itself, if it is alive."""
        process = look(self.pid)
        if process and process.start == self.start and self.boot == this_boot() and process.state not in "ZX":
            return process
        return None

    def members(self) -> list[Process]:
        """The process and all that it started, also when it is gone and these are left over."""
        holder = look(self.pid)
        if self.boot != this_boot() or (holder and holder.start != self.start):
            return []
        return [
            process for process in everyone() if process.session == self.pid and process.start >= self.start and process.state not in "ZX"
        ]


class Shelf:
    """The records of one lab."""

    def __init__(self, directory: str, name: str) -> None:
        self.directory = directory
        self.name = name
        self.path = os.path.join(directory, f"{name}.json")
        self.console = os.path.join(directory, f"{name}.console")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Two runs at a time must not start or end the same process."""
        with open(os.path.join(self.directory, f"{self.name}.lock"), "w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def read(self) -> Record | None:
        """The record, if there is a usable one."""
        try:
            with open(self.path, encoding="utf-8") as file:
                return Record(**json.load(file))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write(self, record: Record) -> None:
        """Put the record in place, whole or not at all."""
        with open(f"{self.path}.new", "w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(record), file)
        os.rename(f"{self.path}.new", self.path)

    def console_tail(self) -> str:
        """The end of what the process printed."""
        try:
            with open(self.console, encoding="utf-8", errors="replace") as file:
                return "".join(file.readlines()[-TAIL:])
        except FileNotFoundError:
            return "(no console)"


def end(shelf: Shelf, patience: float) -> bool:
    """End what is recorded: ask, wait, then kill. Says whether there was something to end."""
    record = shelf.read()
    members = record.members() if record else []
    if record and members:
        if record.leader():
            os.kill(record.pid, signal.SIGTERM)
        until(lambda: not record.members(), patience)
        for process in record.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        if not until(lambda: not record.members(), 10):
            raise SystemExit(f"{shelf.name}: process {record.pid} does not end")
    forget_connections(shelf)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(shelf.path)
    return bool(members)


def until(done: Callable[[], bool], seconds: float) -> bool:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def forget_connections(shelf: Shelf) -> None:
    """End the shared ssh connections to a host: they would be waited on after it is gone."""
    for path in glob.glob(os.path.join(shelf.directory, "ssh", f"{glob.escape(shelf.name)}-*")):
        subprocess.run(
            ["ssh", "-F", "none", "-o", f"ControlPath={path}", "-O", "exit", shelf.name],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=20,
        )  # fmt: skip
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def launch(shelf: Shelf, argv: list[str]) -> None:
    """Start a process that outlives us, recorded before it does anything."""
    started_read, started_write = os.pipe()
    if os.fork():
        os.close(started_write)
        with os.fdopen(started_read, encoding="utf-8") as file:
            failure = file.read()
        if failure:
            raise SystemExit(f"{shelf.name}: {failure}")
        return
    try:
        os.close(started_read)
        os.setsid()
        os.chdir("/")
        me = look(os.getpid())
        assert me
        shelf.write(Record(me.pid, me.start, this_boot(), argv))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        console = os.open(shelf.console, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(console, 1)
        os.dup2(console, 2)
        os.execvp(argv[0], argv)
    except BaseException as error:  # the parent has to hear of whatever it is
        os.write(started_write, f"{argv[0]}: {error}".encode())
    finally:
        os._exit(127)


def fits(disk: str, image: str) -> bool:
    """Whether a copy-on-write file was made over this very image: its header has the image's time of change.

    User-Mode Linux refuses any other, and what is left of a file that was not made to the end.
    """
    with open(disk, "rb") as file:
        header = file.read(12)
    return header[:4] == b"OOOM" and struct.unpack(">I", header[8:12])[0] == int(os.stat(image).st_mtime)


def bytes_of(size: str) -> int:
    """A size as the kernel takes it (1536M), in bytes."""
    return int(size[:-1]) << {"K": 10, "M": 20, "G": 30}[size[-1].upper()]


def ready_host(options: argparse.Namespace) -> None:
    """Put right what a host needs before it starts: its disk, and room for its memory."""
    if options.disk and os.path.exists(options.disk) and (options.fresh or not fits(options.disk, options.image)):
        os.unlink(options.disk)
    shm = os.statvfs("/dev/shm") if os.path.ismount("/dev/shm") else None
    if options.memory and (not shm or shm.f_bavail * shm.f_frsize < bytes_of(options.memory)):
        os.environ["TMPDIR"] = options.scratch


def command_start(options: argparse.Namespace) -> bool:
    """Start a process unless it runs already with the same arguments."""
    shelf = Shelf(options.directory, options.name)
    with shelf.locked():
        record = shelf.read()
        if record and record.leader() and record.argv == options.argv and not options.fresh:
            return False
        end(shelf, options.patience)
        ready_host(options)
        launch(shelf, options.argv)
    return True


def power_off(shelf: Shelf, patience: float) -> None:
    """Shut a host down as an administrator would, and wait until it has ended."""
    record = shelf.read()
    if not record or not record.leader():
        raise SystemExit(f"{shelf.name} does not run")
    config = os.path.join(shelf.directory, "ssh_config")
    # a host that is quicker than its answer leaves the client waiting for that
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            ["ssh", "-F", config, "-o", "BatchMode=yes", f"root@{shelf.name}", "systemctl --no-block poweroff"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=20,
        )  # fmt: skip
    if not until(lambda: not record.leader(), patience):
        raise SystemExit(f"{shelf.name} does not shut down. The end of its console:\n{shelf.console_tail()}")


def command_stop(options: argparse.Namespace) -> bool:
    """End a process, or all that are recorded."""
    names = [options.name] if options.name else sorted(
        os.path.basename(path)[: -len(".json")] for path in glob.glob(os.path.join(options.directory, "*.json"))
    )  # fmt: skip
    changed = False
    for name in names:
        shelf = Shelf(options.directory, name)
        with shelf.locked():
            if options.power_off:
                power_off(shelf, options.patience)
            changed = end(shelf, options.patience) or changed
    return changed


def command_wait(options: argparse.Namespace) -> bool:
    """Wait until a host answers over ssh and has come up; show its console if it does not."""
    shelf = Shelf(options.directory, options.name)
    deadline = time.monotonic() + options.patience
    ssh = ["ssh", "-F", os.path.join(options.directory, "ssh_config"), "-o", "BatchMode=yes"]
    # "degraded" is an answer too: which unit failed is for the tests to say.
    probe = "systemctl is-system-running --wait >/dev/null; cat /sys/fs/selinux/enforce"
    errors = os.path.join(options.directory, f"{options.name}.ssh")
    answer = ""
    while time.monotonic() < deadline:
        record = shelf.read()
        if not (record and record.leader()):
            raise SystemExit(f"{options.name} ended while it booted. The end of its console:\n{shelf.console_tail()}")
        # A file, because a shared connection that stays open would hold a pipe open too.
        with open(errors, "w", encoding="utf-8") as file, contextlib.suppress(subprocess.TimeoutExpired):
            answer = subprocess.run(
                [*ssh, options.name, probe], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file,
                check=False, text=True, timeout=max(1, deadline - time.monotonic()),
            ).stdout.strip()  # fmt: skip
        if answer == "1":
            return False
        if answer == "0":
            raise SystemExit(f"{options.name} answers, but its SELinux does not enforce")
        time.sleep(1)
    with open(errors, encoding="utf-8") as file:
        reason = file.read().strip()
    raise SystemExit(
        f"{options.name} did not answer within {options.patience:.0f} seconds: {reason}\nThe end of its console:\n{shelf.console_tail()}"
    )


def main() -> None:
    """Do what is asked; the answer says whether something changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", required=True, help="where the lab keeps its records")
    parser.add_argument("--patience", type=float, default=5, help="seconds to wait")
    commands = parser.add_subparsers(required=True)
    start = commands.add_parser("start")
    start.set_defaults(command=command_start)
    start.add_argument("--fresh", action="store_true", help="end it, discard its disk, start it again")
    start.add_argument("--disk", help="copy-on-write file of a host")
    start.add_argument("--image", help="image below that file")
    start.add_argument("--memory", help="what a host has; it is kept in a file")
    start.add_argument("--scratch", help="where to keep it when /dev/shm is too small")
    start.add_argument("name")
    start.add_argument("argv", nargs="+")
    stop = commands.add_parser("stop")
    stop.set_defaults(command=command_stop)
    stop.add_argument("--power-off", action="store_true", help="shut the host down, and fail if that cannot be done")
    stop.add_argument("name", nargs="?", help="all, if none is named")
    wait = commands.add_parser("wait")
    wait.set_defaults(command=command_wait)
    wait.add_argument("name")
    options = parser.parse_args()
    print(json.dumps({"changed": options.command(options)}))


if __name__ == "__main__":
    main()
