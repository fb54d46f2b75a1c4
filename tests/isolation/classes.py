# SPDX-License-Identifier: GPL-3.0-or-later
"""Acts once on each class of what a sandbox has, in its namespaces, whatever label the actor runs at.

``keep``, inside, makes what is acted on, says its numbers as JSON, and stays. ``enter MOUNTS SANDBOX LEVEL SANDBOX_LEVEL``, on the
host, has ``act`` run at a level in the namespaces of a sandbox but with the mounts of another. ``act`` says
``{"type class": outcome}`` with ``ok`` or the name of the error.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

LIBC = ctypes.CDLL(None, use_errno=True)
# of x86_64
SHMGET, SHMCTL, SEMGET, SEMCTL, MSGGET, MSGCTL = 29, 31, 64, 66, 68, 71
IPC_CREAT, IPC_STAT = 0o1000, 2
PTRACE_SEIZE, PIDFD_GETFD = 0x4206, 438
STREAM, DATAGRAM = "\0vsbx-kept", "\0vsbx-kept-datagram"
THINGS, PROC, SHARED, PIPE = 108, 109, 110, 111


def syscall(number: int, *arguments: Any) -> int:
    result = int(LIBC.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def keep() -> None:
    sockets = [socket.socket(socket.AF_UNIX, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
    for one, name in zip(sockets, (STREAM, DATAGRAM)):
        one.bind(name)
    sockets[0].listen()
    reader, _writer = os.pipe()
    numbers = {
        "pid": os.getpid(),
        "pipe": reader,
        "shared": os.open("/usr/bin/yes", os.O_RDONLY),  # which all sandboxes may read
        "shm": syscall(SHMGET, 7001, 4096, IPC_CREAT | 0o666),
        "sem": syscall(SEMGET, 7001, 1, IPC_CREAT | 0o666),
        "msgq": syscall(MSGGET, 7001, IPC_CREAT | 0o666),
    }
    print(json.dumps(numbers), flush=True)
    time.sleep(600)


def things(level: str, sandbox_level: str) -> Path:
    """A directory of the actor's, in which are the sandbox's things, the script and a place for the output."""
    place = Path(tempfile.mkdtemp(prefix="it-things-", dir="/run"))
    (place / "dir").mkdir()
    (place / "file").touch()
    (place / "link").symlink_to("nowhere")
    os.mkfifo(place / "fifo")
    os.mknod(place / "socket", 0o666 | stat.S_IFSOCK)
    (place / "script").write_bytes(Path(__file__).read_bytes())
    (place / "output").touch()
    for path in (place, *place.iterdir()):
        its = level if path in (place, place / "script", place / "output") else sandbox_level
        os.setxattr(path, "security.selinux", f"system_u:object_r:virt_sandbox_file_t:{its}".encode(), follow_symlinks=False)
    return place


def on_the_host(there: int, pid: int) -> int:
    """The number on the host of a process that has another one in a sandbox."""
    namespace = os.stat(f"/proc/{there}/ns/pid").st_ino
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inside = (process / "status").read_text().partition("NSpid:")[2].splitlines()[0].split()[-1]
            if inside == str(pid) and os.stat(process / "ns/pid").st_ino == namespace:
                return int(process.name)
        except OSError:
            continue
    raise OSError(errno.ESRCH, str(pid))


def handed_over(keeper: int, kept: dict[str, Any]) -> list[int]:
    """A file that the keeper has opened, and his pipe as the host opens it: the one is his descriptor alone, the other his pipe alone."""
    shared = syscall(PIDFD_GETFD, os.pidfd_open(keeper), kept["shared"], 0)
    return [shared, os.open(f"/proc/{keeper}/fd/{kept['pipe']}", os.O_RDONLY | os.O_NONBLOCK)]


def enter(mounts: str, sandbox: str, level: str, sandbox_level: str) -> None:
    there = first_process(sandbox)
    kept = json.loads(Path("/run/it-kept").read_text(encoding="utf-8"))
    (scope,) = Path(
        "/sys/fs/cgroup/machine.slice/machine-virt_sandbox.slice/machine-virt_sandbox-{}.slice".format(sandbox.replace("-", "\\x2d"))
    ).glob("*.scope")
    kept.update(scope=str(scope), slice=str(scope.parent))
    place = things(level, sandbox_level)
    # what is handed over must be the actor's: input, output, its directory; and /proc as the sandbox sees it
    given = [place / "script", place / "output", place, Path(f"/proc/{there}/root/proc")]
    opened = [os.open(path, os.O_WRONLY if path.name == "output" else os.O_RDONLY) for path in given]
    opened += handed_over(on_the_host(there, kept["pid"]), kept)
    names = [*(f"/proc/{there}/ns/{kind}" for kind in ("ipc", "net", "pid")), f"/proc/{first_process(mounts)}/ns/mnt"]
    namespaces = [os.open(name, os.O_RDONLY) for name in names]
    output = os.open(place / "output", os.O_RDONLY)
    # a child has it from here, and what it executes then runs there
    Path("/proc/thread-self/attr/exec").write_text(f"system_u:system_r:virt_sandbox_t:{level}", encoding="ascii")
    for namespace in namespaces:
        if LIBC.setns(namespace, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if os.fork() == 0:
        for descriptor, number in zip(opened, (0, 1, THINGS, PROC, SHARED, PIPE)):
            os.dup2(descriptor, number)
        os.execv("/usr/bin/python3", ["python3", "-", "act", json.dumps(kept)])
    code = os.waitstatus_to_exitcode(os.wait()[1])
    print(os.read(output, 65536).decode(), end="")
    sys.exit(code)


def first_process(name: str) -> int:
    controller = Path(f"/run/libvirt/lxc/{name}.pid").read_text(encoding="ascii").strip()
    return int(subprocess.run(["pgrep", "-o", "-P", controller], capture_output=True, text=True, check=True).stdout)


def trace(pid: int) -> None:
    if LIBC.ptrace(ctypes.c_long(PTRACE_SEIZE), ctypes.c_long(pid), None, None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def connect(kind: int, name: str) -> None:
    with socket.socket(socket.AF_UNIX, kind) as client:
        client.connect(name)
        if kind == socket.SOCK_DGRAM:
            client.send(b"x")


def make_cgroup(path: str) -> None:
    os.mkdir(path)
    os.rmdir(path)


def still(descriptor: int, kind: Callable[[int], bool]) -> None:
    """SELinux puts its null device in the place of a descriptor that must not be inherited, or leads to what must not be used."""
    if not kind(os.fstat(descriptor).st_mode):
        raise OSError(errno.EACCES, "")


def attempts(kept: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    content, process = "virt_sandbox_file_t", "virt_sandbox_t"
    buffer = ctypes.create_string_buffer(512)
    pid = kept["pid"]
    return {
        f"{content} file": lambda: os.close(os.open("file", os.O_RDONLY, dir_fd=THINGS)),
        f"{content} dir": lambda: os.listdir(os.open("dir", os.O_RDONLY, dir_fd=THINGS)),
        f"{content} lnk_file": lambda: os.readlink("link", dir_fd=THINGS),
        f"{content} sock_file": lambda: os.stat("socket", dir_fd=THINGS, follow_symlinks=False),
        f"{content} fifo_file": lambda: os.close(os.open("fifo", os.O_RDONLY | os.O_NONBLOCK, dir_fd=THINGS)),
        "virt_sandbox_cgroup_t file": lambda: os.close(os.open(f"{kept['scope']}/cgroup.procs", os.O_WRONLY)),
        "virt_sandbox_cgroup_t dir": lambda: make_cgroup(f"{kept['scope']}/vsbx"),
        "virt_sandbox_slice_t file": lambda: os.close(os.open(f"{kept['slice']}/memory.max", os.O_WRONLY)),
        f"{process} process": lambda: os.kill(pid, 0),
        f"{process} process, traced": lambda: trace(pid),
        f"{process} dir": lambda: os.close(os.open(f"{pid}/task", os.O_RDONLY, dir_fd=PROC)),
        f"{process} file": lambda: os.close(os.open(f"{pid}/status", os.O_RDONLY, dir_fd=PROC)),
        f"{process} lnk_file": lambda: os.readlink(f"{pid}/cwd", dir_fd=PROC),
        f"{process} unix_stream_socket": lambda: connect(socket.SOCK_STREAM, STREAM),
        f"{process} unix_dgram_socket": lambda: connect(socket.SOCK_DGRAM, DATAGRAM),
        f"{process} shm": lambda: syscall(SHMCTL, kept["shm"], IPC_STAT, buffer),
        f"{process} sem": lambda: syscall(SEMCTL, kept["sem"], 0, IPC_STAT, buffer),
        f"{process} msgq": lambda: syscall(MSGCTL, kept["msgq"], IPC_STAT, buffer),
        f"{process} fd": lambda: still(SHARED, stat.S_ISREG),
        f"{process} fifo_file": lambda: still(PIPE, stat.S_ISFIFO),
    }


def outcome(function: Callable[[], Any]) -> str:
    try:
        function()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "ok"


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    if mode == "act":
        print(json.dumps({name: outcome(function) for name, function in attempts(json.loads(rest[0])).items()}))
    else:
        {"keep": keep, "enter": enter}[mode](*rest)
