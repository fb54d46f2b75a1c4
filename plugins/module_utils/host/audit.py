# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's audit log, as far as it tells of denials."""

from __future__ import annotations

import os
import time

from ..model.errors import SandboxError
from .command import run

_AUSEARCH = "/usr/sbin/ausearch"
# more would be read by nobody
_NEWEST = 5000
# what is said of it where nothing was found, or there is no log
_NOTHING = ("ended with code 1", "Error opening")


def denials(hours: float) -> list[str]:
    """The raw records of the denials of the last hours, the newest ones; none where there is no audit daemon."""
    if not os.path.exists(_AUSEARCH):
        return []
    since = time.localtime(time.time() - hours * 3600)
    # as the C locale writes a date, which is the one that ausearch is run with, whatever the caller's is
    begin = [time.strftime("%m/%d/%y", since), time.strftime("%H:%M:%S", since)]
    try:
        text = run([_AUSEARCH, "--input-logs", "--raw", "-m", "AVC", "--start", *begin])
    except SandboxError as error:
        if any(said in str(error) for said in _NOTHING):
            return []
        raise
    return text.splitlines()[-_NEWEST:]
