"""What the figures of a sweep share: colours of groups, heat maps, and how an estimate is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from forklock import figure_style as style
from forklock.figure_panels import whiskers
from forklock.sweep.rows import FAILED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNTRUNCATED = "#7F7F7F"
GROUP_COLORS = (style.TEACHER, style.CONTROL, "#CC79A7", style.STUDENT, "#8C7A00", "#56B4E9")
"""Of truncated groups; beyond the last they repeat."""
MANY_COLUMNS = 8
"""With so many, a word takes smaller letters than a number to stay in its field of a heat map."""
MARKERS = ("o", "s", "D", "^", "v", "P")


def group_colors(groups: Sequence[tuple[str, bool]]) -> dict[str, str]:
    """By label; the second of a pair says whether the group is truncated in training."""
    truncated = [label for label, is_truncated in groups if is_truncated]
    found = {label: GROUP_COLORS[index % len(GROUP_COLORS)] for index, label in enumerate(dict.fromkeys(truncated))}
    return {label: found.get(label, UNTRUNCATED) for label, _ in groups}


def estimate_of(row: Mapping[str, Any], k: int, group: str = "all") -> Mapping[str, float] | None:
    """None where it is undefined, or the cell not done."""
    found: Mapping[str, float] | None = row.get("pass_at_k", {}).get(group, {}).get(f"pass@{k}")
    return found


def row_at(rows: Sequence[Mapping[str, Any]], stage: str) -> Mapping[str, Any]:
    return next(row for row in rows if row["stage"] == stage)


@dataclass(frozen=True)
class Series:
    """Estimates side by side with those of other series, a place each."""

    label: str
    color: str
    marker: str
    found: Sequence[Mapping[str, float] | None]
    is_open: bool = False


def plot_series(axes: Axes, series: Sequence[Series], places: Sequence[str]) -> None:
    """Dots with their intervals; an undefined one leaves its place empty."""
    for number, one in enumerate(series):
        shift = 0.6 * ((number + 0.5) / len(series) - 0.5)
        shown = [(place, found) for place, found in enumerate(one.found) if found is not None]
        axes.errorbar(
            [place + shift for place, _ in shown],
            [found["mean"] for _, found in shown],
            whiskers([found for _, found in shown]),
            fmt=one.marker,
            markersize=6,
            color=one.color,
            markerfacecolor="white" if one.is_open else one.color,
            linewidth=1.4,
            capsize=3,
            label=one.label,
        )
        for place, found in enumerate(one.found):
            if found is None:
                at = place + shift, 0.03
                words: dict[str, Any] = {"ha": "center", "rotation": 90, "fontsize": 8, "color": one.color}
                axes.text(*at, "undefined", transform=axes.get_xaxis_transform(), **words)
    axes.set_xticks(range(len(places)), list(places))
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.tick_params(axis="x", length=0)


@dataclass(frozen=True)
class Heat:
    """Numbers by row and column; None where there is none, and `words` say why."""

    row_labels: Sequence[str]
    column_labels: Sequence[str]
    values: Sequence[Sequence[float | None]]
    words: Sequence[Sequence[str]]
    outlined: tuple[int, int] | None = None


def plot_heat(axes: Axes, heat: Heat, low: float, high: float) -> None:
    """Each number is written in its field, in percent. Rows begin at the bottom."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    numbers = np.array([[np.nan if value is None else value for value in row] for row in heat.values], dtype=float)
    colors = colormaps["cividis"].with_extremes(bad="#F2F2F2")
    axes.imshow(np.ma.masked_invalid(numbers), cmap=colors, vmin=low, vmax=high, aspect="auto", origin="lower")
    for row, values in enumerate(heat.values):
        for column, value in enumerate(values):
            is_dark = value is not None and (value - low) / max(high - low, 1e-9) < 0.55
            text = heat.words[row][column] if value is None else f"{100 * value:.1f}"
            color = style.CUTOFF if text == FAILED else "white" if is_dark else style.INK
            size = 8.5 if value is not None or len(values) < MANY_COLUMNS else 6.0
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=size)
    if heat.outlined is not None:
        row, column = heat.outlined
        corner = column - 0.47, row - 0.45
        axes.add_patch(Rectangle(corner, 0.94, 0.9, fill=False, edgecolor=style.CUTOFF, linewidth=2.2))
    axes.set_xticks(range(len(heat.column_labels)), list(heat.column_labels))
    axes.set_yticks(range(len(heat.row_labels)), list(heat.row_labels))
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def value_range(values: Sequence[float | None]) -> tuple[float, float]:
    found = [value for value in values if value is not None]
    return (min(found), max(found)) if found else (0.0, 1.0)
