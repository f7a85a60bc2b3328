"""The microworld's problems: one function, called with hidden inputs in one child; values are compared here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from forklock.benchmarks.compare import identical, show_value
from forklock.benchmarks.one_process import CALLS, calls_by, run_once, score_of
from forklock.benchmarks.problem import Benchmark, BenchmarkError, Problem, id_of, text_of
from forklock.benchmarks.score import Difference, Score
from forklock.microworld.problems import draw_problems
from forklock.microworld.rows import NUM_EVALUATION_PROBLEMS, NUM_PROMPTS
from forklock.prompts import Prompt
from forklock.prompts.rows import Row
from forklock.prompts.sources import KNOWN_SOURCES
from forklock.sandbox.limits import Limits
from forklock.sandbox.pool import Sandbox

LIMITS = Limits(cpu_s=1.0)
"""Of all calls of one program together, which take a millisecond."""


@dataclass(frozen=True)
class MicroworldProblem(Problem):
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]

    def score(self, answer: str, sandbox: Sandbox) -> Score:
        """Values have to be equal and of the same type."""
        result, values = run_once(sandbox, answer + calls_by("solve(call)"), CALLS, [list(self.inputs)], LIMITS)
        if values is not None:
            for number, (got, expected) in enumerate(zip(values.values, self.outputs, strict=False)):
                if not identical(got, expected):
                    return score_of(result, values, number, Difference(show_value(expected), show_value(got)))
        return score_of(result, values, None, None)


def _make(row: Row) -> Problem:
    difficulty = row.values.get("difficulty")
    if difficulty not in ("easy", "medium", "hard"):
        raise BenchmarkError(f"{row.place}: `difficulty` is {difficulty!r}, neither easy, medium nor hard")
    try:
        inputs, outputs = zip(*json.loads(text_of(row, "tests")), strict=True)
    except (ValueError, TypeError) as error:
        raise BenchmarkError(f"{row.place}: `tests` is not a JSON list of pairs: {error}") from None
    prompt = Prompt(id_of(row, "id"), text_of(row, "question"), form="function")
    return MicroworldProblem(prompt, row.place, difficulty, inputs, outputs)


def training_problems(revision: str | None, limit: int | None) -> dict[str, MicroworldProblem]:
    """The problems behind self-distillation's prompts, with their tests: for a baseline that may see verdicts."""
    return {
        problem.problem_id: MicroworldProblem(
            Prompt(problem.problem_id, problem.statement, form="function"),
            f"microworld ssd {revision or 0}",
            problem.difficulty,
            problem.inputs,
            problem.outputs,
        )
        for problem in draw_problems("ssd", int(revision or 0), limit or NUM_PROMPTS)
    }


MICROWORLD = Benchmark(
    source=KNOWN_SOURCES["microworld"],
    columns=("id", "question", "difficulty", "tests"),
    make=_make,
    num_expected=NUM_EVALUATION_PROBLEMS,
)
