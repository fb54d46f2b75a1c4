# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter of system calls that is installed answers as its rules say, on each machine; and what loads it is loud where it cannot."""

from __future__ import annotations

import errno
import importlib.machinery
import importlib.util
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virt.sandbox.plugins.module_utils.host import enter
from ansible_collections.virt.sandbox.plugins.module_utils.model import layout

from ..tools import seccomp_filter as rules

seccomp = rules.seccomp
CONTROLLER = rules.PATH.with_name("virt-sandbox-controller")
I386, X32_BIT = seccomp.Arch.X86, 0x40000000
ALLOWED, NOT_THERE, EPERM = 0, errno.ENOSYS, errno.EPERM
HIGH = 1 << 32
# newer than the library of this machine may be
NUMBERS = {"open_tree_attr": 467, "file_getattr": 468, "file_setattr": 469}

Load = Callable[[str], bytes]


def answer(program: bytes, arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What the kernel makes of a call: 0 or the error. The instructions are those that libseccomp writes."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    instructions, at, word = list(struct.iter_unpack("=HBBI", program)), 0, 0
    compare: dict[int, Callable[[int], bool]] = {0x15: lambda k: word == k, 0x25: lambda k: word > k, 0x35: lambda k: word >= k}
    while True:
        code, if_true, if_false, k = instructions[at]
        at += 1
        if code == 0x06:
            assert k == seccomp.ALLOW or k & 0xFFFF0000 == 0x00050000
            return 0 if k == seccomp.ALLOW else k & 0xFFFF
        if code == 0x20:
            (word,) = struct.unpack_from("=I", data, k)
        elif code == 0x54:
            word &= k
        elif code == 0x05:
            at += k
        else:
            at += if_true if compare[code](k) else if_false


@pytest.fixture(params=rules.MACHINES)
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ask(machine: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The answer to a call on a machine, by the file that is installed."""
    monkeypatch.setattr(enter, "SECCOMP", str(rules.PATH))
    program, arch = enter.seccomp_filter(machine), rules.MACHINES[machine]

    def asked(call: str, *arguments: int) -> int:
        number = NUMBERS.get(call) or seccomp.resolve_syscall(arch, call)
        return answer(program, arch, number, arguments) if number >= 0 else -1

    return asked


def loader(name: str = "controller") -> Any:
    """The program that is run in place of libvirt's controller, as a module."""
    source = importlib.machinery.SourceFileLoader(name, str(CONTROLLER))
    spec = importlib.util.spec_from_loader(name, source)
    assert spec
    module = importlib.util.module_from_spec(spec)
    source.exec_module(module)
    return module


def test_a_call_is_refused_by_its_name(ask: Callable[..., int]) -> None:
    for call, number in rules.REFUSED.items():
        assert ask(call) in (number, -1), call
    assert ask("keyctl") == ask("kexec_load") == ask("open_by_handle_at") == ask("userfaultfd") == EPERM
    assert ask("fsopen") == ask("mount_setattr") == ask("clone3") == ask("io_uring_setup") == NOT_THERE


@pytest.mark.parametrize("call", NUMBERS)
def test_a_call_that_is_newer_than_the_rules_is_not_there(ask: Callable[..., int], call: str) -> None:
    assert ask(call) == NOT_THERE


@pytest.mark.parametrize(
    "call",
    ["read", "execve", "openat", "mount", "umount2", "pivot_root", "reboot", "ptrace", "seccomp", "name_to_handle_at", "prctl"],
)
def test_what_the_controller_and_services_need_is_allowed(ask: Callable[..., int], call: str) -> None:
    assert ask(call) in (ALLOWED, -1)


@pytest.mark.parametrize(("call", "place"), rules.NAMESPACES.items())
@pytest.mark.parametrize("others", [0, 0x20000, 0x4000, HIGH])
def test_a_user_namespace_is_refused_whatever_is_asked_with_it(ask: Callable[..., int], call: str, place: int, others: int) -> None:
    arguments = [0, 0]
    arguments[place] = others
    assert ask(call, *arguments) == ALLOWED
    arguments[place] |= rules.CLONE_NEWUSER
    assert ask(call, *arguments) == EPERM


@pytest.mark.parametrize(("request_", "number"), rules.IOCTLS.values(), ids=rules.IOCTLS)
@pytest.mark.parametrize("high", [0, HIGH, 0xFFFFFFFF << 32])
def test_a_request_is_refused_by_its_low_half(ask: Callable[..., int], request_: int, number: int, high: int) -> None:
    assert ask("ioctl", 0, request_ | high) == number
    assert ask("ioctl", request_, request_ + 1) == ALLOWED


@pytest.mark.parametrize("command", range(40))
def test_bpf_is_for_what_limits_devices(ask: Callable[..., int], command: int) -> None:
    assert ask("bpf", command) == (ALLOWED if command in rules.BPF_ALLOWED else EPERM)
    assert ask("bpf", command | HIGH) == EPERM


def test_programs_of_another_architecture_have_no_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enter, "SECCOMP", str(rules.PATH))
    program, arch = enter.seccomp_filter("x86_64"), rules.MACHINES["x86_64"]
    assert answer(program, arch, 0) == ALLOWED
    assert answer(program, arch, X32_BIT) == answer(program, I386, 3) == NOT_THERE


def test_what_is_installed_is_of_this_version() -> None:
    lines = rules.PATH.read_text().splitlines()
    assert lines[1:3] == [layout.MARK, f"# VERSION={rules.VERSION}"]
    assert {line.split()[0] for line in lines[4:]} == {*rules.MACHINES}


# ---- who loads it


@pytest.fixture(params=[enter, "controller"], ids=["whoever enters", "the controller"])
def load(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """Reads a filter that is in a file of this test."""
    module = enter if request.param is enter else loader()
    assert module.SECCOMP == layout.SECCOMP
    monkeypatch.setattr(module, "SECCOMP", str(tmp_path / "filter"))
    return module.seccomp_filter  # type: ignore[no-any-return]


def test_it_is_read_for_its_machine(load: Load, tmp_path: Path) -> None:
    (tmp_path / "filter").write_text("# VERSION=1\nx86_64 6 0 0 1\nx86_64_32 6 0 0 2\nriscv64 6 1 2 3\n")
    assert load("x86_64") == struct.pack("=HBBI", 6, 0, 0, 1)
    assert load("riscv64") == struct.pack("=HBBI", 6, 1, 2, 3)


def test_a_machine_without_a_filter_is_said(load: Load, tmp_path: Path) -> None:
    (tmp_path / "filter").write_text("x86_64 6 0 0 1\n")
    with pytest.raises((enter.EnterError, SystemExit), match="has no filter of system calls for aarch64"):
        load("aarch64")


def test_nothing_is_started_or_entered_without_the_file(load: Load) -> None:
    with pytest.raises((enter.EnterError, FileNotFoundError), match="No such file"):
        load("x86_64")


def test_the_controller_is_started_as_libvirt_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    controller, started, done = loader(), tmp_path / "libvirt_lxc", []
    started.touch()
    monkeypatch.setattr(controller, "CONTROLLERS", (str(tmp_path / "none"), str(started)))
    monkeypatch.setattr(controller, "confine", lambda: done.append("confine"))
    monkeypatch.setattr(controller.signal, "signal", lambda *_ignored: None)
    monkeypatch.setattr(os, "execv", lambda path, arguments: done.append((path, arguments)))
    monkeypatch.setattr(sys, "argv", ["virt-sandbox-controller", "--name", "web"])
    controller.main()
    assert done == ["confine", (str(started), [str(started), "--name", "web"])]


PR_SET_NO_NEW_PRIVS = 38


@pytest.mark.parametrize("how", ["controller", "enter"])
def test_the_kernel_takes_it(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """In a child, of which no test has more after it; whoever runs the tests need not be root."""
    if os.uname().machine not in rules.MACHINES:
        pytest.skip("no filter for this machine")
    module = loader() if how == "controller" else enter
    monkeypatch.setattr(module, "SECCOMP", str(rules.PATH))
    confine = module.confine if how == "controller" else enter._confiner()
    pid = os.fork()
    if pid == 0:
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        confine()
        library.syscall(seccomp.resolve_syscall(seccomp.Arch.NATIVE, "keyctl"), 0, 0, 0, 0, 0)
        os._exit(ctypes.get_errno())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == EPERM
