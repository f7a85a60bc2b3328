"""What was played, ranked; and beside it what trained students of the same settings did, where the run has them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forklock import running
from forklock.config import BenchmarkName, Recipe
from forklock.decoding import Decoding
from forklock.evaluate import PointPlan
from forklock.evaluate.metrics import ALL, Point, compare, describe
from forklock.evaluate.verdicts import verdicts_in
from forklock.preview.cells import base_points, played_points
from forklock.run_dir.manifest import MANIFEST_NAME
from forklock.stages import MODEL, plan_points
from forklock.students import BASE
from forklock.sweep.cells import whole_plan
from forklock.train import VERIFIED

MIN_FOR_RANKS = 3
"""Pairs of a prediction and a trained student; with fewer no rank correlation says anything."""


@dataclass(frozen=True)
class _Found:
    plan: PointPlan
    point: Point


@dataclass(frozen=True)
class _Pair:
    """A prediction, and a trained student of the same settings on the same problems."""

    predicted: _Found
    model: str
    target: str
    trained: _Found


def gather(recipe: Recipe, run_dir: Path) -> dict[str, Any]:
    """As JSON, of the points that are complete in the run folder; nothing is drawn or graded here."""
    recipe = running.as_pinned(recipe, run_dir)
    return {
        "model": recipe.model.path,
        "pass_k": list(recipe.evaluate.pass_k),
        "benchmarks": {name: _benchmark(recipe, run_dir, name) for name in recipe.evaluate.benchmarks},
    }


def _benchmark(recipe: Recipe, run_dir: Path, name: BenchmarkName) -> dict[str, Any]:
    pass_k = recipe.evaluate.pass_k
    played = _read(recipe, run_dir, [plan for plan in played_points(recipe) if plan.benchmark == name])
    base = _read(recipe, run_dir, [plan for plan in base_points(recipe) if plan.benchmark == name])
    pairs = list(_pairs(recipe, run_dir, played))
    return {
        "base": [_entry(found, pass_k) for found in base],
        "cells": sorted(
            (_cell(found, base, pairs, pass_k) for found in played), key=_score(f"pass@{pass_k[0]}"), reverse=True
        ),
        "agreement": {f"pass@{k}": _agreement(pairs, k) for k in pass_k} if pairs else None,
    }


def _read(recipe: Recipe, run_dir: Path, plans: Sequence[PointPlan]) -> list[_Found]:
    stages = plan_points(recipe, plans).points[BASE]
    return [
        _Found(plan, Point.of(stage, verdicts_in(run_dir / stage)))
        for plan, stage in stages.items()
        if (run_dir / stage / MANIFEST_NAME).is_file()
    ]


def _pairs(recipe: Recipe, run_dir: Path, played: Sequence[_Found]) -> Iterator[_Pair]:
    """Every trained model whose samples and decoding are those of a prediction, and whose point is complete; models
    that share a point are one. What stands for no q_s is left out: a later round, a training that verdicts picked the
    samples of, and checkpoints before the last step."""
    taken: set[str] = set()
    by_cell = {(found.plan.plays, found.plan.decoding): found for found in played}
    plan = whole_plan(recipe)
    for model, training in plan.trainings.items():
        reads = plan.stages[training].reads
        synthesis = plan.stages[reads["synthesize"]]
        if MODEL in synthesis.reads or VERIFIED in reads:
            continue
        settings: Any = synthesis.config["synthesize"]
        learned: Any = plan.stages[training].config["train"]
        for point, stage in plan.points[model].items():
            found = by_cell.get((Decoding(**settings["decoding"]), point.decoding))
            is_new = stage not in taken and (run_dir / stage / MANIFEST_NAME).is_file()
            if found is not None and is_new and (point.benchmark, point.checkpoint) == (found.plan.benchmark, None):
                taken.add(stage)
                trained = _Found(point, Point.of(stage, verdicts_in(run_dir / stage)))
                yield _Pair(found, model, learned["target"], trained)


def _entry(found: _Found, pass_k: Sequence[int]) -> dict[str, Any]:
    plays = found.plan.plays
    return {
        "stage": found.plan.stage_name,
        "training": None if plays is None else asdict(plays),
        "decoding": asdict(found.plan.decoding),
        **describe(found.point, pass_k),
    }


def _cell(found: _Found, base: Sequence[_Found], pairs: Sequence[_Pair], pass_k: Sequence[int]) -> dict[str, Any]:
    return {
        **_entry(found, pass_k),
        "difference_to_base": compare(base[0].point, found.point, pass_k) if base else None,
        "trained": [
            {
                "model": pair.model,
                "target": pair.target,
                **_entry(pair.trained, pass_k),
                "predicted_minus_trained": compare(pair.trained.point, found.point, pass_k),
            }
            for pair in pairs
            if pair.predicted is found
        ],
    }


def _score(metric: str) -> Callable[[dict[str, Any]], float]:
    def of(cell: dict[str, Any]) -> float:
        estimate = cell["pass_at_k"][ALL][metric]
        return -1.0 if estimate is None else float(estimate["mean"])

    return of


def _agreement(pairs: Sequence[_Pair], k: int) -> dict[str, Any]:
    """How predictions stand to trained students, all together, by evaluation temperature and by kind of target."""
    by_temperature, by_target = defaultdict(list), defaultdict(list)
    values = [(_mean(pair.predicted, k), _mean(pair.trained, k)) for pair in pairs]
    for pair, value in zip(pairs, values, strict=True):
        by_temperature[f"{pair.predicted.plan.decoding.temperature:g}"].append(value)
        by_target[pair.target].append(value)
    return {
        **_errors(values),
        "by_eval_temperature": {name: _errors(by_temperature[name]) for name in sorted(by_temperature, key=float)},
        "by_target": {name: _errors(group) for name, group in sorted(by_target.items())},
    }


def _mean(found: _Found, k: int) -> float:
    values = found.point.pass_at(k)
    assert values is not None, "a recipe's pass_k are within its number of samples"
    return float(values.mean())


def _errors(values: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Of (predicted, trained); errors are predicted minus trained."""
    predicted, trained = np.array(values).T
    errors = predicted - trained
    return {
        "num_pairs": len(values),
        "rank_correlation": spearman(predicted, trained),
        "mean_error": float(errors.mean()),
        "mean_absolute_error": float(np.abs(errors).mean()),
        "largest_error": float(errors[np.abs(errors).argmax()]),
        "trained_at_predicted_best": float(trained[predicted.argmax()]),
        "best_trained": float(trained.max()),
    }


def spearman(first: np.ndarray, second: np.ndarray) -> float | None:
    """Correlation of ranks, equals sharing theirs; None for fewer than three pairs, or where one side never differs."""
    if len(first) < MIN_FOR_RANKS:
        return None
    ranks = [_ranks(first), _ranks(second)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return None
    return float(np.corrcoef(ranks)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks
