# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the kernel's capabilities a sandbox has: libvirt takes them from its first process, SELinux from every one."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING

from .errors import OptionError
from .network import has_networkd
from .options import option

if TYPE_CHECKING:
    from .spec import ServiceSpec

# as libvirt names them, and SELinux: in its class capability, or in capability2
KNOWN = (
    "audit_control", "audit_write", "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "ipc_lock", "ipc_owner", "kill",
    "lease", "linux_immutable", "mknod", "net_admin", "net_bind_service", "net_broadcast", "net_raw", "setfcap", "setgid", "setpcap",
    "setuid", "sys_admin", "sys_boot", "sys_chroot", "sys_module", "sys_nice", "sys_pacct", "sys_ptrace", "sys_rawio", "sys_resource",
    "sys_time", "sys_tty_config",
)  # fmt: skip
KNOWN_2 = ("block_suspend", "mac_admin", "mac_override", "syslog", "wake_alarm")
# without these a systemd does not come up, nor do its services
_SYSTEMD = ("chown", "dac_override", "fowner", "kill", "setgid", "setuid")

# what only the type of sandboxes with networkd has
OF_NETWORKS = ("net_admin", "net_raw")

# what SELinux is not asked about again
_BEHIND = {
    "sys_admin": ", because the kernel lets it change mounts without asking SELinux",
    "sys_boot": ", because the kernel lets it choose what the host boots next (kexec)",
    "sys_nice": ", because it gives real-time priority, which no limit holds",
    "sys_resource": ", because it raises the hard limits of processes",
}


def _names(values: list[str]) -> list[str]:
    names = sorted({value.lower().removeprefix("cap_") for value in values})
    for name in names:
        if name not in KNOWN + KNOWN_2:
            raise ValueError(f"names of capabilities that libvirt knows, such as net_raw, not {name!r}")
    return names


@dataclasses.dataclass(frozen=True)
class Capabilities:
    """What a sandbox keeps or loses of the capabilities that libvirt leaves it."""

    keep: tuple[str, ...] | None = option(
        type="list", elements="str", normal=_names,
        help="""
            The only capabilities that the sandbox keeps. Defaults to those that libvirt keeps.

            Capabilities that the loaded policy denies to O(process_type) are rejected, and so is a list that lacks what the
            systemd inside, its network or the change to O(user) needs.
            """,
    )  # fmt: skip
    drop: tuple[str, ...] = option(
        [], type="list", elements="str", normal=_names,
        help="""
            Capabilities that the sandbox loses. Mutually exclusive with O(capabilities.keep).

            Capabilities that the systemd inside, its network or the change to O(user) needs are rejected.
            """,
    )  # fmt: skip


def check(spec: ServiceSpec) -> None:
    """Either what is kept or what is dropped, and enough of it for what runs inside."""
    keep, drop = spec.capabilities.keep, spec.capabilities.drop
    if keep is not None and drop:
        raise OptionError("capabilities.drop", drop, "no value together with keep", "All capabilities that keep does not name are dropped.")
    needed = dict.fromkeys(_SYSTEMD, "systemd inside the sandbox") if spec.units else {}
    if has_networkd(spec):
        needed["net_admin"] = "systemd-networkd inside the sandbox"
        if any(network.type == "dhcp" for network in spec.network):
            needed["net_raw"] = "the DHCP client"
    if spec.command and (spec.user or spec.group):
        needed |= {"setuid": "the change to user and group", "setgid": "the change to user and group"}
    lost = [name for name in needed if (name not in keep if keep is not None else name in drop)]
    if lost:
        option, value = ("keep", keep) if keep is not None else ("drop", drop)
        must = "must include" if option == "keep" else "must not include"
        raise OptionError.said(f"capabilities.{option}", value, f"{must} {lost[0]}, which {needed[lost[0]]} needs.")


def needs_networks(spec: ServiceSpec) -> bool:
    """Whether the processes inside must have what the default type is denied."""
    return has_networkd(spec) or any(name in OF_NETWORKS for name in spec.capabilities.keep or ())


def check_policy(spec: ServiceSpec, granted: Collection[str]) -> None:
    """Refuse to promise what the sandbox's SELinux type is never given; ``granted`` is what the loaded policy says."""
    if has_networkd(spec) and "net_admin" not in granted:
        sentences = f"the loaded policy denies net_admin to {spec.process_type}, and systemd-networkd inside needs it. "
        sentences += "Leave process_type out, or set type: managed for all interfaces."
        raise OptionError.said("process_type", spec.process_type, sentences)
    for name in spec.capabilities.keep or ():
        if name not in granted:
            sentences = f"the loaded policy denies {name} to {spec.process_type}{_BEHIND.get(name, '')}. Remove it from the list."
            raise OptionError.said("capabilities.keep", name, sentences)


def policy(spec: ServiceSpec) -> tuple[str, dict[str, str]]:
    """libvirt's policy, and the capabilities that are on or off against it."""
    keep, drop = spec.capabilities.keep, spec.capabilities.drop
    if keep is not None:
        return "deny", dict.fromkeys(keep, "on")
    return "default", dict.fromkeys(drop, "off")
