# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's packages: which there are, what belongs to them, and whose a file is."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from ..model.errors import SandboxError
from ..model.private_paths import Package
from ..model.values import printable
from .command import run

# a configuration file with another sum than its package gave it was changed here
Files = dict[str, str]  # path -> the sum that the package gave, if it is known


class Packages(Protocol):
    """What a package manager is asked."""

    def installed(self) -> dict[str, Package]:
        """Every installed package by its name."""

    def owners(self, paths: Sequence[str]) -> dict[str, set[str]]:
        """The packages that each of the paths belongs to; nothing for a path that belongs to none."""

    def files(self, names: Collection[str]) -> Files:
        """The files and directories of packages below /etc and /var and their like."""


# what dpkg takes for more than itself in a path
_GLOB = re.compile(r"[\\*?[]")


def manager() -> Packages:
    """The one that this host has."""
    for program, database in (("/usr/bin/dpkg-query", Dpkg()), ("/usr/bin/rpm", Rpm())):
        if os.path.exists(program):
            return database
    raise SandboxError("This host has neither dpkg nor rpm, so private paths cannot be found from packages. Name them in private.")


class Dpkg:
    """Debian's."""

    def installed(self) -> dict[str, Package]:
        form = "${Package}\t${source:Package}\t${db:Status-Status}\t${Essential}\t${Priority}\t${Pre-Depends}, ${Depends}\n"
        packages = {}
        for line in run(["dpkg-query", "--show", "--showformat", form]).splitlines():
            name, source, status, essential, priority, depends = line.split("\t")
            if status == "installed":
                base = essential == "yes" or priority in ("required", "important")
                packages[name] = Package(name, source, frozenset(_alternatives(depends)), base)
        return packages

    def owners(self, paths: Sequence[str]) -> dict[str, set[str]]:
        if not paths:
            return {}
        # dpkg knows some files by the place that they had before /lib became a link
        asked = [name for path in paths for name in (path, path.removeprefix("/usr"))]
        owners: dict[str, set[str]] = {path: set() for path in paths}
        patterns = [_GLOB.sub(r"\\\g<0>", path) for path in dict.fromkeys(asked)]
        for line in run(["dpkg-query", "--search", "--", *patterns], accept=(0, 1)).splitlines():
            names, separator, path = line.partition(": ")
            if not separator or names.startswith(("diversion by", "local diversion")):
                continue
            for spelling in (path, "/usr" + path):
                if spelling in owners:
                    owners[spelling] |= {name.split(":")[0] for name in names.split(", ")}
        return owners

    def files(self, names: Collection[str]) -> Files:
        if not names:
            return {}
        listed = run(["dpkg-query", "--listfiles", "--", *sorted(names)]).splitlines()
        files = {path: "" for path in listed if path.startswith("/") and path != "/."}
        for line in run(["dpkg-query", "--show", "--showformat", "${Conffiles}\n", "--", *sorted(names)]).splitlines():
            words = line.split()
            if len(words) == 2 and words[0].startswith("/"):
                files[words[0]] = words[1]
        return files


def _alternatives(depends: str) -> Iterable[str]:
    for word in depends.replace("|", ",").split(","):
        if word.strip():
            yield word.split()[0].split(":")[0]


class Rpm:
    """That of Fedora and its kin."""

    _base = frozenset(
        {"filesystem", "setup", "basesystem", "systemd", "pam", "logrotate", "crontabs", "cronie", "chkconfig", "initscripts"}
    )

    def installed(self) -> dict[str, Package]:
        depends: dict[str, set[str]] = {}
        for line in run(["rpm", "--query", "--all", "--queryformat", "[%{=NAME}\t%{REQUIRENAME}\n]"]).splitlines():
            name, _tab, needs = line.partition("\t")
            depends.setdefault(name, set()).add(needs.partition("(")[0])
        packages = {}
        for line in run(["rpm", "--query", "--all", "--queryformat", "%{NAME}\t%{SOURCERPM}\n"]).splitlines():
            name, _tab, source = line.partition("\t")
            packages[name] = Package(name, source, frozenset(depends.get(name, ())), name in self._base)
        return packages

    def owners(self, paths: Sequence[str]) -> dict[str, set[str]]:
        owners: dict[str, set[str]] = {path: set() for path in paths}
        if paths:
            for line in run(["rpm", "--query", "--all", "--queryformat", "[%{=NAME}\t%{FILENAMES}\n]"]).splitlines():
                name, _tab, path = line.partition("\t")
                if path in owners:
                    owners[path].add(name)
        return owners

    def files(self, names: Collection[str]) -> Files:
        if not names:
            return {}
        form = "[%{FILENAMES}\t%{FILEDIGESTS}\t%{FILEFLAGS:fflags}\n]"
        files = {}
        for line in run(["rpm", "--query", "--queryformat", form, "--", *sorted(names)]).splitlines():
            path, digest, flags = (*line.split("\t"), "", "")[:3]
            if "g" not in flags:  # a ghost: listed, and made by somebody else
                files[path] = digest if "c" in flags else ""
        return files


def unchanged(path: str, files: Mapping[str, str]) -> bool:
    """Whether a file is what its package gave."""
    if path not in files:
        return False
    wanted = files[path]
    if not wanted:
        return True
    algorithm = {32: "md5", 64: "sha256"}.get(len(wanted))
    if algorithm is None:
        return False
    # MD5 is what dpkg keeps; it tells a change, not an attack
    digest = hashlib.new(algorithm, usedforsecurity=False)
    try:
        with open(path, "rb") as file:
            digest.update(file.read())
    except (FileNotFoundError, IsADirectoryError):
        return False
    except OSError as error:
        raise SandboxError(f"{printable(path)} cannot be read: {error.strerror}") from error
    return digest.hexdigest() == wanted
