# SPDX-License-Identifier: GPL-3.0-or-later
"""Where everything of a sandbox is, on the host and inside."""

from __future__ import annotations

import dataclasses
import re
import uuid
from typing import Callable

from .context import Context
from .mcs import Level

# the first line of whatever of ours may be told by it
MARK = "# Made by virt.sandbox; changes are overwritten."

SPECS = "/etc/libvirt-sandbox/services"
UNITS = "/etc/systemd/system"
CONTENT = "/var/lib/virt-sandbox/content"
# beside the record of a content: what was copied into it from the host
COPIED_SUFFIX = ".copied.json"
FILESYSTEMS = "/var/lib/libvirt/filesystems"
RUN = "/run/virt-sandbox"
JOURNALS = "/var/log/journal"
HELPER = "/usr/local/libexec/virt-sandbox-unit"
INIT = "/usr/local/libexec/virt-sandbox-init"
COMMAND = "/usr/local/sbin/virt-sandbox"
# run in place of libvirt's controller; not below libexec, which Debian's policy lets libvirt's daemon run nothing of
CONTROLLER = "/usr/local/sbin/virt-sandbox-controller"
SECCOMP = "/usr/local/libexec/virt-sandbox-seccomp"
CGROUPS = "/sys/fs/cgroup"
# of the sandboxes alone, with what they may use together; no name of a sandbox has an underscore
SANDBOXES = "machine-virt_sandbox.slice"

ROOT_TYPE = "virt_sandbox_root_t"
SLICE_TYPE = "virt_sandbox_slice_t"
TERMINAL_TYPE = "virt_sandbox_devpts_t"
DEVICE_TYPE = "container_file_t"  # of /dev, as libvirt labels it
CGROUP_TYPE = "virt_sandbox_cgroup_t"

# what sandbox_service writes inside, by path or by name
WRITTEN = frozenset({"/etc/hostname", "/etc/hosts", "/etc/machine-id", "/etc/resolv.conf"})
DROP_IN = "50-sandbox.conf"
SETTINGS = "10-sandbox.conf"

# the read-only root: mount points and the usual links into /usr (.oldroot: libvirt pivots through it)
SKELETON = ("usr", "proc", "sys", "dev", "mnt", "media", "opt", ".oldroot", "run", "tmp")
LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
PRIVATE = {"etc": 0o755, "var": 0o755, "home": 0o755, "root": 0o700, "srv": 0o755}

# in memory, of our own type, made by the unit at every start: directories of one tmpfs
MEMORY = ("/run", "/run/lock", "/tmp", "/dev/shm")

# what inside follows the host, read-only
SHARED = ("/usr",)
FOLLOWED = (
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/ca-certificates",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/ld.so.cache",
)

# what a private /etc begins with, beside what a service's package owns; no secret of the host among it
BASE_ETC = (
    "passwd", "group", "nsswitch.conf", "host.conf", "services", "protocols", "networks", "rpc", "ethertypes",
    "ld.so.conf", "ld.so.conf.d", "login.defs", "profile", "profile.d", "bash.bashrc", "bashrc", "inputrc", "shells", "environment",
    "pam.d", "security", "dbus-1", "default/locale", "locale.conf", "locale.alias", "gai.conf", "mime.types", "mailcap",
    "debian_version", "redhat-release", "fedora-release", "system-release", "os-release", "localtime", "timezone",
    "ssl/openssl.cnf", "pki/tls/openssl.cnf", "crypto-policies", "skel", "terminfo", "logrotate.conf", "adduser.conf", "deluser.conf",
)  # fmt: skip
# directories of a private tree: path -> mode
DIRECTORIES = {
    "etc/ssl": 0o755,
    "etc/systemd": 0o755,
    "etc/systemd/system": 0o755,
    "etc/systemd/network": 0o755,
    "etc/tmpfiles.d": 0o755,
    "etc/default": 0o755,
    "etc/logrotate.d": 0o755,
    "var/backups": 0o755,
    "var/cache": 0o755,
    "var/lib": 0o755,
    "var/lib/logrotate": 0o755,
    "var/local": 0o755,
    "var/log": 0o755,
    "var/log/journal": 0o755,
    "var/mail": 0o775,
    "var/opt": 0o755,
    "var/spool": 0o755,
    "var/tmp": 0o1777,
}
SYMLINKS = {"var/run": "/run", "var/lock": "/run/lock", "etc/mtab": "/proc/self/mounts"}
EMPTY_FILES = ("etc/fstab",)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The paths of one sandbox on its host."""

    name: str
    base: str
    apart: bool = False
    """Whether its slice is beside that of all sandboxes, where the first generation of defaults had it."""

    @property
    def root(self) -> str:
        return f"{self.base}/{self.name}"

    @property
    def building(self) -> str:
        """The content while it is made: renamed to ``root`` when whole."""
        return f"{self.base}/.{self.name}.new"

    @property
    def image(self) -> str:
        """The file system that is mounted at ``root``, where the content is an image."""
        return f"{self.root}.img"

    @property
    def building_image(self) -> str:
        return f"{self.building}.img"

    @property
    def mount(self) -> str:
        """The unit that mounts the image."""
        return f"{escape_path(self.root)}.mount"

    @property
    def mount_path(self) -> str:
        return unit_path(self.mount)

    @property
    def manifest(self) -> str:
        return f"{CONTENT}/{self.name}.json"

    @property
    def copied(self) -> str:
        """What the files of its /etc were when they were copied from the host."""
        return f"{CONTENT}/{self.name}{COPIED_SUFFIX}"

    @property
    def spec(self) -> str:
        return f"{SPECS}/{self.name}.sandbox"

    @property
    def filter(self) -> str:
        """What its interfaces may send, for nft."""
        return f"{SPECS}/{self.name}.nft"

    @property
    def unit(self) -> str:
        return f"{self.name}_sandbox.service"

    @property
    def unit_path(self) -> str:
        return unit_path(self.unit)

    @property
    def slice(self) -> str:
        """The unit that libvirt's partition /machine/virt_sandbox/NAME becomes: a dash inside a name is escaped."""
        return self.slice_apart if self.apart else f"{SANDBOXES[:-6]}-{escape(self.name)}.slice"

    @property
    def slice_apart(self) -> str:
        return f"machine-{escape(self.name)}.slice"

    @property
    def slice_path(self) -> str:
        return unit_path(self.slice)

    @property
    def cgroup(self) -> str:
        return cgroup(self.slice)

    @property
    def journal(self) -> str:
        """The journal of the sandbox, which has its machine-id for a name."""
        return f"{self.root}/var/log/journal/{machine_id(self.name)}"

    @property
    def journal_link(self) -> str:
        """Where the host's journalctl finds it, when it is asked for all machines."""
        return f"{JOURNALS}/{machine_id(self.name)}"

    @property
    def run(self) -> str:
        return f"{RUN}/{self.name}"

    @property
    def code(self) -> str:
        """The code with which its command ended last."""
        return f"{self.run}.code"

    def mounted(self, number: int) -> str:
        """The host's side of an image or of memory that is mounted inside."""
        return f"{self.run}/mount-{number}"

    def memory(self, target: str) -> str:
        """The host's side of a directory that a sandbox has in memory."""
        return f"{self.run}/{target.strip('/').replace('/', '-')}"


