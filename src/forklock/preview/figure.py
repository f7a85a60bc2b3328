"""Predicted against trained, a panel a k; drawn where students of the same settings were trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from forklock import figure_style as style
from forklock.evaluate.metrics import ALL
from forklock.evaluate.notation import setting_text
from forklock.figure_panels import save_with_rows, whiskers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = "figures"
NAME = "predicted-against-trained"
PANEL = 4.4
"""Inches."""
MARKERS = {"hard": "o", "soft": "s"}


def draw(report: dict[str, Any], folder: Path) -> list[Path]:
    """PNG, SVG and CSV for each benchmark; same report, same bytes, under one matplotlib."""
    paths: list[Path] = []
    for name, benchmark in report["benchmarks"].items():
        if benchmark["agreement"] is not None:
            folder.mkdir(parents=True, exist_ok=True)
            with style.house_style():
                paths += _draw(name, benchmark, report["pass_k"], folder)
    return paths


def _draw(name: str, benchmark: dict[str, Any], pass_k: list[int], folder: Path) -> list[Path]:
    rows = list(_rows(benchmark, pass_k))
    figure = style.new_figure(PANEL * len(pass_k) + 0.9, PANEL + 0.6)
    panels = figure.subplots(1, len(pass_k), squeeze=False)[0]
    temperatures = sorted({row["eval_temperature"] for row in rows})
    for axes, k in zip(panels, pass_k, strict=True):
        _panel(axes, [row for row in rows if row["k"] == k], temperatures)
        ranks = benchmark["agreement"][f"pass@{k}"]["rank_correlation"]
        axes.set_title(f"pass@{k}" + ("" if ranks is None else f", rank correlation {ranks:.2f}"))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center right", title="decoded at")
    figure.suptitle(f"{name}: students played by the frozen model against trained ones (%)", fontsize=10.5)
    figure.tight_layout(rect=(0, 0, 1 - 1.05 / (PANEL * len(pass_k) + 0.9), 1))
    return save_with_rows(figure, rows, folder, f"{NAME}-{name}")


def _panel(axes: Axes, rows: list[dict[str, Any]], temperatures: list[float]) -> None:
    import matplotlib as mpl

    colors = mpl.colormaps["viridis"]
    for place, temperature in enumerate(temperatures):
        for target, marker in MARKERS.items():
            chosen = [row for row in rows if row["eval_temperature"] == temperature and row["target"] == target]
            if not chosen:
                continue
            color = colors(0.92 * place / max(1, len(temperatures) - 1))
            trained, predicted = ([100 * row[side]["mean"] for row in chosen] for side in ("trained", "predicted"))
            axes.errorbar(
                trained,
                predicted,
                xerr=100 * np.array(whiskers([row["trained"] for row in chosen])),
                yerr=100 * np.array(whiskers([row["predicted"] for row in chosen])),
                fmt=marker,
                color=color,
                markersize=6,
                linewidth=0.7,
                alpha=0.85,
                label=f"T={temperature:g}, {target}",
            )
    low, high = axes.get_xlim()
    bottom, top = axes.get_ylim()
    ends = (min(low, bottom), max(high, top))
    axes.plot(ends, ends, color=style.FAINT, linewidth=0.9, linestyle=(0, (4, 2)), zorder=0)
    axes.set_xlim(ends)
    axes.set_ylim(ends)
    axes.set_aspect("equal")
    axes.set_xlabel("trained")
    axes.set_ylabel("predicted")
    axes.grid(color=style.GRID, linewidth=0.7)


def _rows(benchmark: dict[str, Any], pass_k: list[int]) -> Iterator[dict[str, Any]]:
    for k in pass_k:
        for cell in benchmark["cells"]:
            for trained in cell["trained"]:
                yield {
                    "model": trained["model"],
                    "target": trained["target"],
                    "training": setting_text(cell["training"]),
                    "evaluation": setting_text(cell["decoding"]),
                    "eval_temperature": cell["decoding"]["temperature"],
                    "k": k,
                    "predicted": cell["pass_at_k"][ALL][f"pass@{k}"],
                    "trained": trained["pass_at_k"][ALL][f"pass@{k}"],
                }
