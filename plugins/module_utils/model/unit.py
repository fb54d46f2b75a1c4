# SPDX-License-Identifier: GPL-3.0-or-later
"""A spec as systemd's files: the host's unit and slice, and what the systemd inside finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from . import addresses, command, layout, network, network_filter, unit_file, unit_fit
from .limits import slice_lines
from .mounts import host_paths, unit_arguments
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
DROP_IN = "50-sandbox.conf"
SETTINGS = "10-sandbox.conf"
# what of /etc is the sandbox's identity on its network
WRITTEN = frozenset({"/etc/hostname", "/etc/hosts", "/etc/machine-id", "/etc/resolv.conf"})
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
JOURNAL = f"""\
{layout.MARK}
[Journal]
Storage=persistent
ReadKMsg=no
Audit=no
"""

# libvirt's own answer to a start, which waits for no unit inside; it gives machined and systemd 30 s for the scope
START_SECONDS = 40

# the longest wait for a command that was told to end, after waits of half, a quarter and so on
STOP_SECONDS = 16

HELPER = f"""\
#!/bin/sh
{layout.MARK}
# The host's side of a sandbox's unit: virt-sandbox-unit VERB NAME SLICE LEVEL FILE_TYPE [ARGUMENT...]
# The arguments are the filter, the content and the mounts for start, UNIT... for reload, and "command" where no systemd runs inside.
set -eu
verb=$1 name=$2 slice={layout.CGROUPS}/$3 level=$4 file_type=$5
shift 5
run={layout.RUN}/$name
uri=lxc:///system

controller() {{
    cat "/run/libvirt/lxc/$name.pid" 2>/dev/null
}}

leader() {{
    pgrep -o -P "$(controller)" 2>/dev/null
}}

clean() {{
    # also a domain that runs behind the unit's back
    test ! -e "/run/libvirt/lxc/$name.pid" || virsh -q -c "$uri" destroy "$name" 2>/dev/null || :
    while mounted; do
        umount -l "$run"
    done
}}

mounted() {{
    while read -r _ there _; do
        test "$there" != "$run" || return 0
    done </proc/self/mounts
    return 1
}}

# libvirt follows links there
are_places() {{
    test "$(readlink -f "$@")" = "$(printf '%s\n' "$@")" || {{
        for one; do
            test "$(readlink -f "$one")" = "$one" || echo "$one is not what it was: it is missing, or a link" >&2
        done
        exit 1
    }}
}}

# what is there before the start: the pipe of a command's output, mounts, and the places for them inside, which are checked
# because they are in the hands of the sandbox
given() {{
    for one; do
        rest=${{one#*:}}
        place=${{rest%%:*}}
        rest=${{rest#*:}}
        case $one in
        filter:*)
            filter=${{one#*:}}
            {network_filter.NFT} -f "$filter"
            ;;
        root:*)
            places=
            for place in {" ".join(layout.FOLLOWED)}; do
                test ! -e "$place" -o -L "$place" || places="$places ${{one#*:}}$place"
            done
            # shellcheck disable=SC2086 # paths without spaces
            test ! "$places" || are_places $places
            ;;
        command) mkfifo -m 600 "$run{command.OUTPUT}" ;;
        point:* | source:*) are_places "${{one#*:}}" ;;
        ram:*)
            mkdir "$place"
            mount -t tmpfs -o "nosuid,nodev,mode=${{rest#*:}},size=${{rest%%:*}},rootcontext=\\"system_u:object_r:$file_type:$level\\"" \\
                virt-sandbox "$place"
            ;;
        image:*)
            mkdir "$place"
            mount -t ext4 -o "loop,${{rest%%:*}},nosuid,nodev,context=\\"system_u:object_r:$file_type:$level\\"" "${{rest#*:}}" "$place"
            ;;
        esac
    done
}}

