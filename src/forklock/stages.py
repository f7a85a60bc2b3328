"""The stages of a run, in order: what each reads, and what of the recipe decides its work."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from forklock import evaluate, hub_commits, prompts, recipes, synthesize, train
from forklock.config import Recipe
from forklock.evaluate import Session
from forklock.evaluate.points import Role
from forklock.model_path import check_model_path, local_folder
from forklock.run_dir import (
    NotARunFolderError,
    Repair,
    RunStatus,
    Stage,
    StageDir,
    open_run,
    repair_run,
    run_stages,
    write_text,
)
from forklock.run_dir import read_status as read_run_status

RECIPE_FILE = "recipe.toml"


def stages_of(recipe: Recipe, session: Session | None = None) -> tuple[Stage, ...]:
    """Every stage that works today. Evaluation points that run share a session."""
    return (*_training_stages(recipe), *_evaluation_stages(recipe, session or Session(recipe)))


def _training_stages(recipe: Recipe) -> tuple[Stage, ...]:

    def body(run: Callable[[Recipe, StageDir], None]) -> Callable[[StageDir], None]:
        return partial(run, recipe)

    return (
        Stage(
            name="prompts",
            body=body(prompts.run),
            config=prompts.stage_config(recipe),
            inputs=prompts.input_files(recipe.prompts),
        ),
        Stage(
            name="synthesize",
            body=body(synthesize.run),
            config=synthesize.stage_config(recipe),
            reads=("prompts",),
            derived=("summary.json",),
            inputs=_model_input(recipe) | _template_input(recipe),
        ),
        Stage(
            name="train",
            body=body(train.run),
            config=train.stage_config(recipe),
            reads=("synthesize",),
            derived=("curve.csv", "summary.json"),
            inputs=_model_input(recipe),
        ),
    )


def _evaluation_stages(recipe: Recipe, session: Session) -> tuple[Stage, ...]:
    of_base = _model_input(recipe)
    return tuple(
        Stage(
            name=point.stage_name,
            body=partial(evaluate.run, recipe, point, session),
            config=point.config(recipe),
            reads=point.reads,
            derived=("summary.json",),
            inputs=point.data_files(recipe) | _template_input(recipe) | (of_base if point.role == "base" else {}),
        )
        for point in evaluate.plan_points(recipe)
    )


def run_until(recipe: Recipe, run_dir: Path, last: str) -> dict[str, Any]:
    """Bring the stages up to and with `last` to completion; gives its `summary.json`."""
    check_model_path(recipe.model.path)
    with open_run(run_dir) as run:
        pinned = hub_commits.pin(recipe, run.path)
        stages = stages_of(pinned)
        names = [stage.name for stage in stages]
        write_text(run.path / RECIPE_FILE, recipes.to_toml(pinned))
        results = run_stages(run, stages[: names.index(last) + 1])
    summary: dict[str, Any] = json.loads((results[-1].path / "summary.json").read_text(encoding="utf-8"))
    return summary


def run_evaluation(recipe: Recipe, run_dir: Path, only: Role | None = None, *, allow_unsafe: bool = False) -> None:
    """Bring every point to completion: the frozen model's first, then what the trained model's need, then those."""
    check_model_path(recipe.model.path)
    with open_run(run_dir) as run:
        pinned = hub_commits.pin(recipe, run.path, with_benchmarks=True)
        write_text(run.path / RECIPE_FILE, recipes.to_toml(pinned))
        with Session(pinned, allow_unsafe=allow_unsafe) as session:
            points = _evaluation_stages(pinned, session)
            if only != "student":
                run_stages(run, [point for point in points if not point.reads])
            if only != "base":
                session.release()
                run_stages(run, [*_training_stages(pinned), *(point for point in points if point.reads)])


def read_status(run_dir: Path) -> RunStatus:
    """Each stage held against the recipe that the folder keeps."""
    return read_run_status(run_dir, stages_of(recipe_of(run_dir)))


def repair(run_dir: Path) -> tuple[Repair, ...]:
    """Set damaged outputs aside, so that the next call makes just those again."""
    stages = stages_of(recipe_of(run_dir))
    with open_run(run_dir) as run:
        return repair_run(run, stages)


def recipe_of(run_dir: Path) -> Recipe:
    """The recipe that a run folder keeps, every default spelled out."""
    recipe_path = run_dir / RECIPE_FILE
    if not run_dir.is_dir():
        raise NotARunFolderError(f"{run_dir}: there is no such folder")
    if not recipe_path.is_file():
        raise NotARunFolderError(f"{run_dir}: holds no {RECIPE_FILE}, so it is no run folder")
    return recipes.load([str(recipe_path.absolute())])


def _model_input(recipe: Recipe) -> dict[str, Path]:
    """A folder counts by its content; a name on the hub counts by its commit, which stands in the configuration."""
    folder = local_folder(recipe.model.path)
    return {} if folder is None else {"model.path": folder}


def _template_input(recipe: Recipe) -> dict[str, Path]:
    template = recipe.prompts.template
    return {} if template is None else {"prompts.template": Path(template)}
