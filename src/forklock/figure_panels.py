"""Panels side by side under a headline, with one legend below: how figures of pass rates are laid out and written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forklock import figure_style as style
from forklock.figure_data import write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_WIDTH, PANEL_HEIGHT, MOST_COLUMNS = 5.0, 3.5, 3
"""Inches, and panels in a row."""


def whiskers(found: Sequence[Mapping[str, float]]) -> list[list[float]]:
    # Where all problems agree, rounding can put a bound on the wrong side of its mean.
    below = [max(0.0, each["mean"] - each["low"]) for each in found]
    return [below, [max(0.0, each["high"] - each["mean"]) for each in found]]


def estimate_fields(found: Mapping[str, Any] | None) -> dict[str, Any]:
    """As the JSON has them; empty fields where undefined."""
    return {key: found[key] if found else None for key in ("mean", "low", "high")}


def new_panels(number: int, num_legend_rows: int, left: float = 0.65) -> tuple[Figure, list[Axes]]:
    """Room for a headline above, for a legend below, and of `left` inches for what stands beside the first."""
    columns = 2 if number == 4 else min(number, MOST_COLUMNS)
    rows = math.ceil(number / columns)
    legend = 0.22 * num_legend_rows + 0.15
    width, height = max(1.7, columns) * PANEL_WIDTH, rows * PANEL_HEIGHT + 0.8 + legend
    figure = style.new_figure(width, height)
    layout = {
        "left": left / width,
        "right": 1 - 0.15 / width,
        "top": 1 - 0.75 / height,
        "bottom": (legend + 0.5) / height,
        "wspace": 0.2,
        "hspace": 0.4,
    }
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=layout).flatten().tolist()
    for empty in axes[number:]:
        empty.remove()
    return figure, axes[:number]


def percent_scale(axes: Axes, label: str) -> None:
    low, high = axes.get_ylim()
    style.percent_axis(axes, label, 1.0)
    axes.set_ylim(low, high)


def add_legend(figure: Figure, axes: Axes, num_columns: int = 3) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=num_columns, bbox_to_anchor=(0.5, 0.0))


def add_headline(figure: Figure, text: str) -> None:
    height = figure.get_size_inches()[1]
    figure.text(0.012, 1 - 0.25 / height, text, fontsize=11.5, fontweight="bold", va="center")


def save_with_rows(figure: Figure, rows: Sequence[Mapping[str, Any]], folder: Path, name: str) -> list[Path]:
    return [*style.save(figure, folder, name), write_csv(folder, name, rows)]
