# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command inside a running sandbox: its namespaces, its cgroup, its type and level.

This file needs nothing but Python's standard library, because it is two things: a part of the
modules, and the command ``virt-sandbox`` that the role ``host`` installs for people and for the
connection plugin (``virt-sandbox connect NAME``, ``virt-sandbox exec NAME -- COMMAND``).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import pty
import resource
import select
import selectors
import signal
import stat
import struct
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

CONTROLLERS = "/run/libvirt/lxc"
SECCOMP = "/usr/local/libexec/virt-sandbox-seccomp"
RUN = "/run/virt-sandbox"
UNITS = "/etc/systemd/system"
CGROUPS = "/sys/fs/cgroup"
# the mount namespace last: after it, /proc is the sandbox's
NAMESPACES = ("ipc", "uts", "net", "pid", "mnt")
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/sh",
    "LANG": "C.UTF-8",
}
ESCAPE = b"\x1d"  # ^]
END_OF_FILE = b"\x04"  # ^D
BLOCK = 65536
# bytes for a terminal inside that are kept while nobody there reads
WAITING = 1 << 20
# seconds between two looks at whether a command has read all of its input
HOLD = 0.05
# seconds that entering may take, and the end of what was killed: root inside can freeze, stop and starve both
ENTERING = 30
ENDING = 5
# seconds between two tries to thaw what root inside freezes
THAWING = 0.5
DESCRIPTORS = 4096
SPARED = "/proc/self/oom_score_adj"
# kinds of limits that a process has (RLIM_NLIMITS)
LIMITS = 16
CANNOT_ENTER = 125
PR_SET_SECCOMP, PR_CAPBSET_DROP = 22, 24
SECCOMP_MODE_FILTER = 2
# to the command, from whoever ends its caller
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
USAGE = "usage: virt-sandbox connect NAME [COMMAND ...]\n       virt-sandbox exec NAME -- COMMAND ..."


class EnterError(Exception):
    """The sandbox cannot be entered, or the command not started there; says why."""


class StartError(EnterError):
    """The sandbox was entered, but the command is not there, or may not be run."""


class EndedError(EnterError):
    """The command was killed; has what it wrote until then."""

    def __init__(self, reason: str, output: bytes, errors: bytes) -> None:
        super().__init__(reason)
        self.output = output
        self.errors = errors


class EnterTimeout(EndedError):
    """The command ran too long."""

    def __init__(self, timeout: float, output: bytes, errors: bytes) -> None:
        super().__init__(f"the command did not end within {timeout:g} seconds and was killed", output, errors)


class EnterOverflow(EndedError):
    """The command wrote too much."""

    def __init__(self, most: int, output: bytes, errors: bytes) -> None:
        super().__init__(f"the command wrote more than {most} bytes and was killed", output, errors)


class EnterStopped(EnterError):
    """The sandbox does not let in whoever enters."""

    def __init__(self, name: str, seconds: float) -> None:
        causes = "Its processes may be frozen or stopped, or have no memory or processor time left"
        super().__init__(f"sandbox {name} cannot be entered: it does not answer within {seconds:g} seconds. {causes}.")


class Outcome(NamedTuple):
    """How a command ended: its code (128 and the signal's number where one killed it), and its label."""

    code: int
    output: bytes
    errors: bytes
    context: str


def controller(name: str) -> int:
    """The PID of libvirt's controller of a sandbox, which starts the first process of it."""
    if not name or "/" in name:
        raise EnterError(f"{name!r} is not the name of a sandbox")
    try:
        with open(os.path.join(CONTROLLERS, name + ".pid"), encoding="ascii") as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            arguments = file.read().split(b"\0")
    except (OSError, ValueError) as error:
        raise EnterError(_not_running(name)) from error
    # the number may be in use again where libvirt died before its file was removed
    if b"--name" not in arguments or arguments[arguments.index(b"--name") + 1] != os.fsencode(name):
        raise EnterError(_not_running(name))
    return pid


