# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody inside holds leases on files, so that whoever opens them waits: the engine does not."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import inside, tree

from .conftest import NEW, Scene, label_of

QUICK = 5  # seconds; a lease is taken away after 45


@pytest.fixture
def leased(scene: Scene) -> Iterator[Scene]:
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    held = os.open(scene.victim, os.O_RDWR)
    try:
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with pytest.raises(BlockingIOError):
            os.open(scene.victim, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield scene
    finally:
        os.close(held)
        signal.signal(signal.SIGIO, before)


def test_it_is_labelled_all_the_same(leased: Scene) -> None:
    began = time.monotonic()
    tree.relabel(str(leased.top), NEW)
    assert label_of(leased.victim) == NEW
    assert tree.scan(str(leased.top), expected=NEW).mislabelled == []
    assert time.monotonic() - began < QUICK


def test_reading_it_fails_at_once_and_says_why(leased: Scene) -> None:
    began = time.monotonic()
    with pytest.raises(tree.TreeError, match=r"/a/b/victim: is held by a lease of a process inside\. Stop the sandbox"):
        tree.read_file(str(leased.top), "a/b/victim", 100)
    assert inside.value(str(leased.top), "a/b/victim") == ("unreadable", "")
    assert time.monotonic() - began < QUICK


def test_it_is_replaced_and_removed(leased: Scene) -> None:
    tree.write_file(str(leased.top), "a/b/victim", b"new", mode=0o644, uid=0, gid=0, context=NEW)
    assert leased.victim.read_bytes() == b"new"
    assert tree.remove(str(leased.top), "a")
