# SPDX-License-Identifier: GPL-3.0-or-later
"""A content tree, a part of the host beside it on the same filesystem, and somebody hostile between two system calls.

These tests write real labels, as root, on a filesystem with security attributes; the kernel needs no SELinux for that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import tree, tree_label
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import SandboxError

OLD = "system_u:object_r:virt_sandbox_file_t:s0:c3,c4"
NEW = "system_u:object_r:virt_sandbox_file_t:s0:c1,c2"
HOST = "system_u:object_r:shadow_t:s0"
SECRET = b"root:$6$host"

Action = Callable[[], object]
Hook = Callable[[str, str], None]

# what the engine asks of the system by a path, or changes by a descriptor
CALLS = (
    "chmod", "chown", "getxattr", "link", "listdir", "listxattr", "mkdir", "mkfifo", "open", "readlink", "removexattr", "rename", "rmdir",
    "scandir", "setxattr", "stat", "symlink", "unlink", "utime",
)  # fmt: skip


def label(path: Path, context: str) -> None:
    os.setxattr(path, "security.selinux", context.encode() + b"\0", follow_symlinks=False)


def label_of(path: Path) -> str:
    return os.getxattr(path, "security.selinux", follow_symlinks=False).rstrip(b"\0").decode()


def everything(root: Path) -> list[Path]:
    return [root, *sorted(root.rglob("*"))]


def age() -> None:
    """Let the kernel's coarse clock go on, so that what was just made is not just made any more."""
    time.sleep(3 * tree_label._LAG_NS / 1e9)


@dataclasses.dataclass
class Scene:
    """``top`` is the tree; ``host`` must stay as it is, whatever is done to the tree."""

    place: Path
    mounts: list[Path] = dataclasses.field(default_factory=list)

    @property
    def top(self) -> Path:
        return self.place / "tree"

    @property
    def host(self) -> Path:
        return self.place / "host"

    @property
    def victim(self) -> Path:
        return self.top / "a" / "b" / "victim"

    def fill(self) -> None:
        """The same names inside and outside, so that being led astray does harm and not just fails."""
        for root, context, content in ((self.top, OLD, b"inside"), (self.host, HOST, SECRET)):
            (root / "a" / "b").mkdir(parents=True)
            (root / "a" / "b" / "victim").write_bytes(content)
            (root / "a" / "other").write_bytes(content)
            (root / "a" / "b" / "link").symlink_to("victim")
            for path in everything(root):
                label(path, context)
        self.host_before = self.host_state()
        age()

    def reset(self) -> None:
        for root in (self.top, self.host):
            shutil.rmtree(root, ignore_errors=True)
        self.fill()

    def host_state(self) -> list[tuple[object, ...]]:
        state: list[tuple[object, ...]] = []
        for path in everything(self.host):
            status = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            state.append((str(path), status.st_mode, status.st_uid, status.st_gid, label_of(path), content))
        return state

    def host_is_harmed(self) -> bool:
        return self.host_state() != self.host_before

    def bind(self, source: Path, target: Path) -> None:
        self._mount("--bind", str(source), target)

    def mount(self, filesystem: str, target: Path) -> None:
        self._mount("-t", filesystem, "none", target)

    def _mount(self, *arguments: str | Path) -> None:
        subprocess.run(["mount", *arguments], check=True)
        self.mounts.append(Path(arguments[-1]))

    def unmount(self) -> None:
        while self.mounts:
            subprocess.run(["umount", self.mounts.pop()], check=True)


@pytest.fixture
def scene() -> Iterator[Scene]:
    if os.geteuid() != 0:
        pytest.skip("labels are written as root")
    made = Scene(Path(tempfile.mkdtemp(prefix="threats-", dir="/var/tmp")))
    try:
        made.fill()
        yield made
    finally:
        made.unmount()
        shutil.rmtree(made.place)


def _hooked(name: str, hook: Hook) -> Callable[..., Any]:
    """The system call, with the hook before it where the engine makes it."""
    call = getattr(os, name)

    @functools.wraps(call)
    def hooked(*arguments: Any, **keywords: Any) -> Any:
        if ".module_utils." in sys._getframe(1).f_globals["__name__"]:
            hook(name, str(arguments[0]) if arguments else "")
        return call(*arguments, **keywords)

    return hooked


@dataclasses.dataclass
class Stage:
    """Runs an action on a fresh scene once for each of its steps, with an attack in front of that step.

    The steps are the engine's system calls, one after the other, and the places between them that it names itself.
    """

    scene: Scene
    monkeypatch: pytest.MonkeyPatch

    def steps(self, action: Action) -> list[tuple[str, str]]:
        seen: list[tuple[str, str]] = []
        self.scene.reset()
        with self.monkeypatch.context() as patch:
            self._hook(patch, lambda step, path: seen.append((step, path)))
            action()
        return seen

    def attacked(self, action: Action, attack: Action) -> Iterator[str]:
        """After each attacked run, yields where the attack came; the scene is as the run left it."""
        for number, (step, path) in enumerate(self.steps(action)):
            self.scene.reset()
            with self.monkeypatch.context() as patch:
                self._hook(patch, self._attack_at(number, attack))
                with contextlib.suppress(SandboxError):
                    action()
            yield f"{number}: {step} {path}"

    def harmful(self, action: Action, attack: Action) -> list[str]:
        """The steps at which the attack does harm to the host."""
        return [where for where in self.attacked(action, attack) if self.scene.host_is_harmed()]

    @staticmethod
    def _hook(patch: pytest.MonkeyPatch, hook: Hook) -> None:
        patch.setattr(tree.seam, "at", hook)
        for name in CALLS:
            patch.setattr(os, name, _hooked(name, hook))

    def at(self, hook: Hook) -> None:
        self.monkeypatch.setattr(tree.seam, "at", hook)

    @staticmethod
    def _attack_at(number: int, attack: Action) -> Hook:
        left = [number]

        def hook(_step: str, _path: str) -> None:
            left[0] -= 1
            if left[0] == -1:
                attack()

        return hook


@pytest.fixture
def stage(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(scene, monkeypatch)


@pytest.fixture
def no_nofollow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the defence out: links are followed, as in a tool that had none."""
    monkeypatch.setattr(os, "O_NOFOLLOW", 0)