def leader(name: str) -> int:
    """The host's PID of the sandbox's first process."""
    pid = controller(name)
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            children = file.read().split()
    except OSError as error:
        raise EnterError(_not_running(name)) from error
    for child in children:
        if _is_init(int(child)):
            return int(child)
    raise EnterError(f"sandbox {name} has no first process, because it is starting or stopping")


def _not_running(name: str) -> str:
    unit = f"{name}_sandbox.service"
    if os.path.exists(os.path.join(UNITS, unit)):
        return f"sandbox {name} is not running. Start it with: systemctl start {unit}"
    return f"sandbox {name} is not running, and this host has no {unit}. Check that this is its host."


def _is_init(pid: int) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("NSpid:"):
                return line.split()[-1] == "1" and len(line.split()) > 2
    return False


def context_of(pid: int) -> str:
    """The security context of a process, raw; empty where the kernel has no SELinux."""
    try:
        with open(f"/proc/{pid}/attr/current", encoding="utf-8", errors="surrogateescape") as file:
            return file.read().strip("\0\n")
    except OSError:
        return ""


def entry_context(pid: int) -> str:
    """The context for a command that enters beside ``pid``: the caller's user and role, its type and level."""
    own, target = context_of(os.getpid()), context_of(pid)
    if own.count(":") < 3 or target.count(":") < 3:
        return ""
    user, role = own.split(":")[:2]
    return f"{user}:{role}:{target.split(':', 2)[2]}"


def bounding_set(pid: int) -> int:
    """The capabilities that a process, and what it starts, can ever have, as the kernel's bit mask."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapBnd:"))


def limits_of(pid: int) -> dict[int, tuple[int, int]]:
    """The limits of a process by their numbers, soft and hard."""
    return {kind: resource.prlimit(pid, kind) for kind in range(LIMITS)}


def lower_limits(limits: Mapping[int, tuple[int, int]]) -> None:
    """Give this process hard limits no higher than these: what root inside takes over must have no more than he has."""
    for kind, (_soft, hard) in limits.items():
        own_soft, own_hard = resource.getrlimit(kind)
        hard = _lower(own_hard, hard)
        resource.setrlimit(kind, (_lower(own_soft, hard), hard))


def be_ordinary() -> None:
    """Take the priority, and the place where memory runs out, of an ordinary process, whatever the caller has."""
    os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), 0))
    if os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    with open(SPARED, encoding="ascii") as file:
        spared = int(file.read()) < 0
    if spared:
        with open(SPARED, "w", encoding="ascii") as file:
            file.write("0")


def _lower(one: int, other: int) -> int:
    return min(one, other, key=lambda limit: float("inf") if limit == resource.RLIM_INFINITY else limit)


def seccomp_filter(machine: str) -> bytes:
    """The sandboxes' filter of system calls for a machine (``uname -m``), as the kernel takes it."""
    try:
        with open(SECCOMP, encoding="ascii") as file:
            instructions = [line.split()[1:] for line in file if line.startswith(machine + " ")]
    except OSError as error:
        raise EnterError(f"the filter of system calls cannot be read: {error}. Run the role virt.sandbox.host.") from error
    if not instructions:
        raise EnterError(f"{SECCOMP} has no filter of system calls for {machine}")
    return b"".join(struct.pack("=HBBI", *map(int, instruction)) for instruction in instructions)


