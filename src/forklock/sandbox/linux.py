"""The few system calls that Python 3.11 has no function for, by ctypes. Each raises `OSError` as `os` does."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from collections.abc import Iterable

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
NAMESPACES = {
    "user": CLONE_NEWUSER,
    "process": CLONE_NEWPID,
    "network": CLONE_NEWNET,
    "mount": CLONE_NEWNS,
    "ipc": CLONE_NEWIPC,
    "host name": CLONE_NEWUTS,
}
"""Every namespace the sandbox stands on."""

MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

MOUNT_READ_ONLY = 1
MOUNT_NO_SUID = 2
MOUNT_NO_DEV = 4

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2

CAP_SYS_PTRACE = 19

SYSCALLS = {"x86_64": {"pivot_root": 155}, "aarch64": {"pivot_root": 41}}.get(os.uname().machine, {})
SYS_MOUNT_SETATTR = 442
SYS_LANDLOCK_CREATE_RULESET = 444
LANDLOCK_CREATE_RULESET_VERSION = 1
CAPABILITY_VERSION_3 = 0x20080522
AT_FDCWD = -100
AT_RECURSIVE = 0x8000

_CAPABILITY_HEADER = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
_NO_CAPABILITIES = bytes(24)

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_quick = ctypes.CDLL(None) if sys.platform == "linux" else None
"""For what every child calls: with types said once, a call touches half the pages, each of which has to be copied."""
if _quick is not None:
    _quick.capset.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
    _quick.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


def _call(name: str, *arguments: object) -> int:
    """A function of the C library; -1 from it becomes `OSError`."""
    if _libc is None:
        raise OSError("only Linux has what the sandbox stands on")
    result = int(getattr(_libc, name)(*arguments))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result


def unshare(flags: int) -> None:
    _call("unshare", flags)


def can_unshare(flags: int) -> bool:
    """Tried in a child, since leaving a namespace cannot be undone."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            unshare(flags)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def landlock_version() -> int:
    """0 where this kernel has none."""
    try:
        return _call("syscall", SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    except OSError:
        return 0


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        kind.encode(),
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )


def set_mount_attributes(target: str, attributes: int, *, recursive: bool) -> None:
    """Adds to what a mount has; with `recursive`, below it too."""
    wanted = struct.pack("=QQQQ", attributes, 0, 0, 0)
    flags = AT_RECURSIVE if recursive else 0
    _call("syscall", SYS_MOUNT_SETATTR, AT_FDCWD, os.fsencode(target), flags, wanted, ctypes.c_size_t(len(wanted)))


def pivot_root_here() -> None:
    """Makes the working folder the root, and lets go of the old one."""
    if "pivot_root" not in SYSCALLS:
        raise OSError(f"pivot_root is not known for {os.uname().machine}")
    _call("syscall", SYSCALLS["pivot_root"], b".", b".")
    _call("umount2", b".", MNT_DETACH)
    os.chdir("/")


def set_host_name(name: str) -> None:
    _call("sethostname", name.encode(), ctypes.c_size_t(len(name)))


def prctl(option: int, *arguments: int) -> int:
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return _call("prctl", option, *(ctypes.c_ulong(argument) for argument in padded))


def die_with(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Be sent the signal when the parent (the thread of it that started this process) ends. Elsewhere than on Linux
    only a parent that ended before is noticed."""
    if sys.platform == "linux":
        prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it ended while this process was being started
        raise SystemExit(1)


def keep_capabilities(capabilities: Iterable[int]) -> None:
    """Gives up every capability but these."""
    bits = sum(1 << capability for capability in capabilities)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    _call("capset", _CAPABILITY_HEADER, struct.pack("=6I", low, low, 0, high, high, 0))


def lose_capabilities() -> None:
    """All of them, in a child right after its fork."""
    assert _quick is not None
    if _quick.capset(_CAPABILITY_HEADER, _NO_CAPABILITIES):
        raise OSError("capset was refused")


def be_dumpable() -> None:
    """As above."""
    assert _quick is not None
    if _quick.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0):
        raise OSError("prctl was refused")


def install_filter(program: bytes) -> None:
    """Installs a seccomp filter for this process and all it will start; there is no way back."""
    instructions = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))
    buffer = ctypes.create_string_buffer(header, len(header))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(buffer))
