# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sandbox is: the options of ``sandbox_content`` and ``sandbox_service``."""

from __future__ import annotations

import dataclasses
import json
import posixpath
import re
from collections.abc import Mapping
from typing import Any

from . import capabilities, command, disk, format_1, image, layout, limits, mounts, network
from .capabilities import Capabilities
from .command import identity, variables, words
from .disk import DISK, INODES
from .errors import OptionError
from .limits import WEIGHT, Io
from .mcs import Level
from .mounts import Mount
from .network import Interface
from .options import DEFAULTS, build, option, plain, restart_part
from .unit_file import instance_of
from .values import READ_OTHERWISE, UNLIMITED, absolute, file_mode, limit, plain_path, size

FORMAT = 2
# where a host keeps which of its sandboxes has which level
REGISTRY = "sqlite:////var/lib/virt-sandbox/labels.db"
PROCESS_TYPE = "virt_sandbox_t"
# of sandboxes that set up their own interfaces
NET_PROCESS_TYPE = "virt_sandbox_net_t"
FILE_TYPE = "virt_sandbox_file_t"
STATES = ("present", "started", "stopped", "restarted", "reloaded", "absent")
UP = ("started", "restarted", "reloaded")
"""The states after which a sandbox runs."""

# virsh would take a number alone for the ID of another domain
_NAME = re.compile(r"(?![0-9-]*\Z)[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?\Z")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_UNIT = re.compile(r"[A-Za-z0-9:_\\][A-Za-z0-9:_.\\-]*(?:@[A-Za-z0-9:_.\\-]*)?\.(?:service|socket|target|timer|path)\Z")
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_]*_t\Z")
# a sandbox's private content lives there; everything else of the host is /usr, or not inside
PRIVATE_ROOTS = ("/etc", "/var", "/home", "/root", "/srv")


def name(value: str) -> str:
    """A sandbox's name: a host name, a file name, a unit name and a libvirt name at once."""
    if not _NAME.match(value) or value == "localhost":
        raise ValueError("1 to 50 lower-case letters, digits and inner dashes, but not digits alone and not localhost")
    return value


def _hostname(value: str) -> str:
    if len(value) > 64 or not all(_LABEL.match(label) for label in value.split(".")) or value.split(".")[0] == "localhost":
        raise ValueError("a host name of at most 64 characters, such as mail.example.com, other than localhost")
    return value


def owner(value: str) -> str:
    """A sandbox's name, of a host where a registry is for several."""
    host, slash, text = value.rpartition("/")
    if slash and not re.fullmatch(r"[^\s/]+", host):
        raise ValueError("the name of a sandbox, or HOST/NAME in a registry that several hosts share")
    name(text)
    return value


def _base(value: str) -> str:
    path = absolute(value)
    if path.count("/") < 2 or READ_OTHERWISE.search(path):
        raise ValueError(f"a directory below another one, such as {layout.FILESYSTEMS}, without spaces, quotes, '$', '%' and '\\'")
    return path


def _private(values: list[str]) -> list[str]:
    """Topmost paths, by whole components: ``/etc/http`` does not swallow ``/etc/httpd``."""
    paths = sorted({absolute(value) for value in values})
    for path in paths:
        if not path.startswith(tuple(root + "/" for root in PRIVATE_ROOTS)):
            raise ValueError("paths below " + ", ".join(PRIVATE_ROOTS))
    return [path for path in paths if not any(path.startswith(other + "/") for other in paths)]


def _units(values: list[str]) -> list[str]:
    units = sorted({value if "." in value else value + ".service" for value in values})
    for unit in units:
        if not _UNIT.match(unit):
            raise ValueError(f"names of systemd units, such as httpd.service, not {unit!r}")
    return units


