# SPDX-License-Identifier: GPL-3.0-or-later
"""A spec as systemd's files: the host's unit and slice, and what the systemd inside finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from . import addresses, command, layout, managed, network, network_filter, unit_file, unit_fit
from .layout import DROP_IN, SETTINGS
from .limits import slice_lines
from .mounts import host_paths, unit_arguments
from .spec import ServiceSpec
from .unit_tree import HostUnits

# What of the host's /usr a systemd inside starts by itself; every other want of a target there is
# answered with /dev/null, and every generator: they look for hardware, disks and consoles.
BASE_UNITS = frozenset(
    {
        "systemd-journald.service",
        "systemd-journald.socket",
        "systemd-journald-dev-log.socket",
        "systemd-sysusers.service",
        "systemd-tmpfiles-setup.service",
        "systemd-tmpfiles-clean.timer",
    }
)
LOGROTATE_UNIT = "logrotate.timer"
NETWORK_UNIT = "systemd-networkd.service"
FIRST_UNIT = "systemd-tmpfiles-setup.service"
SYSUSERS = "etc/sysusers.d/50-sandbox.conf"

# The sandbox is the mount namespace: the services inside get no further ones, because what they
# need for them (mounting, and above all mount_setattr, which SELinux does not see) is denied.
CONFINEMENT = """\
[Service]
PrivateTmp=no
PrivateDevices=no
PrivateNetwork=no
PrivateIPC=no
PrivateUsers=no
PrivateMounts=no
ProtectSystem=no
ProtectHome=no
ProtectProc=default
ProcSubset=all
ProtectKernelTunables=no
ProtectKernelModules=no
ProtectKernelLogs=no
ProtectControlGroups=no
ProtectHostname=no
ProtectClock=no
ReadWritePaths=
ReadOnlyPaths=
InaccessiblePaths=
ExecPaths=
NoExecPaths=
TemporaryFileSystem=
LoadCredential=
"""

# the kernel's messages and the audit log are the host's
_FIRST_TMPFS = "50%"

JOURNAL = f"""\
{layout.MARK}
[Journal]
Storage=persistent
ReadKMsg=no
Audit=no
"""
# a tenth of the disk, by itself; another file of journald.conf.d may say otherwise
JOURNAL_BOUND = "SystemMaxUse=200M\n"


def host_unit(spec: ServiceSpec) -> str:
    """The unit by which the host starts, stops and watches the sandbox."""
    paths = spec.paths
    arguments = f"{spec.name} {_argument(paths.slice)} {spec.level} {spec.file_type}"
    units = " ".join(_argument(name) for name in spec.units) or "command"
    kind = " command" if spec.command else ""
    mounts = "".join(f" {word}" for word in unit_arguments(spec))
    needed = " ".join([paths.root, *host_paths(spec)])
    # the filter before there is an interface
    given = f" filter:{paths.filter}" if network_filter.chains(spec) else ""
    given += f" hostname:{spec.hostname}" if spec.hostname else ""
    # the helper's own is that of the first generation; systemd reads a percent sign twice
    given += f" tmpfs:{spec.tmpfs}".replace("%", "%%") if spec.tmpfs != _FIRST_TMPFS else ""
    given += "".join(f" ipv4:eth{number}" for number in managed.without_ipv6(spec))
    return f"""\
{layout.MARK}
[Unit]
Description=Sandbox {spec.name}
Documentation=https://docs.ansible.com/ansible/latest/collections/virt/sandbox/
Requires={paths.slice}
Wants=libvirtd.service systemd-machined.service virt-sandbox-machines.target
After={paths.slice} libvirtd.service virtlxcd.service systemd-machined.service network.target auditd.service virt-sandbox-machines.target
RequiresMountsFor={needed}

[Service]
Type=exec
ExecStartPre={layout.HELPER} start {arguments}{given} root:{paths.root}{kind}{mounts}
ExecStart={layout.HELPER} watch {arguments}{kind}
ExecReload={layout.HELPER} reload {arguments} {units}
ExecStop={layout.HELPER} stop {arguments}{kind}
ExecStopPost=-{layout.HELPER} clean {arguments}
TimeoutStartSec=30min
TimeoutStopSec=90
KillMode=process

[Install]
WantedBy=multi-user.target
"""


def _argument(text: str) -> str:
    """A name as a command line of systemd has it: there a backslash begins an escape."""
    return text.replace("\\", "\\\\")


def slice_unit(spec: ServiceSpec) -> str:
    """The slice bears the limits, where no process of the sandbox may change them."""
    lines = [layout.MARK, "[Unit]", f"Description=Limits of sandbox {spec.name}", "", "[Slice]", *slice_lines(spec)]
    return "\n".join(lines) + "\n"


@dataclasses.dataclass(frozen=True)
class HostSystemd:
    """What the host would have a systemd start: targets' wants in /usr, and units."""

    wants: Mapping[str, Sequence[str]]
    unit_paths: Mapping[str, str]  # unit -> its file in /usr, or else in the administrator's directory
    units: Mapping[str, unit_file.UnitFile] = dataclasses.field(default_factory=dict)  # these, and what they bring along
    known: HostUnits = dataclasses.field(default_factory=HostUnits)

    def path(self, name: str) -> str:
        """Where a unit is inside; where it will be, if content is to bring it."""
        return self.unit_paths.get(name) or unit_file.administrators(name)[-1]

    def with_own(self, own: Mapping[str, unit_file.UnitFile]) -> HostSystemd:
        """As a sandbox has it that has these units: the host's /usr it shares, the administrator's units it has copies of."""
        units = {**{name: unit for name, unit in self.units.items() if not unit_file.is_administrators(unit)}, **own}
        shared = {name: path for name, path in self.unit_paths.items() if not path.startswith(unit_file.ADMINISTRATORS)}
        paths = {name: own[name].path if name in own else shared.get(name, "") for name in self.unit_paths}
        return dataclasses.replace(self, unit_paths=paths, units=units)

    def brought_by(self, names: Sequence[str]) -> list[unit_file.UnitFile]:
        """The named units and all that they bring along, each once, whatever names it has."""
        units = {unit.name: unit for unit in unit_file.brought(names, self.units.get).values()}
        return [units[name] for name in sorted(units)]


