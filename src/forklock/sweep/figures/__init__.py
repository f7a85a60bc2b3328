"""A sweep in pictures, each as PNG, SVG and CSV, drawn from its JSON alone: same report, same bytes.

`decoding` draws the frozen model's own decodings, `temperatures` how T_train and T_eval compose, `stress` what bad data
gave, `ablations` the comparisons beside that. A figure whose question a sweep does not ask is not drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forklock import figure_style as style
from forklock.sweep.figures import ablations, decoding, stress, temperatures


def draw(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """All figures; those of an earlier call are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in [path for kind in ("png", "svg", "csv") for path in folder.glob(f"*.{kind}")]:
        path.unlink()
    paths: list[Path] = []
    with style.house_style():
        for name, benchmark in report["benchmarks"].items():
            for figure in (
                decoding.draw_decode_only,
                decoding.draw_base_grid,
                temperatures.draw_effective,
                temperatures.draw_heat,
                stress.draw_checkpoints,
                stress.draw_gains,
                ablations.draw_pass_curves,
                ablations.draw_targets,
                ablations.draw_budgets,
            ):
                paths += figure(name, benchmark, report["pass_k"], folder)
        paths += stress.draw_trained_on(report["syntheses"], folder)
        if len(report["benchmarks"]) > 1:
            label = next(iter(report["benchmarks"].values()))["label"]
            paths += ablations.draw_transfer(label, report["transfer"], report["pass_k"], folder)
    return paths
