"""Takes the stages of a recipe through in a run folder, as far as a command asks for, and reads the folder back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from forklock import cluster, hub_commits, progress, recipes
from forklock.config import ClusterConfig, Recipe
from forklock.evaluate import PointPlan, Session
from forklock.evaluate.points import FAMILY
from forklock.model_path import check_model_path, local_folder
from forklock.parallel.schedule import Schedule
from forklock.parallel.workers import Job, num_at_once, take_in_processes
from forklock.run_dir import (
    NotARunFolderError,
    Repair,
    Run,
    RunStatus,
    Stage,
    open_run,
    repair_run,
    run_stages,
    write_text,
)
from forklock.run_dir import read_status as read_run_status
from forklock.run_dir.manifest import MANIFEST_NAME
from forklock.stages import Plan, plan_points, plan_stages
from forklock.students import BASE, OWN, students_of
from forklock.sweep.cells import whole_plan
from forklock.train import TrainingError
from forklock.train.launch import is_launched

RECIPE_FILE = "recipe.toml"


def run_until(
    recipe: Recipe, run_dir: Path, last: Literal["prompts", "synthesize", "train", "analyze"]
) -> dict[str, Any]:
    """Bring the recipe's own student as far as `last`, evaluation left out; gives that stage's `summary.json`.

    With several rounds `synthesize` is the first one's, `train` the last one's.
    """
    with opened(recipe, run_dir) as (run, pinned), Session(pinned) as session:
        plan = plan_stages(pinned, students_of(pinned)[:1], session)
        name = plan.trainings[OWN] if last == "train" else last
        stages = plan.closure([name])
        if is_launched():
            _refuse_missing(run.path, stages[:-1])
        say_what_is_there(run.path, stages)
        results = run_stages(run, stages)
    summary: dict[str, Any] = json.loads((results[-1].path / "summary.json").read_text(encoding="utf-8"))
    return summary


def run_evaluation(
    recipe: Recipe,
    run_dir: Path,
    only: Literal["base", "student"] | None = None,
    *,
    num_parallel: int | None = None,
    allow_unsafe: bool = False,
) -> None:
    """Bring every point to completion: what the students need first, then the frozen model's points, then theirs."""

    def wanted(plan: Plan) -> list[str]:
        of_base = list(plan.points[BASE].values())
        of_students = [name for model, points in plan.points.items() if model != BASE for name in points.values()]
        return {"base": of_base, "student": of_students, None: of_base + of_students}[only]

    _run_with_points(recipe, run_dir, wanted, num_parallel=num_parallel, allow_unsafe=allow_unsafe)


def run_all(recipe: Recipe, run_dir: Path, *, num_parallel: int | None = None, allow_unsafe: bool = False) -> None:
    """Bring every stage of the recipe to completion, `num_parallel` at a time or as many as the recipe says."""
    _run_with_points(
        recipe, run_dir, lambda plan: list(plan.stages), num_parallel=num_parallel, allow_unsafe=allow_unsafe
    )


def run_points(recipe: Recipe, run_dir: Path, points: Sequence[PointPlan], *, allow_unsafe: bool = False) -> None:
    """Bring points of the frozen model to completion, whatever else the recipe asks for; nothing is trained."""
    with (
        opened(recipe, run_dir, with_benchmarks=True) as (run, pinned),
        Session(pinned, allow_unsafe=allow_unsafe) as session,
    ):
        stages = list(plan_points(pinned, points, session).stages.values())
        if any(not (run.path / stage.name / MANIFEST_NAME).exists() for stage in stages):
            session.check(pinned.evaluate.benchmarks)
        say_what_is_there(run.path, stages)
        run_stages(run, stages)


def _run_with_points(
    recipe: Recipe,
    run_dir: Path,
    wanted: Callable[[Plan], list[str]],
    *,
    num_parallel: int | None,
    allow_unsafe: bool,
) -> None:
    with opened(recipe, run_dir, with_benchmarks=True) as (run, pinned):
        with Session(pinned, allow_unsafe=allow_unsafe) as session:
            plan = plan_stages(pinned, students_of(pinned), session)
            stages = plan.closure(wanted(plan))
            if any(not (run.path / stage.name / MANIFEST_NAME).exists() for stage in stages):
                session.check(pinned.evaluate.benchmarks)
            say_what_is_there(run.path, stages)
            num_workers = min(len(_unfinished(run.path, stages)), num_at_once(pinned, num_parallel))
            if num_workers <= 1:
                for stage in stages:
                    if not stage.name.startswith(f"{FAMILY}/"):
                        session.release()
                    run_stages(run, [stage])
        if num_workers > 1:
            take = take_in_processes if pinned.cluster.address is None else cluster.take_on_cluster
            take(run, Schedule(stages, stops_at_failure=True), Job(pinned, allow_unsafe), num_workers)


