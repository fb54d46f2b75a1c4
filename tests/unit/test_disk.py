# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sandbox may keep on its host's disk."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host import quota
from ansible_collections.virt.sandbox.plugins.module_utils.model import disk
from ansible_collections.virt.sandbox.plugins.module_utils.model.backend import Stored
from ansible_collections.virt.sandbox.plugins.module_utils.model.content_plan import Observed, check, manifest, plan_content
from ansible_collections.virt.sandbox.plugins.module_utils.model.content_steps import BuildContent, LimitDisk
from ansible_collections.virt.sandbox.plugins.module_utils.model.disk import FIRST_PROJECT, Limits, Volume
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import ContentError, OptionError, SandboxError

from .conftest import MakeContent

GIB = 1 << 30
SIZE = Limits(100 * GIB, 1_000_000)
COUNTING = Volume("/srv", "ext4", enforces=True, size=SIZE)
COUNTED = dataclasses.replace(COUNTING, project=FIRST_PROJECT, limits=Limits(10 * GIB, 50_000), used=Limits(2 * GIB, 3_000))
NOT_COUNTING = Volume("/", "ext4", size=SIZE)
TOP = "system_u:object_r:virt_sandbox_root_t:s0:c1,c2"


def there(content: MakeContent, volume: Volume, **changes: Any) -> Observed:
    return Observed(manifest(content()), Stored(exists=True), top_context=TOP, volume=volume, **changes)


@pytest.mark.parametrize(
    ("options", "volume", "limits"),
    [
        ({}, COUNTING, Limits(50 * GIB, 500_000)),
        ({}, NOT_COUNTING, Limits()),
        ({}, dataclasses.replace(COUNTING, inherited=7), Limits()),
        ({"disk": "10G", "inodes": "20000"}, COUNTING, Limits(10 * GIB, 20_000)),
        ({"disk": "25%"}, COUNTING, Limits(25 * GIB, 500_000)),
        ({"disk": "unlimited"}, COUNTING, Limits(0, 500_000)),
        ({"disk": "unlimited", "inodes": "unlimited"}, COUNTING, Limits()),
        ({"method": "image", "size": "64M"}, COUNTING, Limits()),
        ({"method": "image", "size": "64M", "disk": "unlimited"}, COUNTING, Limits()),
    ],
)
def test_limits_of_content_that_is_made(content: MakeContent, options: dict[str, Any], volume: Volume, limits: Limits) -> None:
    seen, spec = Observed(volume=volume), content(**options)
    check(spec, seen, "report")
    (build,) = [step for step in plan_content(spec, "present", seen, "report") if isinstance(step, BuildContent)]
    assert build.limits == limits
    assert build.change()[1].get("disk") == (None if limits == Limits() else limits.disk or "unlimited")


@pytest.mark.parametrize(
    ("options", "volume", "limits"),
    [
        ({}, COUNTED, None),
        ({}, COUNTING, None),
        ({"disk": "10G", "inodes": 50_000}, COUNTED, None),
        ({"disk": "20G"}, COUNTED, Limits(20 * GIB, 50_000)),
        ({"disk": "unlimited"}, COUNTED, Limits(0, 50_000)),
        ({"disk": "unlimited"}, NOT_COUNTING, None),
        ({"inodes": 4_000}, COUNTING, Limits(0, 4_000)),
    ],
)
def test_limits_of_content_that_is_there(content: MakeContent, options: dict[str, Any], volume: Volume, limits: Limits | None) -> None:
    spec, seen = content(**options), there(content, volume)
    check(spec, seen, "report")
    steps = [step for step in plan_content(spec, "present", seen, "report") if isinstance(step, LimitDisk)]
    assert [(step.limits, step.first) for step in steps] == ([] if limits is None else [(limits, not volume.project)])


NO_QUOTAS = "The file system at / (ext4) enforces no project quotas. Enable them while it is not mounted: first tune2fs "


