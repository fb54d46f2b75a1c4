# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes this checkout importable as the collection, wherever it lies and whatever the working directory."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
PLACE = Path("ansible_collections", "virt", "sandbox")

# Kept as long as the tests run. Under make there is a lasting one, whose paths in a traceback can be opened afterwards.
temporary = tempfile.mkdtemp(prefix="virt-sandbox-tests-")
atexit.register(shutil.rmtree, temporary, ignore_errors=True)


def collections() -> str:
    for directory in os.environ.get("ANSIBLE_COLLECTIONS_PATH", "").split(os.pathsep):
        if directory and (Path(directory) / PLACE).resolve() == CHECKOUT:
            return directory
    link = Path(temporary) / PLACE
    link.parent.mkdir(parents=True)
    link.symlink_to(CHECKOUT)
    return temporary


# In the environment too, for what the tests start: interpreters and Ansible itself.
sys.path.insert(0, collections())
os.environ["ANSIBLE_COLLECTIONS_PATH"] = sys.path[0]
os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[0], *filter(None, [os.environ.get("PYTHONPATH")])])


# their assertions show what differs, as those of tests do
pytest.register_assert_rewrite("ansible_collections.virt.sandbox.tests.cycle")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The walkthrough first: it makes hosts of plain machines, and all other tests on the lab find them made."""
    items.sort(key=lambda item: item.path.name != "test_walkthrough.py")