def _file(value: str) -> str:
    (path,) = _private([value])
    if path in layout.WRITTEN or posixpath.basename(path) in (layout.DROP_IN, layout.SETTINGS):
        raise ValueError("a path that sandbox_service does not write itself")
    if any(mounts.overlap(path, place) for place in layout.FOLLOWED):
        raise ValueError(f"a path outside {', '.join(layout.FOLLOWED)}, which the sandbox has from its host")
    return path


def _type(value: str) -> str:
    if not _TYPE.match(value):
        raise ValueError("an SELinux type, such as " + PROCESS_TYPE)
    return value


def _image_size(value: str) -> int:
    number = size(value) // image.BLOCK * image.BLOCK
    if number < image.SMALLEST:
        raise ValueError("a size from 32M, such as 512M or 2G")
    return number


def _cpus(value: float) -> float:
    """As precise as systemd takes it, and as little as the kernel gives."""
    if not 0.01 <= value <= 10_000:
        raise ValueError("a number of processors from 0.01 to 10000")
    return round(float(value), 4)


@dataclasses.dataclass(frozen=True)
class Identity:
    """What both modules and the label registry know a sandbox by."""

    name: str = option(
        "", required=True, normal=name,
        help="The name of the sandbox, 1 to 50 lower-case letters, digits and inner dashes.",
    )  # fmt: skip
    path: str = option(
        layout.FILESYSTEMS, type="path", normal=_base, effect="restart",
        help="""
            The directory that holds the content of the sandboxes, each in a directory of its name.

            A relabel of the host, such as C(restorecon -R) by a package, leaves the default directory alone. For content in
            another directory, M(virt.sandbox.sandbox_content) adds a file-context rule with the same effect. It removes the rule
            with the content.
            """,
    )  # fmt: skip
    level: Level = option(
        normal=Level.for_sandbox, effect="restart", unset=Level(),
        help="""
            The MCS level of the sandbox, such as V(s0:c1,c2), in any spelling.

            Defaults to the level that O(registry) has for the sandbox.
            """,
    )  # fmt: skip
    file_type: str = option(FILE_TYPE, normal=_type, effect="restart", help="The SELinux type of the content.")

    @property
    def paths(self) -> layout.Layout:
        """Where everything of the sandbox is."""
        return layout.Layout(self.name, self.path)


@dataclasses.dataclass(frozen=True)
class FileEntry:
    """A file inside, as declared."""

    path: str = option(
        "", required=True, normal=_file,
        help="The absolute path inside, below C(/etc), C(/var), C(/home), C(/root) or C(/srv).",
    )  # fmt: skip
    content: str = option("", help="The text of the file.")
    mode: str = option(
        "0644", type="raw", normal=file_mode,
        help="The permissions, as M(ansible.builtin.copy) takes them. Quote a number, such as V('0644'): YAML reads V(644) as a decimal.",
    )  # fmt: skip
    owner: str = option("root", normal=identity, help="The owner, by the name or number that the sandbox has in its C(/etc/passwd).")
    group: str = option("root", normal=identity, help="The group, by the name or number that the sandbox has in its C(/etc/group).")