@pytest.mark.parametrize(
    ("options", "seen", "message"),
    [
        ({"disk": "10G"}, {"volume": NOT_COUNTING}, f"disk: not possible in /var/lib/libvirt/filesystems. {NO_QUOTAS}"),
        ({"inodes": 3000}, {"volume": NOT_COUNTING}, f"inodes: not possible in /var/lib/libvirt/filesystems. {NO_QUOTAS}"),
        (
            {"disk": "1G"},
            {"volume": Volume("/", "xfs")},
            "disk: not possible in /var/lib/libvirt/filesystems. The file system at / (xfs) enf",
        ),
        (
            {"disk": "1G"},
            {"volume": dataclasses.replace(COUNTING, inherited=7)},
            "disk: not possible in /var/lib/libvirt/filesystems. Everyt",
        ),
        (
            {"disk": "1G"},
            {"volume": COUNTING, "needed": Limits(2 * GIB)},
            "disk: 1073741824 is invalid: expected at least 2147483648, which",
        ),
        ({"inodes": 3000}, {"volume": COUNTING, "needed": Limits(1, 4000)}, "inodes: 3000 is invalid: expected at least 4000, which the"),
        (
            {"method": "image", "size": "64M", "disk": "1G"},
            {},
            "disk: only valid when method is directory. The size of an image bounds it.",
        ),
        ({"disk": "1M"}, {}, "disk: '1M' is invalid: expected a size from 32M, such as 10G, a percentage of the file system such as 2"),
        ({"inodes": "10%"}, {}, "inodes: '10%' is invalid: expected a number of files and directories from 2000 to"),
    ],
)
def test_limits_that_cannot_be(content: MakeContent, options: dict[str, Any], seen: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        check(content(**options), Observed(**seen), "report")
    assert str(caught.value).startswith(message)
    assert not isinstance(caught.value, ContentError)


def test_what_root_inside_has_written_is_trouble_of_his_sandbox_alone(content: MakeContent) -> None:
    with pytest.raises(ContentError, match=r"disk: 1073741824 is invalid: expected at least 2147483648, which the content of web takes"):
        check(content(disk="1G"), there(content, COUNTED), "report")
    with pytest.raises(SandboxError, match=r"inodes: expected at least 3000, which the content takes"):
        disk.require_room(Limits(0, 2000), COUNTED.used)
    disk.require_room(Limits(0, 0), COUNTED.used)


def test_content_gets_its_first_limit_while_nobody_writes(content: MakeContent) -> None:
    with pytest.raises(
        OptionError, match=r"disk: web has no limit yet, and gets its first one while it is stopped\. Stop the sandbox first"
    ):
        check(content(disk="20G"), there(content, COUNTING, running=True), "report")
    check(content(disk="20G"), there(content, COUNTED, running=True), "report")
    check(content(), there(content, COUNTING, running=True), "report")


def test_what_nothing_bounds(content: MakeContent) -> None:
    assert disk.is_unbounded(content(), NOT_COUNTING)
    assert not disk.is_unbounded(content(), COUNTING)
    assert not disk.is_unbounded(content(disk="unlimited"), NOT_COUNTING)
    assert not disk.is_unbounded(content(method="image", size="64M"), NOT_COUNTING)


def test_a_directory_of_this_machine(tmp_path: Path) -> None:
    """Whatever its file system is, one that is not there yet is that of the directory above."""
    seen, below = quota.look(str(tmp_path), str(tmp_path / "web")), quota.look(str(tmp_path / "a/b"), str(tmp_path / "a/b/web"))
    assert (seen.place, seen.kind, seen.enforces, seen.project) == (below.place, below.kind, below.enforces, 0)
    assert os.path.commonpath([seen.place, str(tmp_path)]) == seen.place
    assert seen.size.disk > 0


def test_the_kernels_structures() -> None:
    """As linux/quota.h and linux/fs.h have them on every architecture."""
    assert quota._QUOTA.size == 72
    assert quota._ATTRIBUTES.size == 28
