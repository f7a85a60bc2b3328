"""What an evaluation comes to: its numbers, what they say in words, and their figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forklock.config import Recipe
from forklock.evaluate import figures
from forklock.evaluate.points import PointPlan
from forklock.evaluate.report import gather
from forklock.evaluate.words import verdict

FIGURES_FOLDER = "figures"
"""In the run folder, beside its stages and none of them: drawn anew each time."""


def conclude(recipe: Recipe, points: Mapping[str, Mapping[PointPlan, str]], run_dir: Path) -> dict[str, Any]:
    """`report.gather`, with each benchmark's `verdict`."""
    report = gather(recipe, points, run_dir)
    for benchmark in report["benchmarks"].values():
        benchmark["verdict"] = verdict(benchmark, report["pass_k"])
    return report


def draw(outcome: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """The outcome with the paths of all `figures`, which are drawn anew."""
    return {**outcome, "figures": [str(path) for path in figures.draw(outcome, run_dir / FIGURES_FOLDER)]}
