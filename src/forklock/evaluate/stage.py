"""The stage of one evaluation point: samples are drawn, then graded; both go on where a killed call stopped."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial

from forklock.config import Recipe
from forklock.evaluate.foreign import answer_from_sample
from forklock.evaluate.grading import Grading, grade_into
from forklock.evaluate.points import PointPlan
from forklock.evaluate.session import Session
from forklock.evaluate.verdicts import verdicts_in
from forklock.run_dir import StageDir
from forklock.sampling import samples_in
from forklock.sampling.draw import Drawing, draw_samples

SUMMARY_FILE = "summary.json"


def run(recipe: Recipe, point: PointPlan, session: Session, stage_dir: StageDir) -> None:
    """`recipe.model` is the model of this point."""
    loaded = session.problems(point.benchmark)
    scorer = session.scorer(point.benchmark)  # before anything is drawn: what can't be graded is not
    drawing = Drawing(
        model=recipe.model,
        engine=recipe.engine,
        decoding=point.decoding,
        max_sequence_tokens=recipe.evaluate.max_sequence_tokens,
        num_samples_per_prompt=recipe.evaluate.num_samples_per_problem,
        seed_parts=(recipe.seed, "evaluate", point.benchmark),
        title=f"{point.title}, {point.benchmark}, {point.decoding}",
        template=recipe.prompts.template,
    )
    prompts = [problem.prompt for problem in loaded.problems]
    opening = partial(session.engine, drawing.model, drawing.sequence_limit(), point.plays)
    draw_samples(drawing, prompts, stage_dir, opening)
    problems = {problem.problem_id: problem for problem in loaded.problems}
    answers = (
        answer_from_sample(sample, problems[sample.prompt_id], recipe.model.style)
        for sample in samples_in(stage_dir.path)
    )
    total = len(problems) * recipe.evaluate.num_samples_per_problem
    scores = session.scores(point.benchmark)
    grade_into(stage_dir, answers, Grading(point.benchmark, problems, scorer, total, scores))
    if not stage_dir.is_done(SUMMARY_FILE):
        summary = {
            "model": point.title,
            "benchmark": point.benchmark,
            "decoding": asdict(point.decoding),
            "num_problems": len(problems),
            "num_verdicts": total,
            "is_isolated": all(verdict.is_isolated for verdict in verdicts_in(stage_dir.path)),
            "notes": loaded.notes,
        }
        stage_dir.write_text(SUMMARY_FILE, json.dumps(summary, indent=1) + "\n")
