# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside a sandbox, as root there: tries what must be denied, and what must not, and says how each ended.

Its input is a JSON object on the first argument; its output one of ``{attempt: outcome}``, where an outcome is ``ok`` or
the name of the error. It is run on the host too, where the same attempts succeed.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import glob
import json
import os
import socket
import stat
import struct
import sys
import zlib
from typing import Any, Callable

LIBC = ctypes.CDLL(None, use_errno=True)
GIVEN: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
CGROUPS = "/sys/fs/cgroup"
MACHINES = CGROUPS + "/machine.slice/machine-virt_sandbox.slice"
# of x86_64
INIT_MODULE, SYSLOG, ADD_KEY, KEYCTL = 175, 103, 248, 250
SHMGET, SEMGET, MSGGET, PIDFD_OPEN, IPC_CREAT = 29, 64, 68, 434, 0o1000
PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17
OPEN_BY_HANDLE_AT, BPF, FSOPEN, MOUNT_SETATTR, SWAPON = 304, 321, 430, 442, 167
REBOOT, PROCESS_VM_READV, OPEN_TREE, FSPICK = 169, 310, 428, 433
MS_RDONLY, MS_REMOUNT, MS_BIND = 1, 32, 4096
AT_FDCWD = -100
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
USER_KEYRING, PROCESS_KEYRING, KEYCTL_SEARCH = -4, -2, 10

Attempt = Callable[[], Any]
ATTEMPTS: dict[str, Attempt] = {}


def attempt(name: str) -> Callable[[Attempt], Attempt]:
    def register(function: Attempt) -> Attempt:
        ATTEMPTS[name] = function
        return function

    return register


def syscall(number: int, *arguments: Any) -> int:
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = int(LIBC.syscall(ctypes.c_long(number), *words))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def call(name: str, *arguments: Any) -> None:
    if getattr(LIBC, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write(path: str, text: str | None = None) -> None:
    """Open for writing, and write if there is a text: opening is what is denied."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        if text is not None:
            os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def in_child(function: Attempt) -> None:
    """In a process of its own, for what changes the process that does it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            function()
        except OSError as error:
            code = error.errno or errno.EIO
        except BaseException:
            code = 255
        os.write(writer, struct.pack("i", code))
        os._exit(0)
    os.close(writer)
    data = os.read(reader, 4)
    os.close(reader)
    os.waitpid(pid, 0)
    code = struct.unpack("i", data)[0] if data else errno.EIO
    if code:
        raise OSError(code, os.strerror(code))


# ---- cgroups (19)


def own_scope() -> str:
    line = next(line for line in read("/proc/self/cgroup").splitlines() if line.startswith("0::"))
    path = line[3:]
    while ".scope" not in path.rsplit("/", 1)[1]:
        path = path.rsplit("/", 1)[0]
    return CGROUPS + path


def slice_of(name: str) -> str:
    return f"{MACHINES}/machine-virt_sandbox-" + name.replace("-", "\\x2d") + ".slice"


for key in ("cgroup.kill", "cgroup.procs", "cgroup.freeze", "cgroup.subtree_control", "memory.max", "memory.high", "pids.max", "cpu.max"):
    for whose in ("own", "other"):
        ATTEMPTS[f"write {key} of the {whose} slice"] = lambda key=key, whose=whose: write(f"{slice_of(GIVEN[whose])}/{key}")
    ATTEMPTS[f"write {key} of the other's scope"] = lambda key=key: write(f"{GIVEN['other_scope']}/{key}")
for key in ("cgroup.procs", "cgroup.subtree_control"):
    ATTEMPTS[f"write {key} of the host's root"] = lambda key=key: write(f"{CGROUPS}/{key}")
for key in ("cgroup.procs", "cgroup.kill", "memory.max"):
    ATTEMPTS[f"write {key} of system.slice"] = lambda key=key: write(f"{CGROUPS}/system.slice/{key}")
    ATTEMPTS[f"write {key} of the slice of all sandboxes"] = lambda key=key: write(f"{MACHINES}/{key}")
ATTEMPTS["make a cgroup in the host's root"] = lambda: os.mkdir(CGROUPS + "/vsbx")
ATTEMPTS["make a cgroup in the other's slice"] = lambda: os.mkdir(slice_of(GIVEN["other"]) + "/vsbx")
ATTEMPTS["make a cgroup in the own slice"] = lambda: os.mkdir(slice_of(GIVEN["own"]) + "/vsbx")


@attempt("make and remove a cgroup in the own scope")
def cgroup_of_its_own() -> None:
    path = own_scope() + "/vsbx"
    os.mkdir(path)
    write(path + "/cgroup.procs")
    os.rmdir(path)


# ---- the host's files (20, 9)


def hold(function: Callable[[int], Any]) -> None:
    """With a descriptor of a file that all sandboxes and the host share."""
    with open("/usr/bin/yes", "rb") as file:
        function(file.fileno())


ATTEMPTS["lease a file of /usr"] = lambda: hold(lambda fd: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK))
ATTEMPTS["lock a file of /usr"] = lambda: hold(lambda fd: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB))


