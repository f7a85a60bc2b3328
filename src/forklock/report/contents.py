"""What a run folder holds of what a report needs. What is missing or cannot be read is said, and left out."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from forklock import running
from forklock.config import Recipe
from forklock.errors import ForklockError
from forklock.evaluate.metrics import Point
from forklock.evaluate.outcome import conclude, draw
from forklock.evaluate.points import PointPlan
from forklock.evaluate.stage import SUMMARY_FILE
from forklock.evaluate.verdicts import verdicts_in
from forklock.packages import load_package
from forklock.run_dir import Event, RunStatus, read_events
from forklock.run_dir.manifest import MANIFEST_NAME
from forklock.stages import ANALYSIS, Plan

SWEEP_SUMMARY = Path("sweep") / "summary.json"
SWEEP_FIGURES = "sweep/figures"
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Training:
    """One student's."""

    stage: str
    summary: dict[str, Any] | None
    curve: list[dict[str, float]]


@dataclass(frozen=True)
class Contents:
    run_dir: Path
    recipe: Recipe
    plan: Plan
    status: RunStatus
    outcome: dict[str, Any]
    trainings: dict[str, Training]
    """By student."""
    analysis: dict[str, Any] | None
    sweep: dict[str, Any] | None
    events: list[Event]
    troubles: list[str] = field(default_factory=list)
    """Files that could not be read; what only they hold is missing from the report."""

    def is_complete(self, stage: str) -> bool:
        return (self.run_dir / stage / MANIFEST_NAME).is_file()

    def attempt(self, read: Callable[[], _Found]) -> _Found | None:
        """What `read` gives; None, and a trouble more, where files do not let it."""
        try:
            return read()
        except (ForklockError, OSError, ValueError, KeyError, load_package("pyarrow").ArrowException) as error:
            self.troubles.append(_in_words(error))
            return None


def _in_words(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"A file lacks the field {error}: another version of forklock wrote it; make its stage again."
    return str(error) if isinstance(error, ForklockError | OSError) else f"{type(error).__name__}: {error}"


def read_contents(run_dir: Path) -> Contents:
    """Refuses what is no run folder. Changes nothing but the evaluation's figures, which are drawn anew."""
    recipe = running.recipe_of(run_dir)
    plan = running.plan_of(recipe)
    status = running.read_status(run_dir)
    contents = Contents(run_dir, recipe, plan, status, {}, {}, None, None, [])
    points = _readable_points(contents)
    nothing: dict[str, Any] = {"pass_k": list(recipe.evaluate.pass_k), "benchmarks": {}}
    outcome = contents.attempt(lambda: conclude(recipe, points, run_dir)) or nothing
    outcome = contents.attempt(lambda: draw(outcome, run_dir)) or {**outcome, "figures": []}
    trainings = {
        name: Training(
            stage,
            contents.attempt(lambda stage=stage: _json(run_dir / stage / SUMMARY_FILE)),  # type: ignore[misc]
            contents.attempt(lambda stage=stage: _curve(run_dir / stage / "curve.csv")) or [],  # type: ignore[misc]
        )
        for name, stage in plan.trainings.items()
        if contents.is_complete(stage)
    }
    has_analysis = ANALYSIS in plan.stages and contents.is_complete(ANALYSIS)
    return Contents(
        run_dir,
        recipe,
        plan,
        status,
        outcome,
        trainings,
        contents.attempt(lambda: _json(run_dir / ANALYSIS / SUMMARY_FILE)) if has_analysis else None,
        contents.attempt(lambda: _json(run_dir / SWEEP_SUMMARY)) if (run_dir / SWEEP_SUMMARY).is_file() else None,
        contents.attempt(lambda: list(read_events(run_dir))) or [],
        contents.troubles,
    )


def _readable_points(contents: Contents) -> Mapping[str, Mapping[PointPlan, str]]:
    """Points whose files can be read to the end, one by one: a damaged one does not take the others with it."""

    def is_readable(stage: str) -> bool:
        folder = contents.run_dir / stage

        def read() -> bool:
            Point.of(stage, verdicts_in(folder))
            _json(folder / SUMMARY_FILE)
            return True

        return contents.is_complete(stage) and contents.attempt(read) is not None

    return {
        model: {plan: stage for plan, stage in points.items() if is_readable(stage)}
        for model, points in contents.plan.points.items()
    }


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    return found


def _curve(path: Path) -> list[dict[str, float]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