class Entry:
    """An open way into a sandbox. ``go`` is called once, in a forked child."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid = leader(name)
        self._namespaces: list[int] = []
        try:
            for kind in NAMESPACES:
                self._namespaces.append(os.open(f"/proc/{self.pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC))
            # the name of the last one is root's, who is inside
            with open(f"/proc/{self.pid}/cgroup", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                self._cgroup = next(line.rstrip("\n")[3:] for line in file if line.startswith("0::"))
            self.context = entry_context(self.pid)
            self._capabilities = bounding_set(self.pid)
            self._limits = limits_of(self.pid)
            still = leader(name) == self.pid
        except (OSError, ValueError, StopIteration) as error:
            self.close()
            raise EnterError(f"sandbox {name} cannot be entered: {error}") from error
        if not still:
            self.close()
            raise EnterError(f"sandbox {name} stopped while it was entered")
        self._setns = _setns()
        self._drop = _dropper()
        self._confine = _confiner()

    def label(self, path: str, file_type: str) -> None:
        """Give something that is handed to the command the sandbox's level: it would be the caller's."""
        if self.context:
            level = self.context.split(":", 3)[3]
            os.setxattr(path, "security.selinux", f"system_u:object_r:{file_type}:{level}".encode())

    def go(self) -> None:
        """Join cgroup and namespaces; the next program started has the sandbox's type, level, capabilities, limits and filter."""
        with open(os.fsencode(f"{CGROUPS}{self._cgroup}/cgroup.procs"), "w", encoding="ascii") as file:
            file.write("0")
        be_ordinary()
        if self.context:
            _set_exec_context(self.context)
        for descriptor in self._namespaces:
            self._setns(descriptor)
        self._drop(self._capabilities)
        lower_limits(self._limits)
        self._confine()
        os.chdir("/")

    def thaw(self) -> None:
        """Undo what root inside has frozen of the way to the first process; what the host has frozen is of the slices above."""
        parts = self._cgroup.strip("/").split("/")
        slices = next((number for number, part in enumerate(parts) if not part.endswith(".slice")), len(parts))
        for number in range(slices, len(parts)):
            place = os.path.join(CGROUPS, *parts[: number + 1], "cgroup.freeze")
            with contextlib.suppress(OSError), open(os.fsencode(place), "r+b", buffering=0) as file:
                if file.read() != b"0\n":
                    file.seek(0)
                    file.write(b"0")

    def close(self) -> None:
        """Forget the namespaces."""
        while self._namespaces:
            os.close(self._namespaces.pop())


def _setns() -> Callable[[int], None]:
    if hasattr(os, "setns"):
        native: Callable[[int], None] = os.setns
        return native
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)

    def call(descriptor: int) -> None:
        if library.setns(descriptor, 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "setns")

    return call


def _dropper() -> Callable[[int], None]:
    """A call that takes all capabilities but those of a bit mask from what is started next."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)

    def drop(kept: int) -> None:
        for number in range(64):
            if not kept >> number & 1 and library.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) and ctypes.get_errno() != errno.EINVAL:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "prctl")

    return drop


def _confiner() -> Callable[[], None]:
    """A call that puts this process, and what it starts, under the sandboxes' filter: root inside could use another's calls by ptrace."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    # a kernel that knows filters looks for one at this address
    if library.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, None, 0, 0) and ctypes.get_errno() == errno.EINVAL:
        return lambda: None
    instructions = seccomp_filter(os.uname().machine)
    kept = ctypes.create_string_buffer(instructions, len(instructions))

    def confine() -> None:
        program = struct.pack("HP", len(kept) // 8, ctypes.addressof(kept))
        if library.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "prctl")

    return confine


def _set_exec_context(context: str) -> None:
    """The context of the next program, set while /proc is still the host's, and read back."""
    with open("/proc/thread-self/attr/exec", "r+b", buffering=0) as file:
        file.write(context.encode())
        file.seek(0)
        if (file.read() or b"").strip(b"\0\n").decode() != context:
            raise EnterError(f"the kernel rejected the context {context} for the command")


class Process(NamedTuple):
    """A command inside: the process of ours that ends as it ends, and the command itself, as the host numbers it."""

    waiter: int
    command: int

    def kill(self, number: int) -> None:
        """A signal to the command and what it started, but for what left its session."""
        with contextlib.suppress(OSError):
            os.killpg(self.command, number)

    def wait(self) -> int:
        """The command's code."""
        return os.waitstatus_to_exitcode(os.waitpid(self.waiter, 0)[1])

    def end(self) -> None:
        """Kill the command, and what waits for it: a sandbox may freeze its cgroup, in which both are."""
        self.kill(signal.SIGKILL)
        _end(self.waiter)

    def hung_up(self) -> int:
        """The code of a command whose terminal is gone; it is killed if it does not heed that."""
        if not _ended(self.waiter):
            self.end()
            return 128 + signal.SIGKILL
        return self.wait()