@attempt("open a file of the host by its handle")
def by_handle() -> None:
    handle = bytes.fromhex(GIVEN["handle"])
    buffer = ctypes.create_string_buffer(handle, len(handle))
    mount = os.open(GIVEN.get("mount", "/etc"), os.O_RDONLY | os.O_DIRECTORY)
    os.close(syscall(OPEN_BY_HANDLE_AT, mount, buffer, os.O_RDONLY))


@attempt("find the host's secret")
def secret() -> None:
    for path in GIVEN["secrets"]:
        if os.path.lexists(path):
            return
    raise OSError(errno.ENOENT, "")


@attempt("find the host's ssh keys")
def ssh_keys() -> None:
    if not glob.glob("/etc/ssh/ssh_host_*") + glob.glob("/root/.ssh/*"):
        raise OSError(errno.ENOENT, "")


@attempt("find libvirt's sockets")
def libvirt() -> None:
    if not glob.glob("/run/libvirt/*") + glob.glob("/var/run/libvirt/*"):
        raise OSError(errno.ENOENT, "")


def node(path: str, mode: int, device: int = 0) -> None:
    os.mknod(path, mode | 0o600, device)
    os.unlink(path)


DISK, MEMORY = os.makedev(98, 0), os.makedev(1, 1)
for directory in ("/dev", "/tmp", "/srv"):
    ATTEMPTS[f"make the host's disk in {directory}"] = lambda directory=directory: node(f"{directory}/vsbx", stat.S_IFBLK, DISK)
    ATTEMPTS[f"make the host's memory in {directory}"] = lambda directory=directory: node(f"{directory}/vsbx", stat.S_IFCHR, MEMORY)
ATTEMPTS["make a fifo in /srv"] = lambda: node("/srv/vsbx", stat.S_IFIFO)


# ---- labels (22, 23)


def relabel(level: str) -> None:
    with open("/srv/vsbx-own", "w", encoding="ascii") as file:
        file.write("mine")
    label = f"system_u:object_r:virt_sandbox_file_t:{level}"
    try:
        os.setxattr("/srv/vsbx-own", "security.selinux", label.encode())
    finally:
        os.unlink("/srv/vsbx-own")


def born_at(level: str) -> None:
    write("/proc/thread-self/attr/fscreate", f"system_u:object_r:virt_sandbox_file_t:{level}")
    with open("/srv/vsbx-own", "w", encoding="ascii"):
        os.unlink("/srv/vsbx-own")


for key in ("s0", "other_level"):
    ATTEMPTS[f"relabel an own file to {key}"] = lambda key=key: relabel(GIVEN.get(key, key))
    ATTEMPTS[f"make a file that is born at {key}"] = lambda key=key: in_child(lambda: born_at(GIVEN.get(key, key)))
ATTEMPTS["become another level"] = lambda: in_child(
    lambda: write("/proc/thread-self/attr/current", f"system_u:system_r:virt_sandbox_t:{GIVEN['other_level']}")
)


