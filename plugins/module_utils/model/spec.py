# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sandbox is: the tables of options of ``sandbox_content`` and ``sandbox_service``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import posixpath
import re
from collections.abc import Mapping
from typing import Any

from . import capabilities, command, image, layout, limits, mounts, network, unit
from .errors import OptionError
from .limits import IO, cpu_shares
from .mcs import Level
from .options import Option, differences, normalise
from .unit_file import instance_of
from .values import READ_OTHERWISE, absolute, quoted_mode, size, whole

FORMAT = 1
# where a host keeps which of its sandboxes has which level
REGISTRY = "sqlite:////var/lib/virt-sandbox/labels.db"
PROCESS_TYPE = "virt_sandbox_t"
FILE_TYPE = "virt_sandbox_file_t"

# virsh would take a number alone for the ID of another domain
_NAME = re.compile(r"(?![0-9-]*\Z)[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?\Z")
_UNIT = re.compile(r"[A-Za-z0-9:_\\][A-Za-z0-9:_.\\-]*(?:@[A-Za-z0-9:_.\\-]*)?\.(?:service|socket|target|timer|path)\Z")
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_]*_t\Z")
# a sandbox's private content lives there; everything else of the host is /usr, or not inside
IDMAP_REFUSED = (
    "none: the policy lets libvirt make no user namespace (virtd_lxc_t is denied user_namespace create), and gives a sandbox no "
    "capability in one (class cap_userns); the owners of the content would have to be shifted too"
)
PRIVATE_ROOTS = ("/etc", "/var", "/home", "/root", "/srv")


def name(value: str) -> str:
    """A sandbox's name: a host name, a file name, a unit name and a libvirt name at once."""
    if not _NAME.match(value) or value == "localhost":
        raise ValueError("1 to 50 lower-case letters, digits and inner dashes; not digits alone, nor localhost")
    return value


def owner(value: str) -> str:
    """A sandbox's name, of a host where a registry is for several."""
    host, slash, text = value.rpartition("/")
    if slash and not re.fullmatch(r"[^\s/]+", host):
        raise ValueError("the name of a sandbox, or HOST/NAME as a registry for several hosts has it")
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
    for one in units:
        if not _UNIT.match(one):
            raise ValueError(f"names of systemd units, such as httpd.service; {one!r} is none")
    return units


def _instances(spec: dict[str, Any]) -> None:
    """A template runs as the instance that bears the sandbox's name."""
    spec["units"] = sorted({instance_of(unit, spec["name"]) for unit in spec["units"]})


def _mode(value: Any) -> str:
    text = quoted_mode(value)
    if not re.fullmatch("0?[0-7]{3}", text):
        raise ValueError("a mode as three digits, such as 0644")
    return text[-3:].zfill(4)


def _file(value: str) -> str:
    (path,) = _private([value])
    if path in unit.WRITTEN or posixpath.basename(path) in (unit.DROP_IN, unit.SETTINGS):
        raise ValueError("a path that sandbox_service does not write itself")
    if any(mounts.overlap(path, place) for place in layout.FOLLOWED):
        raise ValueError(f"a path outside {', '.join(layout.FOLLOWED)}, which the sandbox has from its host")
    return path


def _level(value: str) -> str:
    return str(Level.for_sandbox(value))


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


def _no_idmap(value: Any) -> None:
    del value
    raise ValueError(IDMAP_REFUSED)


# what both modules and the label registry know a sandbox by
IDENTITY: tuple[Option, ...] = (
    Option("name", required=True, normalise=name),
    Option("path", type="path", default=layout.FILESYSTEMS, normalise=_base, effect="restart"),
    Option("level", normalise=_level, effect="restart"),
    Option("file_type", default=FILE_TYPE, normalise=_type, effect="restart"),
)

FILE: tuple[Option, ...] = (
    Option("path", required=True, normalise=_file),
    Option("content", default=""),
    Option("mode", type="raw", default="0644", normalise=_mode),
)

CONTENT: tuple[Option, ...] = IDENTITY + (
    Option("private", type="list", elements="str", default=[], normalise=_private),
    Option("units", type="list", elements="str", default=[], normalise=_units),
    Option("files", type="list", elements="dict", default=[], suboptions=FILE),
    Option("clone_of", normalise=name),
    Option("method", default="directory", choices=("directory", "image")),
    Option("size", normalise=_image_size),
)

