"""`Sandbox`: runs programs and scripts, each test in a process of its own; calls functions, each program in one.

    with Sandbox(Limits(cpu_s=6)) as sandbox:
        for result in sandbox.run_program(source, ["1 2\\n", "3 4\\n"]):
            if result.outcome is not Outcome.FINISHED or result.text.strip() != ...:
                break  # the tests that remain are not run

Not a boundary against faults of the kernel, nor against what can be read off timing; see `docs/sandbox.md`.
"""

from __future__ import annotations

import itertools
import marshal
import os
import threading
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import AbstractContextManager
from itertools import islice
from types import TracebackType
from typing import Any, Self

from forklock.sandbox import wire
from forklock.sandbox.limits import Limits
from forklock.sandbox.results import CallResult, Outcome, RunResult, judge
from forklock.sandbox.values import UnreadableValueError, decode
from forklock.sandbox.worker import Worker, WorkerError

NUM_AHEAD = 16
"""Calls that are handed over at a time. Those that take no more than a moment are made at once."""
NOTHING = wire.Report(wire.NOT_STOPPED, 0, 0.0, 0.0, 0, wire.ALONE, b"", b"", b"")


class Sandbox(AbstractContextManager["Sandbox"]):
    """A pool of warm, isolated workers. Any number of threads may use it; each worker runs one child at a time.

    What is returned is lazy: a test runs when its result is asked for, and one never asked for never runs. Nothing of
    one program reaches the next: not memory, not files, not processes; nor of one test, save `call_function`'s.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        num_workers: int | None = None,
        unsafe: bool = False,
    ) -> None:
        """`unsafe`: start even where layers are missing, and mark every result so."""
        self.limits = limits or Limits()
        self.num_workers = num_workers or len(os.sched_getaffinity(0))
        self.missing: tuple[str, ...] = ()
        """Layers that programs run without; always empty unless `unsafe`."""
        self._is_unsafe = unsafe
        self._idle: list[Worker | None] = []
        """None: a worker that has not been needed yet."""
        self._freed = threading.Condition()
        self._sessions = itertools.count(1)

    def __enter__(self) -> Self:
        """Starts the first worker; `SandboxUnavailableError` where programs can't be isolated."""
        first = self._new_worker()
        self.missing = first.missing
        self._idle = [*[None] * (self.num_workers - 1), first]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits for what runs in other threads, then ends every worker."""
        for _ in range(self.num_workers):
            worker = self._take(0)
            if worker is not None:
                worker.close()

    def run_program(
        self, source: str | bytes, inputs: Iterable[str | bytes], limits: Limits | None = None
    ) -> Iterator[RunResult]:
        """Runs `python3 solution.py < input` for each input, as real Python would."""
        with _Program(self, wire.PROGRAM, source, limits or self.limits) as program:
            for text in inputs:
                yield program.run(_as_bytes(text))

    def call_function(
        self,
        source: str | bytes,
        entry_point: str,
        calls: Iterable[Sequence[object]],
        limits: Limits | None = None,
    ) -> Iterator[CallResult]:
        """Calls `entry_point` once for each list of arguments, each time in a module that has just been loaded.
        `Class.method` is called on a new instance. Arguments are builtin types.

        One call has a process of its own. Several share one as long as each ends plainly (`is_shared`), and then see
        what the program did to it before: to other modules, to files. So one that failed where it shared should be
        judged by a call of its own, as `benchmarks.score` does. Calls of a moment are made before they are asked for,
        up to 16."""
        with _Program(self, wire.FUNCTION, source, limits or self.limits) as program:
            if not (isinstance(calls, Sized) and len(calls) < 2):
                program.session = next(self._sessions)
            todo = map(_marshalled, calls)
            while asked := tuple(islice(todo, NUM_AHEAD if program.session else 1)):
                while asked:
                    results = program.call(entry_point, asked if program.session else asked[:1])
                    asked = asked[len(results) :]
                    yield from results

    def run_script(
        self, command: Sequence[str], source: str | bytes, inputs: Iterable[str | bytes], limits: Limits | None = None
    ) -> Iterator[RunResult]:
        """Runs `command script < input` for each input, such as `["bash"]`."""
        with _Program(self, wire.SCRIPT, source, limits or self.limits, tuple(command)) as program:
            for text in inputs:
                yield program.run(_as_bytes(text))

    def _run(self, job: wire.Job, stdin: bytes) -> list[wire.Report] | str:
        """The reports, or what went wrong on our side twice."""
        cause = ""
        for _ in range(2):
            leased = self._take(job.session)
            try:
                if leased is None:
                    leased = self._new_worker()
                return leased.run(job, stdin)
            except WorkerError as error:
                assert leased is not None
                cause = f"{error}; {leased.close()}"
                leased = None
            finally:
                with self._freed:
                    self._idle.append(leased)
                    self._freed.notify()
        return cause

    def _take(self, session: int) -> Worker | None:
        """An idle worker: best the one that keeps this program's process, next one that keeps none."""
        with self._freed:
            while not self._idle:
                self._freed.wait()
            best = max(range(len(self._idle)), key=lambda index: _fitness(self._idle[index], session))
            return self._idle.pop(best)

    def _forget(self, session: int) -> None:
        """No more calls of this program will come: what keeps its process may end it."""
        with self._freed:
            for worker in self._idle:
                if worker is not None and worker.session == session:
                    worker.forget()

    def _new_worker(self) -> Worker:
        return Worker(scratch_bytes=self.limits.file_bytes, is_unsafe=self._is_unsafe)