@attempt("make a file in a directory that is at s0")
def in_open_directory() -> None:
    os.mkdir("/srv/vsbx-at-s0/child")
    os.rmdir("/srv/vsbx-at-s0/child")


@attempt("read a file at the other's level")
def at_other_level() -> None:
    read("/srv/vsbx-other")


ATTEMPTS["list a directory at the other's level"] = lambda: os.listdir("/srv/vsbx-other-directory")
ATTEMPTS["make a file in a directory at the other's level"] = lambda: os.mkdir("/srv/vsbx-other-directory/vsbx")
ATTEMPTS["write a file at the other's level"] = lambda: write("/srv/vsbx-other")


def find(path: str) -> None:
    os.lstat(path)


for what, path in (
    ("the registry", "/var/lib/virt-sandbox/labels.db"), ("the specs", "/etc/libvirt-sandbox/services"),
    ("the other's content", "/var/lib/libvirt/filesystems"), ("the other's /run", "/run/virt-sandbox"),
    ("the audit log", "/var/log/audit/audit.log"), ("the policy", "/etc/selinux"),
):  # fmt: skip
    ATTEMPTS[f"find {what}"] = lambda path=path: find(path)


@attempt("write and mark an own file")
def own_file() -> None:
    with open("/srv/vsbx-own", "w", encoding="ascii") as file:
        file.write("mine")
    os.setxattr("/srv/vsbx-own", "user.mark", b"mine")
    os.chmod("/srv/vsbx-own", 0o600)
    os.unlink("/srv/vsbx-own")


# ---- mounts


def mount_setattr(path: str) -> None:
    attributes = struct.pack("QQQQ", 0, MS_RDONLY, 0, 0)
    syscall(MOUNT_SETATTR, AT_FDCWD, path.encode(), 0, attributes, len(attributes))


def mount(path: str) -> None:
    call("mount", None, path.encode(), None, MS_REMOUNT | MS_BIND, None)


for path in ("/usr", "/", "/etc/alternatives"):
    ATTEMPTS[f"make the mount of {path} writable, by mount_setattr"] = lambda path=path: mount_setattr(path)
    ATTEMPTS[f"make the mount of {path} writable, by mount"] = lambda path=path: mount(path)
    ATTEMPTS[f"write in {path}"] = lambda path=path: os.mkdir(f"{path}/vsbx")
ATTEMPTS["mount a tmpfs"] = lambda: call("mount", b"none", b"/srv", b"tmpfs", 0, None)
ATTEMPTS["mount a proc"] = lambda: call("mount", b"none", b"/srv", b"proc", 0, None)
ATTEMPTS["unmount /usr"] = lambda: call("umount2", b"/usr", 2)
ATTEMPTS["begin a mount, by fsopen"] = lambda: os.close(syscall(FSOPEN, b"tmpfs", 0))
ATTEMPTS["copy a mount, by open_tree"] = lambda: os.close(syscall(OPEN_TREE, AT_FDCWD, b"/usr", 1))
ATTEMPTS["pick a mount, by fspick"] = lambda: os.close(syscall(FSPICK, AT_FDCWD, b"/usr", 0))
ATTEMPTS["a mount namespace"] = lambda: in_child(lambda: call("unshare", CLONE_NEWNS))


def user_namespace() -> None:
    call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    call("mount", b"none", b"/srv", b"tmpfs", 0, None)


ATTEMPTS["mount in a user namespace"] = lambda: in_child(user_namespace)
ATTEMPTS["a user namespace"] = lambda: in_child(lambda: call("unshare", CLONE_NEWUSER))


# ---- processes


@attempt("see a process of the host")
def processes() -> None:
    names = {read(path).strip() for path in glob.glob("/proc/[0-9]*/comm")}
    if not names & {"libvirtd", "virtlxcd", "libvirt_lxc", "sshd", "auditd", "kthreadd"}:
        raise OSError(errno.ESRCH, "")


