# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a tool of the host: arguments as a list, a fixed environment, errors as sentences."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import IO

from ..model.errors import SandboxError

_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
# bytes of a line, and of what a tool has to say of its failure, that are looked at
_LONGEST = 1 << 16


def run(arguments: Sequence[str], *, timeout: float = 120, accept: Sequence[int] = (0,), text: str = "") -> str:
    """The tool's output for ``text`` as its input; ``SandboxError`` if it is missing, hangs, or ends with another code than accepted."""
    command = " ".join(arguments)
    try:
        done = subprocess.run(
            list(arguments),
            env=_ENVIRONMENT,
            input=os.fsencode(text),
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except OSError as error:
        raise _not_run(arguments, error) from error
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"{command}: no answer within {timeout:g} s") from error
    if done.returncode not in accept:
        said = os.fsdecode(done.stderr or done.stdout).strip()
        raise SandboxError(f"{command}: {said or f'ended with code {done.returncode}'}")
    return os.fsdecode(done.stdout)


def _not_run(arguments: Sequence[str], error: OSError) -> SandboxError:
    if isinstance(error, FileNotFoundError):
        return SandboxError(f"{arguments[0]} is not installed. Run the role virt.sandbox.host.")
    return SandboxError(f"{arguments[0]} cannot be run: {error.strerror}")


def lines(arguments: Sequence[str], *, timeout: float = 120, longest: int = _LONGEST) -> Iterator[str]:
    """The tool's output, line by line as it comes, so that nobody has to hold all of it; ends with ``SandboxError`` as ``run`` does."""
    command = " ".join(arguments)
    late = threading.Event()
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(arguments, env=_ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        except OSError as error:
            raise _not_run(arguments, error) from error

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(timeout, give_up)
        timer.start()
        try:
            with process:
                yield from _lines(process.stdout, longest)
        finally:
            timer.cancel()
        if late.is_set():
            raise SandboxError(f"{command}: no answer within {timeout:g} s")
        if process.returncode:
            errors.seek(0)
            said = os.fsdecode(errors.read(_LONGEST)).strip()
            raise SandboxError(f"{command}: {said or f'ended with code {process.returncode}'}")


def _lines(output: IO[bytes] | None, longest: int) -> Iterator[str]:
    """Whole lines, each cut where it is too long to be one that a tool means."""
    begins = True
    while output:
        line = output.readline(longest)
        if begins and line:
            yield os.fsdecode(line.rstrip(b"\n"))
        if not line:
            return
        begins = line.endswith(b"\n")
