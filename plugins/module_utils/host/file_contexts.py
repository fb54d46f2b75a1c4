# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's files of contexts, from which ``restorecon`` and relabels at boot take what a path is to carry."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from typing import Any

from ..model.errors import SandboxError
from .command import run
from .selinux import binding

NONE = "<<none>>"


def labelled(trees: Iterable[str]) -> list[str]:
    """Those of the trees in which a relabel of the host gives labels of its own."""
    selinux = binding()
    try:
        handle = selinux.selabel_open(selinux.SELABEL_CTX_FILE, None, 0)
    except OSError as error:
        raise SandboxError(f"The file contexts of this host's policy cannot be read: {error.strerror}") from error
    try:
        return [path for path in trees if _has_label(selinux, handle, f"{path}/x")]
    finally:
        selinux.selabel_close(handle)


def _has_label(selinux: Any, handle: Any, path: str) -> bool:
    try:
        selinux.selabel_lookup_raw(handle, path, stat.S_IFREG)
    except FileNotFoundError:
        return False
    return True


def local_rules() -> list[str]:
    """The regular expressions for which the administrator's own rules say that labels stay."""
    path = binding().selinux_file_context_local_path()
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            # a third field would say that a rule is of one kind of file alone
            return [fields[0] for fields in map(str.split, file) if fields[1:] == [NONE]]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SandboxError(f"{path} cannot be read: {error.strerror}") from error


def rule(tree: str) -> str:
    """The regular expression of a directory and all that is in it, or of the image beside that has it."""
    return re.sub(r"([^\w/-])", r"\\\1", tree) + r"(\.img|/.*)?"


def change(add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
    """Rules of the administrator by which the labels of trees stay, in one transaction of the policy's store."""
    lines = [f"fcontext -a -f a -t {NONE} '{rule(path)}'\n" for path in add]
    lines += [f"fcontext -d -f a '{rule(path)}'\n" for path in remove]
    run(["semanage", "import"], timeout=600, text="".join(lines))
