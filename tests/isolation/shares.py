# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs as root inside a sandbox, or on the host: takes what the kernel shares, and says how far it came, as JSON.

Its arguments are the name of an act, what that needs, and a file for the answer if it is not to be printed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import socket
import sys
import time
from typing import Any, Callable

# Python does not know it
RLIMIT_NICE = 13
FLOODERS = 8
# descriptors that one message carries, and seconds that those in flight are kept there
DESCRIPTORS, HELD = 253, 8


def outcome(act: Callable[[], Any]) -> str:
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except ValueError:  # of a limit that may not be raised
        return "EPERM"
    return "ok"


def raise_limit(kind: int, value: int) -> None:
    resource.setrlimit(kind, (value, value))


def real_time() -> None:
    with contextlib.suppress(OSError, ValueError):
        raise_limit(resource.RLIMIT_RTPRIO, 50)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def above_ordinary() -> None:
    with contextlib.suppress(OSError, ValueError):
        raise_limit(RLIMIT_NICE, 40)
    os.setpriority(os.PRIO_PROCESS, 0, -20)


def spared() -> None:
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("-500")


def more_files() -> None:
    raise_limit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)[1] + 1)


PRIVILEGES = {
    "real-time priority": real_time,
    "a priority above the ordinary": above_ordinary,
    "to be spared where memory runs out": spared,
    "a higher hard limit": more_files,
}


def privileges() -> dict[str, str]:
    """Each in a process of its own, of the lowest limits for priorities, as sandboxes begin with."""
    outcomes = {}
    for name, act in PRIVILEGES.items():
        reader, writer = os.pipe()
        if not os.fork():
            for kind in (resource.RLIMIT_RTPRIO, RLIMIT_NICE):
                resource.setrlimit(kind, (0, 0))
            resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
            os.write(writer, outcome(act).encode())
            os._exit(0)
        os.close(writer)
        outcomes[name] = os.read(reader, 64).decode()
    return outcomes


def queries(address: str, number: str) -> dict[str, int]:
    """Packets from as many ports, each of which is a connection to the kernel."""
    sent = 0
    for _query in range(int(number)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            sent += one.sendto(b"\x00", (address, 9)) == 1
    return {"sent": sent}


def flood(seconds: str) -> dict[str, int]:
    """Asks for what is denied, in eight processes."""
    end = time.monotonic() + float(seconds)
    for _flooder in range(FLOODERS):
        if not os.fork():
            while time.monotonic() < end:
                for _again in range(100):
                    outcome(lambda: os.close(os.open("/proc/kcore", os.O_RDONLY)))
            os._exit(0)
    for _flooder in range(FLOODERS):
        os.wait()
    return {}


def in_flight(user: str, most: str) -> dict[str, Any]:
    """Sends a descriptor again and again, as a user, to sockets that nobody reads; they are kept until a forked child ends."""
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    raise_limit(resource.RLIMIT_NOFILE, most_files)
    os.setgid(int(user))
    os.setuid(int(user))
    null, sent, kept = os.open(os.devnull, os.O_RDONLY), 0, []
    while sent < int(most):
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        pair[0].setblocking(False)
        kept.append(pair)
        try:
            while sent < int(most):
                number = min(DESCRIPTORS, int(most) - sent)
                socket.send_fds(pair[0], [b"x"], [null] * number)
                sent += number
        except BlockingIOError:
            continue
        except OSError as error:
            return held({"sent": sent, "refused": errno.errorcode[error.errno or 0]})
    return held({"sent": sent, "refused": ""})


def held(said: dict[str, Any]) -> dict[str, Any]:
    if os.fork():
        return said
    for stream in range(3):
        os.close(stream)
    time.sleep(HELD)
    os._exit(0)


def slow_read(group: str, path: str) -> dict[str, str]:
    """Reads a file that is in no cache from within a cgroup that allows two bytes a second, and says what was refused of that."""
    device = os.stat(path).st_dev
    written = {
        f"{os.path.dirname(group)}/cgroup.subtree_control": "+io",
        f"{group}/io.max": f"{os.major(device)}:{os.minor(device)} rbps=2 riops=2",
        f"{group}/cgroup.procs": "0",
    }
    os.makedirs(group, exist_ok=True)
    said = {os.path.basename(name): outcome(lambda name=name, text=text: put(name, text)) for name, text in written.items()}
    if not os.fork():
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.pread(descriptor, 4096, 0)
        os._exit(0)
    return said


def put(name: str, text: str) -> None:
    with open(name, "r+", encoding="ascii") as file:
        file.write(text)


def own_group() -> str:
    with open("/proc/self/cgroup", encoding="ascii") as file:
        place = file.read().strip().partition("::")[2]
    return f"/sys/fs/cgroup{place[: place.index('.scope') + len('.scope')]}/slow"


ACTS: dict[str, Callable[..., Any]] = {
    "privileges": privileges,
    "queries": queries,
    "flood": flood,
    "in_flight": in_flight,
    "slow_read": slow_read,
}

if __name__ == "__main__":
    act, *words = sys.argv[1:]
    # a sandbox's type may not write to the caller's pipe
    answer = words.pop() if words and words[-1].startswith("/run/") else ""
    said = json.dumps(ACTS[act](*(own_group() if word == "own" else word for word in words)))
    with open(answer, "w", encoding="ascii") if answer else contextlib.nullcontext(sys.stdout) as output:
        print(said, file=output)
