"""Benchmarks: a file each, and a line each in `BENCHMARKS`. `docs/benchmarks.md` says what each one counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from forklock.benchmarks import data
from forklock.benchmarks.aime import AIME_24, AIME_25
from forklock.benchmarks.cruxeval import INPUT, OUTPUT
from forklock.benchmarks.humaneval import HUMANEVAL
from forklock.benchmarks.humaneval_shell import HUMANEVAL_SHELL
from forklock.benchmarks.livecodebench import V5, V6
from forklock.benchmarks.mbpp import MBPP
from forklock.benchmarks.microworld import MICROWORLD
from forklock.benchmarks.mmlu import MMLU
from forklock.benchmarks.problem import DIFFICULTIES, Benchmark, BenchmarkError, Loaded, Problem, collect
from forklock.benchmarks.score import Score, VerdictName
from forklock.config import BenchmarkName

__all__ = [
    "BENCHMARKS",
    "DIFFICULTIES",
    "Benchmark",
    "BenchmarkError",
    "Loaded",
    "Problem",
    "Score",
    "VerdictName",
    "load_benchmark",
    "local_files",
]

BENCHMARKS: dict[BenchmarkName, Benchmark] = {
    "microworld": MICROWORLD,
    "livecodebench-v5": V5,
    "livecodebench-v6": V6,
    "humaneval": HUMANEVAL,
    "humaneval-shell": HUMANEVAL_SHELL,
    "mbpp": MBPP,
    "cruxeval-input": INPUT,
    "cruxeval-output": OUTPUT,
    "aime-24": AIME_24,
    "aime-25": AIME_25,
    "mmlu": MMLU,
}


def load_benchmark(
    name: BenchmarkName, local_path: str | None = None, revision: str | None = None, *, all_tests: bool = False
) -> Loaded:
    """All its problems: from the hub at this revision, or from a local file or folder."""
    benchmark = BENCHMARKS[name]
    benchmark = replace(benchmark, source=replace(benchmark.source, revision=revision))
    loaded = collect(benchmark, data.rows_of(benchmark, local_path), name)
    if not all_tests:
        return loaded
    if not benchmark.can_run_all_tests:
        note = f"{name}: its tests cannot run one by one, so those passed are not counted (all tests were asked for)"
        return replace(loaded, notes=(*loaded.notes, note))
    return replace(loaded, problems=tuple(replace(problem, runs_all_tests=True) for problem in loaded.problems))


def local_files(name: BenchmarkName, local_path: str | None) -> dict[str, Path]:
    """Files that `load_benchmark` would read here; none where the data come from the hub."""
    return data.local_files(BENCHMARKS[name], local_path)
