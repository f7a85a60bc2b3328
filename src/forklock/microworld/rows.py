"""Problems as rows: what prompts and the benchmark read, and what `forklock microworld problems` writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forklock.errors import ForklockError
from forklock.microworld.problems import Problem, Split, draw_problems
from forklock.prompts.rows import Row
from forklock.run_dir import write_text

NUM_PROMPTS = 6_000
NUM_EVALUATION_PROBLEMS = 400


class SeedError(ForklockError):
    """A revision of the microworld's problems that is no seed."""


class OutputError(ForklockError):
    """Problems cannot be written where they should be."""


def prompt_rows(revision: str | None, limit: int | None) -> Iterator[Row]:
    """Prompts to sample from, without their tests."""
    return _rows("ssd", revision, limit or NUM_PROMPTS)


def evaluation_rows(revision: str | None) -> Iterator[Row]:
    """The evaluation set; other seeds give others of the same size."""
    return _rows("eval", revision, NUM_EVALUATION_PROBLEMS)


def as_row(problem: Problem, split: Split) -> dict[str, Any]:
    """A problem as JSON has it. Tests are there where problems are graded, and nowhere else."""
    row: dict[str, Any] = {
        "id": problem.problem_id,
        "question": problem.statement,
        "operations": list(problem.operations),
        "difficulty": problem.difficulty,
    }
    if split == "eval":
        row["tests"] = json.dumps(
            [[value, output] for value, output in zip(problem.inputs, problem.outputs, strict=True)]
        )
    return row


def write_problems(path: Path, split: Split, seed: int, num: int) -> None:
    """JSON lines, one problem each, in a folder that is there."""
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}; make it first, or name another place")
    rows = (as_row(problem, split) for problem in draw_problems(split, seed, num))
    write_text(path, "".join(f"{json.dumps(row)}\n" for row in rows))


def _rows(split: Split, revision: str | None, num: int) -> Iterator[Row]:
    if revision is not None and not revision.isdecimal():
        raise SeedError(f'revision {revision!r} of the microworld\'s problems: must be a seed, such as "1"')
    for number, problem in enumerate(draw_problems(split, int(revision or 0), num), start=1):
        yield Row(f"microworld {split} {revision or 0}", f"problem {number}", as_row(problem, split))
