"""The outcome of one answer, and how results of a sandbox become one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

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
    cpu_s: float = 0.0
    """Of all tests that ran."""
    peak_memory_bytes: int = 0
    is_isolated: bool = True
    """False where the sandbox had to do without some of its layers."""


Judge = Callable[[int, RunResult], Difference | None]


def score_tests(results: Iterable[RunResult], judge: Judge) -> Score:
    """Takes results as they come, and no more after the first that fails; `judge` sees those that finished."""
    num_run, cpu_s, memory, is_isolated = 0, 0.0, 0, True
    for number, result in enumerate(results):
        num_run += 1
        cpu_s += result.cpu_s
        memory = max(memory, result.peak_memory_bytes)
        is_isolated &= result.is_isolated
        verdict, difference, cause = VerdictName.PASSED, None, ""
        if result.outcome is not Outcome.FINISHED:
            verdict, cause = VerdictName(result.outcome.value), result.cause
        elif (difference := judge(number, result)) is not None:
            verdict = VerdictName.WRONG_ANSWER
        if verdict is not VerdictName.PASSED:
            expected, got = difference or ("", "")
            return Score(verdict, number, cut(expected), cut(got), cut(cause), num_run, cpu_s, memory, is_isolated)
    assert num_run, "a problem without tests is refused when it is loaded"
    return Score(VerdictName.PASSED, None, "", "", "", num_run, cpu_s, memory, is_isolated)


def cut(text: str) -> str:
    """Short enough to read, and text that any file can hold."""
    shown = text if len(text) <= NUM_SHOWN else f"{text[:NUM_SHOWN]}... ({len(text):,} characters)"
    return shown.encode(errors="backslashreplace").decode()
