# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows, as JSON, everything of a host that the collection may change: what was changed is what differs.

Run on the host by tests. It knows nothing of the collection's code: it looks at directories, at libvirt through virsh,
at systemd through systemctl and at the registry through SQLite.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import sqlite3
import subprocess
import sys

FILESYSTEMS = "/var/lib/libvirt/filesystems"
PLACES = (
    "/etc/libvirt-sandbox",
    "/etc/systemd/system/*sandbox*",
    "/etc/systemd/system/*/*_sandbox.service",
    "/etc/systemd/system/machine-*",
    "/usr/local/libexec/virt-sandbox*",
    "/etc/selinux/*/contexts/files/file_contexts.local",
    FILESYSTEMS,
    "/var/lib/virt-sandbox/content",
)
VIRSH = ("virsh", "-q", "-c", "lxc:///system")
SUFFIX = "_sandbox.service"
REGISTRY = "/var/lib/virt-sandbox/labels.db"


def entry(path: str) -> list[str]:
    status = os.lstat(path)
    try:
        label = os.getxattr(path, "security.selinux", follow_symlinks=False).rstrip(b"\0").decode()
    except OSError:
        label = ""
    seen = [oct(status.st_mode), str(status.st_uid), str(status.st_gid), label]
    if os.path.islink(path):
        return [*seen, os.readlink(path)]
    if os.path.isfile(path):
        with open(path, "rb") as file:
            # the time of change too: what is written again with the same content was touched all the same
            return [*seen, str(status.st_ctime_ns), hashlib.sha256(file.read()).hexdigest()[:16]]
    return seen


def entries(alive: set[str]) -> dict[str, list[str]]:
    """Every entry below the places; of the tree of a sandbox that runs only the top, for it writes in it itself."""
    found = {}
    for place in PLACES:
        for top in glob.glob(place):
            found[top] = entry(top)
            if os.path.islink(top):
                continue
            for directory, names, files in os.walk(top):
                for name in names + files:
                    path = os.path.join(directory, name)
                    found[path] = entry(path)
                names[:] = [name for name in names if os.path.join(directory, name) not in alive]
    return found


def rows() -> dict[str, list[str]]:
    if not os.path.exists(REGISTRY):
        return {}
    connection = sqlite3.connect(f"file:{REGISTRY}?mode=ro", uri=True)
    try:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        # no more, for a list of what is free may be half a million rows
        return {table: [repr(row) for row in connection.execute(f'SELECT * FROM "{table}" LIMIT 1000')] for table in tables}
    finally:
        connection.close()


def said(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    return sorted(line for line in done.stdout.splitlines() if line.strip())


def lines(path: str) -> list[str]:
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines()


def main() -> None:
    running, units = said(*VIRSH, "list", "--name"), said("systemctl", "list-units", "--plain", "--no-legend", f"*{SUFFIX}")
    # systemd knows them too where libvirt does not answer
    alive = {*running, *(unit.split()[0][: -len(SUFFIX)] for unit in units if unit.split()[2] != "failed")}
    domains = {name: said(*VIRSH, "dumpxml", "--inactive", name) for name in said(*VIRSH, "list", "--all", "--name")}
    shown = {
        "entries": entries({os.path.join(FILESYSTEMS, name) for name in alive}),
        "registry": rows(),
        "domains": domains,
        "running": running,
        "hosts": {"/etc/hosts": [*entry("/etc/hosts")[:4], *lines("/etc/hosts")]},
        "networks": {name: said(*VIRSH, "net-dumpxml", "--inactive", name) for name in said(*VIRSH, "net-list", "--name")},
        "filters": said("nft", "list", "table", "bridge", "virt_sandbox"),
        "units": units,
    }
    json.dump(shown, sys.stdout, sort_keys=True)


if __name__ == "__main__":
    main()
