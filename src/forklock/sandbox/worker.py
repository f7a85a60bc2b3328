"""The parent's end of one zygote: starts it, hands it jobs, ends it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from forklock.errors import ForklockError
from forklock.sandbox import wire
from forklock.sandbox.zygote import READY, REFUSED

START_S = 60.0
RECEIVED_BYTES = 1 << 16
ANSWER_MARGIN_S = 15.0
"""Beyond the longest that a job may take."""
PRELOADED = (
    "bisect",
    "cmath",
    "collections",
    "copy",
    "datetime",
    "decimal",
    "fractions",
    "functools",
    "heapq",
    "io",
    "itertools",
    "json",
    "math",
    "operator",
    "random",
    "re",
    "string",
    "threading",
    "typing",
)
"""Loaded once, before any fork: with these warm, a program that imports them starts without reading a file."""
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
"""All that a program finds in its environment. The hash seed is fixed so that a verdict can be had again."""
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class SandboxUnavailableError(ForklockError):
    """Programs could not be isolated here. The message names what is missing."""

    def __init__(self, message: str, missing: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.missing = tuple(missing)
        """Layers that were refused, each with the reason; none where it did not come so far."""


class WorkerError(Exception):
    """The zygote is gone, or answers no more. The job may be tried again on another."""


class Worker:
    """Not for two threads at once."""

    def __init__(self, *, scratch_bytes: int, is_unsafe: bool) -> None:
        """Starts a zygote and waits until it is warm, or raises `SandboxUnavailableError`."""
        self.missing: tuple[str, ...] = ()
        """Layers that it runs without; always empty unless `is_unsafe`."""
        self.session = 0
        """The program whose process it keeps for more calls; 0: none."""
        self._folder = tempfile.mkdtemp(prefix="forklock-sandbox-") if is_unsafe else ""
        self._control, theirs = socket.socketpair()
        source = str(Path(__file__).resolve().parents[2])
        start = (
            "import os, sys; sys.path.insert(0, os.environ['FORKLOCK_SOURCE']); "
            f"from forklock.sandbox.zygote import main; main({theirs.fileno()})"
        )
        with theirs:
            self._process = subprocess.Popen(
                [_python(), "-S", "-s", "-P", "-c", start],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,  # never written to: it gives sys.stdout the nature of a pipe
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env=ENVIRONMENT | {"FORKLOCK_SOURCE": source},
                cwd="/",
            )
        assert self._process.stdout is not None
        self._process.stdout.close()
        try:
            self._control.settimeout(START_S)
            self._start(scratch_bytes, is_unsafe)
        except (OSError, EOFError) as error:
            raise SandboxUnavailableError(f"the sandbox did not start: {error}\n{self.close()}") from None
        except SandboxUnavailableError:
            self.close()
            raise

    def _start(self, scratch_bytes: int, is_unsafe: bool) -> None:
        folders = {sys.base_prefix, *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))}
        setup = wire.Setup(is_unsafe, "/tmp", scratch_bytes, tuple(sorted(folders)), PRELOADED, self._folder)
        self._control.sendall(wire.pack_job(setup))
        tag = self._receive(1)
        names = self._receive(int.from_bytes(self._receive(4), "little")).decode().splitlines()
        if tag == REFUSED:
            raise SandboxUnavailableError(
                "programs cannot be isolated here; missing: "
                + "; ".join(names)
                + ". `forklock doctor` says more. Running them unsafely is possible, and marked in every result",
                names,
            )
        assert tag == READY
        self.missing = tuple(names)

    def run(self, job: wire.Job, stdin: bytes) -> list[wire.Report]:
        """Runs one child to its end, or lets the one that it keeps make calls: a report of each, or of the first ones.
        `WorkerError`: this worker is finished, close it."""
        self._control.settimeout(job.bounds.wall_under_load_s + ANSWER_MARGIN_S)
        descriptors = [] if job.kind == wire.FUNCTION else [_sealed_file(stdin)]
        try:
            is_kept = job.session != 0 and job.session == self.session
            message = wire.pack_job(job._replace(source=b"", code=b"") if is_kept else job)
            sent = socket.send_fds(self._control, [message], descriptors)
            if sent < len(message):
                self._control.sendall(memoryview(message)[sent:])
            reports = self._receive_reports(job)
            self.session = job.session if reports[-1].fate == wire.KEPT else 0
            return reports
        except (OSError, EOFError) as error:
            raise WorkerError(f"{type(error).__name__}: {error}") from error
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def forget(self) -> None:
        """No more calls of the program whose process it keeps: that process ends."""
        self.session = 0
        with contextlib.suppress(OSError):  # the next job will find out
            self._control.sendall(wire.FORGET)

    def _receive_reports(self, job: wire.Job) -> list[wire.Report]:
        most_bytes = 2 * job.bounds.output_bytes + wire.most_code_bytes(job.source) + (1 << 20)
        data = self._control.recv(RECEIVED_BYTES)
        head = data if len(data) >= wire.LENGTH_BYTES else data + self._receive(wire.LENGTH_BYTES - len(data))
        length = wire.unpack_length(head[: wire.LENGTH_BYTES])
        if length > most_bytes * max(1, len(job.calls)):
            raise WorkerError("a report longer than any job allows")
        body = head[wire.LENGTH_BYTES :]
        if len(body) < length:
            body += self._receive(length - len(body))
        return list(wire.unpack_reports(body))

    def close(self) -> str:
        """Ends the zygote and all in its namespace; what it last complained of."""
        self._control.close()
        assert self._process.stderr is not None
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the zygote dies with its launcher
            self._process.wait()
        os.set_blocking(self._process.stderr.fileno(), False)
        complaint = self._process.stderr.read() or b""
        self._process.stderr.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        return complaint.decode(errors="replace")[-2000:].strip()

    def _receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self._control.recv(min(1 << 20, size - len(data)))
            if not piece:
                raise EOFError("the zygote hung up")
            data += piece
        return bytes(data)


def _python() -> str:
    """The interpreter itself, not a virtual environment's link to it: that one may not exist inside."""
    return str(getattr(sys, "_base_executable", "") or sys.executable)


def _sealed_file(content: bytes) -> int:
    """A file in memory that nobody can change any more: a program's standard input."""
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    return descriptor