def _end(pid: int) -> None:
    """Kill a child of ours; one that cannot end now, because it waits for a disk that root inside has throttled, is left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    if _ended(pid):
        os.waitpid(pid, 0)


def _ended(pid: int) -> bool:
    """Whether a child of ours ends soon."""
    ended = os.pidfd_open(pid)
    try:
        return bool(select.select([ended], [], [], ENDING)[0])
    finally:
        os.close(ended)


def _start(
    entry: Entry,
    command: Sequence[str],
    environment: dict[str, str],
    streams: tuple[int, int, int],
    terminal: bool = False,
    timeout: float = ENTERING,
) -> Process:
    """Start a command inside, in a session of its own, within ``timeout`` seconds."""
    # looked up before: nothing may be imported once the files are the sandbox's
    folders = [""] if "/" in command[0] else [folder + "/" for folder in environment["PATH"].split(":")]
    programs = [folder + command[0] for folder in folders]
    reading, report = os.pipe()
    waiter = os.fork()
    if waiter == 0:
        _enter(entry, lambda: _become(programs, command, environment, terminal, report), streams, report)
    os.close(report)
    lines, whole = _reported(entry, reading, timeout)
    started = [int(line) for line in lines if line.isdigit()]
    problems = [line for line in lines if not line.isdigit()]
    if not whole:
        for pid in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _end(waiter)
        raise EnterStopped(entry.name, timeout)
    if problems or not started:
        _end(waiter)
    if not started:
        raise EnterError(f"sandbox {entry.name} cannot be entered: {' '.join(problems) or 'the process that entered was killed'}")
    if problems:
        raise StartError(f"{command[0]} cannot be run inside {entry.name}: {' '.join(problems)}")
    return Process(waiter, started[0])


def _reported(entry: Entry, reading: int, timeout: float) -> tuple[list[str], bool]:
    """The lines that come until the command has taken its place, and whether it has in time."""
    deadline = time.monotonic() + timeout
    said = b""
    with open(reading, "rb", buffering=0) as file:
        while time.monotonic() < deadline:
            entry.thaw()
            if not select.select([file], [], [], max(0, min(THAWING, deadline - time.monotonic())))[0]:
                continue
            block = file.read(BLOCK)
            if not block:
                return said.decode(errors="replace").splitlines(), True
            said += block
    return said.decode(errors="replace").splitlines(), False


def _enter(entry: Entry, become: Callable[[], NoReturn], streams: tuple[int, int, int], report: int) -> NoReturn:
    """A PID namespace takes effect for children only: one process waits outside, the other is the command."""
    try:
        for number, stream in enumerate([os.dup(stream) for stream in streams]):
            os.dup2(stream, number)
        entry.go()
        pid = os.fork()
        if pid == 0:
            become()
        os.write(report, f"{pid}\n".encode())
        # these would keep the command's streams, and the report, open as long as it runs
        os.closerange(0, DESCRIPTORS)
        for signal_number in PASSED_ON:
            signal.signal(signal_number, signal.SIG_IGN)  # who started us passes them on to the command
        status = os.waitpid(pid, 0)[1]
        os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
    except BaseException as error:  # a fork's end: nothing above may run twice
        with contextlib.suppress(OSError):
            os.write(report, f"{error}\n"[:4000].encode(errors="replace"))
    os._exit(CANNOT_ENTER)


def _become(programs: list[str], command: Sequence[str], environment: dict[str, str], terminal: bool, report: int) -> NoReturn:
    """The command, in the place of this process; the report is closed by that."""
    os.closerange(3, report)
    os.closerange(report + 1, DESCRIPTORS)
    os.setsid()
    if terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (*PASSED_ON, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    for program in programs[:-1]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            os.execve(program, list(command), environment)
    os.execve(programs[-1], list(command), environment)


def _places(entry: Entry) -> Iterator[str]:
    """A new name for what a command is handed: in the sandbox's own memory, and where root inside has filled that, in the host's."""
    for place in (os.path.join(RUN, entry.name), RUN):
        yield os.path.join(place, f".stream-{os.getpid()}-{os.urandom(8).hex()}")


def _made(entry: Entry, make: Callable[[str], Any]) -> Any:
    """What ``make`` opens at a new name, which is gone by then."""
    full = OSError()
    for path in _places(entry):
        try:
            return make(path)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            full = error
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    raise full


class _Pipe:
    """A pipe that carries the sandbox's label: a plain one would carry the caller's."""

    def __init__(self, entry: Entry) -> None:
        self.reader, self.writer = _made(entry, lambda path: self._opened(entry, path))

    @staticmethod
    def _opened(entry: Entry, path: str) -> tuple[io.FileIO, io.FileIO]:
        os.mkfifo(path, 0o600)
        entry.label(path, "virt_sandbox_file_t")
        # the reading end first, which does not wait for a writer
        reader = io.FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        return reader, io.FileIO(os.open(path, os.O_WRONLY | os.O_CLOEXEC), "wb")

    def close(self) -> None:
        self.reader.close()
        with contextlib.suppress(OSError):
            self.writer.close()


def _file(entry: Entry, data: bytes) -> io.FileIO:
    """What is known to its end, as a file with the sandbox's label: it can be opened again as /dev/stdin, whenever."""

    def write(path: str) -> io.FileIO:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            entry.label(path, "virt_sandbox_file_t")
            _write_all(descriptor, data)
            return io.FileIO(os.open(path, os.O_RDONLY | os.O_CLOEXEC), "rb")
        finally:
            os.close(descriptor)

    opened: io.FileIO = _made(entry, write)
    return opened