def _fitness(worker: Worker | None, session: int) -> int:
    if worker is None:
        return 0
    if worker.session == 0:
        return 2
    return 3 if worker.session == session else 1


class _Program(AbstractContextManager["_Program"]):
    """One program on its way through its tests: compiled by its first child, loaded by the others."""

    def __init__(
        self, sandbox: Sandbox, kind: int, source: str | bytes, limits: Limits, command: tuple[str, ...] = ()
    ) -> None:
        self.sandbox = sandbox
        self.kind = kind
        self.limits = limits
        self.command = command
        self.source = _as_bytes(source)
        self.code = b""
        """Marshalled; never read here, only handed to the next child."""
        self.session = 0
        """Not 0 while its calls may share a process."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.session:
            self.sandbox._forget(self.session)

    def run(self, stdin: bytes) -> RunResult:
        [(fields, _)] = self._outcomes(stdin, "", ())
        return RunResult(**fields)

    def call(self, entry_point: str, calls: tuple[bytes, ...]) -> list[CallResult]:
        """Results of the first of them, or of more."""
        return [_call_result(fields, payload) for fields, payload in self._outcomes(b"", entry_point, calls)]

    def _outcomes(
        self, stdin: bytes, entry_point: str, calls: tuple[bytes, ...]
    ) -> Iterator[tuple[dict[str, Any], bytes]]:
        """A result's fields, and what the child put on its channel after the code."""
        if len(self.source) > self.limits.source_bytes:
            cause = f"{len(self.source)} bytes of source, above the limit of {self.limits.source_bytes}"
            yield self._fields(Outcome.COMPILE_ERROR, cause, NOTHING), b""
            return
        job = wire.Job(
            self.kind, self.limits.bounds(), self.source, self.code, entry_point, calls, self.command, self.session
        )
        reports = self.sandbox._run(job, stdin)
        if isinstance(reports, str):
            yield self._fields(Outcome.HARNESS_ERROR, reports, NOTHING), b""
            return
        is_python = self.kind != wire.SCRIPT
        for report in reports:
            if report.fate == wire.ALONE:
                self.session = 0
            hands_out_code = is_python and report.fate == wire.ALONE and not self.code
            outcome, cause = judge(report, hands_out_code=hands_out_code)
            payload = report.channel
            if hands_out_code:
                self.code, payload = wire.split_code(payload)
            yield self._fields(outcome, cause, report), payload

    def _fields(self, outcome: Outcome, cause: str, report: wire.Report) -> dict[str, Any]:
        return {
            "outcome": outcome,
            "exit_status": None if report is NOTHING else report.exit_status,
            "stdout": report.stdout,
            "stderr": report.stderr.decode(errors="replace"),
            "cpu_s": report.cpu_s,
            "wall_s": report.wall_s,
            "peak_memory_bytes": report.peak_memory_bytes,
            "is_isolated": not self.sandbox.missing,
            "is_shared": report.fate != wire.ALONE,
            "cause": cause,
        }


def _call_result(fields: dict[str, Any], payload: bytes) -> CallResult:
    if fields["outcome"] is Outcome.FINISHED:
        try:
            return CallResult(**fields, value=decode(payload))
        except UnreadableValueError as error:
            cause = f"an unreadable value: {error}" if payload else "ended before it returned"
            fields |= {"outcome": Outcome.RUNTIME_ERROR, "cause": cause}
    return CallResult(**fields)


def _marshalled(arguments: Sequence[object]) -> bytes:
    return marshal.dumps(list(arguments))


def _as_bytes(text: str | bytes) -> bytes:
    """Lone surrogates are kept, as bytes that aren't UTF-8: a program that holds them doesn't compile."""
    return text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
