# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a tool of the host: arguments as a list, a fixed environment, errors as sentences."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from ..model.errors import SandboxError

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(arguments: Sequence[str], *, timeout: float = 120, accept: Sequence[int] = (0,), text: str = "") -> str:
    """The tool's output for ``text`` as its input; ``SandboxError`` if it is missing, hangs, or ends with another code than accepted."""
    environment = {"PATH": _PATH, "LC_ALL": "C.UTF-8", "HOME": "/root"}
    command = " ".join(arguments)
    try:
        done = subprocess.run(
            list(arguments),
            env=environment,
            input=os.fsencode(text),
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise SandboxError(f"{arguments[0]} is not installed; run the role virt.sandbox.host") from error
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"{command}: no answer within {timeout:g} s") from error
    if done.returncode not in accept:
        said = os.fsdecode(done.stderr or done.stdout).strip()
        raise SandboxError(f"{command}: {said or f'ended with code {done.returncode}'}")
    return os.fsdecode(done.stdout)
