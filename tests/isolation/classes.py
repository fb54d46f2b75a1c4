# SPDX-License-Identifier: GPL-3.0-or-later
"""Acts once on each class of what a sandbox has, in its namespaces, whatever label the actor runs at.

``keep``, inside, makes what is acted on, says its numbers as JSON, and stays. ``enter MOUNTS SANDBOX LEVEL``, on the host, has ``act``
run at a level in the namespaces of a sandbox but with the mounts of another, which has the sandbox's things in /srv/vsbx.
``act`` says ``{"type class": outcome}`` with ``ok`` or the name of the error.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

LIBC = ctypes.CDLL(None, use_errno=True)
# of x86_64
SHMGET, SHMCTL, SEMGET, SEMCTL, MSGGET, MSGCTL, ADD_KEY, KEYCTL = 29, 31, 64, 66, 68, 71, 248, 250
IPC_CREAT, IPC_STAT, KEYCTL_DESCRIBE, PROCESS_KEYRING = 0o1000, 2, 6, -2
PTRACE_SEIZE = 0x4206
STREAM, DATAGRAM = "\0vsbx-kept", "\0vsbx-kept-datagram"
PROC = 9


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
    numbers = {
        "pid": os.getpid(),
        "shm": syscall(SHMGET, 7001, 4096, IPC_CREAT | 0o666),
        "sem": syscall(SEMGET, 7001, 1, IPC_CREAT | 0o666),
        "msgq": syscall(MSGGET, 7001, IPC_CREAT | 0o666),
        "key": syscall(ADD_KEY, b"user", b"vsbx-kept", b"mine", 4, ctypes.c_long(PROCESS_KEYRING)),
    }
    print(json.dumps(numbers), flush=True)
    time.sleep(600)


def enter(mounts: str, sandbox: str, level: str) -> None:
    there = first_process(sandbox)
    kept = json.loads(Path("/run/it-kept").read_text(encoding="utf-8"))
    (scope,) = Path("/sys/fs/cgroup/machine.slice/machine-{}.slice".format(sandbox.replace("-", "\\x2d"))).glob("*.scope")
    kept.update(scope=str(scope), slice=str(scope.parent))
    script = Path(__file__).read_bytes()
    proc = os.open(f"/proc/{there}/root/proc", os.O_RDONLY)
    places = [*(f"/proc/{there}/ns/{kind}" for kind in ("ipc", "net", "pid")), f"/proc/{first_process(mounts)}/ns/mnt"]
    namespaces = [os.open(place, os.O_RDONLY) for place in places]
    # a child has it from here, and what it executes then runs there
    Path("/proc/thread-self/attr/exec").write_text(f"system_u:system_r:virt_sandbox_t:{level}", encoding="ascii")
    for namespace in namespaces:
        if LIBC.setns(namespace, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.dup2(reader, 0)
        os.dup2(proc, PROC)
        os.close(writer)
        os.execv("/usr/bin/python3", ["python3", "-", "act", json.dumps(kept)])
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(script)
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))


def first_process(name: str) -> int:
    controller = Path(f"/run/libvirt/lxc/{name}.pid").read_text(encoding="ascii").strip()
    return int(subprocess.run(["pgrep", "-o", "-P", controller], capture_output=True, text=True, check=True).stdout)


def close(descriptor: int) -> None:
    os.close(descriptor)


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


def attempts(kept: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    content, process = "virt_sandbox_file_t", "virt_sandbox_t"
    buffer = ctypes.create_string_buffer(512)
    pid = kept["pid"]
    return {
        f"{content} file": lambda: close(os.open("/srv/vsbx/file", os.O_RDONLY)),
        f"{content} dir": lambda: os.listdir("/srv/vsbx/dir"),
        f"{content} lnk_file": lambda: os.readlink("/srv/vsbx/link"),
        f"{content} sock_file": lambda: os.lstat("/srv/vsbx/socket"),
        f"{content} fifo_file": lambda: close(os.open("/srv/vsbx/fifo", os.O_RDONLY | os.O_NONBLOCK)),
        "virt_sandbox_cgroup_t file": lambda: close(os.open(f"{kept['scope']}/cgroup.procs", os.O_WRONLY)),
        "virt_sandbox_cgroup_t dir": lambda: make_cgroup(f"{kept['scope']}/vsbx"),
        "virt_sandbox_slice_t file": lambda: close(os.open(f"{kept['slice']}/memory.max", os.O_WRONLY)),
        f"{process} process": lambda: os.kill(pid, 0),
        f"{process} process, traced": lambda: trace(pid),
        f"{process} dir": lambda: close(os.open(f"{pid}/task", os.O_RDONLY, dir_fd=PROC)),
        f"{process} file": lambda: close(os.open(f"{pid}/status", os.O_RDONLY, dir_fd=PROC)),
        f"{process} lnk_file": lambda: os.readlink(f"{pid}/cwd", dir_fd=PROC),
        f"{process} unix_stream_socket": lambda: connect(socket.SOCK_STREAM, STREAM),
        f"{process} unix_dgram_socket": lambda: connect(socket.SOCK_DGRAM, DATAGRAM),
        f"{process} shm": lambda: syscall(SHMCTL, kept["shm"], IPC_STAT, buffer),
        f"{process} sem": lambda: syscall(SEMCTL, kept["sem"], 0, IPC_STAT, buffer),
        f"{process} msgq": lambda: syscall(MSGCTL, kept["msgq"], IPC_STAT, buffer),
        f"{process} key": lambda: syscall(KEYCTL, KEYCTL_DESCRIBE, kept["key"], buffer, 512),
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