@dataclasses.dataclass(frozen=True)
class Inside:
    """One file of the sandbox that the spec determines: text, or the target of a link."""

    path: str
    text: str = ""
    link: str = ""


def inside(spec: ServiceSpec, host: HostSystemd, networks: addresses.Networks) -> list[Inside]:
    """The files inside that follow from the spec, in order of their paths."""
    files = [
        Inside("etc/hostname", text=f"{spec.hostname or spec.name}\n"),
        Inside("etc/hosts", text=f"127.0.0.1 localhost\n127.0.1.1 {_own_names(spec)}\n::1 localhost ip6-localhost ip6-loopback\n"),
        Inside("etc/machine-id", text=layout.machine_id(spec.name) + "\n"),
        Inside("etc/resolv.conf", text="".join(f"nameserver {nameserver}\n" for nameserver in addresses.nameservers(spec, networks))),
    ]
    if not spec.command:
        files += _systemd_inside(spec, host)
    return sorted(files, key=lambda file: file.path)


def _own_names(spec: ServiceSpec) -> str:
    """The first is the one that a program which asks for the full name gets."""
    hostname = spec.hostname or spec.name
    return " ".join(dict.fromkeys([hostname, hostname.partition(".")[0], spec.name]))


def _systemd_inside(spec: ServiceSpec, host: HostSystemd) -> list[Inside]:
    files = [
        Inside("etc/systemd/system/default.target", link="/usr/lib/systemd/system/multi-user.target"),
        Inside(f"etc/systemd/system/service.d/{SETTINGS}", text=f"{layout.MARK}\n{CONFINEMENT}"),
        Inside(f"etc/systemd/system.conf.d/{SETTINGS}", text=f"{layout.MARK}\n{command.manager_environment(spec)}"),
        Inside(f"etc/systemd/journald.conf.d/{SETTINGS}", text=JOURNAL + (JOURNAL_BOUND if spec.defaults > 1 else "")),
        Inside("etc/systemd/system/systemd-journald-audit.socket", link="/dev/null"),
        Inside("etc/tmpfiles.d/systemd-nologin.conf", link="/dev/null"),
    ]
    started = set(spec.units) | ({NETWORK_UNIT} if network.has_networkd(spec) else set())
    for unit in sorted(started):
        files.append(Inside(f"etc/systemd/system/multi-user.target.wants/{unit}", link=host.path(unit)))
    if host.unit_paths.get(LOGROTATE_UNIT):
        files.append(Inside(f"etc/systemd/system/timers.target.wants/{LOGROTATE_UNIT}", link=host.unit_paths[LOGROTATE_UNIT]))
    for target, units in host.wants.items():
        files += [
            Inside(f"etc/systemd/system/{target}.wants/{unit}", link="/dev/null")
            for unit in units
            if unit not in BASE_UNITS and unit not in started and unit != LOGROTATE_UNIT
        ]
    files += _adapted(host.brought_by(spec.units)) + _named(spec)
    return files + [
        Inside(f"etc/systemd/network/{10 + number}-eth{number}.network", text=f"{layout.MARK}\n{network.networkd(spec, number)}")
        for number, interface in enumerate(spec.network)
        if interface.type != "managed"
    ]


def _named(spec: ServiceSpec) -> list[Inside]:
    """No unit is past sysinit.target before the host has given the sandbox its name, right after the start of its first process."""
    if not spec.hostname:
        return []
    wait = f"/usr/bin/timeout 30 /bin/sh -c 'until test \"$$(uname -n)\" = {spec.hostname}; do sleep 0.05; done'"
    return [Inside(drop_in_path(FIRST_UNIT), text=f"{layout.MARK}\n[Service]\nExecStartPre=-{wait}\n")]


def _adapted(units: Sequence[unit_file.UnitFile]) -> list[Inside]:
    """What lets units run without privileges that a sandbox has not."""
    files = [Inside(drop_in_path(unit.name), text=f"{layout.MARK}\n{unit_fit.drop_in(unit)}") for unit in units if unit_fit.drop_in(unit)]
    users = unit_fit.users(units)
    if users:
        lines = "".join(f'u {name} - "Made for a unit with DynamicUser="\n' for name in users)
        files.append(Inside(SYSUSERS, text=f"{layout.MARK}\n{lines}"))
    return files


def drop_in_path(unit: str) -> str:
    return f"etc/systemd/system/{unit}.d/{DROP_IN}"
