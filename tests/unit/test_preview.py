"""What predictions are put beside: students that stand for the law that was played, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_cases import demo, leave_points

from forklock import recipes
from forklock.config import Recipe
from forklock.evaluate.points import PointPlan
from forklock.preview.cells import base_points, played_points
from forklock.preview.prediction import gather
from forklock.sweep.cells import whole_plan

NUM_PROBLEMS = 12
ONE_STUDENT = ("evaluate.base_temperatures=[]", "evaluate.student_temperatures=[]", "evaluate.base_grid=none")


def left(recipe: Recipe, run_dir: Path) -> None:
    """Half of a finished student's samples pass, and of a played one's; none of a checkpoint's."""
    points = whole_plan(recipe).points
    plans = {stage: plan for stages in points.values() for plan, stage in stages.items()}
    plans |= {plan.stage_name: plan for plan in [*base_points(recipe), *played_points(recipe)]}

    def counts(plan: PointPlan) -> list[int]:
        return [5 if plan.checkpoint is None else 0] * NUM_PROBLEMS

    leave_points(run_dir, plans, counts)


def test_checkpoints_are_not_the_student_that_was_played(tmp_path: Path) -> None:
    training = ("train.epochs=none", "train.steps=90", "train.checkpoint_every_steps=30")
    sweep = ("sweep.eval_temperatures=[1.0, 1.6]", "sweep.all_checkpoints=true")
    recipe = demo("students=none", *ONE_STUDENT, *training, *sweep)
    left(recipe, tmp_path)
    (benchmark,) = gather(recipe, tmp_path)["benchmarks"].values()
    agreement = benchmark["agreement"]["pass@1"]
    assert (agreement["num_pairs"], agreement["largest_error"]) == (2, 0)


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [("demo-verified-only-baseline", ()), ("demo", ("students=none", "rounds=2"))],
)
def test_trainings_on_other_samples_are_left_out(recipe: str, overrides: tuple[str, ...], tmp_path: Path) -> None:
    found = recipes.load([recipe], [*ONE_STUDENT, "evaluate.num_samples_per_problem=10", *overrides])
    left(found, tmp_path)
    (benchmark,) = gather(found, tmp_path)["benchmarks"].values()
    assert len(benchmark["cells"]) == 1
    assert benchmark["agreement"] is None
