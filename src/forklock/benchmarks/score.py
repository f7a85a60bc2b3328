"""The outcome of one answer, and how results of a sandbox become one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from forklock.sandbox.limits import Limits
from forklock.sandbox.pool import Sandbox
from forklock.sandbox.results import Outcome, RunResult

NUM_SHOWN = 300


class VerdictName(StrEnum):
    """Everything that can become of an answer."""

    PASSED = "passed"
    WRONG_ANSWER = "wrong_answer"
    RUNTIME_ERROR = "runtime_error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT_LIMIT = "output_limit"
    NO_CODE = "no_code"
    """The text holds no answer: nothing was run."""
    COMPILE_ERROR = "compile_error"
    HARNESS_ERROR = "harness_error"
    """Our fault or the machine's; it stops a grading and is never written as an answer's verdict."""


class Difference(NamedTuple):
    """What a test wanted, and what it got."""

    expected: str
    got: str


@dataclass(frozen=True)
class Score:
    """One answer's verdict and what shows it."""

    verdict: VerdictName
    failing_test: int | None = None
    """Counted from 0; None also where only all tests together could be judged."""
    expected: str = ""
    got: str = ""
    """Both cut to be read by people."""
    cause: str = ""
    num_tests_run: int = 0
    num_tests_passed: int | None = None
    """None where no more tests were run once one had failed."""
    cpu_s: float = 0.0
    """Of all tests that ran."""
    peak_memory_bytes: int = 0
    is_isolated: bool = True
    """False where the sandbox had to do without some of its layers."""


Judge = Callable[[int, RunResult], Difference | None]


@dataclass(frozen=True)
class Calls:
    """Calls of one function of a program, one a test."""

    sandbox: Sandbox
    source: str
    entry_point: str
    arguments: Sequence[Sequence[object]]
    limits: Limits


def score_calls(calls: Calls, judge: Judge, *, runs_all: bool = False) -> Score:
    """As `score_tests`. A call that failed in a process which it shared is made once more, in one of its own, and only
    that counts: nothing that a program leaves behind can fail it."""

    def alone(number: int) -> RunResult:
        arguments = [calls.arguments[number]]
        [result] = calls.sandbox.call_function(calls.source, calls.entry_point, arguments, calls.limits)
        return result

    results = calls.sandbox.call_function(calls.source, calls.entry_point, calls.arguments, calls.limits)
    return score_tests(results, judge, runs_all=runs_all, alone=alone)


def score_tests(
    results: Iterable[RunResult],
    judge: Judge,
    *,
    runs_all: bool = False,
    alone: Callable[[int], RunResult] | None = None,
) -> Score:
    """Takes results as they come; `judge` sees those that finished. The first that fails decides, and none is taken
    after it, unless `runs_all`: then all are, and those that passed are counted. A fault of the harness ends either.
    `alone` runs a test again whose process was shared."""
    decided, num_run, num_failed = Score(VerdictName.PASSED), 0, 0
    cpu_s, memory, is_isolated = 0.0, 0, True
    for number, first in enumerate(results):
        result = first
        verdict, difference = _verdict(number, result, judge)
        if verdict is not VerdictName.PASSED and result.is_shared:
            assert alone is not None
            result = alone(number)
            verdict, difference = _verdict(number, result, judge)
        num_run += 1
        cpu_s += result.cpu_s
        memory = max(memory, result.peak_memory_bytes)
        is_isolated &= result.is_isolated
        if verdict is VerdictName.PASSED:
            continue
        num_failed += 1
        if num_failed == 1 or verdict is VerdictName.HARNESS_ERROR:
            expected, got = difference or ("", "")
            decided = Score(verdict, number, cut(expected), cut(got), cut(result.cause))
        if not runs_all or verdict is VerdictName.HARNESS_ERROR:
            break
    assert num_run, "a problem without tests is refused when it is loaded"
    return replace(
        decided,
        num_tests_run=num_run,
        num_tests_passed=num_run - num_failed if runs_all else None,
        cpu_s=cpu_s,
        peak_memory_bytes=memory,
        is_isolated=is_isolated,
    )


def _verdict(number: int, result: RunResult, judge: Judge) -> tuple[VerdictName, Difference | None]:
    if result.outcome is not Outcome.FINISHED:
        return VerdictName(result.outcome.value), None
    difference = judge(number, result)
    return VerdictName.PASSED if difference is None else VerdictName.WRONG_ANSWER, difference


def cut(text: str) -> str:
    """Short enough to read, and text that any file can hold."""
    shown = text if len(text) <= NUM_SHOWN else f"{text[:NUM_SHOWN]}... ({len(text):,} characters)"
    return shown.encode(errors="backslashreplace").decode()
