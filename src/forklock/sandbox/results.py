"""What became of one run, before anyone has compared it with anything."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum

from forklock.sandbox import wire


class Outcome(StrEnum):
    """How a run ended. `FINISHED` says that it ended by itself with exit status 0, and nothing about its answer."""

    FINISHED = "finished"
    RUNTIME_ERROR = "runtime_error"
    """Another exit status, a signal, or a function that never returned a value."""
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT_LIMIT = "output_limit"
    COMPILE_ERROR = "compile_error"
    """Never ran: not Python, or longer than the limit."""
    HARNESS_ERROR = "harness_error"
    """Our fault or the machine's, twice in a row; `cause` says what. Never to be scored as a wrong answer."""


@dataclass(frozen=True)
class RunResult:
    """Raw results of one child: all of it is the program's word, save the times, the memory and the outcome."""

    outcome: Outcome
    exit_status: int | None
    """Negative: the signal that ended it. None where nothing ran."""
    stdout: bytes
    """All of it, up to the output limit."""
    stderr: str
    """The last 16 KiB."""
    cpu_s: float
    wall_s: float
    peak_memory_bytes: int
    is_isolated: bool
    """False where the sandbox was allowed to start with layers missing."""
    cause: str = ""
    """For people: which limit, which signal, which fault."""
    is_shared: bool = False
    """Whether other calls of the program may have run in the same process. Its peak memory is then that of all calls so
    far, its times an equal part of those of the calls that were answered together, and what these printed stands with
    the last."""

    @property
    def text(self) -> str:
        """Standard output as UTF-8; what isn't is kept as lone surrogates."""
        return self.stdout.decode(errors="surrogateescape")


@dataclass(frozen=True)
class CallResult(RunResult):
    """One call of a function."""

    value: object = None
    """What it returned, as builtin types or `values.Opaque`; only where the outcome is `FINISHED`."""


STOPPED = {
    wire.STOPPED_CPU: (Outcome.TIMEOUT, "CPU time"),
    wire.STOPPED_WALL: (Outcome.TIMEOUT, "wall time"),
    wire.STOPPED_MEMORY: (Outcome.MEMORY, "memory of all its processes"),
    wire.STOPPED_OUTPUT: (Outcome.OUTPUT_LIMIT, "output"),
}


def judge(report: wire.Report, *, hands_out_code: bool) -> tuple[Outcome, str]:
    """The outcome, and the cause in words. `hands_out_code`: the first thing on the channel has to be the compiled
    code, since no earlier child had sent it."""
    if report.stopped:
        return STOPPED[report.stopped]
    if hands_out_code and report.channel[:1] == wire.SYNTAX_ERROR:
        return Outcome.COMPILE_ERROR, _last_line(report.stderr)
    if report.exit_status == 0:
        return Outcome.FINISHED, ""
    if report.exit_status == -signal.SIGXCPU:
        return Outcome.TIMEOUT, "CPU time"
    last = _last_line(report.stderr)
    if last.startswith("MemoryError"):
        return Outcome.MEMORY, "memory of one process"
    if hands_out_code and report.channel[:1] == wire.NO_CODE:
        return Outcome.COMPILE_ERROR, f"ended while it was compiled: {_ending(report.exit_status)}"
    return Outcome.RUNTIME_ERROR, last or _ending(report.exit_status)


def _ending(status: int) -> str:
    if status < 0:
        return f"signal {-status} ({signal.strsignal(-status) or 'unknown'})"
    return f"exit status {status}"


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
