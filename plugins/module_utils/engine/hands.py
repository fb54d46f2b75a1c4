# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps of a plan do to this host."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from ..host import cgroup, file_contexts, image, nftables, processes, quota, systemd
from ..model import layout
from ..model.addresses import Entry
from ..model.content_steps import Source
from ..model.context import Context
from ..model.disk import Limits
from ..model.outdated import Accounts, Outdated
from ..model.runtime import Runtime
from ..model.spec import ContentSpec, FileEntry
from . import content, hosts_file, mounts, outdated, stores, tree
from .files import link, unlink, write_file
from .host import SandboxHost


class FileHands:
    """Files and units of the host."""

    def __init__(self, host: SandboxHost) -> None:
        self.host = host
        self._reloaded = False

    def write_file(self, path: str, text: str, mode: int) -> None:
        write_file(path, text, mode)
        self._reloaded = False

    def remove_file(self, path: str) -> None:
        unlink(path)
        self._reloaded = False

    def reload_systemd(self) -> None:
        """Once for all files that were written before."""
        if not self._reloaded:
            systemd.daemon_reload()
            self._reloaded = True


class ServiceHands(FileHands):
    """What the steps of a service need (``model.steps.Hands``)."""

    @property
    def runtime(self) -> Runtime:
        return self.host.runtime

    def link(self, path: str, target: str) -> None:
        link(path, target)

    def write_inside(self, root: str, context: Context, files: Mapping[str, tuple[str, str]], gone: Iterable[str]) -> None:
        """The files inside that the spec determines; what stands in their place goes."""
        top = tree.open_top(root)
        try:
            for path in gone:
                tree.remove(top, path)
            for path, (kind, value) in files.items():
                _write_inside(top, path, kind, value, str(context))
        finally:
            os.close(top)

    def make_mount_points(self, root: str, context: Context, points: Mapping[str, str]) -> None:
        mounts.make_points(root, str(context), points)

    def relabel_source(self, source: str, context: Context) -> None:
        mounts.relabel(source, str(context))

    def enable(self, units: Sequence[str]) -> None:
        systemd.enable(units)

    def disable(self, units: Sequence[str]) -> None:
        systemd.disable(units)

    def remove_unit(self, path: str, unit: str) -> None:
        systemd.stop([unit])
        systemd.reset_failed([unit])
        self.remove_file(path)

    def limit(self, cgroup_path: str, values: Mapping[str, str]) -> None:
        cgroup.limit(cgroup_path, values)

    def network_entries(self, entries: Sequence[Entry], name: str, add: bool) -> None:
        self.host.networks.entries(entries, name, add)

    def load_filter(self, text: str) -> None:
        nftables.load(text)

    def name_on_host(self, name: str, addresses: Sequence[str]) -> None:
        hosts_file.write(name, addresses)

    def close_ports(self, units: Sequence[str]) -> None:
        systemd.disable([unit for unit in units if unit.endswith(".socket")])
        systemd.stop(units)

    def publish_ports(self, units: Sequence[str], owner: str) -> None:
        """From now on with every start of the sandbox; and now, if it runs: a socket would start it."""
        systemd.enable(units)
        if systemd.show([owner])[owner]["ActiveState"] == "active":
            systemd.start_now(units)

    def stop(self, names: Mapping[str, str]) -> None:
        systemd.stop(names.values())
        for name in names:
            self.runtime.destroy(name)  # one that runs behind its unit's back

    def start(self, names: Mapping[str, str]) -> None:
        for name in names:
            # what is noted of its last end is not of this start's, which may not come so far
            unlink(layout.Layout(name, layout.FILESYSTEMS).code)
        systemd.start(names.values())

    def start_inside(self, name: str, units: Sequence[str]) -> None:
        processes.start_units_inside(name, units)

    def reload(self, unit: str) -> None:
        systemd.reload(unit)


def _write_inside(top: int, path: str, kind: str, value: str, context: str) -> None:
    parent = path.rpartition("/")[0]
    if not tree.exists(top, parent):
        tree.make_dir(top, parent, mode=0o755, uid=0, gid=0, context=context, parents=True)
    if tree.kind(top, path) not in ("", "symlink" if kind == "link" else "file"):
        tree.remove(top, path)
    if kind == "link":
        tree.make_symlink(top, path, value, context=context)
    else:
        tree.write_file(top, path, value.encode(), mode=0o644, uid=0, gid=0, context=context)


class ContentHands(FileHands):
    """What the steps of content need (``model.content_steps.Hands``)."""

    def build(self, spec: ContentSpec, source: Source | None, without: Sequence[str], limits: Limits) -> None:
        def check() -> None:
            content.require_stopped(source, self.host.running_now())

        def fill(place: str) -> None:
            if limits != Limits():
                quota.begin(place, limits)
            content.build(place, spec, source, without, check)

        stores.STORES[spec.method].build(spec, fill)

    def forget_project(self, directory: str, project: int) -> None:
        quota.forget(directory, project)

    def limit_disk(self, spec: ContentSpec, limits: Limits, first: bool) -> None:
        if first:
            content.count(spec, limits, self.host.running_now())
        quota.change(spec.paths.root, limits)

    def mount(self, root: str, unit: str) -> None:
        os.makedirs(root, mode=0o700, exist_ok=True)
        systemd.enable_now(unit)

    def unmount(self, unit: str) -> None:
        systemd.disable_now(unit)

    def grow(self, image_path: str, root: str, size: int) -> None:
        image.grow(image_path, root, size)

    def copy(self, spec: ContentSpec, source: str, without: Sequence[str]) -> None:
        content.copy(spec, source, without)

    def write_files(self, spec: ContentSpec, files: Sequence[FileEntry]) -> None:
        content.write_files(spec, files)

    def remove_files(self, root: str, paths: Sequence[str]) -> None:
        content.remove_files(root, paths)

    def make_place(self, spec: ContentSpec, source: str) -> None:
        content.make_place(spec, source)

    def relabel(self, spec: ContentSpec, paths: Sequence[str]) -> None:
        content.relabel(spec, paths)

    def change_rules(self, add: Sequence[str], remove: Sequence[str]) -> None:
        file_contexts.change(add, remove)

    def add_accounts(self, spec: ContentSpec, accounts: Accounts) -> None:
        outdated.add_accounts(spec.paths.root, content.expected(spec), accounts)

    def take(self, spec: ContentSpec, files: Sequence[Outdated]) -> None:
        paths = spec.paths
        write_file(paths.copied, outdated.dump(outdated.take(paths.root, paths.copied, content.expected(spec), files)), 0o600)

    def keep(self, copied: str, paths: Sequence[str]) -> None:
        write_file(copied, outdated.dump(outdated.keep(copied, paths)), 0o600)

    def remove(self, paths: Sequence[str]) -> None:
        stores.remove(paths)

    def forget(self, paths: Sequence[str]) -> None:
        for path in paths:
            unlink(path)
