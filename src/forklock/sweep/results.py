"""What a sweep came to, as JSON: rows, the best cell against the base's best, fits, and the paper's ablations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from forklock.code_blocks import last_code_block
from forklock.config import BenchmarkName, Recipe
from forklock.evaluate.contests import best_of
from forklock.evaluate.intervals import interval
from forklock.evaluate.metrics import SEED, Point, compare, compare_at_budgets
from forklock.evaluate.points import PointPlan
from forklock.evaluate.report import notes_on
from forklock.run_dir.manifest import MANIFEST_NAME
from forklock.sampling import Sample, read_shard
from forklock.sampling.shards import shards_in
from forklock.students import OWN, labels_of
from forklock.sweep.cells import Cell, SweepPlan
from forklock.sweep.fits import fit_quadratic
from forklock.sweep.rows import DONE, Points, row_of

CHOSEN = (
    "The best cell and the base's best were chosen on these same problems: both means are too high, the more so the "
    "more they were chosen from."
)
NUM_SHOWN = 2
"""Samples of a synthesis with code, and as many without."""


def gather(recipe: Recipe, planned: SweepPlan, run_dir: Path, failures: Mapping[str, str]) -> dict[str, Any]:
    """Of what the run folder holds complete; nothing is sampled or graded here."""
    points = Points(run_dir, failures)
    benchmarks = {name: _Benchmark(recipe, planned, points, name) for name in recipe.evaluate.benchmarks}
    states = [points.state(cell.stage)[0] for cell in planned.cells]
    first = benchmarks[recipe.evaluate.benchmarks[0]]
    return {
        "name": recipe.name,
        "model": recipe.model.path,
        "pass_k": list(recipe.evaluate.pass_k),
        "num_cells": len(states),
        "num_cells_by_state": {state: states.count(state) for state in sorted(set(states))},
        "failures": dict(failures),
        "syntheses": {
            name: _synthesis(run_dir, planned.plan.syntheses[name], recipe)
            for name in dict.fromkeys(cell.point.model for cell in planned.cells)
        },
        "benchmarks": {name: benchmark.as_json() for name, benchmark in benchmarks.items()},
        "transfer": [found for benchmark in benchmarks.values() for found in benchmark.transfer(first)],
    }


class _Benchmark:
    """The points of one benchmark."""

    def __init__(self, recipe: Recipe, planned: SweepPlan, points: Points, name: BenchmarkName) -> None:
        self.name, self._recipe, self._points = name, recipe, points
        self._label = labels_of(recipe)[OWN]
        self._pass_k = recipe.evaluate.pass_k
        self._cells = [cell for cell in planned.cells if cell.point.benchmark == name]
        self._base = {plan: stage for plan, stage in planned.base_points.items() if plan.benchmark == name}
        done = {plan: stage for plan, stage in self._base.items() if points.is_done(stage)}
        self._done_base = {plan: points.of(stage) for plan, stage in done.items()}
        self._done = {cell.point: cell for cell in self._cells if points.is_done(cell.stage)}
        self._own = PointPlan("base", name, recipe.evaluate.base_decoding)

    def as_json(self) -> dict[str, Any]:
        rows = [row_of(cell, self._points, self._pass_k) for cell in self._cells]
        return {
            "notes": self._notes(),
            "label": self._label,
            "is_isolated": all(self._points.of(stage).is_isolated for stage in self._done_stages()),
            "base": [self._base_row(plan) for plan in self._base],
            "base_own": self._base[self._own],
            "cells": rows,
            "best": [found for k in self._pass_k if (found := self._best(k)) is not None],
            "caution": CHOSEN,
            "fits": [found for k in self._pass_k for found in _fits(rows, k)],
            "pass_curves": list(self._pass_curves()),
            "matched_budgets": self._budgets(),
            "targets": list(self._targets()),
        }

    def _done_stages(self) -> list[str]:
        stages = [*self._base.values(), *(cell.stage for cell in self._cells)]
        return [stage for stage in dict.fromkeys(stages) if self._points.is_done(stage)]

    def _notes(self) -> list[str]:
        notes = (note for stage in self._done_stages() for note in self._points.notes(stage))
        return list(dict.fromkeys([*notes_on(self._recipe), *notes]))

    def _base_row(self, plan: PointPlan) -> dict[str, Any]:
        return {"decoding": asdict(plan.decoding), **self._points.described(self._base[plan], self._pass_k)}

    def best_cell(self, k: int) -> Cell | None:
        """By mean pass@k over all problems; of equals the first."""
        found = {plan: self._points.of(cell.stage) for plan, cell in self._done.items()}
        return self._done[best_of(found, list(found), k)] if found else None

    def _best_base(self, k: int) -> PointPlan | None:
        return best_of(self._done_base, list(self._done_base), k) if self._done_base else None

    def _best(self, k: int) -> dict[str, Any] | None:
        cell, base = self.best_cell(k), self._best_base(k)
        if cell is None or base is None:
            return None
        return {
            "k": k,
            "cell": cell.stage,
            "base": self._base[base],
            "num_cells": len(self._done),
            "num_base_points": len(self._done_base),
            "to_base_own": self._difference(self._done_base.get(self._own), cell, k),
            "to_best_base": self._difference(self._done_base[base], cell, k),
        }

    def _difference(self, base: Point | None, cell: Cell, k: int) -> dict[str, Any] | None:
        """Cell minus base, by group."""
        if base is None:
            return None
        found = compare(base, self._points.of(cell.stage), [k])
        return {group: by_k[f"pass@{k}"] for group, by_k in found.items()}

    def _pass_curves(self) -> Iterator[dict[str, Any]]:
        """pass@k for k up to the number of samples: does training widen what is reachable, or only sharpen?"""
        k = self._pass_k[0]
        cell, best = self.best_cell(k), self._best_base(k)
        shown = {
            "base, its own decoding": (self._done_base.get(self._own), self._base[self._own]),
            f"base, its best pass@{k}": (self._done_base[best], self._base[best]) if best else (None, ""),
            f"{self._label}, its best pass@{k}": (self._points.of(cell.stage), cell.stage) if cell else (None, ""),
        }
        for label, (point, stage) in shown.items():
            for each in _powers(0 if point is None else point.num_samples):
                values = point.pass_at(each) if point else None
                assert values is not None, "k is at most the number of samples"
                yield {"label": label, "stage": stage, "k": each, **interval(values, SEED).as_json()}

    def _budgets(self) -> dict[str, Any] | None:
        cell, base = self.best_cell(self._pass_k[0]), self._done_base.get(self._own)
        if cell is None or base is None:
            return None
        point = self._points.of(cell.stage)
        found = compare_at_budgets(base, point, self._pass_k)
        if found is None:
            return None
        same_samples = compare(base, point, self._pass_k)["all"]
        return {"cell": cell.stage, "base": self._base[self._own], "same_samples": same_samples, "by_k": found}

    def _targets(self) -> Iterator[dict[str, Any]]:
        """Soft minus hard, all else equal: same samples, same steps."""
        by_setting: dict[tuple[Any, ...], dict[str, Cell]] = {}
        for cell in self._done.values():
            key = (cell.training.decoding, cell.training.seed, cell.point.checkpoint, cell.point.decoding)
            by_setting.setdefault(key, {})[cell.training.target] = cell
        for pair in by_setting.values():
            if len(pair) == 2:
                hard, soft = pair["hard"], pair["soft"]
                for k in self._pass_k:
                    found = self._difference(self._points.of(hard.stage), soft, k)
                    yield {"hard": hard.stage, "soft": soft.stage, "k": k, "difference": found}

    def transfer(self, first: _Benchmark) -> Iterator[dict[str, Any]]:
        """The cell that is best on the first benchmark, on this one (Table 5)."""
        chosen, base = first.best_cell(self._pass_k[0]), self._done_base.get(self._own)
        if chosen is None or base is None:
            return
        plan = PointPlan(chosen.point.model, self.name, chosen.point.decoding, chosen.point.checkpoint)
        if (cell := self._done.get(plan)) is None:
            return
        for k in self._pass_k:
            yield {
                "benchmark": self.name,
                "k": k,
                "base_stage": self._base[self._own],
                "cell_stage": cell.stage,
                "base": _mean(base, k),
                "cell": _mean(self._points.of(cell.stage), k),
                "difference": (self._difference(base, cell, k) or {})["all"],
            }


def _mean(point: Point, k: int) -> dict[str, float] | None:
    values = point.pass_at(k)
    return None if values is None else interval(values, SEED).as_json()


def _fits(rows: list[dict[str, Any]], k: int) -> Iterator[dict[str, Any]]:
    """A fit for each way to cut off in training, target and cut in evaluation, over trained models alone."""

    def group_of(row: dict[str, Any]) -> tuple[Any, ...]:
        train, decoding = row["train"], row["eval"]
        return train["top_k"], train["top_p"], row["target"], decoding["top_k"], decoding["top_p"]

    ends = [row for row in rows if row["checkpoint"] is None]
    for key, members in groupby(sorted(ends, key=group_of), key=group_of):
        found = [(row["effective_temperature"], row["pass_at_k"]["all"][f"pass@{k}"]) for row in members
                 if row["state"] == DONE]  # fmt: skip
        defined = [(x, estimate["mean"]) for x, estimate in found if estimate is not None]
        fit = fit_quadratic(*zip(*defined, strict=True)) if defined else None
        names = ("train_top_k", "train_top_p", "target", "eval_top_k", "eval_top_p")
        yield {
            "k": k,
            **dict(zip(names, key, strict=True)),
            "is_truncated": key[:2] != (0, 1.0),
            "num_points": len(defined),
            "fit": None if fit is None else fit.as_json(),
        }


def _powers(num_samples: int) -> list[int]:
    """1, 2, 4, ... and the number itself."""
    powers = [1 << number for number in range(num_samples.bit_length()) if 1 << number <= num_samples]
    return powers if not num_samples or powers[-1] == num_samples else [*powers, num_samples]


def _synthesis(run_dir: Path, stage: str, recipe: Recipe) -> dict[str, Any] | None:
    """What was trained on (Figure 7a): its shares, and some of it. None where it is not complete."""
    folder = run_dir / stage
    if not (folder / MANIFEST_NAME).is_file():
        return None
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    names = ("num_samples", "num_tokens", "share_without_code", "share_at_limit", "num_degenerate")
    return {"stage": stage, **{name: summary[name] for name in names}, "shown": _shown(folder, recipe)}


def _shown(folder: Path, recipe: Recipe) -> list[dict[str, Any]]:
    """Of the first shard, by prompt: without code and with it. A large synthesis is not read through for this."""
    samples = sorted(read_shard(shards_in(folder)[0]), key=lambda sample: sample.key)

    def has_code(sample: Sample) -> bool:
        return last_code_block(sample.text, recipe.model.style) is not None

    return [
        {"prompt_id": sample.prompt_id, "has_code": wanted, "text": sample.text}
        for wanted in (False, True)
        for sample in islice((sample for sample in samples if has_code(sample) is wanted), NUM_SHOWN)
    ]
