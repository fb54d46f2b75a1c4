# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's audit log, as far as it tells of denials."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from ..model.errors import SandboxError
from .command import run

_AUSEARCH = "/usr/sbin/ausearch"
# more would be read by nobody
_NEWEST = 5000
# what is said of it where nothing was found, or there is no log
_NOTHING = ("ended with code 1", "Error opening")


def denials(hours: float, types: Iterable[str]) -> list[str]:
    """The raw records of what was denied to processes of these types in the last hours, the newest ones; none without an audit daemon."""
    if not os.path.exists(_AUSEARCH):
        return []
    # each by itself: others may have thousands, such as semodule under Debian 13's policy
    return [record for one in sorted(types) for record in _of_type(one, hours)[-_NEWEST:]]


def _of_type(process_type: str, hours: float) -> list[str]:
    since = time.localtime(time.time() - hours * 3600)
    # as the C locale writes a date, which is the one that ausearch is run with, whatever the caller's is
    begin = [time.strftime("%m/%d/%y", since), time.strftime("%H:%M:%S", since)]
    try:
        text = run([_AUSEARCH, "--input-logs", "--raw", "-m", "AVC", "--subject", f":{process_type}:", "--start", *begin])
    except SandboxError as error:
        if any(said in str(error) for said in _NOTHING):
            return []
        raise
    return text.splitlines()