def say_what_is_there(run_dir: Path, stages: Sequence[Stage]) -> None:
    """To who calls again; in a new folder there is nothing to say."""
    if not any((run_dir / stage.name).exists() for stage in stages):
        return  # and no input is read for it
    found = read_run_status(run_dir, stages).stages
    states = ("done", "partial", "stale")
    done, begun, changed = ([stage.stage for stage in found if stage.state == state] for state in states)
    words = f"; begun: {_some(begun)}" if begun else ""
    words += f"; set aside, for settings or inputs have changed: {_some(changed)}" if changed else ""
    if len(done) == len(stages):
        progress.say(f"all {len(done)} stages in {run_dir} are done already")
    elif done or words:
        progress.say(f"goes on in {run_dir}: {len(done)} of {len(stages)} stages are done{words}")


def _some(names: Sequence[str]) -> str:
    """A sweep has hundreds."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _unfinished(run_dir: Path, stages: Sequence[Stage]) -> list[str]:
    return [stage.stage for stage in read_run_status(run_dir, stages).stages if stage.state != "done"]


def _refuse_missing(run_dir: Path, stages: Sequence[Stage]) -> None:
    """Under a launcher: a device each would wait while one of them samples, and engines start processes themselves."""
    if missing := _unfinished(run_dir, stages):
        raise TrainingError(
            f"{run_dir}: {' and '.join(missing)} must be done before a launcher starts the training; "
            "run `forklock synthesize` with the same recipe first, by itself"
        )


def read_status(run_dir: Path) -> RunStatus:
    """Each stage held against the recipe that the folder keeps."""
    return read_run_status(run_dir, _stages_of_folder(run_dir))


def repair(run_dir: Path) -> tuple[Repair, ...]:
    """Set damaged outputs aside, so that the next call makes just those again."""
    stages = _stages_of_folder(run_dir)
    with open_run(run_dir) as run:
        return repair_run(run, stages)


def recipe_of(run_dir: Path) -> Recipe:
    """The recipe that a run folder keeps, every default spelled out."""
    recipe_path = run_dir / RECIPE_FILE
    if not run_dir.is_dir():
        raise NotARunFolderError(f"{run_dir}: there is no such folder; name one in which forklock ran")
    if not recipe_path.is_file():
        raise NotARunFolderError(
            f"{run_dir}: holds no {RECIPE_FILE}, so it is no run folder of a recipe; name one in which a recipe ran"
        )
    return recipes.load([str(recipe_path.absolute())])


def as_pinned(recipe: Recipe, run_dir: Path) -> Recipe:
    """With the commits that the folder's recipe holds, where it names the same models and datasets; the hub is not
    asked. Without such a folder the recipe as it is."""
    if not (run_dir / RECIPE_FILE).is_file():
        return recipe
    kept, changes = recipe_of(run_dir), dict[str, object]()
    if recipe.model.revision is None and recipe.model.path == kept.model.path:
        changes["model"] = recipe.model.model_copy(update={"revision": kept.model.revision})
    if recipe.prompts.revision is None and recipe.prompts.path == kept.prompts.path:
        changes["prompts"] = recipe.prompts.model_copy(update={"revision": kept.prompts.revision})
    if not recipe.evaluate.data_revisions:
        revisions = {"data_revisions": kept.evaluate.data_revisions}
        changes["evaluate"] = recipe.evaluate.model_copy(update=revisions)
    return recipe.model_copy(update=changes)


def plan_of(recipe: Recipe) -> Plan:
    """All that a recipe asks for, its sweep left out."""
    return plan_stages(recipe, students_of(recipe))


def _stages_of_folder(run_dir: Path) -> list[Stage]:
    return list(whole_plan(recipe_of(run_dir)).stages.values())


@contextmanager
def opened(recipe: Recipe, run_dir: Path, *, with_benchmarks: bool = False) -> Iterator[tuple[Run, Recipe]]:
    """The folder, held, with the recipe in it; and the recipe with what comes from the hub held to commits."""
    check_model_path(recipe.model.path)
    if is_launched():  # the launcher's processes are what there is to work with
        recipe = recipe.model_copy(update={"cluster": ClusterConfig()})
    if local_folder(recipe.model.path) is not None:  # nothing to download: no bars but ours
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with cluster.connected(recipe.cluster), cluster.mirrored(recipe.cluster, run_dir), open_run(run_dir) as run:
        pinned = hub_commits.pin(recipe, run.path, with_benchmarks=with_benchmarks)
        write_text(run.path / RECIPE_FILE, recipes.to_toml(pinned))
        yield run, pinned
