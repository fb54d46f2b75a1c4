# SPDX-License-Identifier: GPL-3.0-or-later
"""Where everything of a sandbox is."""

from __future__ import annotations

import itertools
import shutil
import subprocess

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.model import layout
from ansible_collections.virt.sandbox.plugins.module_utils.model.mcs import Level


def test_the_paths_of_a_sandbox() -> None:
    paths = layout.Layout("my-web", "/srv/boxes")
    assert {name: getattr(paths, name) for name, kind in vars(layout.Layout).items() if isinstance(kind, property)} == {
        "root": "/srv/boxes/my-web",
        "building": "/srv/boxes/.my-web.new",
        "manifest": "/var/lib/virt-sandbox/content/my-web.json",
        "image": "/srv/boxes/my-web.img",
        "building_image": "/srv/boxes/.my-web.new.img",
        "mount": r"srv-boxes-my\x2dweb.mount",
        "mount_path": r"/etc/systemd/system/srv-boxes-my\x2dweb.mount",
        "copied": "/var/lib/virt-sandbox/content/my-web.copied.json",
        "journal": f"/srv/boxes/my-web/var/log/journal/{layout.machine_id('my-web')}",
        "journal_link": f"/var/log/journal/{layout.machine_id('my-web')}",
        "spec": "/etc/libvirt-sandbox/services/my-web.sandbox",
        "unit": "my-web_sandbox.service",
        "unit_path": "/etc/systemd/system/my-web_sandbox.service",
        "slice": r"machine-virt_sandbox-my\x2dweb.slice",
        "slice_path": r"/etc/systemd/system/machine-virt_sandbox-my\x2dweb.slice",
        "slice_apart": r"machine-my\x2dweb.slice",
        "cgroup": r"/sys/fs/cgroup/machine.slice/machine-virt_sandbox.slice/machine-virt_sandbox-my\x2dweb.slice",
        "run": "/run/virt-sandbox/my-web",
        "code": "/run/virt-sandbox/my-web.code",
        "filter": "/etc/libvirt-sandbox/services/my-web.nft",
    }


def test_the_first_generation_has_its_slices_beside_that_of_all() -> None:
    paths = layout.Layout("my-web", "/srv/boxes", apart=True)
    assert paths.cgroup == r"/sys/fs/cgroup/machine.slice/machine-my\x2dweb.slice"
    # and none of them is that of all
    assert layout.SANDBOXES not in {layout.Layout(name, "/srv", apart=True).slice for name in ("virt-sandbox", "sandbox", "virtsandbox")}


@pytest.mark.parametrize(("target", "name"), [("/run", "run"), ("/run/lock", "run-lock"), ("/tmp", "tmp"), ("/dev/shm", "dev-shm")])
def test_directories_in_memory_have_a_flat_name(target: str, name: str) -> None:
    assert layout.Layout("web", "/srv/x").memory(target) == f"/run/virt-sandbox/web/{name}"


@pytest.mark.skipif(not shutil.which("systemd-escape"), reason="needs systemd-escape")
def test_escape_is_systemds() -> None:
    names = ["web", "my-web", "a--b-0"]
    output = subprocess.run(["systemd-escape", "--", *names], check=True, capture_output=True, text=True).stdout
    assert " ".join(layout.escape(name) for name in names) == output.strip()


def test_no_two_sandboxes_share_a_path() -> None:
    texts = ["".join(letters) for length in range(1, 6) for letters in itertools.product("a0-", repeat=length)]
    every = [layout.Layout(text, "/srv/boxes") for text in texts if text[0] != "-" != text[-1]]
    for attribute in ("root", "building", "manifest", "spec", "unit", "slice", "run"):
        assert len({getattr(paths, attribute) for paths in every}) == len(every)
    assert not {paths.root for paths in every} & {paths.building for paths in every}


@pytest.mark.parametrize(
    ("path", "selinux_type"),
    [
        pytest.param("", "virt_sandbox_root_t", id="top"),
        pytest.param(".", "virt_sandbox_root_t", id="top by a dot"),
        pytest.param("usr", "virt_sandbox_root_t", id="skeleton"),
        pytest.param("bin", "virt_sandbox_root_t", id="link into /usr"),
        pytest.param("etc", "web_file_t", id="private"),
        pytest.param("etc/usr", "web_file_t", id="named as the skeleton, below"),
        pytest.param("var/lib/x", "web_file_t", id="content"),
        pytest.param("stranger", "web_file_t", id="another entry of the root"),
    ],
)
def test_each_entry_has_its_context(path: str, selinux_type: str) -> None:
    assert layout.expected_context("web_file_t", Level.parse("s0:c1,c2"))(path, 0o755) == f"system_u:object_r:{selinux_type}:s0:c1,c2"


def test_no_writable_directory_of_the_root_is_the_sandboxes_but_the_private_ones() -> None:
    expected = layout.expected_context("web_file_t", Level.parse("s0:c1,c2"))
    content = {path for path, mode, _link in layout.root_entries() if ":web_file_t:" in expected(path, mode)}
    assert content == set(layout.PRIVATE)


def test_the_root_has_a_place_for_every_mount() -> None:
    places = {path for path, _mode, link in layout.root_entries() if not link}
    for target in (*layout.SHARED, *layout.MEMORY, *layout.FOLLOWED):
        assert target.split("/")[1] in places


def test_machine_ids_are_stable_and_ones_own() -> None:
    assert layout.machine_id("web") == layout.machine_id("web")
    assert len({layout.machine_id(name) for name in ("web", "web-2", "db")}) == 3
    assert len(layout.machine_id("web")) == 32


@pytest.mark.parametrize(
    ("path", "identity"),
    [
        ("etc/machine-id", True),
        ("etc/hostname", True),
        ("etc/ssh/ssh_host_ed25519_key", True),
        ("etc/ssh/ssh_host_ed25519_key.pub", True),
        ("etc/ssh/sshd_config", False),
        ("etc/systemd/network/10-eth0.network", True),
        ("etc/systemd/network/10-mine.network", False),
        ("var/lib/dbus/machine-id", True),
        ("var/lib/systemd/random-seed", True),
        ("var/lib/dhcp/dhclient.eth0.leases", True),
        ("var/log/journal/0123456789abcdef0123456789abcdef", True),
        ("var/log/journal", False),
        ("var/www/html/etc/machine-id", False),
        ("home/me/hosts", False),
        ("var/www/.vsbx-new-0123", True),
    ],
)
def test_what_belongs_to_one_sandbox_alone(path: str, identity: bool) -> None:
    assert layout.is_identity(path) is identity


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("etc/ssh/ssh_host_rsa_key", "rsa"),
        ("etc/ssh/ssh_host_rsa_key.pub", ""),
        ("etc/ssh/ssh_host_-x_key", ""),
        ("srv/ssh_host_rsa_key", ""),
    ],
)
def test_host_keys(path: str, kind: str) -> None:
    assert layout.is_host_key(path) == kind


@pytest.mark.skipif(not shutil.which("systemd-escape"), reason="needs systemd-escape")
def test_the_name_of_a_mount_is_systemds() -> None:
    paths = ["/var/lib/libvirt/filesystems/my-web", "/srv/.boxes/web", "/.srv/a:b_c~+@/web", "/srv/b\u00fcro/web"]
    output = subprocess.run(["systemd-escape", "--path", "--suffix=mount", "--", *paths], check=True, capture_output=True, text=True).stdout
    assert " ".join(f"{layout.escape_path(path)}.mount" for path in paths) == output.strip()