def run(
    name: str,
    command: Sequence[str],
    stdin: Any = b"",
    environment: dict[str, str] | None = None,
    timeout: float | None = None,
    sinks: tuple[Any, Any] | None = None,
    most: int | None = None,
) -> Outcome:
    """Run a command inside.

    ``stdin`` is bytes, or a binary file that is read to its end; with ``sinks`` (two binary files)
    output and errors are written there as they come. Whatever the command leaves running with its
    output open is not waited for. Of more than ``most`` bytes of output and errors together, that many are kept.
    Raises ``EnterError``; ``EnterTimeout`` and ``EnterOverflow`` when the command was killed.
    """
    with contextlib.ExitStack() as stack:
        entry = stack.enter_context(contextlib.closing(Entry(name)))
        try:
            outputs = [stack.enter_context(contextlib.closing(_Pipe(entry))) for _number in range(2)]
            known = isinstance(stdin, (bytes, bytearray))
            given = stack.enter_context(contextlib.closing(_file(entry, bytes(stdin)) if known else _Pipe(entry)))
        except OSError as error:
            raise EnterError(f"sandbox {name} cannot be entered: {error}") from error
        if isinstance(given, _Pipe):
            os.set_blocking(given.reader.fileno(), True)
            os.set_blocking(given.writer.fileno(), False)
        ends = (given.reader if isinstance(given, _Pipe) else given, outputs[0].writer, outputs[1].writer)
        streams = (ends[0].fileno(), ends[1].fileno(), ends[2].fileno())
        process = _start(entry, command, dict(ENVIRONMENT, **(environment or {})), streams, timeout=min(ENTERING, timeout or ENTERING))
        for end in ends:
            end.close()
        writer, source = (given.writer, stdin) if isinstance(given, _Pipe) else (None, None)
        relay = _Relay(writer, source, [outputs[0].reader, outputs[1].reader], sinks, most)
        try:
            in_time = relay.until_end_of(process.waiter, entry.thaw, timeout)
        except BaseException:
            process.end()
            raise
        output, errors = bytes(relay.data[0]), bytes(relay.data[1])
        if not in_time:
            process.end()
            raise EnterTimeout(timeout or 0, output, errors)
        return Outcome(process.wait(), output, errors, entry.context)


