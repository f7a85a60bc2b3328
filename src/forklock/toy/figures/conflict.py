"""Figure 4: one evaluation temperature for a fork and a lock, cold or hot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from forklock import figure_style as style
from forklock.toy.figures.mechanism import BAR_WIDTH, NUM_SHOWN, heated, mark_right_token
from forklock.toy.machine import HEADS, Archetype
from forklock.toy.result import ToyResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS: dict[float, dict[str, Any]] = {
    0.4: {"facecolor": "#DCEBF5", "edgecolor": style.STUDENT, "linewidth": 0.9},
    1.6: {"facecolor": "#F2C4C5", "edgecolor": style.CUTOFF, "hatch": "....", "linewidth": 0.9},
}
"""Cold and hot."""


def draw_conflict(result: ToyResult, folder: Path) -> list[Path]:
    """The frozen policy without truncation: what cold takes from forks, and hot from locks.

    The dashed line is where the tail begins: past the tokens whose probabilities the paper states.
    """
    figure = style.new_figure(9.0, 3.9)
    layout = {"left": 0.07, "right": 0.985, "top": 0.78, "bottom": 0.22, "wspace": 0.16}
    fork, lock = figure.subplots(1, 2, gridspec_kw=layout)
    _panel(fork, result, "fork")
    _panel(lock, result, "lock")
    fork.set_title("Fork: cold leaves it one branch", pad=8)
    lock.set_title("Lock: hot wakes its distractors", pad=8)
    lock.set_ylabel("")
    handles, labels = fork.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(BARS), bbox_to_anchor=(0.5, 0.0))
    title = "One evaluation temperature cannot serve forks and locks"
    figure.text(0.07, 0.925, title, fontsize=12.5, fontweight="bold")
    return style.save(figure, folder, "figure_04_conflict")


def _panel(axes: Axes, result: ToyResult, archetype: Archetype) -> None:
    frozen = np.array(result.teacher.probabilities[archetype])
    order = np.argsort(-frozen, kind="stable")
    num_in_head = len(HEADS[archetype])
    rank = np.arange(1, NUM_SHOWN + 1)
    found = {temperature: heated(frozen[order], temperature) for temperature in BARS}
    for side, (temperature, probabilities) in zip((-1, 1), found.items(), strict=True):
        place = rank + side * BAR_WIDTH / 2
        axes.bar(place, probabilities[:NUM_SHOWN], BAR_WIDTH, label=f"T={temperature:g}", **BARS[temperature])
    axes.axvline(num_in_head + 0.5, color=style.FAINT, linestyle="--", linewidth=1)
    lines = [
        f"T={temperature:g}: {100 * probabilities[0]:.0f}% on the first,\n"
        f"{100 * probabilities[num_in_head:].sum():.1f}% in the tail"
        for temperature, probabilities in found.items()
    ]
    axes.text(num_in_head + 0.75, 0.95, "\n\n".join(lines), va="top", transform=axes.get_xaxis_transform())
    mark_right_token(axes, int(np.flatnonzero(order == 0)[0]) + 1, NUM_SHOWN)
    axes.set_xlabel("tokens by rank (✓ the right one)")
    style.percent_axis(axes, "probability (%)", 1.1 * max(float(probabilities[0]) for probabilities in found.values()))
