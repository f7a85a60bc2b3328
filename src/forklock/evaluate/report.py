"""An evaluation as JSON: every point that is complete, and the trained model against the frozen one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from forklock.config import BenchmarkName, Recipe
from forklock.decoding import Decoding
from forklock.evaluate.contests import Field, best_of
from forklock.evaluate.metrics import Point, Pool, compare, compare_at_budgets, describe, scores
from forklock.evaluate.points import PointPlan
from forklock.evaluate.stage import SUMMARY_FILE
from forklock.evaluate.verdicts import verdicts_in
from forklock.run_dir.manifest import MANIFEST_NAME
from forklock.students import BASE, OWN, labels_of, replicates_of, students_of

CHOSEN_ON_THESE = "chosen as the best of the sweep on the same problems, so its mean is too high"
NOT_DISTILLATION = (
    "a baseline, not self-distillation: it was trained on those samples alone that pass their problems' tests"
)


def gather(recipe: Recipe, points: Mapping[str, Mapping[PointPlan, str]], run_dir: Path) -> dict[str, Any]:
    """Of what the run folder holds complete; nothing is sampled or graded here.

    `points` are the stages of each model's points, as `stages.Plan` has them.
    """
    done = {
        model: {point: name for point, name in stages.items() if (run_dir / name / MANIFEST_NAME).is_file()}
        for model, stages in points.items()
    }
    return {
        "model": recipe.model.path,
        "pass_k": list(recipe.evaluate.pass_k),
        "benchmarks": {
            name: _Benchmark(recipe, run_dir, name, done).as_json()
            for name in recipe.evaluate.benchmarks
            if any(point.benchmark == name for stages in done.values() for point in stages)
        },
    }


def notes_on(recipe: Recipe) -> list[str]:
    """What people should be told of its models, before any number."""
    return [NOT_DISTILLATION] if recipe.train.only_verified_samples else []


class _Benchmark:
    """The points of one benchmark, each read once."""

    def __init__(
        self, recipe: Recipe, run_dir: Path, name: BenchmarkName, done: Mapping[str, Mapping[PointPlan, str]]
    ) -> None:
        self._recipe, self._run_dir = recipe, run_dir
        self._stages = {
            point: stage for points in done.values() for point, stage in points.items() if point.benchmark == name
        }
        self._points = {plan: Point.of(stage, verdicts_in(run_dir / stage)) for plan, stage in self._stages.items()}
        self._students = {student.name: student.decodings[0] for student in students_of(recipe)}

    def as_json(self) -> dict[str, Any]:
        base, best = self._own(BASE, self._recipe.evaluate.base_decoding), self._best(BASE)
        own = self._own(OWN, self._students[OWN])
        return {
            "notes": self._notes(),
            "labels": labels_of(self._recipe),
            "is_isolated": all(point.is_isolated for point in self._points.values()),
            "points": [
                {
                    "stage": stage,
                    "model": plan.model,
                    "decoding": asdict(plan.decoding),
                    **describe(self._points[plan], self._recipe.evaluate.pass_k),
                }
                for plan, stage in self._stages.items()
            ],
            "base": base and self._stages[base],
            "student": own and self._stages[own],
            "best_base": self._chosen(best, len(self._of(BASE))),
            **self._comparison(own, base, best),
            "others": {
                name: {
                    "stage": point and self._stages[point],
                    "best": self._chosen(self._best(name), len(self._of(name))),
                    **self._comparison(point, base, best),
                }
                for name, decoding in self._students.items()
                if name != OWN and self._of(name)
                for point in [self._own(name, decoding)]
            },
            "contests": self._field(base).contests() if base else [],
            "pooled": list(self._pooled(base, best)),
        }

    def _field(self, base: PointPlan) -> Field:
        own = {name: self._own(name, decoding) for name, decoding in self._students.items()}
        students = {name: plan for name, plan in own.items() if plan is not None}
        return Field(self._points, self._stages, base, students, self._recipe.evaluate.pass_k)

    def _pooled(self, base: PointPlan | None, best: PointPlan | None) -> Iterator[dict[str, Any]]:
        """Students that differ by their training's seed alone, taken together once all of them are complete."""
        labels, pass_k = labels_of(self._recipe), self._recipe.evaluate.pass_k
        for names in replicates_of(self._recipe):
            plans = [self._own(name, self._students[name]) for name in names]
            points = [self._points[plan] for plan in plans if plan is not None]
            if base is None or best is None or len(points) < len(names):
                continue
            pool = Pool(f"{labels[names[0]]}, {len(names)} training seeds", points)
            yield {
                "label": pool.title,
                "models": list(names),
                "decoding": asdict(self._students[names[0]]),
                "pass_at_k": scores(pool, pass_k),
                "means": {f"pass@{k}": [_mean(point, k) for point in points] for k in pass_k},
                "difference": compare(self._points[base], pool, pass_k),
                "difference_to_best_base": compare(self._points[best], pool, pass_k),
                "contests": self._field(base).pooled(pool),
            }

    def _comparison(self, plan: PointPlan | None, base: PointPlan | None, best: PointPlan | None) -> dict[str, Any]:
        """A student's own point against the base's own and the base's best."""
        pass_k, points = self._recipe.evaluate.pass_k, self._points
        return {
            "difference": compare(points[base], points[plan], pass_k) if base and plan else None,
            "difference_to_best_base": compare(points[best], points[plan], pass_k) if best and plan else None,
            "matched_budgets": compare_at_budgets(points[base], points[plan], pass_k) if base and plan else None,
        }

    def _of(self, model: str) -> list[PointPlan]:
        return [plan for plan in self._points if plan.model == model]

    def _own(self, model: str, decoding: Decoding) -> PointPlan | None:
        return next((plan for plan in self._of(model) if plan.decoding == decoding), None)

    def _best(self, model: str) -> PointPlan | None:
        plans = self._of(model)
        return best_of(self._points, plans, self._recipe.evaluate.pass_k[0]) if plans else None

    def _chosen(self, best: PointPlan | None, num_points: int) -> dict[str, Any] | None:
        """None where there was nothing to choose from."""
        if best is None or num_points < 2:
            return None
        k = self._recipe.evaluate.pass_k[0]
        return {"stage": self._stages[best], "by": f"pass@{k}", "warning": CHOSEN_ON_THESE}

    def _notes(self) -> list[str]:
        notes = notes_on(self._recipe)
        for stage in self._stages.values():
            summary = json.loads((self._run_dir / stage / SUMMARY_FILE).read_text(encoding="utf-8"))
            notes += [note for note in summary["notes"] if note not in notes]
        return notes


def _mean(point: Point, k: int) -> float | None:
    values = point.pass_at(k)
    return None if values is None else float(values.mean())


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
                "labels": {},
                "is_isolated": point.is_isolated,
                "points": [{"stage": None, "model": "samples", "decoding": None, **describe(point, pass_k)}],
                "base": None,
                "student": None,
                "best_base": None,
                "difference": None,
                "difference_to_best_base": None,
                "matched_budgets": None,
                "others": {},
                "contests": [],
                "pooled": [],
            }
        },
    }
