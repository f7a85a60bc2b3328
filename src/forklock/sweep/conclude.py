"""Leaves what a sweep came to in its run folder: summary.json, cells.csv, samples.md and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from forklock.config import Recipe
from forklock.run_dir import write_text
from forklock.sweep.cells import plan_sweep
from forklock.sweep.figures import draw
from forklock.sweep.results import gather
from forklock.sweep.rows import write_cells
from forklock.sweep.taking import FOLDER, read_failures

FIGURES_FOLDER = "figures"


def conclude(recipe: Recipe, run_dir: Path) -> dict[str, Any]:
    """`results.gather`, with the paths of all figures. Made anew each time, from what is complete."""
    folder = run_dir / FOLDER
    folder.mkdir(exist_ok=True)
    report = gather(recipe, plan_sweep(recipe), run_dir, read_failures(run_dir))
    write_text(folder / "summary.json", json.dumps(report, indent=1, allow_nan=False) + "\n")
    write_cells(folder / "cells.csv", report)
    write_text(folder / "samples.md", _samples(report))
    return {**report, "figures": [str(path) for path in draw(report, folder / FIGURES_FOLDER)]}


def _samples(report: dict[str, Any]) -> str:
    """Samples that were trained on, as they are (Figure 7a)."""
    parts = [f"# What was trained on: {report['name']}\n"]
    for name, synthesis in report["syntheses"].items():
        if synthesis is None:
            parts.append(f"## {name}\n\nnot complete\n")
            continue
        share = f"{synthesis['share_without_code']:.1%} of {synthesis['num_samples']:,} samples without code"
        parts.append(f"## {name}\n\n{share}, {synthesis['share_at_limit']:.1%} at the length limit.\n")
        for sample in synthesis["shown"]:
            indented = "\n".join(f"    {line}" for line in sample["text"].splitlines())
            kind = "with code" if sample["has_code"] else "without code"
            parts.append(f"{sample['prompt_id']}, {kind}:\n\n{indented}\n")
    return "\n".join(parts)