# what tells one sandbox from another, and is therefore not cloned: sandbox_service and the sandbox itself make it anew
_IDENTITY = re.compile(
    r"etc/(machine-id|hostname|hosts|resolv\.conf|ssh/ssh_host_[^/]*|systemd/network/\d\d-eth\d+\.network)"
    r"|var/lib/(dbus/machine-id|systemd/(random-seed|credential\.secret)|(dhcp|dhclient|NetworkManager)/[^/]*lease[^/]*)"
    r"|var/log/journal/[^/]+|(.*/)?\.vsbx-new-[^/]*"
)


def is_identity(path: str) -> bool:
    """Whether an entry of a tree belongs to that one sandbox alone."""
    return bool(_IDENTITY.fullmatch(path))


def is_host_key(path: str) -> str:
    """The kind of an ssh server's private key at a path of the tree; empty for anything else."""
    match = re.fullmatch(r"etc/ssh/ssh_host_(rsa|ecdsa|ed25519)_key", path)
    return match.group(1) if match else ""


def machine_id(name: str) -> str:
    """A stable identity of its own for each sandbox, for its journal and its DHCP lease."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, name + ".virt.sandbox").hex


def escape(text: str) -> str:
    """``systemd-escape`` for the characters that a sandbox's name may have."""
    return text.replace("-", "\\x2d")


def unit_path(unit: str) -> str:
    return f"{UNITS}/{unit}"


def cgroup(slice_name: str) -> str:
    """The cgroup of a slice, which is below those that its name begins with."""
    parts = slice_name[: -len(".slice")].split("-")
    return "/".join([CGROUPS, *(f"{'-'.join(parts[:number])}.slice" for number in range(1, len(parts) + 1))])


def escape_path(path: str) -> str:
    """``systemd-escape --path``."""
    parts = "/".join(part for part in path.split("/") if part)
    text = "".join(
        "-" if c == "/" else c if c.isascii() and (c.isalnum() or c in ":_.") else "".join(f"\\x{byte:02x}" for byte in c.encode())
        for c in parts
    )
    return f"\\x2e{text[1:]}" if text.startswith(".") else text


def expected_context(file_type: str, level: Level) -> Callable[[str, int], str]:
    """What label each entry of a content tree is to carry, as the kernel has it: a function of its path in the tree and its mode."""
    skeleton = str(Context.object(ROOT_TYPE, level))
    content = str(Context.object(file_type, level))
    fixed = {"", ".", *SKELETON, *LINKS}

    def expected(path: str, _mode: int) -> str:
        return skeleton if path in fixed else content

    return expected


def root_entries() -> list[tuple[str, int, str]]:
    """What stands in the root directory: (path, mode, link target or nothing)."""
    entries = [(path, 0o755 if path != "tmp" else 0o1777, "") for path in SKELETON]
    entries += [(path, 0o777, target) for path, target in LINKS.items()]
    entries += [(path, mode, "") for path, mode in PRIVATE.items()]
    return entries
