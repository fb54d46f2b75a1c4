# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 (a table is read by lines)
"""What is mounted into a sandbox: which declarations contradict themselves, and what the host gets of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.engine import mounts as engine
from ansible_collections.virt.sandbox.plugins.module_utils.model import mounts, unit
from ansible_collections.virt.sandbox.plugins.module_utils.model.context import Context
from ansible_collections.virt.sandbox.plugins.module_utils.model.definition import Bind, define
from ansible_collections.virt.sandbox.plugins.module_utils.model.errors import OptionError
from ansible_collections.virt.sandbox.plugins.module_utils.model.mounts import ObservedMount
from ansible_collections.virt.sandbox.plugins.module_utils.model.observed import Host
from ansible_collections.virt.sandbox.plugins.module_utils.model.service_plan import plan_service
from ansible_collections.virt.sandbox.plugins.module_utils.model.steps import MakeMountPoints, RelabelSource

from .conftest import Declared, MakeSpec

BIND = {"source": "/data/pages", "target": "/srv/pages"}
OWNED = {**BIND, "relabel": True}
IMAGE = {"type": "image", "source": "/data/disk.img", "target": "/var/lib/big", "read_only": True}
RAM = {"type": "ram", "target": "/var/cache/quick", "size": "8M", "mode": "1777"}
DIRECTORY = ObservedMount(source="directory", real="/data/pages", context="a:b:c_t:s0", point="directory")
PLACES = "a path below /etc, /var, /mnt, /media, /opt, /home, /root, /srv"
CONTEXT = "system_u:object_r:virt_sandbox_file_t:s0:c1,c2"


@pytest.mark.parametrize(
    "target",
    [
        "/usr", "/usr/share/x", "/", "/etc", "/var", "/bin", "/lib/x", "/proc/x", "/sys", "/dev/x", "/run/x", "/tmp/x", "/dev/shm", "/.oldroot",
        "/srvx",
    ],
)  # fmt: skip
def test_nothing_is_mounted_over_what_is_the_hosts_or_made_at_each_start(service: MakeSpec, target: str) -> None:
    with pytest.raises(OptionError) as caught:
        service(mounts=[{**BIND, "target": target}])
    assert str(caught.value) == f"mounts[0].target: {target!r} is invalid: expected {PLACES}."


@pytest.mark.parametrize("target", ["/srv", "/home", "/root", "/mnt", "/opt/x", "/media/x/y", "/etc/app", "/var/lib/x", "/var/runx"])
def test_these_places_are_free(service: MakeSpec, target: str) -> None:
    assert service(mounts=[{**BIND, "target": target}]).mounts[0].target == target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param([{"target": "srv"}], "mounts[0].target: 'srv' is invalid: expected an absolute path without", id="relative"),
        pytest.param([{"target": "/srv/../usr"}], "mounts[0].target: '/srv/../usr' is invalid: expected an absolute path without", id="climbs"),
        pytest.param([{"target": "/srv/a b"}], "mounts[0].target: '/srv/a b' is invalid: expected an absolute path without spaces", id="space"),
        pytest.param([{"target": "/srv/$x"}], "mounts[0].target: '/srv/$x' is invalid: expected an absolute path without spaces", id="variable"),
        pytest.param([{"target": "/etc/systemd"}], "mounts[0].target: '/etc/systemd' is invalid: expected a path that is not above or below", id="units"),
        pytest.param([{"target": "/etc/ssl"}], "mounts[0].target: '/etc/ssl' is invalid: expected a path that is not above or below /etc/ssl/c", id="above"),
        pytest.param([{"target": "/var/run/x"}], "mounts[0].target: '/var/run/x' is invalid: expected a path that is not above or below", id="below a link"),
        pytest.param([{"target": None}], "mounts[0].target: required", id="no target"),
        pytest.param([{"type": "nfs"}], "mounts[0].type: 'nfs' is invalid: expected one of bind, image, ram", id="type"),
        pytest.param([{"source": None}], "mounts[0].source: required when type is bind.", id="no source"),
        pytest.param([{"size": "1M"}], "mounts[0].size: only valid when type is ram.", id="size of a bind"),
        pytest.param([{**IMAGE, "relabel": True}], "mounts[0].relabel: only valid when type is bind.", id="relabel"),
        pytest.param([{**RAM, "size": None}], "mounts[0].size: required when type is ram.", id="no size"),
        pytest.param([{**RAM, "size": "much"}], "mounts[0].size: 'much' is invalid: expected a size above 0 such as 512M", id="a word as size"),
        pytest.param([{**RAM, "mode": "rwx"}], "mounts[0].mode: 'rwx' is invalid: expected a mode, such as '0644'", id="mode"),
        pytest.param([{**RAM, "read_only": True}], "mounts[0].read_only: only valid when type is bind or image.", id="ro ram"),
        pytest.param([{**RAM, "source": "/data"}], "mounts[0].source: only valid when type is bind or image.", id="ram of"),
        pytest.param([{}, {}], "mounts[/srv/pages].target: /srv/pages overlaps with the target /srv/pages. Choose another target.", id="twice"),
        pytest.param(
            [{**RAM, "target": "/srv/pages/x"}, {}],
            "mounts[/srv/pages/x].target: /srv/pages/x overlaps with the target /srv/pages. Choose another target.",
            id="nested",
        ),
        pytest.param(
            [IMAGE, {**IMAGE, "target": "/srv/x"}], "mounts: image /data/disk.img is mounted more than once. Mount each image once.", id="one image twice"
        ),
        *(
            pytest.param([{"source": path}], f"mounts[0].source: {path!r} is invalid: expected a path that is not above or below", id=path)
            for path in (
                "/", "/var", "/etc", "/run", "/proc/1", "/sys", "/dev/shm", "/run/virt-sandbox/web", "/var/lib/libvirt",
                "/var/lib/libvirt/filesystems", "/var/lib/libvirt/filesystems/other/srv",
            )
        ),
    ],
)  # fmt: skip
def test_refusals(service: MakeSpec, changes: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        service(mounts=[change if "type" in change and "target" in change else {**BIND, **change} for change in changes])
    assert str(caught.value).startswith(message)


def test_their_order_is_of_no_account(service: MakeSpec) -> None:
    assert service(mounts=[BIND, IMAGE, RAM]) == service(mounts=[RAM, BIND, IMAGE])
    assert [mount.target for mount in service(mounts=[IMAGE, RAM, BIND]).mounts] == ["/srv/pages", "/var/cache/quick", "/var/lib/big"]


def test_what_the_host_gets(service: MakeSpec, host: Host) -> None:
    spec = service(mounts=[BIND, IMAGE, RAM])
    assert define(spec, host.followed).binds[-3:] == (
        Bind("/data/pages", "/srv/pages"),
        Bind("/run/virt-sandbox/web/mount-1", "/var/cache/quick"),
        Bind("/run/virt-sandbox/web/mount-2", "/var/lib/big", read_only=True),
    )
    text = unit.host_unit(spec)
    assert "RequiresMountsFor=/var/lib/libvirt/filesystems/web /data/pages /data/disk.img\n" in text
    root = "/var/lib/libvirt/filesystems/web"
    assert mounts.unit_arguments(spec) == [
        "source:/data/pages",
        "source:/data/disk.img",
        f"point:{root}/srv/pages",
        "ram:/run/virt-sandbox/web/mount-1:8388608:1777",
        f"point:{root}/var/cache/quick",
        "image:/run/virt-sandbox/web/mount-2:ro:/data/disk.img",
        f"point:{root}/var/lib/big",
    ]
    assert " ".join([f"root:{root}", *mounts.unit_arguments(spec)]) in text


SOURCE = "mounts[/srv/pages].source: '/data/pages' is invalid"
RELABEL = f"Set relabel: true to give everything in it the label of the sandbox ({CONTEXT})"
DENIED = {"context": "system_u:object_r:etc_t:s0", "denied": "dir read"}


@pytest.mark.parametrize(
    ("mount", "seen", "message"),
    [
        (BIND, {"source": ""}, "mounts[/srv/pages].source: '/data/pages' is invalid: expected a path that exists on the host."),
        (BIND, {"real": "/other"}, "mounts[/srv/pages].source: '/data/pages' is invalid: expected a path without symbolic links. Its real path is /other."),
        (BIND, {"source": "socket"}, "mounts[/srv/pages].source: '/data/pages' is invalid: expected a directory or a file, not a socket."),
        (BIND, DENIED, f"{SOURCE}: expected a source that the sandbox may use. Its label system_u:object_r:etc_t:s0 denies dir read. {RELABEL}"),
        (BIND, {"point": "symlink"}, "mounts[/srv/pages].target: '/srv/pages' is invalid: expected a directory inside or nothing, not a symlink."),
        ({**BIND, "relabel": True}, {"source": "file", "point": ""}, "mounts[/srv/pages].relabel: only valid when source is a directory."),
        (BIND, {"source": "file"}, "mounts[/srv/pages].target: '/srv/pages' is invalid: expected a file inside or nothing, not a directory."),
        (IMAGE, {"source": "file", "real": "/data/disk.img"}, "mounts[/var/lib/big].source: '/data/disk.img' is invalid: expected a file that is a raw"),
        (IMAGE, {"source": "image", "real": "/data/disk.img", "conflict": "sandbox db mounts it."}, "mounts[/var/lib/big].source: sandbox db mounts it."),
        (IMAGE, {"source": "image", "real": "/data/disk.img", **DENIED}, "mounts[/var/lib/big].source: '/data/disk.img' is invalid: expected an image that"),
    ],
)  # fmt: skip
def test_what_the_host_or_the_content_forbids(service: MakeSpec, mount: dict[str, Any], seen: dict[str, Any], message: str) -> None:
    spec = service(mounts=[mount])
    with pytest.raises(OptionError) as caught:
        mounts.check(spec, {mount["target"]: ObservedMount(**{**vars(DIRECTORY), **seen})}, False)
    assert str(caught.value).startswith(message)


def test_what_may_be_mounted(service: MakeSpec) -> None:
    spec = service(mounts=[{**BIND, "relabel": True}, IMAGE, RAM])
    seen = {
        BIND["target"]: ObservedMount(**{**vars(DIRECTORY), **DENIED, "denied": ""}),
        IMAGE["target"]: ObservedMount(source="image", real=str(IMAGE["source"])),
        RAM["target"]: ObservedMount(),
    }
    mounts.check(spec, seen, False)


def test_places_are_made_and_labels_given_before_anything_starts(service: MakeSpec, host: Host, declared: Declared) -> None:
    spec = service(mounts=[{**BIND, "relabel": True}, RAM])
    seen = {BIND["target"]: ObservedMount(source="directory", mislabelled=3), RAM["target"]: ObservedMount(point="directory")}
    plan = plan_service(spec, "started", declared(service(), mounts=seen), host)
    points, label = (step for step in plan if isinstance(step, (MakeMountPoints, RelabelSource)))
    assert points == MakeMountPoints("web", spec.paths.root, Context.parse(CONTEXT), {"/srv/pages": "directory"})
    assert label == RelabelSource("web", "/data/pages", Context.parse(CONTEXT), 3)
    assert label.change() == ("3 entries with another label", CONTEXT)
    assert [step.title for step in plan][-1] == "restart"
    settled = {target: ObservedMount(source="directory", point="directory") for target in seen}
    assert not plan_service(spec, "started", declared(spec, mounts=settled), host).changed


def test_what_stands_at_the_place_inside(tmp_path: Path) -> None:
    (tmp_path / "srv/pages").mkdir(parents=True)
    (tmp_path / "srv/file").touch()
    (tmp_path / "srv/link").symlink_to("/usr")
    assert engine._point(str(tmp_path), "srv/pages") == "directory"
    assert engine._point(str(tmp_path), "srv/file") == "file"
    assert engine._point(str(tmp_path), "srv/file/x") == "file in the way to it"
    assert engine._point(str(tmp_path), "srv/link") == "symlink"
    assert engine._point(str(tmp_path), "srv/link/x") == "symlink in the way to it"
    assert engine._point(str(tmp_path), "srv/none/x") == ""


def test_an_image_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(1024 + 56) + b"\x53\xef" + bytes(100))
    assert engine._kind(str(image)) == "image"
    image.write_bytes(bytes(5000))
    assert engine._kind(str(image)) == "file"
    assert (engine._kind(str(tmp_path)), engine._kind(str(tmp_path / "none")), engine._kind("/dev/null")) == (
        "directory",
        "",
        "device",
    )


@pytest.mark.parametrize(
    ("mount", "theirs", "allowed"),
    [
        pytest.param(BIND, BIND, "", id="a source of both"),
        pytest.param(OWNED, BIND, "", id="one relabels"),
        pytest.param(OWNED, {**OWNED, "source": "/data"}, "sandbox db relabels /data. Set relabel: true for one sandbox only.", id="both"),
        pytest.param(IMAGE, IMAGE, "", id="an image that both read"),
        pytest.param(
            IMAGE, {**IMAGE, "read_only": False},
            "sandbox db mounts this image too. Set read_only: true in both, or choose another image.", id="one writes",
        ),
        pytest.param(
            {**BIND, "source": "/srv/boxes/db/var/www"}, RAM,
            "/srv/boxes/db/var/www is above or below the content of sandbox db. Choose another path.", id="content",
        ),
    ],
)  # fmt: skip
def test_what_is_another_sandboxs(service: MakeSpec, mount: dict[str, Any], theirs: dict[str, Any], allowed: str) -> None:
    spec = service(mounts=[mount])
    assert mounts.conflict(spec.mounts[0], [service(name="db", path="/srv/boxes", mounts=[theirs])]) == allowed


@pytest.mark.parametrize(
    ("mode", "meant"), [(493, "755"), (0o1777, "1777"), ("0755", "755"), ("01777", "1777"), ("755", "755"), (0, "000")]
)
def test_a_mode_that_yaml_has_made_a_number_of_is_what_was_written(service: MakeSpec, mode: object, meant: str) -> None:
    assert service(mounts=[{**RAM, "mode": mode}]).mounts[0].mode == meant


@pytest.mark.parametrize("mode", [0o10000, -1, True, 7.5, "0o755", "789", "77777", ""])
def test_no_other_number_is_a_mode(service: MakeSpec, mode: object) -> None:
    with pytest.raises(OptionError, match=r"mounts\[0\].mode: .* is invalid: expected a mode, such as '0644'"):
        service(mounts=[{**RAM, "mode": mode}])