class _Relay:
    """Moves a command's input, output and errors, until it has ended; all descriptors but the source's do not block."""

    def __init__(self, writer: Any, source: Any, readers: list[Any], sinks: tuple[Any, Any] | None = None, most: int | None = None) -> None:
        self.data = [bytearray(), bytearray()]
        self._most = most
        self._selector = selectors.PollSelector()
        self._writer = writer
        self._source = source
        self._pending = b""
        self._held = False
        self._sinks = sinks
        self._readers = readers
        for number, reader in enumerate(readers):
            self._selector.register(reader, selectors.EVENT_READ, lambda number=number: self._drain(number))
        if source:
            self._watch_input()

    def until_end_of(self, pid: int, meanwhile: Callable[[], None], timeout: float | None = None) -> bool:
        """Whether the process ended in time; what it wrote until then has arrived. ``meanwhile`` is called now and then."""
        deadline = None if timeout is None else time.monotonic() + timeout
        ended = os.pidfd_open(pid)
        self._selector.register(ended, selectors.EVENT_READ)
        try:
            while True:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                if self._held and not _unread(self._writer.fileno()):
                    self._held = False
                    self._writer.close()
                meanwhile()
                pause = HOLD if self._held else THAWING
                ready = [key for key, _events in self._selector.select(pause if left is None else min(left, pause))]
                if any(key.fd == ended for key in ready):
                    self._take_the_rest()
                    return True
                for key in ready:
                    key.data()
        finally:
            self._selector.close()
            os.close(ended)

    def _take_the_rest(self) -> None:
        for number in range(len(self._readers)):
            # not for ever: something else may go on writing. A pipe holds 16 blocks at most.
            for _block in range(17):
                if not self._drain(number):
                    break

    def _watch_input(self) -> None:
        """Wait for what the input lacks: room for what is to be written, or something to write."""
        if self._pending:
            self._selector.register(self._writer, selectors.EVENT_WRITE, self._write)
        elif self._source:
            self._selector.register(self._source, selectors.EVENT_READ, self._read)
        else:
            # closed when all of it was read: a command may be yet to open it again, as /dev/stdin, and would wait for a writer
            self._held = True

    def _read(self) -> None:
        self._selector.unregister(self._source)
        self._pending = _read(self._source.fileno())
        if not self._pending:
            self._source = None
        self._watch_input()

    def _write(self) -> None:
        try:
            self._pending = self._pending[os.write(self._writer.fileno(), self._pending[:BLOCK]) :]
        except BlockingIOError:
            return
        except OSError:  # the command has closed its input: the rest is of no use
            self._pending, self._source = b"", None
        if not self._pending:
            self._selector.unregister(self._writer)
            self._watch_input()

    def _drain(self, number: int) -> bool:
        """Whether there may be more."""
        reader = self._readers[number]
        if reader.closed:
            return False
        try:
            chunk = os.read(reader.fileno(), BLOCK)
        except BlockingIOError:
            return False
        if not chunk:
            self._selector.unregister(reader)
            reader.close()
        elif self._sinks is None:
            room = len(chunk) if self._most is None else self._most - sum(map(len, self.data))
            self.data[number] += chunk[:room]
            if room < len(chunk):
                raise EnterOverflow(self._most or 0, bytes(self.data[0]), bytes(self.data[1]))
        else:
            self._sinks[number].write(chunk)
            self._sinks[number].flush()
        return bool(chunk)


def connect(name: str, command: Sequence[str]) -> int:
    """A person's terminal inside, left with ``^]``; returns the command's code."""
    with contextlib.closing(Entry(name)) as entry:
        master, slave = pty.openpty()
        entry.label(os.ttyname(slave), "virt_sandbox_devpts_t")
        environment = dict(ENVIRONMENT, TERM=os.environ.get("TERM", "linux"))
        process = _start(entry, command, environment, (slave, slave, slave), terminal=True)
    os.close(slave)
    sys.stdout.write(f"Connected to {name}. Leave with ^].\r\n")
    sys.stdout.flush()
    try:
        left = _relay_terminal(master)
    finally:
        os.close(master)  # hangs up whatever still runs there
    return 0 if left else process.hung_up()