prepare() {{
    clean
    test ! -e "$run.code" || rm "$run.code"
    # the label went with the slice when that was last empty; in an unlabelled one nothing is writable inside
    chcon -h "system_u:object_r:{layout.SLICE_TYPE}:$level" "$slice" "$slice"/*
    mkdir -p "$run"
    mount -t tmpfs -o "nosuid,nodev,mode=700,size=50%,rootcontext=\\"system_u:object_r:$file_type:$level\\"" \\
        virt-sandbox "$run"
    mkdir -p "$run/run/systemd/journal"
    mkdir -m 1777 "$run/run/lock" "$run/run-lock" "$run/tmp" "$run/dev-shm"
    : >"$run/run/systemd/journal/flushed" # the journal is in /var/log/journal from its first record on
    given "$@"
}}

# what no rule sees: frames that a bridge keeps to itself, from which it would learn where an address is
guard() {{
    test ! "$filter" || sed -n 's/^add chain bridge {network_filter.TABLE} //p' "$filter" | while read -r device; do
        for setting in master/bridge/no_linklocal_learn brport/bpdu_guard; do
            setting=/sys/class/net/$device/$setting
            # a command may have ended by now, and its interface with it
            test ! -e "$setting" || echo 1 >"$setting" || test ! -e "$setting"
        done
    done
}}

# one after the other, and bounded: rarely virsh never returns, and cannot be killed, though the sandbox runs; so the lock
# is not virsh's to hold
begin() {{
    flock --close "{layout.RUN}/.start" timeout -k 5 {START_SECONDS} virsh -q -c "$uri" start "$name"
}}

# whether it runs although libvirt has not said so
runs() {{
    leader >/dev/null && test "$(timeout 10 virsh -q -c "$uri" domstate "$name")" = running
}}

# the code with which the command of the sandbox ended, as it says
code() {{
    code=$(dd if="$run{command.EXIT}" iflag=nofollow,nonblock bs=4 count=1 status=none 2>/dev/null) || :
    case $code in
    [0-9] | [0-9][0-9] | [0-9][0-9][0-9]) echo "$code" ;;
    *) echo 1 ;;
    esac
}}

case $verb in
start)
    filter=
    for try in 1 2 3; do
        prepare "$@"
        ! begin || break
        ! runs || {{
            echo "libvirt did not answer for $name, which runs" >&2
            break
        }}
        echo "libvirt did not start $name (attempt $try of 3)" >&2
        # it may count as active though its processes have ended, and an interface may be left, whose name is taken then
        virsh -q -c "$uri" destroy "$name" 2>/dev/null || :
        virsh -q -c "$uri" domiflist "$name" --inactive | while read -r device _; do
            ip link delete dev "$device" 2>/dev/null || :
        done
        test "$try" -lt 3 || exit 1
    done
    guard
    ;;
watch)
    pid=$(controller)
    if test "${{1-}}" = command; then
        # whatever is there by now, for what the sandbox preloads runs before its first command: no link is followed, and
        # the mount has no devices
        dd if="$run{command.OUTPUT}" iflag=nofollow bs=64k status=none &
        tail -s 0.2 --pid="$pid" -f /dev/null
        timeout 2 tail -s 0.1 --pid="$!" -f /dev/null || kill "$!"
        code=0
        test -e "$run/stopping" || code=$(code)
        echo "$code" >"$run.code"
        exit "$code"
    fi
    tail --pid="$pid" -f /dev/null
    # it ended: because it was told to, or by itself, which is a failure
    test -e "$run/stopping" || {{
        echo "sandbox $name ended by itself" >&2
        exit 1
    }}
    ;;
reload)
    if test "$1" = command; then
        kill -s HUP "$(leader)"
        exit 0
    fi
    exec {layout.COMMAND} exec "$name" -- /usr/bin/systemctl reload-or-restart -- "$@"
    ;;
stop)
    : >"$run/stopping"
    pid=$(controller) || exit 0
    signal=RTMIN+4 # systemd: power off
    test "${{1-}}" != command || signal=TERM
    # again, because one that has only just begun does not hear it, but ever more rarely, because each time it begins anew
    seconds=1
    while kill -s "$signal" "$(leader)" 2>/dev/null; do
        timeout "$seconds" tail --pid="$pid" -f /dev/null || :
        seconds=$((seconds * 2))
        # a command that does not heed it is killed
        test "$signal" != TERM || test "$seconds" -le {STOP_SECONDS} || exit 0
    done
    ;;
clean)
    clean
    rmdir "$run" 2>/dev/null || :
    ;;
esac
"""


def host_unit(spec: Mapping[str, Any]) -> str:
    """The unit by which the host starts, stops and watches the sandbox."""
    paths = layout.of(spec)
    arguments = f"{spec['name']} {_argument(paths.slice)} {spec['level']} {spec['file_type']}"
    units = " ".join(_argument(name) for name in spec["units"]) or "command"
    kind = " command" if spec["command"] else ""
    mounts = "".join(f" {word}" for word in unit_arguments(spec))
    needed = " ".join([paths.root, *host_paths(spec)])
    # the filter before there is an interface
    given = f" filter:{paths.filter}" if network_filter.devices(spec) else ""
    return f"""\
{layout.MARK}
[Unit]
Description=Sandbox {spec["name"]}
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


def slice_unit(spec: Mapping[str, Any]) -> str:
    """The slice bears the limits, where no process of the sandbox may change them."""
    lines = [layout.MARK, "[Unit]", f"Description=Limits of sandbox {spec['name']}", "", "[Slice]", *slice_lines(spec)]
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
        found = {unit.name: unit for unit in unit_file.brought(names, self.units.get).values()}
        return [found[name] for name in sorted(found)]


@dataclasses.dataclass(frozen=True)
class Inside:
    """One file of the sandbox that the spec determines: text, or the target of a link."""

    path: str
    text: str = ""
    link: str = ""


def inside(spec: Mapping[str, Any], host: HostSystemd, networks: addresses.Networks) -> list[Inside]:
    """The files inside that follow from the spec, in order of their paths."""
    files = [
        Inside("etc/hostname", text=spec["name"] + "\n"),
        Inside(
            "etc/hosts",
            text=f"127.0.0.1 localhost\n127.0.1.1 {spec['name']}\n::1 localhost ip6-localhost ip6-loopback\n",
        ),
        Inside("etc/machine-id", text=layout.machine_id(spec["name"]) + "\n"),
        Inside("etc/resolv.conf", text="".join(f"nameserver {one}\n" for one in addresses.nameservers(spec, networks))),
    ]
    if not spec["command"]:
        files += _systemd_inside(spec, host)
    return sorted(files, key=lambda file: file.path)


def _systemd_inside(spec: Mapping[str, Any], host: HostSystemd) -> list[Inside]:
    files = [
        Inside("etc/systemd/system/default.target", link="/usr/lib/systemd/system/multi-user.target"),
        Inside(f"etc/systemd/system/service.d/{SETTINGS}", text=f"{layout.MARK}\n{CONFINEMENT}"),
        Inside(f"etc/systemd/system.conf.d/{SETTINGS}", text=f"{layout.MARK}\n{command.manager_environment(spec)}"),
        Inside(f"etc/systemd/journald.conf.d/{SETTINGS}", text=JOURNAL),
        Inside("etc/systemd/system/systemd-journald-audit.socket", link="/dev/null"),
        Inside("etc/tmpfiles.d/systemd-nologin.conf", link="/dev/null"),
    ]
    started = set(spec["units"]) | ({NETWORK_UNIT} if spec["network"] else set())
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
    files += _adapted(host.brought_by(spec["units"]))
    return files + [
        Inside(f"etc/systemd/network/{10 + number}-eth{number}.network", text=f"{layout.MARK}\n{network.networkd(spec, number)}")
        for number in range(len(spec["network"]))
    ]


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
