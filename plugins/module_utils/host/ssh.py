# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys by which an ssh server is known."""

from __future__ import annotations

import os
import tempfile

from .command import run


def new_host_key(kind: str, comment: str) -> tuple[bytes, bytes]:
    """A private key without a passphrase, and its public one."""
    with tempfile.TemporaryDirectory(prefix="virt-sandbox-") as directory:
        path = os.path.join(directory, "key")
        run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", path])
        with open(path, "rb") as private, open(path + ".pub", "rb") as public:
            return private.read(), public.read()