SERVICE: tuple[Option, ...] = IDENTITY + (
    Option("units", type="list", elements="str", default=[], normalise=_units, effect="restart"),
    *command.OPTIONS,
    Option("process_type", default=PROCESS_TYPE, normalise=_type, effect="restart"),
    Option("network", type="list", elements="dict", default=[], suboptions=network.NETWORK_OPTIONS, effect="restart"),
    Option("memory", normalise=size, effect="live"),
    Option("cpus", type="float", normalise=_cpus, effect="live"),
    Option("cpu_shares", type="int", normalise=cpu_shares, effect="live"),
    Option("tasks_max", type="int", normalise=whole("a number of tasks", 1, 1 << 22), effect="live"),
    Option("io", type="dict", default={}, suboptions=IO, effect="live"),
    Option("capabilities", type="dict", default={}, suboptions=capabilities.CAPABILITIES, effect="restart"),
    Option("idmap", type="dict", normalise=_no_idmap, effect="restart"),
    Option("mounts", type="list", elements="dict", default=[], suboptions=mounts.MOUNT, effect="restart"),
    Option("autostart", type="bool", default=True, effect="none"),
)

# what a policy decides by; a level must be known, for where there is no host there is no registry
SEPARATION: tuple[Option, ...] = (
    Option("name", required=True, normalise=owner),
    *(
        dataclasses.replace(option, required=option.name == "level")
        for option in SERVICE if option.name in ("level", "process_type", "file_type")
    ),
)  # fmt: skip

# what holds for a run, whichever object it is about
COMMON: tuple[Option, ...] = (
    Option("registry", default=REGISTRY),
    Option("require_enforcing", type="bool", default=True),
)


def content_spec(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The normal form of what ``sandbox_content`` declares."""
    spec = normalise(CONTENT, parameters)
    if spec["clone_of"] == spec["name"]:
        raise OptionError("clone_of", spec["clone_of"], "another sandbox than itself")
    if spec["method"] != "image" and spec["size"] is not None:
        raise OptionError("size", parameters["size"], "none where the content is a directory; method: image makes it an image")
    _instances(spec)
    paths = [file["path"] for file in spec["files"]]
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise OptionError(f"files[{number}].path", path, "each file once")
    return spec


def service_spec(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The normal form of what ``sandbox_service`` declares."""
    spec = normalise(SERVICE, parameters)
    _instances(spec)
    command.check(spec)
    network.check(spec)
    limits.check(spec)
    capabilities.check(spec)
    spec["mounts"] = mounts.ordered(spec["mounts"], spec["path"])
    return spec


def dump(spec: Mapping[str, Any]) -> str:
    """The spec file's text."""
    return json.dumps({"format": FORMAT, "sandbox": spec}, indent=2, sort_keys=True) + "\n"


def load(text: str, where: str) -> dict[str, Any]:
    """A spec file's content; raises ``OptionError`` naming the file if it is none that this version reads."""
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise OptionError(where, document["format"], f"a spec of format {FORMAT}")
        return normalise(SERVICE, document["sandbox"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionError(where, text[:40], f"a spec as sandbox_service writes it ({error})") from error


def fingerprint(spec: Mapping[str, Any]) -> str:
    """A short hash of the spec, by which its domain is recognised."""
    return hashlib.sha256(dump(spec).encode()).hexdigest()[:16]


def start_fingerprint(spec: Mapping[str, Any]) -> str:
    """A short hash of what a sandbox is started with: the options whose change needs a restart."""
    return fingerprint({option.name: started_with(option, spec) for option in SERVICE if option.effect == "restart"})


def needs_restart(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The options whose change only a restart brings into a running sandbox."""
    changed = [option for option in differences(SERVICE, before, after) if option.effect == "restart"]
    return [option.name for option in changed if started_with(option, before) != started_with(option, after)]


def started_with(option: Option, spec: Mapping[str, Any]) -> Any:
    """An option's value without what of it changes while the sandbox runs."""
    live = {suboption.name for suboption in option.suboptions if suboption.effect == "live"}
    if not live:
        return spec[option.name]
    return [{name: value for name, value in item.items() if name not in live} for item in spec[option.name]]
