# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the sandboxes' filter of system calls, as libseccomp makes it, to a file that the role ``host`` installs.

A host needs no library to load it: the file has the instructions in numbers, each after the machine (``uname -m``) that it is for.
``make generate`` writes it; ``tests/unit/test_seccomp.py`` fails where it does not do what is said here.
"""

from __future__ import annotations

import errno
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyseccomp as seccomp

PATH = Path(__file__).resolve().parents[2] / "roles" / "host" / "files" / "virt-sandbox-seccomp"
VERSION = 1
MACHINES = {"x86_64": seccomp.Arch.X86_64, "aarch64": seccomp.Arch.AARCH64}

# Each with the answer that makes programs fall back on what they do on a kernel without the call. Whatever is not named here is
# left to SELinux and the capabilities.
REFUSED: dict[str, int] = {
    # mounts that SELinux does not see, or sees less of than of mount(2), which the controller needs
    **dict.fromkeys(("open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr"), errno.ENOSYS),
    # its flags, which may ask for a user namespace, are in memory, where no filter sees them; libc uses clone then
    "clone3": errno.ENOSYS,
    # system calls past every filter of them
    **dict.fromkeys(("io_uring_setup", "io_uring_enter", "io_uring_register"), errno.ENOSYS),
    # the kernel itself
    **dict.fromkeys(("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "perf_event_open"), errno.EPERM),
    # parts of the kernel in which exploits begin, or that help them along
    **dict.fromkeys(("userfaultfd", "kcmp", "modify_ldt", "lookup_dcookie", "nfsservctl", "iopl", "ioperm"), errno.EPERM),
    # keyrings have no namespace of their own
    **dict.fromkeys(("add_key", "request_key", "keyctl"), errno.EPERM),
    # file systems of the host
    **dict.fromkeys(("open_by_handle_at", "fanotify_init", "quotactl", "quotactl_fd", "acct", "swapon", "swapoff"), errno.EPERM),
    # the host's clock
    **dict.fromkeys(("settimeofday", "clock_settime"), errno.EPERM),
}  # fmt: skip

CLONE_NEWUSER = 0x10000000
# the call, and which of its arguments has the flags
NAMESPACES = {"clone": 0, "unshare": 0, "setns": 1}
# type for who is at a terminal; leave the project whose quota counts, or make a file that nobody can remove
IOCTLS = {
    "TIOCSTI": (0x5412, errno.EPERM),
    "TIOCLINUX": (0x541C, errno.EPERM),
    # as on a file system without these: systemd says nothing then
    "FS_IOC_FSSETXATTR": (0x401C5820, errno.EOPNOTSUPP),
    "FS_IOC_SETFLAGS": (0x40086602, errno.EOPNOTSUPP),
}
# what the controller limits devices with: maps (0 to 4), programs (5, 8, 9, 16) and what is known of them (13 to 15)
BPF_ALLOWED = {0, 1, 2, 3, 4, 5, 8, 9, 13, 14, 15, 16}
# the first call that is newer than this list: open_tree_attr(2) of Linux 6.15. The numbers are the same on every machine
LATER = 467

_WORD = 0xFFFFFFFF
_BPF_LD_W_ABS, _BPF_JGE, _BPF_RET = 0x20, 0x35, 0x06


def rules() -> Iterator[tuple[int, str, tuple[seccomp.Arg, ...]]]:
    """The answer, the call, and which of its arguments it is given for."""
    for call, number in REFUSED.items():
        yield number, call, ()
    for call, argument in NAMESPACES.items():
        yield errno.EPERM, call, (seccomp.Arg(argument, seccomp.MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER),)
    # the kernel takes these for 32 bits, whatever is in the others
    for request, number in IOCTLS.values():
        yield number, "ioctl", (seccomp.Arg(1, seccomp.MASKED_EQ, _WORD, request),)
    for command in sorted({*range(max(BPF_ALLOWED))} - BPF_ALLOWED):
        yield errno.EPERM, "bpf", (seccomp.Arg(0, seccomp.MASKED_EQ, _WORD, command),)
    yield errno.EPERM, "bpf", (seccomp.Arg(0, seccomp.GT, max(BPF_ALLOWED)),)


def exported(machine: str) -> bytes:
    """The program of a machine. What is not of its own architecture, 32-bit programs among it, is not there either."""
    filter_ = seccomp.SyscallFilter(seccomp.ALLOW)
    if not filter_.exist_arch(MACHINES[machine]):
        filter_.add_arch(MACHINES[machine])
        filter_.remove_arch(seccomp.Arch.NATIVE)
    filter_.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.ERRNO(errno.ENOSYS))
    for number, call, arguments in rules():
        filter_.add_rule(seccomp.ERRNO(number), call, *arguments)
    with tempfile.TemporaryFile() as file:
        filter_.export_bpf(file)
        file.seek(0)
        return file.read()


def program(machine: str) -> list[tuple[int, int, int, int]]:
    """Before libseccomp's own instructions are three, which a library does not have: calls by a range of numbers."""
    later = [(_BPF_LD_W_ABS, 0, 0, 0), (_BPF_JGE, 0, 1, LATER), (_BPF_RET, 0, 0, seccomp.ERRNO(errno.ENOSYS))]
    return [*later, *struct.iter_unpack("=HBBI", exported(machine))]


def text() -> str:
    """The file."""
    lines = [f"{machine} {' '.join(map(str, one))}" for machine in MACHINES for one in program(machine)]
    return "\n".join([
        "# SPDX-License-Identifier: GPL-3.0-or-later",
        "# Made by virt.sandbox; changes are overwritten.",
        f"# VERSION={VERSION}",
        "# The sandboxes' filter of system calls: a machine, and an instruction of its program (seccomp(2)). Made by libseccomp.",
        *lines,
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