def _relay_terminal(master: int) -> bool:
    """The terminal's bytes to the sandbox and back, until the command ends; whether the person ended it."""
    keyboard = sys.stdin.fileno()
    saved = termios.tcgetattr(keyboard) if os.isatty(keyboard) else None
    if saved is not None:
        tty.setraw(keyboard, termios.TCSADRAIN)  # what was typed ahead is not thrown away
        _copy_window(keyboard, master)
        signal.signal(signal.SIGWINCH, lambda *_ignored: _copy_window(keyboard, master))
    os.set_blocking(master, False)  # nobody inside need read what is typed, and ^] must work all the same
    sources, pending = [keyboard, master], b""
    try:
        while master in sources:
            awaited = [source for source in sources if source == master or len(pending) < WAITING]
            readable, writable, _exceptional = select.select(awaited, [master] if pending else [], [])
            if writable:
                pending = pending[_write(master, pending) :]
            for source in readable:
                data = _read(source)
                if source == keyboard and ESCAPE in data:
                    return True
                if not data:
                    sources.remove(source)
                if source == keyboard:
                    pending += data or END_OF_FILE
                else:
                    _write_all(sys.stdout.fileno(), data)
        return False
    finally:
        if saved is not None:
            termios.tcsetattr(keyboard, termios.TCSADRAIN, saved)


def _unread(pipe: int) -> int:
    """How many bytes are in a pipe."""
    (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return int(count)


def _read(source: int) -> bytes:
    try:
        return os.read(source, BLOCK)
    except OSError:  # a terminal whose last process ended
        return b""


def _write(target: int, data: bytes) -> int:
    """How many of the bytes a terminal has taken; all where its last process has ended."""
    try:
        return os.write(target, data)
    except BlockingIOError:
        return 0
    except OSError:
        return len(data)


def _write_all(target: int, data: bytes) -> None:
    while data:
        data = data[os.write(target, data) :]


def _copy_window(source: int, target: int) -> None:
    size = fcntl.ioctl(source, termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    fcntl.ioctl(target, termios.TIOCSWINSZ, size)


def _parse(arguments: Sequence[str]) -> tuple[str, str, list[str]] | None:
    """Verb, name and command; none where they make no sense."""
    if len(arguments) < 2 or arguments[0] not in ("connect", "exec") or arguments[1].startswith("-"):
        return None
    verb, name, *command = arguments
    if command[:1] == ["--"]:
        del command[0]
    if not command and verb == "exec":
        return None
    return verb, name, command


def _input() -> Any:
    """Standard input: what it holds where that is known at once, else the stream."""
    if not sys.stdin:
        return b""
    status = os.fstat(sys.stdin.fileno())
    empty = stat.S_ISCHR(status.st_mode) and status.st_rdev == os.stat(os.devnull).st_rdev
    return sys.stdin.buffer.read() if empty or (stat.S_ISREG(status.st_mode) and status.st_size <= BLOCK) else sys.stdin.buffer


def _told_to_end(number: int, _frame: Any) -> NoReturn:
    raise SystemExit(128 + number)


def main(arguments: Sequence[str]) -> int:
    """``virt-sandbox connect NAME [COMMAND ...]`` and ``virt-sandbox exec NAME -- COMMAND ...``."""
    words = _parse(arguments)
    if words is None:
        sys.stderr.write(USAGE + "\n")
        return 2
    verb, name, command = words
    if os.geteuid() != 0:
        sys.stderr.write("virt-sandbox: only root enters a sandbox; use sudo\n")
        return CANNOT_ENTER
    try:
        if verb == "connect":
            return connect(name, command or ["/bin/sh", "-l"])
        for number in PASSED_ON:
            signal.signal(number, _told_to_end)
        return run(name, command, stdin=_input(), sinks=(sys.stdout.buffer, sys.stderr.buffer)).code
    except (EnterError, OSError) as error:
        # much of it may be of the sandbox's making
        said = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in str(error))
        sys.stderr.write(f"virt-sandbox: {said}\n")
        return CANNOT_ENTER
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
