# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs as root inside a sandbox, or in its domain on the host: makes each call, and says how the kernel answers, as JSON.

Its arguments are the calls: names with numbers and arguments, as JSON; and a file for the answers if they are not to be printed. The
arguments are such that nothing happens where a call is let through.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)


def answer(number: int, arguments: list[Any]) -> int:
    """The number of the error, 0 for none. In a process of its own, which a namespace may be made for."""
    words = [ctypes.c_char_p(one.encode()) if isinstance(one, str) else ctypes.c_long(one) for one in arguments]
    pid = os.fork()
    if pid == 0:
        ctypes.set_errno(0)
        failed = LIBC.syscall(ctypes.c_long(number), *words, *[ctypes.c_long(0)] * (6 - len(words))) == -1
        os._exit(ctypes.get_errno() if failed else 0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    calls, *file = sys.argv[1:]
    told = json.dumps({name: answer(*call) for name, call in json.loads(calls).items()})
    if file:
        with open(file[0], "w", encoding="ascii") as output:
            output.write(told)
    else:
        print(told)


if __name__ == "__main__":
    main()
