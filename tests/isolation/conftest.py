# SPDX-License-Identifier: GPL-3.0-or-later
"""These tests run on the lab's hosts."""

from __future__ import annotations

from ansible_collections.virt.sandbox.tests.lab_fixtures import host, lab

__all__ = ["host", "lab"]
