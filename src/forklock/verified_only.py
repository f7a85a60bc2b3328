"""A baseline that is not self-distillation: which of the samples pass their problems' tests, for training on those.

The one place where a verdict reaches training. It takes `train.only_verified_samples` and a recipe whose name says
`verified-only`; the problems are the microworld's, since only their tests are known to us.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from forklock.benchmarks.microworld import training_problems
from forklock.config import Recipe
from forklock.evaluate import Session, verdicts_in
from forklock.evaluate.foreign import answer_from_sample
from forklock.evaluate.grading import Grading, grade_into
from forklock.run_dir import StageDir
from forklock.sampling import samples_in

KIND = "verified-only"
SUMMARY_FILE = "summary.json"
Key = tuple[str, int]
"""Of a sample: its prompt, and which of that prompt's it is."""


def run(recipe: Recipe, session: Session, stage_dir: StageDir) -> None:
    """Grades every sample of the synthesis; goes on where a killed call stopped."""
    samples = stage_dir.upstream("synthesize")
    problems = training_problems(recipe.prompts.revision, recipe.prompts.limit)
    answers = (
        answer_from_sample(sample, problems[sample.prompt_id], recipe.model.style) for sample in samples_in(samples)
    )
    num_samples = sum(1 for _ in samples_in(samples))
    grading = Grading("the baseline's training samples", problems, session.scorer("microworld"), num_samples)
    grade_into(stage_dir, answers, grading)
    if not stage_dir.is_done(SUMMARY_FILE):
        verdicts = Counter(verdict.verdict.value for verdict in verdicts_in(stage_dir.path))
        summary = {"num_samples": num_samples, "num_by_verdict": dict(sorted(verdicts.items()))}
        stage_dir.write_text(SUMMARY_FILE, json.dumps(summary, indent=1) + "\n")


def stage_config(recipe: Recipe) -> dict[str, object]:
    return {"problems": recipe.prompts.revision, "style": recipe.model.style}


def passed_keys(folder: Path) -> frozenset[Key]:
    """Of the samples that passed."""
    return frozenset(verdict.key for verdict in verdicts_in(folder) if verdict.passed)
