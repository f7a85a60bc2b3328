"""Which layers the sandbox could stand on here, each tried, not guessed, and then all of them together. For
`forklock doctor`; a starting sandbox finds out for itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forklock.sandbox import linux
from forklock.sandbox.seccomp import build_filter
from forklock.sandbox.worker import SandboxUnavailableError, Worker

ALLOW_NAMESPACES = "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, or AppArmor's)"
ALLOW_ALL = "allow what is named: in a container `--security-opt`, a /proc without masks; or grade outside of it"
PROBED_NAMESPACES = ("user", "process", "network", "mount", "ipc")


@dataclass(frozen=True)
class Layer:
    name: str
    works: bool
    detail: str
    mend: str
    is_needed: bool = True
    """False for what the sandbox does without: it is named because other tools would use it."""


def probe() -> Iterator[Layer]:
    needs_user = 0 if os.geteuid() == 0 else linux.CLONE_NEWUSER
    for name in PROBED_NAMESPACES:
        works = linux.can_unshare(linux.NAMESPACES[name] | needs_user)
        yield Layer(f"{name} namespace", works, "works" if works else "refused", ALLOW_NAMESPACES)
    version = linux.landlock_version()
    detail = f"version {version}" if version else "not in this kernel"
    yield Layer("Landlock", version > 0, detail, "Linux 5.13 or newer with Landlock on", is_needed=False)
    works, detail = _seccomp()
    yield Layer("seccomp", works, detail, "a kernel with seccomp, on x86_64 or aarch64")
    bubblewrap = shutil.which("bwrap")
    mend = "optional: install the package bubblewrap"
    yield Layer("bubblewrap", bubblewrap is not None, bubblewrap or "not installed", mend, is_needed=False)
    works, detail = _all_together()
    yield Layer("all of them together", works, detail, ALLOW_ALL)


def _all_together() -> tuple[bool, str]:
    """As grading enters them, with those that need others first: its own root, /proc, the limit on processes."""
    try:
        Worker(scratch_bytes=1 << 20, is_unsafe=False).close()
    except SandboxUnavailableError as error:
        return False, f"missing: {'; '.join(error.missing)}" if error.missing else str(error)
    return True, "programs are isolated"


def _seccomp() -> tuple[bool, str]:
    if not Path("/proc/sys/kernel/seccomp/actions_avail").exists():
        return False, "not in this kernel"
    try:
        build_filter(os.uname().machine)
    except OSError as error:
        return False, str(error)
    return True, "in this kernel"