ATTEMPTS["signal the other sandbox's first process"] = lambda: os.kill(GIVEN["other_pid"], 0)
ATTEMPTS["signal the host's sshd"] = lambda: os.kill(GIVEN["host_pid"], 0)
ATTEMPTS["have a descriptor of the other's first process"] = lambda: os.close(syscall(PIDFD_OPEN, GIVEN["other_pid"], 0))
ATTEMPTS["open the other's network namespace"] = lambda: os.close(os.open(f"/proc/{GIVEN['other_pid']}/ns/net", os.O_RDONLY))


def trace(pid: int) -> None:
    for request in (PTRACE_SEIZE, PTRACE_DETACH):
        if LIBC.ptrace(ctypes.c_long(request), ctypes.c_long(pid), None, None) and request == PTRACE_SEIZE:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


ATTEMPTS["trace the other's first process"] = lambda: in_child(lambda: trace(GIVEN["other_pid"]))
ATTEMPTS["trace the host's sshd"] = lambda: in_child(lambda: trace(GIVEN["host_pid"]))
ATTEMPTS["signal libvirt's controller"] = lambda: os.kill(GIVEN["controller_pid"], 0)
ATTEMPTS["trace libvirt's controller"] = lambda: in_child(lambda: trace(GIVEN["controller_pid"]))
ATTEMPTS["signal an own process"] = lambda: os.kill(1, 0)
ATTEMPTS["read the memory of the other's first process"] = lambda: write(f"/proc/{GIVEN['other_pid']}/mem")


@attempt("read the memory of the other's first process, by process_vm_readv")
def other_memory() -> None:
    """From an address at which nothing is: that is only found out by who may look."""
    buffer = ctypes.create_string_buffer(8)
    mine, theirs = struct.pack("PN", ctypes.addressof(buffer), 8), struct.pack("PN", 8, 8)
    refused_as(errno.EFAULT, lambda: syscall(PROCESS_VM_READV, GIVEN["other_pid"], mine, 1, theirs, 1, 0))


def refused_as(number: int, function: Attempt) -> None:
    """What is let through is refused for what is wrong with it, and does nothing."""
    try:
        function()
    except OSError as error:
        if error.errno != number:
            raise


# ---- IPC objects and sockets

IPC = {"shared memory": SHMGET, "semaphores": SEMGET, "message queue": MSGGET}


def ipc(number: int, name: str, flags: int) -> None:
    """Objects of IPC have numbers for names; every kind has its own."""
    key = zlib.crc32(name.encode()) & 0x7FFFFFFF
    arguments = (key, flags) if number == MSGGET else (key, 1, flags)
    syscall(number, *arguments)


for kind, number in IPC.items():
    ATTEMPTS[f"keep {kind}"] = lambda number=number: ipc(number, GIVEN["own"], IPC_CREAT | 0o666)
    ATTEMPTS[f"find the other's {kind}"] = lambda number=number: ipc(number, GIVEN["other"], 0)
    ATTEMPTS[f"find the host's {kind}"] = lambda number=number: ipc(number, "vsbx-host", 0)


def posix_queue(name: str, flags: int) -> None:
    """A POSIX message queue; the C library opens it by its name."""
    library = ctypes.CDLL("librt.so.1", use_errno=True)
    if library.mq_open(f"/vsbx-{name}".encode(), flags, 0o666, None) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def shared_file(name: str, flags: int) -> None:
    os.close(os.open(f"/dev/shm/vsbx-{name}", os.O_RDWR | flags, 0o666))


for kind, function in (("POSIX message queue", posix_queue), ("POSIX shared memory", shared_file)):
    ATTEMPTS[f"keep {kind}"] = lambda function=function: function(GIVEN["own"], os.O_RDWR | os.O_CREAT)
    ATTEMPTS[f"find the other's {kind}"] = lambda function=function: function(GIVEN["other"], os.O_RDWR)
    ATTEMPTS[f"find the host's {kind}"] = lambda function=function: function("vsbx-host", os.O_RDWR)


def reach(family: int, address: Any) -> None:
    with socket.socket(family) as client:
        client.settimeout(5)
        client.connect(address)