@dataclasses.dataclass(frozen=True)
class ContentSpec(Identity):
    """What ``sandbox_content`` declares."""

    private: tuple[str, ...] = option(
        [], type="list", elements="str", normal=_private,
        help="""
            Paths of the host below C(/etc), C(/var), C(/home), C(/root) or C(/srv) that are copied into the content, with owner,
            mode, extended attributes, access lists, hard links and holes.

            A path that is no longer named stays in the content, because it may hold the sandbox's data.
            """,
    )  # fmt: skip
    units: tuple[str, ...] = option(
        [], type="list", elements="str", normal=_units,
        help="""
            Systemd units whose private paths are found from their packages, in addition to O(private). The packages are those
            that own the units and what the units require, and packages of the same source that these depend on.

            Of their files below C(/etc), C(/var) and the other private places, the content gets the topmost directories that
            belong to the service alone, and single files of directories that many packages share. It also gets the paths that the
            units name, and what the users of the units own among the places for state.

            A unit of the host's administrator in C(/etc/systemd/system) is copied with its C(.d), C(.wants) and C(.requires)
            directories. A unit may also be one of O(files).

            A file that not everybody on the host may read, and that no package brought as it is, is left out, because it may be a
            secret of the host: a key, a log or a database. RV(left_out) lists such files. Name them in O(private) to copy them.

            A template, such as V(foo@), stands for the instance with the name of the sandbox.
            """,
    )  # fmt: skip
    files: tuple[FileEntry, ...] = option(
        [], type="list", elements="dict", of=FileEntry,
        help="""
            Files inside that are written as declared. Changes made inside are undone by the next run.

            A file that is no longer declared is removed.

            Do not put secrets into their content, because diffs show it.
            """,
    )  # fmt: skip
    clone_of: str | None = option(
        normal=name,
        help="""
            Another sandbox of this host. The content is made as a copy of that sandbox's content instead of from the host's
            files, with every entry at the level of the new sandbox. Paths of O(private) that the other sandbox lacks are copied
            from the host.

            The other sandbox must be stopped, and all of its content must be at its own level. It may stand before this one in
            O(sandboxes).

            What identifies a sandbox is not cloned: machine-id, host name, interfaces, journal, leases and random seed. SSH host
            keys are replaced by new ones of the same kinds. Other keys and passwords are cloned with the rest.

            Units, network and limits are not cloned. Declare them with M(virt.sandbox.sandbox_service).

            Only used when the content is created; ignored afterwards.
            """,
    )
    method: str = option(
        "directory", choices=("directory", image.METHOD),
        help="""
            V(directory) keeps the content in the file system of the host. V(image) keeps it in an ext4 file system of its own, in
            the file C(NAME.img) beside the directory on which a unit of the host mounts it. An image bounds the disk space of the
            sandbox.

            Existing content cannot be converted. Clone it with O(clone_of) into a sandbox with the other method.
            """,
    )  # fmt: skip
    size: int | None = option(
        normal=_image_size,
        help="""
            The size of the image, such as V(512M); at least 32M. Required when an image is created, and only valid with
            O(method=image). Defaults to the image's present size.

            A larger size grows the image, also while the sandbox runs. An image never shrinks. The file takes space of the host
            as it is filled.

            A size that is too small for the content is rejected before anything is changed.
            """,
    )
    disk: int | str | None = option(
        normal=limit(DISK, of="the file system"),
        help="""
            Maximum disk space of the content: a size from V(32M), such as V(10G) (units K, M, G, T of 1024), a percentage of the file
            system that has O(path), such as V(25%), or V(unlimited). What is written beyond it inside fails with "Disk quota exceeded"
            on ext4, and with "No space left on device" on XFS. C(df) inside shows the limit as the size of the disk.

            The file system must enforce project quotas, which ext4 and XFS can. Otherwise the value is rejected with what is to be
            done. With O(method=image), which O(size) bounds, only V(unlimited) is valid.

            Defaults to the limit that the content has. New content gets V(50%) of a file system that enforces project quotas; on
            any other it has no limit, and the module warns.

            A change takes effect at once. Existing content gets its first limit only while the sandbox is stopped. A limit below
            what the content takes is rejected. What O(virt.sandbox.sandbox_service#module:mounts) brings from elsewhere does not
            count.
            """,
    )  # fmt: skip
    inodes: int | str | None = option(
        normal=limit(INODES, share=False),
        help="""
            Maximum number of files and directories of the content: a number from V(2000), or V(unlimited); no percentage. It needs
            project quotas, and behaves, as O(disk) does.

            Defaults to the limit that the content has. New content gets half of what the file system has.
            """,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ServiceSpec(Identity):
    """What ``sandbox_service`` declares."""

    units: tuple[str, ...] = option(
        [], type="list", elements="str", normal=_units, effect="restart",
        help="""
            The systemd units to run. They are in the host's C(/usr/lib/systemd/system) or in the sandbox's own
            C(/etc/systemd/system), where M(virt.sandbox.sandbox_content) puts units of the host's administrator and its
            O(virt.sandbox.sandbox_content#module:files). At least one is required, unless O(command) is set.

            A template, such as V(foo@), runs as the instance with the name of the sandbox. Instances, such as V(foo@bar), keep
            their names. C(.service) may be left out.

            Units that these require or want run too, where they exist. A unit with C(DynamicUser=) runs as a permanent user of
            that name.

            A unit that does not exist, or whose program is neither in C(/usr) nor in the content, is rejected. Check mode warns
            instead, because an earlier task may bring it.

            A unit that is masked on the host, or that needs what no sandbox has, such as a device, a kernel module, a mount or a
            capability, is rejected with the reason. A drop-in in the sandbox's own C(/etc/systemd/system) can remove that need.
            """,
    )  # fmt: skip
    command: tuple[str, ...] = option(
        [], type="list", elements="str", normal=words, effect="restart",
        help="""
            A command to run instead of O(units), as a list of words. No shell interprets them. The first word is an absolute
            path.

            No systemd runs inside. A small first process runs the command, passes C(SIGTERM) and C(SIGHUP) on to it, and ends
            when it ends. Its output is in the journal of the unit C(NAME_sandbox.service).

            The unit is active while the command runs, inactive after it ended with code 0, and failed after any other code, which
            C(systemctl status) and M(virt.sandbox.sandbox_info) show. O(state=started) starts a command that has ended again.

            To stop the sandbox, the command gets C(SIGTERM), and is killed if it has not ended after half a minute. To reload it,
            it gets C(SIGHUP).
            """,
    )  # fmt: skip
    user: str | None = option(
        normal=identity, effect="restart",
        help="""
            The user that runs O(command), by name or number. A name must be in the sandbox's own C(/etc/passwd). Defaults to
            V(root).
            """,
    )  # fmt: skip
    group: str | None = option(
        normal=identity, effect="restart",
        help="The group that runs O(command), by name or number. Defaults to the group of O(user).",
    )  # fmt: skip
    home: str | None = option(
        type="path", normal=plain_path, effect="restart",
        help="""
            The directory in which O(command) starts, and its C(HOME). Defaults to the home of O(user), or C(/) if there is none.
            """,
    )  # fmt: skip
    env: Mapping[str, str] = option(
        {}, type="dict", normal=variables, effect="restart",
        help="""
            Environment variables of the services inside (C(DefaultEnvironment=) of the systemd inside), or of O(command).

            Values are single lines of text. Quote V(true) and V(false).

            M(virt.sandbox.sandbox_exec) and C(virt-sandbox connect) do not use them.

            Do not put secrets here. They would be in the spec file, in the definition of the sandbox or in C(/etc) inside, and in
            diffs.
            """,
    )  # fmt: skip
    hostname: str | None = option(
        normal=_hostname, effect="restart",
        help="""
            The host name inside, such as V(mail.example.com). C(uname -n) and C(hostname --fqdn) answer it. Defaults to O(name).

            The host and other sandboxes know the sandbox by its O(name), not by this.
            """,
    )  # fmt: skip
    process_type: str = option(
        normal=_type, effect="restart", unset=PROCESS_TYPE,
        help="""
            The SELinux type of the processes.

            Defaults to V(virt_sandbox_t), which has neither C(net_admin) nor C(net_raw). Defaults to V(virt_sandbox_net_t), which
            has both, if C(systemd-networkd) runs inside because O(network[].type) of an interface is V(dhcp) or V(static), or if
            O(capabilities.keep) names one of them.
            """,
    )  # fmt: skip
    network: tuple[Interface, ...] = option(
        [], type="list", elements="dict", of=Interface, effect="restart",
        help="""
            The interfaces C(eth0), C(eth1) and so on. Without one the sandbox has only its loopback interface.

            The name of the sandbox resolves to its address on the host (C(/etc/hosts)) and in its libvirt network.
            """,
    )  # fmt: skip
    memory: int | str | None = option(
        normal=limit(size, share=False), effect="live",
        help="""
            Maximum memory of the sandbox: a size, such as V(512M); no percentage. It may use no swap. Above it the kernel ends
            processes inside.

            V(unlimited) is no limit at all, of this kind or that of O(memory_high). By default there is only O(memory_high), because
            a hard limit ends databases.
            """,
    )  # fmt: skip
    memory_high: int | str = option(
        "50%", normal=limit(size), effect="live", earlier=((1, UNLIMITED),),
        help="""
            The memory above which the kernel slows the sandbox down and takes memory back from it, but ends nothing: a size, a
            percentage of the host's memory, such as V(50%), or V(unlimited).

            Defaults to V(50%), and to V(unlimited) where O(memory) is set.
            """,
    )  # fmt: skip
    tmpfs: int | str = option(
        "10%", normal=limits.tmpfs, effect="restart", earlier=((1, "50%"),),
        help="""
            Maximum size of the files in C(/run), C(/tmp) and C(/dev/shm) together, which are kept in memory and count as the
            sandbox's: a size from V(4M), or a percentage of the host's memory. V(unlimited) is rejected.

            Defaults to V(10%).
            """,
    )  # fmt: skip
    cpus: float | None = option(
        type="float", normal=_cpus, effect="live", help="Maximum processor time, in processors, such as V(0.5). Defaults to no limit."
    )
    cpu_weight: int | None = option(
        type="int", normal=WEIGHT, effect="live",
        help="""
            The sandbox's share of the processors while these are busy, from V(1) to V(10000), as C(CPUWeight=) of systemd.

            Defaults to the kernel's default, V(100), which every other sandbox and service of the host has too.
            """,
    )  # fmt: skip
    tasks_max: int | str | None = option(
        "15%", normal=limits.TASKS, effect="live", earlier=((1, None),),
        help="""
            Maximum number of processes and threads: a number, or a percentage of what the host's kernel allows in all
            (C(kernel.threads-max) or C(kernel.pid_max), whichever is lower).

            Defaults to V(15%), as C(DefaultTasksMax=) of systemd. V(unlimited) leaves only what all sandboxes of the host may
            have together, and the limit of the scope that libvirt and systemd-machined make, 16384 on Debian, which root inside can
            raise.
            """,
    )  # fmt: skip
    io: Io = option(
        {}, type="dict", of=Io, effect="live",
        help="""
            Limits of what is read from and written to disks. Defaults to no limits.

            The kernel counts what reaches a disk. A read from the page cache is free, and a write is counted when the kernel
            writes it out.

            A low limit of bandwidth or operations slows down others too: whoever reads the same file of C(/usr) at that moment, and
            whoever waits for the journal of the file system that the sandbox writes to. Keep it above what the sandbox needs.
            """,
    )  # fmt: skip
    capabilities: Capabilities = option(
        {}, type="dict", of=Capabilities, effect="restart",
        help="""
            Which of the kernel's capabilities the processes inside may have. Names are those of capabilities(7) in lower case,
            with or without C(cap_).

            By default libvirt takes C(sys_module), C(sys_time), C(mknod), C(audit_control) and C(mac_admin) from a sandbox, and
            the SELinux type denies more, above all C(sys_admin), and also C(net_admin) and C(net_raw) if O(process_type) is
            V(virt_sandbox_t).

            The effective set is the intersection of both. No option grants what the SELinux policy denies.
            """,
    )  # fmt: skip
    mounts: tuple[Mount, ...] = option(
        [], type="list", elements="dict", of=Mount, effect="restart",
        help="""
            What is mounted inside the sandbox in addition to C(/usr) and its own content. The order has no effect.

            Missing mount points are created as empty directories or files of root. They stay when the mount is removed.

            A change needs a restart. The mount points are checked at every start. One that became a link makes the start fail.
            """,
    )  # fmt: skip
    autostart: bool = option(True, type="bool", help="Whether the sandbox starts when the host boots.")

    defaults: int = DEFAULTS
    """The generation of defaults that the sandbox was made with."""

    @property
    def paths(self) -> layout.Layout:
        return layout.Layout(self.name, self.path, apart=self.defaults < 2)


@dataclasses.dataclass(frozen=True)
class Separation:
    """What a policy decides by. A level must be known, because without a host there is no registry."""

    name: str = option("", required=True, normal=owner, help="The name of the sandbox, or HOST/NAME.")
    level: Level = option(required=True, normal=Level.for_sandbox, unset=Level(), help="The MCS level of the sandbox.")
    process_type: str | None = option(
        normal=_type,
        help="""
            The SELinux type of the processes. Defaults to both types that sandboxes have by default, V(virt_sandbox_t) and
            V(virt_sandbox_net_t): the answers are those for either.
            """,
    )  # fmt: skip
    file_type: str = option(FILE_TYPE, normal=_type, help="The SELinux type of the content.")


@dataclasses.dataclass(frozen=True)
class Wait:
    """What must be true before a sandbox counts as started."""

    ports: tuple[int, ...] = option([], type="list", elements="int", help="TCP ports on which a process inside must listen.")


DECLARATION = """
    The id of the run that declares the sandbox, the same in its tasks. M(virt.sandbox.sandbox_content) records it, and
    M(virt.sandbox.sandbox_service) fails where another run has recorded its own since. The roles of this collection set it.
    """
"""What the option ``declaration`` is, in whichever request."""


@dataclasses.dataclass(frozen=True)
class ServiceRequest:
    """What one run of ``sandbox_service`` does with a sandbox."""

    state: str = option(
        "started", choices=STATES,
        help="""
            V(present) defines the sandbox and leaves it running or stopped as it is. A running sandbox that differs from what is
            declared is not restarted.

            V(started) starts it, and restarts it where a change needs a restart. Units that have ended or failed in a running
            sandbox are started.

            V(stopped) stops it, and tells the services inside to stop. V(restarted) always restarts it.

            V(reloaded) reloads the units inside, and starts a sandbox that is stopped.

            V(absent) stops and removes it. Its content stays until M(virt.sandbox.sandbox_content) removes it, and its level
            until M(virt.sandbox.mcs_label) releases it.
            """,
    )  # fmt: skip
    stale: str = option(
        "ignore", choices=("ignore", "restart"),
        help="""
            What to do about a sandbox in which a process still uses a file under C(/usr) that has since been replaced, because a
            package was updated. With V(restart), O(state=started) and O(state=reloaded) restart such a sandbox, and no other.

            M(virt.sandbox.sandbox_info) shows what is stale.
            """,
    )  # fmt: skip
    wait: Wait = option(
        {}, type="dict", of=Wait, help="What must be true, beside active units and addresses, before a sandbox counts as started."
    )
    upgrade_defaults: bool = option(
        False, type="bool",
        help="""
            Whether options that the play does not set get today's defaults. An existing sandbox otherwise keeps the defaults that
            it was made with. M(virt.sandbox.sandbox_info) lists the options that have an older default.
            """,
    )  # fmt: skip
    declaration: str | None = option(help=DECLARATION)


@dataclasses.dataclass(frozen=True)
class ContentRequest:
    """What one run of ``sandbox_content`` does with a sandbox's content."""

    state: str = option(
        "present", choices=("present", "absent"),
        help="V(absent) removes the content, if this collection made it and the sandbox is stopped.",
    )  # fmt: skip
    declaration: str | None = option(help=DECLARATION)


@dataclasses.dataclass(frozen=True)
class Common:
    """What holds for a whole run, whichever object it is about."""

    registry: str = option(REGISTRY, help="The label registry that has the level of a sandbox which is declared without O(level).")
    require_enforcing: bool = option(
        True, type="bool",
        help="""
            Whether to reject a host on which sandboxes would not be separated: SELinux is permissive, the policy lacks the types,
            the process type is permissive, or the policy does not constrain it by MCS.

            A host on which SELinux is disabled is always rejected, because nothing can be labelled there.
            """,
    )  # fmt: skip


def content_spec(parameters: Mapping[str, Any]) -> ContentSpec:
    """The normal form of what ``sandbox_content`` declares."""
    spec = build(ContentSpec, parameters)
    if spec.clone_of == spec.name:
        raise OptionError.said("clone_of", spec.clone_of, "a sandbox cannot be a clone of itself.")
    image.check_options(spec)
    disk.check_options(spec)
    paths = [file.path for file in spec.files]
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise OptionError.said(f"files[{number}].path", path, f"{path} is listed more than once. List each file once.")
        above = [other for other in paths if path.startswith(f"{other}/")]
        if above:
            raise OptionError.said(f"files[{number}].path", path, f"{path} is below {above[0]}, which is declared as a file too.")
    return dataclasses.replace(spec, units=_instances(spec.units, spec.name))


def service_spec(parameters: Mapping[str, Any], defaults: int = DEFAULTS) -> ServiceSpec:
    """The normal form of what ``sandbox_service`` declares, with the defaults of a generation."""
    if parameters.get("memory") is not None and parameters.get("memory_high") is None:
        parameters = {**parameters, "memory_high": UNLIMITED}
    spec = build(ServiceSpec, parameters, generation=defaults)
    spec = dataclasses.replace(spec, defaults=defaults, units=_instances(spec.units, spec.name), network=network.completed(spec.network))
    command.check(spec)
    network.check(spec)
    limits.check(spec)
    capabilities.check(spec)
    return dataclasses.replace(_typed(spec, parameters), mounts=mounts.ordered(spec.mounts, spec.path))


def _typed(spec: ServiceSpec, parameters: Mapping[str, Any]) -> ServiceSpec:
    """The spec with the type that its processes need, where none is declared."""
    if parameters.get("process_type") is not None or not capabilities.needs_networks(spec):
        return spec
    return dataclasses.replace(spec, process_type=NET_PROCESS_TYPE)


def _instances(units: tuple[str, ...], sandbox: str) -> tuple[str, ...]:
    """A template runs as the instance that bears the sandbox's name."""
    return tuple(sorted({instance_of(unit_name, sandbox) for unit_name in units}))


def dump(spec: ServiceSpec) -> str:
    """The spec file's text."""
    return json.dumps({"format": FORMAT, "defaults": spec.defaults, "sandbox": plain(spec)}, indent=2, sort_keys=True) + "\n"


def load(text: str, where: str) -> ServiceSpec:
    """A spec file's content, in whichever format; raises ``OptionError`` naming the file if this version does not read it."""
    try:
        document = json.loads(text)
        version = document["format"]
        if version == 1:
            document = {"defaults": 1, "sandbox": format_1.to_today(document["sandbox"])}
        elif version != FORMAT:
            raise OptionError(where, version, f"a spec of format 1 or {FORMAT}", "A newer release of the collection wrote it.")
        defaults = int(document["defaults"])
        spec = build(ServiceSpec, document["sandbox"], generation=defaults)
        return dataclasses.replace(_typed(spec, document["sandbox"]), defaults=defaults)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OptionError(where, text[:40], f"a spec as sandbox_service writes it ({error})") from error


def started_with(spec: ServiceSpec) -> dict[str, Any]:
    """What a sandbox is started with: its options whose change needs a restart, as JSON has them."""
    return restart_part(spec)
