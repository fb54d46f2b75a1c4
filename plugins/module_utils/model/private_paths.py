# SPDX-License-Identifier: GPL-3.0-or-later
"""From packages and units to the paths of the host that a sandbox has a copy of."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping

from . import layout
from .spec import PRIVATE_ROOTS

# Directories into which packages put files for somebody else: of these a sandbox gets single files.
SHARED = frozenset(
    ["/" + path for path in (*layout.DIRECTORIES, *layout.SYMLINKS, *layout.BASE_ETC)]
    + [
        "/etc", "/var", "/srv", "/home", "/root",
        "/etc/X11", "/etc/apt", "/etc/avahi", "/etc/cron.d", "/etc/cron.daily", "/etc/cron.hourly", "/etc/cron.monthly", "/etc/cron.weekly",
        "/etc/dhcp", "/etc/fonts", "/etc/logrotate.d", "/etc/pki", "/etc/pki/tls", "/etc/ssl", "/etc/sudoers.d", "/etc/sysconfig",
        "/etc/sysusers.d", "/etc/xdg", "/etc/xinetd.d", "/var/cache/man", "/var/games", "/var/lib/games", "/var/lib/misc",
        "/var/lib/systemd",
        "/var/spool/cron", "/var/spool/mail",
    ]
)  # fmt: skip
# what a sandbox has from the host in another way, or never: keys, and the files of what only a host runs
_NEVER = (
    *layout.FOLLOWED, "/etc/systemd/system", "/etc/machine-id", "/etc/shadow", "/etc/gshadow", "/etc/ssl/private", "/etc/pki/tls/private",
    "/var/run", "/var/lock", "/var/lib/dpkg", "/var/lib/rpm",
    "/etc/NetworkManager", "/etc/apparmor.d", "/etc/bash_completion.d", "/etc/init", "/etc/insserv.conf.d", "/etc/kernel", "/etc/logcheck",
    "/etc/modprobe.d", "/etc/modules-load.d", "/etc/network", "/etc/ppp", "/etc/rc.d", "/etc/resolvconf", "/etc/runit", "/etc/selinux",
    "/etc/sv", "/etc/sysctl.d", "/etc/udev", "/etc/ufw", "/etc/update-motd.d",
)  # fmt: skip
STATE = ("/var/lib", "/var/cache", "/var/log", "/var/spool")


@dataclasses.dataclass(frozen=True)
class Package:
    """An installed package."""

    name: str
    source: str
    depends: frozenset[str] = frozenset()
    base: bool = False  # every host has it, and its directories are everybody's


def of_one_source(names: Iterable[str], installed: Mapping[str, Package]) -> list[str]:
    """These packages, and those that they depend on and that are built from the same source."""
    packages: dict[str, None] = {}
    pending = sorted(name for name in names if name in installed)
    while pending:
        name = pending.pop(0)
        if name not in packages:
            packages[name] = None
            same = installed[name].source
            pending += sorted(other for other in installed[name].depends if other in installed and installed[other].source == same)
    return list(packages)


def candidates(files: Iterable[str]) -> list[str]:
    """What of the files of packages and units may be a sandbox's own."""
    roots = tuple(root + "/" for root in PRIVATE_ROOTS)
    return [path for path in files if path.startswith(roots) and path not in SHARED and not _never(path)]


def _never(path: str) -> bool:
    return any(path == other or path.startswith(other + "/") for other in _NEVER)


def own_directories(
    directories: Iterable[str], owners: Mapping[str, Collection[str]], ours: Collection[str], installed: Mapping[str, Package]
) -> list[str]:
    """The directories that are a service's as a whole.

    Others may own them too, for a plugin of the service puts its files there; but not a package that every host has.
    """
    return [path for path in directories if not any(_is_base(name, ours, installed) for name in owners.get(path, ()))]


def _is_base(name: str, ours: Collection[str], installed: Mapping[str, Package]) -> bool:
    return name not in ours and name in installed and installed[name].base


def topmost(paths: Iterable[str], whole: Collection[str]) -> list[str]:
    """The paths without those in a directory that is there as a whole, by components: ``/etc/http`` is not above ``/etc/httpd``."""
    result = []
    for path in sorted(set(paths) | set(whole)):
        if not below(path, whole):
            result.append(path)
    return result


def below(path: str, directories: Collection[str]) -> bool:
    """Whether a path is in one of the directories, by components."""
    parts = path.split("/")
    return any("/".join(parts[:length]) in directories for length in range(1, len(parts)))


def state_of(users: Collection[int], entries: Mapping[str, int]) -> list[str]:
    """Of the entries of the places for state, those of the users as whom the units run (never root's)."""
    return sorted(path for path, user in entries.items() if user in users and user != 0)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file or directory of the host on the way into a sandbox."""

    path: str
    directory: bool
    mode: int
    unchanged: bool  # as its package gave it
    needed: bool  # it has something below it that a package gave
    children: tuple[Entry, ...] = ()


def left_out(entries: Iterable[Entry], reachable: bool) -> list[str]:
    """What stays outside: what only some may read on the host and no package gave as it is; it may be a secret of the host's."""
    paths = []
    for entry in entries:
        if entry.directory:
            open_to_all = reachable and entry.mode & 0o005 == 0o005
            if open_to_all or entry.needed:
                paths += left_out(entry.children, open_to_all)
            else:
                paths.append(entry.path)
        elif not entry.unchanged and not (reachable and entry.mode & 0o004):
            paths.append(entry.path)
    return paths