ATTEMPTS["reach a service on the host's loopback"] = lambda: reach(socket.AF_INET, ("127.0.0.1", GIVEN["host_port"]))
ATTEMPTS["reach an abstract socket of the host"] = lambda: reach(socket.AF_UNIX, "\0vsbx-host")


# ---- the kernel

ATTEMPTS["read the kernel's memory"] = lambda: os.close(os.open("/proc/kcore", os.O_RDONLY))
for path in (
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory",
    "/proc/sys/fs/file-max", "/proc/sysrq-trigger", "/sys/fs/selinux/enforce", "/sys/fs/selinux/load", "/sys/kernel/uevent_helper",
):  # fmt: skip
    ATTEMPTS[f"write {path}"] = lambda path=path: write(path)
ATTEMPTS["load a kernel module"] = lambda: syscall(INIT_MODULE, b"\x7fELF", 4, b"")
ATTEMPTS["read the kernel's log"] = lambda: syscall(SYSLOG, 3, ctypes.create_string_buffer(4096), 4096)
ATTEMPTS["clear the kernel's log"] = lambda: syscall(SYSLOG, 5, None, 0)
ATTEMPTS["set the host name"] = lambda: call("sethostname", b"vsbx", 4)
ATTEMPTS["swap"] = lambda: syscall(SWAPON, b"/srv/none", 0)
ATTEMPTS["create a bpf map"] = lambda: os.close(syscall(BPF, 0, struct.pack("IIIII", 2, 4, 4, 1, 0) + bytes(100), 120))
# what reboot asks first, kexec_load asks too, of which no namespace is in the way
ATTEMPTS["use the capability behind kexec"] = lambda: refused_as(errno.EINVAL, lambda: syscall(REBOOT, 0, 0, 0, None))
ATTEMPTS["take a priority above the ordinary"] = lambda: in_child(lambda: os.setpriority(os.PRIO_PROCESS, 0, -5))
ATTEMPTS["find the kernel's log device"] = lambda: find("/dev/kmsg")
ATTEMPTS["set the clock"] = lambda: call("clock_settime", 0, struct.pack("qq", GIVEN.get("now", 0), 0))


@attempt("ask the audit system for its settings")
def audit() -> None:
    """Its socket is open to PAM inside, for messages; settings are asked for by what could change them."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9) as found:
        found.settimeout(10)
        found.sendto(struct.pack("IHHII", 16, 1000, 5, 1, 0), (0, 0))
        data = found.recv(4096)
        kind, code = struct.unpack_from("H", data, 4)[0], struct.unpack_from("i", data, 16)[0]
    if kind == 2 and code:
        raise OSError(-code, os.strerror(-code))


def key_of(name: str) -> int:
    return syscall(KEYCTL, KEYCTL_SEARCH, USER_KEYRING, b"user", name.encode(), 0)


ATTEMPTS["keep a secret in the process's keyring"] = lambda: syscall(ADD_KEY, b"user", b"vsbx", b"mine", 4, PROCESS_KEYRING)
ATTEMPTS["keep a secret in the user's keyring"] = lambda: syscall(ADD_KEY, b"user", GIVEN["own"].encode(), b"mine", 4, USER_KEYRING)
ATTEMPTS["find the other's secret in the user's keyring"] = lambda: key_of(GIVEN["other"])
ATTEMPTS["find the host's secret in the user's keyring"] = lambda: key_of("vsbx-host")


def outcome(function: Attempt) -> str:
    try:
        function()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "ok"


def births() -> dict[str, str]:
    """A file in every directory in which one can be made; (22) the host looks at their labels."""
    found = {}
    for directory, names, _files in os.walk("/"):
        names[:] = [name for name in names if os.path.join(directory, name) not in ("/proc", "/sys/fs/cgroup", "/usr")]
        path = os.path.join(directory, "vsbx-born")
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            found[path] = directory
        except OSError:
            continue
    return found


def main() -> None:
    if GIVEN.get("only") == "births":
        print(json.dumps(births()))
        return
    wanted = GIVEN.get("attempts", list(ATTEMPTS))
    print(json.dumps({name: outcome(ATTEMPTS[name]) for name in wanted}))


if __name__ == "__main__":
    main()
