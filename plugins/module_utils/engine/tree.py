# SPDX-License-Identifier: GPL-3.0-or-later
"""The content tree of a sandbox: the only code that walks, labels, copies, writes or removes inside it.

Its owner is root inside the sandbox, who may be hostile and at work in the middle of anything done here.
"""

from __future__ import annotations

from .tree_copy import CopyReport, Skipped, copy_into
from .tree_edit import (
    ExchangedError,
    exists,
    kind,
    lstat,
    make_dir,
    make_symlink,
    read_file,
    write_file,
)
from .tree_fd import LEFTOVER, MountError, ProtectedPathError, Top, TreeError, open_top, seam
from .tree_label import Expected, LabelError, Mislabelled, Report, kind_of, read_label, relabel, scan
from .tree_project import give_project
from .tree_read import names, read_link
from .tree_remove import clean_leftovers, remove, remove_tree

__all__ = [
    "LEFTOVER",
    "CopyReport",
    "ExchangedError",
    "Expected",
    "LabelError",
    "Mislabelled",
    "MountError",
    "ProtectedPathError",
    "Report",
    "Skipped",
    "Top",
    "TreeError",
    "clean_leftovers",
    "copy_into",
    "exists",
    "give_project",
    "kind",
    "kind_of",
    "lstat",
    "make_dir",
    "make_symlink",
    "names",
    "open_top",
    "read_file",
    "read_label",
    "read_link",
    "relabel",
    "remove",
    "remove_tree",
    "scan",
    "seam",
    "write_file",
]
