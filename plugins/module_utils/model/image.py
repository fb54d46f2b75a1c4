# SPDX-License-Identifier: GPL-3.0-or-later
"""Content in a file of its own: an ext4 image, mounted by a unit of the host where the directory would be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import layout
from .errors import OptionError

if TYPE_CHECKING:
    from .spec import ContentSpec

METHOD = "image"

BLOCK = 4096
SMALLEST = 32 << 20
# what ext4 may leave unused at the end: too little for a group's own tables, which at this many inodes are 4 MiB
UNUSED = 5 << 20
# content is mostly small files
BYTES_PER_INODE = 8192
_INODE = 256


def check_options(spec: ContentSpec) -> None:
    """A size is for an image alone."""
    if spec.method != METHOD and spec.size is not None:
        raise OptionError.said("size", spec.size, "only valid when method is image.")


def journal_size(size: int) -> int:
    """Of the file system's own journal, in bytes: enough, and not much of a small image."""
    return max(4 << 20, min(size // 32 >> 20 << 20, 64 << 20))


def capacity(size: int) -> int:
    """How many bytes of content fit into an image of this size, at the least."""
    return size - size // BYTES_PER_INODE * _INODE - journal_size(size) - size // 100 - (1 << 20)


def size_for(content: int) -> int:
    """A size in MiB into which so many bytes of content fit."""
    mib = SMALLEST >> 20
    while capacity(mib << 20) < content:
        mib += max(1, mib // 8)
    return mib


def mount_unit(paths: layout.Layout) -> str:
    return f"""\
{layout.MARK}
[Unit]
Description=Content of sandbox {paths.name}

[Mount]
What={paths.image}
Where={paths.root}
Type=ext4
Options=loop,nodev

[Install]
WantedBy=multi-user.target
"""


def is_ours(text: str) -> bool:
    return text.startswith(layout.MARK)
