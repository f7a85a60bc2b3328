"""`forklock grade`: verdicts for samples that came from anywhere."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from forklock.benchmarks import BENCHMARKS, load_benchmark, local_files
from forklock.code_blocks import Style
from forklock.config import BenchmarkName
from forklock.errors import ForklockError
from forklock.evaluate.foreign import ForeignSamplesError, read_answers
from forklock.evaluate.grading import Answer, Grading, grade_into
from forklock.evaluate.metrics import Point
from forklock.evaluate.report import report_of_file
from forklock.evaluate.scoring import ThreadScorer
from forklock.evaluate.stage import SUMMARY_FILE
from forklock.evaluate.verdicts import verdicts_in
from forklock.run_dir import Stage, StageDir, open_run, run_stages
from forklock.sandbox.pool import Sandbox

STAGE_NAME = "grade"


class GradeOptions(BaseModel):
    """What `forklock grade` was asked for, under the names of its options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: BenchmarkName
    data: str | None = None
    style: Style = "instruct"
    """How text becomes code: our own samples hold text, others hold code."""
    pass_k: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 5)
    workers: int | None = None
    all_tests: bool = False
    unsafe_execution: bool = False


class OptionError(ForklockError):
    """An option of `forklock grade` that means nothing."""

    exit_code = 2


def options_from(**given: Any) -> GradeOptions:
    try:
        return GradeOptions(**given)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise OptionError(f"--{option}: {first['msg']}, and {first['input']!r} is none") from error


def grade_file(path: Path, out: Path, options: GradeOptions) -> dict[str, Any]:
    """Verdicts for all samples in a file, as a run folder of one stage: a call that was killed goes on.

    All of the benchmark and of the file is read, and what is wrong with them said, before anything is graded.
    """
    if not path.exists():
        raise ForeignSamplesError(f"{path}: no such file")
    stage = Stage(
        name=STAGE_NAME,
        body=partial(_run, path, options),
        config={
            "benchmark": options.benchmark,
            "style": options.style,
            "is_local": options.data is not None,
            "all_tests": options.all_tests,
        },
        inputs={"samples": path, **local_files(options.benchmark, options.data)},
    )
    with open_run(out) as run:
        [result] = run_stages(run, [stage])
    summary = json.loads((result.path / SUMMARY_FILE).read_text(encoding="utf-8"))
    point = Point.of(str(path), verdicts_in(result.path))
    return report_of_file(options.benchmark, point, summary["notes"], options.pass_k)


def _run(path: Path, options: GradeOptions, stage_dir: StageDir) -> None:
    loaded = load_benchmark(options.benchmark, options.data, all_tests=options.all_tests)
    problems = {problem.problem_id: problem for problem in loaded.problems}
    answers = read_answers(path, problems, options.style)
    counts = _check_counts(path, answers)
    notes = list(loaded.notes)
    if len(counts) < len(problems):
        notes.append(f"{len(counts):,} of {len(problems):,} problems have samples; the others are not counted")
    sandbox = Sandbox(num_workers=options.workers, unsafe=options.unsafe_execution)
    if BENCHMARKS[options.benchmark].runs_programs:
        with sandbox:
            grade_into(stage_dir, answers, Grading(options.benchmark, problems, ThreadScorer(sandbox), len(answers)))
    else:
        grade_into(stage_dir, answers, Grading(options.benchmark, problems, ThreadScorer(sandbox), len(answers)))
    stage_dir.write_text(SUMMARY_FILE, json.dumps({"benchmark": options.benchmark, "notes": notes}, indent=1) + "\n")


def _check_counts(path: Path, answers: list[Answer]) -> Counter[str]:
    counts = Counter(answer.problem_id for answer in answers)
    if len(set(counts.values())) > 1:
        few, many = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        raise ForeignSamplesError(
            f"{path}: {counts[few]} samples of {few}, {counts[many]} of {many}: give every problem as many, since "
            "pass@k puts problems side by side"
        )
    return counts
