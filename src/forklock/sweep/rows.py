"""One row a cell: what it is, how far it is, and what came out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from forklock.evaluate.metrics import Point, describe
from forklock.evaluate.stage import SUMMARY_FILE
from forklock.evaluate.verdicts import verdicts_in
from forklock.run_dir import write_text
from forklock.run_dir.manifest import MANIFEST_NAME
from forklock.sweep.cells import Cell

DONE, FAILED, MISSING = "done", "failed", "missing"
GROUPS = ("all", "easy", "medium", "hard")
SHARES = (
    "num_problems",
    "num_samples_per_problem",
    "share_without_code",
    "share_at_limit",
    "mean_tokens",
    "mean_code_blocks",
)


class Points:
    """Verdicts of evaluation points, each read once however many cells share it."""

    def __init__(self, run_dir: Path, failures: Mapping[str, str]) -> None:
        self._run_dir, self._failures = run_dir, failures
        self._read: dict[str, Point] = {}

    def state(self, stage: str) -> tuple[str, str]:
        """And the reason. What an older configuration left under a stage that failed now is not its result."""
        if stage in self._failures:
            return FAILED, self._failures[stage]
        return (DONE, "") if (self._run_dir / stage / MANIFEST_NAME).is_file() else (MISSING, "")

    def is_done(self, stage: str) -> bool:
        return self.state(stage)[0] == DONE

    def of(self, stage: str) -> Point:
        if stage not in self._read:
            self._read[stage] = Point.of(stage, verdicts_in(self._run_dir / stage))
        return self._read[stage]

    def notes(self, stage: str) -> list[str]:
        """What people should be told about its problems."""
        summary = json.loads((self._run_dir / stage / SUMMARY_FILE).read_text(encoding="utf-8"))
        return list(summary["notes"])

    def described(self, stage: str, pass_k: Sequence[int]) -> dict[str, Any]:
        """State, reason and, where it is done, everything that is reported about a point."""
        state, reason = self.state(stage)
        found = describe(self.of(stage), pass_k) if state == DONE else {}
        return {"stage": stage, "state": state, "reason": reason, **found}


def row_of(cell: Cell, points: Points, pass_k: Sequence[int]) -> dict[str, Any]:
    return {
        "model": cell.point.model,
        "train": asdict(cell.training.decoding),
        "target": cell.training.target,
        "seed": cell.training.seed,
        "checkpoint": cell.point.checkpoint,
        "eval": asdict(cell.point.decoding),
        "effective_temperature": cell.effective_temperature,
        **points.described(cell.stage, pass_k),
    }


def write_cells(path: Path, report: Mapping[str, Any]) -> None:
    """Every cell of every benchmark; an undefined number is an empty field."""
    rows = [
        {"benchmark": name, **flat}
        for name, benchmark in report["benchmarks"].items()
        for flat in map(dict, (_flat(row, report["pass_k"]) for row in benchmark["cells"]))
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _flat(row: Mapping[str, Any], pass_k: Sequence[int]) -> Iterator[tuple[str, Any]]:
    for half in ("train", "eval"):
        yield from ((f"{half}_{name}", row[half][name]) for name in ("temperature", "top_k", "top_p"))
    for name in ("target", "seed", "checkpoint", "effective_temperature", "state", "reason", "stage"):
        yield name, row[name]
    for name in SHARES:
        yield name, row.get(name)
    for group in GROUPS:
        found = row.get("pass_at_k", {}).get(group, {})
        for k in pass_k:
            estimate = found.get(f"pass@{k}") or {}
            for bound in ("mean", "low", "high"):
                yield f"{group}_pass@{k}_{bound}", estimate.get(bound)
