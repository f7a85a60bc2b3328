"""An evaluation as JSON: every point that is complete, and the trained model against the frozen one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from forklock.config import BenchmarkName, Recipe
from forklock.evaluate.metrics import ALL, Point, compare, compare_at_budgets, describe
from forklock.evaluate.points import PointPlan, plan_points
from forklock.evaluate.stage import SUMMARY_FILE
from forklock.evaluate.verdicts import verdicts_in
from forklock.run_dir.manifest import MANIFEST_NAME

CHOSEN_ON_THESE = "chosen as the best of the sweep on the same problems, so its mean is too high"


def gather(recipe: Recipe, run_dir: Path) -> dict[str, Any]:
    """Of what the run folder holds complete; nothing is sampled or graded here."""
    plans = [plan for plan in plan_points(recipe) if (run_dir / plan.stage_name / MANIFEST_NAME).is_file()]
    return {
        "model": recipe.model.path,
        "pass_k": list(recipe.evaluate.pass_k),
        "benchmarks": {
            name: _benchmark(recipe, run_dir, [plan for plan in plans if plan.benchmark == name])
            for name in recipe.evaluate.benchmarks
            if any(plan.benchmark == name for plan in plans)
        },
    }


def _benchmark(recipe: Recipe, run_dir: Path, plans: Sequence[PointPlan]) -> dict[str, Any]:
    pass_k = recipe.evaluate.pass_k
    points = {plan: Point.of(plan.stage_name, verdicts_in(run_dir / plan.stage_name)) for plan in plans}
    notes: list[str] = []
    for plan in plans:
        summary = json.loads((run_dir / plan.stage_name / SUMMARY_FILE).read_text(encoding="utf-8"))
        notes += [note for note in summary["notes"] if note not in notes]
    base = next((plan for plan in plans if _is_own(recipe, plan, "base")), None)
    student = next((plan for plan in plans if plan.role == "student"), None)
    best = max(
        (plan for plan in plans if plan.role == "base"), key=lambda plan: _score(points[plan], pass_k[0]), default=None
    )
    return {
        "notes": notes,
        "is_isolated": all(point.is_isolated for point in points.values()),
        "points": [
            {
                "stage": plan.stage_name,
                "model": plan.role,
                "decoding": asdict(plan.decoding),
                **describe(point, pass_k),
            }
            for plan, point in points.items()
        ],
        "base": base and base.stage_name,
        "student": student and student.stage_name,
        "best_base": None
        if best is None or sum(plan.role == "base" for plan in plans) < 2
        else {"stage": best.stage_name, "by": f"pass@{pass_k[0]}", "warning": CHOSEN_ON_THESE},
        "difference": compare(points[base], points[student], pass_k) if base and student else None,
        "difference_to_best_base": compare(points[best], points[student], pass_k) if best and student else None,
        "matched_budgets": compare_at_budgets(points[base], points[student], pass_k) if base and student else None,
    }


def report_of_file(
    benchmark: BenchmarkName, point: Point, notes: Sequence[str], pass_k: Sequence[int]
) -> dict[str, Any]:
    """The same shape, of a single point that came from elsewhere."""
    return {
        "model": point.title,
        "pass_k": list(pass_k),
        "benchmarks": {
            benchmark: {
                "notes": list(notes),
                "is_isolated": point.is_isolated,
                "points": [{"stage": None, "model": "samples", "decoding": None, **describe(point, pass_k)}],
                "base": None,
                "student": None,
                "best_base": None,
                "difference": None,
                "difference_to_best_base": None,
                "matched_budgets": None,
            }
        },
    }


def _is_own(recipe: Recipe, plan: PointPlan, role: str) -> bool:
    return plan.role == role and plan.decoding == recipe.evaluate.base_decoding


def _score(point: Point, k: int) -> float:
    values = point.pass_at(k)
    return -1.0 if values is None else float(values[point.groups[ALL]].mean())
