"""The stage: samples in, checkpoints and the trained model out."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from forklock.cluster import train_on_cluster
from forklock.config import Recipe
from forklock.model_path import identity
from forklock.packages import packages_of
from forklock.run_dir import StageDir
from forklock.train.launch import Plan, is_launched

if TYPE_CHECKING:
    from forklock.train.data import Counts
    from forklock.train.endings import EndingShares
    from forklock.train.loop import Outcome

SUMMARY_FILE = "summary.json"
CURVE_FILE = "curve.csv"
MODEL = "model"
"""The folder of the trained model."""
VERIFIED = "verified"
"""The name under which a verified-only baseline's training reads its samples' verdicts."""
PassedIn: TypeAlias = Callable[[Path], frozenset[tuple[str, int]]]
"""Of a verified-only baseline alone: the samples that it may train on, by the folder of their verdicts."""


def folder_at(checkpoint: int | None) -> str:
    """The folder of the model after so many steps; None: after the last."""
    return MODEL if checkpoint is None else f"checkpoint-{checkpoint:06d}"


def run(recipe: Recipe, stage_dir: StageDir, passed_in: PassedIn | None = None) -> None:
    with packages_of("train"):
        from forklock.train.endings import load_endings, measure_endings

    start, scratch = time.monotonic(), stage_dir.scratch()
    counts, outcome = _train(recipe, stage_dir, passed_in)
    endings = measure_endings(recipe, stage_dir.path / MODEL, load_endings(scratch))
    stage_dir.write_text(CURVE_FILE, _curve_csv(outcome))
    summary = _summary(recipe, counts, outcome, endings)
    for warning in summary["warnings"]:
        stage_dir.warn(warning)
    stage_dir.write_text(SUMMARY_FILE, json.dumps(summary, indent=1, allow_nan=False) + "\n")
    taken = outcome.curve[outcome.num_resumed_steps :]
    num_tokens = sum(point.num_completion_tokens for point in taken)
    stage_dir.note(
        "trained",
        num_steps=len(taken),
        num_resumed_steps=outcome.num_resumed_steps,
        tokens_per_s=num_tokens / (time.monotonic() - start),
    )


def _train(recipe: Recipe, stage_dir: StageDir, passed_in: PassedIn | None) -> tuple[Counts, Outcome]:
    """By as many processes as there are to be. A killed call that had the trained model leaves nothing to do."""
    from forklock.train.worker import READY, has_outcome, lead, load_outcome, work, work_in_processes

    def publish(folder: Path) -> None:
        stage_dir.adopt(folder, folder.name)

    scratch = stage_dir.scratch()
    _publish_all(scratch / READY, publish)  # what a killed call had finished
    if stage_dir.is_done(MODEL) and has_outcome(scratch):
        counts, outcome = load_outcome(scratch)
        return counts, replace(outcome, num_resumed_steps=len(outcome.curve))
    passed = None if passed_in is None else passed_in(stage_dir.upstream(VERIFIED))
    plan = Plan(recipe, stage_dir.name, stage_dir.upstream("synthesize"), scratch, frozenset(stage_dir.done), passed)
    if is_launched():
        return lead(plan, publish)
    if recipe.cluster.address is None and recipe.train.num_processes == 1:
        return work(plan, publish)
    try:
        return work_in_processes(plan) if recipe.cluster.address is None else train_on_cluster(plan)
    finally:
        _publish_all(scratch / READY, publish)


def follow() -> None:
    """In a process that a launcher started, but rank 0."""
    with packages_of("train"):
        from forklock.train import worker
    worker.follow()


def _publish_all(ready: Path, publish: Callable[[Path], None]) -> None:
    for folder in sorted(ready.glob("*")):
        publish(folder)


def stage_config(recipe: Recipe, *, is_model_made_by_run: bool = False) -> dict[str, object]:
    """What decides the weights: not how a step is cut into forward passes, nor over how many devices, nor how the
    model is decoded afterwards (its generation config holds what the recipe had then; `export model` renews it)."""
    how = {
        "layout",
        "tokens_per_device",
        "num_processes",
        "gradient_checkpointing",
        "sharding",
        "trackers",
        "loss_kernel",
    }
    if not recipe.train.only_verified_samples:
        how.add("only_verified_samples")  # self-distillation does not know the word
    return {
        "model": identity(recipe.model, is_made_by_run=is_model_made_by_run),
        "train": recipe.train.model_dump(mode="json", exclude=how),
        "drop_degenerate": recipe.synthesize.drop_degenerate,
        "seed": recipe.seed,
    }


def _curve_csv(outcome: Outcome) -> str:
    from forklock.train.state import CurvePoint

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(CurvePoint)]
    writer.writerow(names)
    writer.writerows([getattr(point, name) for name in names] for point in outcome.curve)
    return text.getvalue()


def _summary(recipe: Recipe, counts: Counts, outcome: Outcome, endings: EndingShares) -> dict[str, Any]:
    curve = outcome.curve
    tenth = max(1, len(curve) // 10)
    return {
        **counts.as_json(),
        "target": recipe.train.target,
        "num_steps": len(curve),
        "num_tokens_trained": sum(point.num_completion_tokens for point in curve),
        "first_loss": _mean_loss(curve[:tenth]),
        "last_loss": _mean_loss(curve[-tenth:]),
        "num_loss_averaged_steps": tenth,
        "stop_health": {**outcome.stop_health.as_json(), "endings": endings.as_json()},
        "warnings": [text for text in (outcome.stop_health.warning, endings.warning) if text is not None],
        "model": MODEL,
    }


def _mean_loss(points: Any) -> float:
    return float(sum(point.loss for point in points) / len(points))
