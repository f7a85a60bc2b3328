"""What every benchmark is made of: problems that a model is asked, each with a scorer that stays in the parent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from forklock.benchmarks.score import Score
from forklock.code_blocks import Style, last_code_block
from forklock.errors import ForklockError
from forklock.prompts import Prompt
from forklock.prompts.rows import Row
from forklock.prompts.sources import Source
from forklock.sandbox.pool import Sandbox

Difficulty = Literal["easy", "medium", "hard"]
DIFFICULTIES: tuple[Difficulty, ...] = ("easy", "medium", "hard")


class BenchmarkError(ForklockError):
    """A benchmark's data cannot be used; the message names the file, the line or row, and the mend."""


@dataclass(frozen=True)
class Problem(ABC):
    """One problem. Its tests are known to `score` alone: inputs go into the sandbox, what comes back is compared."""

    prompt: Prompt
    place: str
    """File and line, or dataset and row."""
    difficulty: Difficulty | None
    runs_all_tests: bool = field(default=False, kw_only=True)
    """Also those after the first that failed: for benchmarks whose tests are processes of their own."""

    @property
    def problem_id(self) -> str:
        return self.prompt.prompt_id

    def answer_in(self, text: str, style: Style) -> str | None:
        """What is scored of a model's text; None where it holds no answer."""
        return last_code_block(text, style)

    def answer_of_completion(self, completion: str) -> str:
        """What is scored of code that goes on where the statement ends."""
        return self.prompt.statement + completion

    @abstractmethod
    def score(self, answer: str, sandbox: Sandbox) -> Score:
        """Runs the tests up to the first that fails, unless `runs_all_tests`. Called from several threads at once."""


@dataclass(frozen=True)
class Benchmark:
    """A set of problems: where its rows are, and how a row becomes a problem."""

    source: Source
    columns: tuple[str, ...]
    """Those that are read."""
    make: Callable[[Row], Problem | None]
    """None: a row that is not part of it. `BenchmarkError` where a row is malformed."""
    num_expected: int
    """Problems; another number is said aloud."""
    runs_programs: bool = True
    """False: answers are compared as text, no sandbox is opened."""
    can_run_all_tests: bool = False
    """False: a program's tests are one test, or calls in one process, of which an exception ends all."""
    is_livecodebench: bool = False
    """Its rows are read as files, since `datasets` no longer runs the script that comes with them."""


@dataclass(frozen=True)
class Loaded:
    """Problems, and what people should be told about them."""

    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def collect(benchmark: Benchmark, rows: Iterable[Row], title: str) -> Loaded:
    """Every row that belongs to it; refuses faulty rows, ids that come twice, and a set without any problem."""
    problems: dict[str, Problem] = {}
    for row in rows:
        if row.fault:
            raise BenchmarkError(f"{row.place}: {row.fault}; the file may be cut short: make or download it again")
        problem = benchmark.make(row)
        if problem is None:
            continue
        if (first := problems.get(problem.problem_id)) is not None:
            raise BenchmarkError(f"{row.place}: problem {problem.problem_id} is in {first.place} already")
        problems[problem.problem_id] = problem
    if not problems:
        raise BenchmarkError(f"{title}: no problems in what was read; see evaluate.data_paths")
    notes = []
    if len(problems) != benchmark.num_expected:
        notes.append(
            f"{title}: {len(problems):,} problem{'s' * (len(problems) != 1)}, {benchmark.num_expected:,} were expected"
        )
    return Loaded(tuple(problems.values()), tuple(notes))


def text_of(row: Row, column: str) -> str:
    value = row.values.get(column)
    if not isinstance(value, str):
        found = "missing" if value is None else f"of type {type(value).__name__}, not text"
        raise BenchmarkError(f"{row.place}: `{column}` is {found}; there are {', '.join(row.values) or 'no fields'}")
    return value


def texts_of(row: Row, column: str) -> Sequence[str]:
    """A list of texts, none where the column is absent."""
    value = row.values.get(column)
    value = [] if value is None else value
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BenchmarkError(f"{row.place}: `{column}` is not a list of texts")
    return value


def id_of(row: Row, column: str) -> str:
    value = row.values.get(column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    name = text_of(row, column)
    if not name.strip():
        raise BenchmarkError(f"{row.place}: `{column}` is empty")
    return name
