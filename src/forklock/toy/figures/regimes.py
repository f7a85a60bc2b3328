"""Figure 14: fork and lock at three temperatures, teacher above the line and student below, and success over T."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forklock import figure_style as style
from forklock.toy.figures.mechanism import highest_success, mark_right_token, plot_success_curves
from forklock.toy.machine import Archetype, Floats
from forklock.toy.result import Regime, ToyResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUM_SHOWN = 7
"""Ranks: as many as the largest nucleus in the paper's setting."""


def draw_regimes(result: ToyResult, folder: Path) -> list[Path]:
    """Figure 14, with the numbers that its readout gives as bars' heads and column titles."""
    figure = style.new_figure(9.6, 7.2)
    grid = figure.add_gridspec(
        3, 3, height_ratios=[1, 1, 1.1], left=0.075, right=0.985, top=0.875, bottom=0.07, hspace=0.33, wspace=0.08
    )
    archetypes: tuple[Archetype, ...] = ("fork", "lock")
    for column, regime in enumerate(result.regimes):
        for row, archetype in enumerate(archetypes):
            axes = figure.add_subplot(grid[row, column])
            _butterfly(axes, result, regime, archetype)
            if column == 0:
                axes.set_ylabel(f"{archetype}: probability (%)", labelpad=4 if archetype == "lock" else 10)
            else:
                axes.set_yticklabels([])
            if row == 0:
                _column_title(axes, regime)
            elif column == 1:
                axes.set_xlabel("tokens by rank (✓ the right one)")
    _success_panel(figure.add_subplot(grid[2, :]), result)
    figure.text(
        0.012,
        0.968,
        f"One temperature for every state, top-p {result.config.eval_top_p:.2f}: what evaluation draws from",
        fontsize=11.5,
        fontweight="bold",
    )
    return style.save(figure, folder, "figure_14_regimes")


def _column_title(axes: Axes, regime: Regime) -> None:
    axes.set_title(f"{regime.name}: T = {regime.temperature:g}", loc="center", pad=20)
    for who, value, color, x, side in (
        ("teacher", regime.teacher_success, style.TEACHER, 0.48, "right"),
        ("student", regime.student_success, style.STUDENT, 0.52, "left"),
    ):
        text = f"{who} {100 * value:.1f}%"
        axes.text(x, 1.045, text, color=color, ha=side, fontweight="bold", transform=axes.transAxes)


def _butterfly(axes: Axes, result: ToyResult, regime: Regime, archetype: Archetype) -> None:
    order = np.argsort(-np.array(result.teacher.probabilities[archetype]), kind="stable")
    teacher, student = np.array(regime.teacher[archetype])[order], np.array(regime.student[archetype])[order]
    rank = np.arange(1, NUM_SHOWN + 1)
    axes.bar(rank, teacher[:NUM_SHOWN], 0.74, **style.TEACHER_BAR)
    axes.bar(rank, -student[:NUM_SHOWN], 0.74, **style.STUDENT_BAR)
    _bar_heads(axes, teacher[:NUM_SHOWN], 1, style.TEACHER)
    _bar_heads(axes, student[:NUM_SHOWN], -1, style.STUDENT)
    axes.axhline(0, color=style.INK, linewidth=0.9)
    most = max(max(getattr(each, who)[archetype]) for each in result.regimes for who in ("teacher", "student"))
    highest = 1.2 * most
    axes.set_ylim(-highest, highest)
    axes.set_yticks([-1, 0, 1] if archetype == "lock" else [-0.5, 0, 0.5])
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * abs(value):g}")
    axes.grid(axis="y", color=style.GRID, linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    mark_right_token(axes, int(np.flatnonzero(order == 0)[0]) + 1, NUM_SHOWN)
    axes.spines["bottom"].set_visible(False)


def _bar_heads(axes: Axes, values: Floats, side: int, color: str) -> None:
    for index in np.flatnonzero(values > 0):
        axes.annotate(
            f"{100 * values[index]:.0f}",
            (index + 1, side * values[index]),
            (0, 2 * side),
            textcoords="offset points",
            ha="center",
            va="bottom" if side > 0 else "top",
            fontsize=7.5,
            color=color,
        )


def _success_panel(axes: Axes, result: ToyResult) -> None:
    plot_success_curves(axes, result.teacher_curve, result.student_curve)
    for regime in result.regimes:
        axes.axvline(regime.temperature, color=style.FAINT, linewidth=1.0, linestyle=(0, (1, 2)), zorder=0)
        axes.text(
            regime.temperature - 0.02,
            0.95 * highest_success(result),
            regime.name,
            color=style.FAINT,
            fontsize=8.5,
            ha="right",
            va="center",
        )
    for policy, color, x_shift in (
        (result.teacher, style.TEACHER, 0.5),
        (result.student, style.STUDENT, 0.06),
    ):
        temperature, best = policy.best_temperature, policy.best_success
        axes.plot(temperature, best, marker="o", markersize=6.5, color=color, markeredgecolor="white", zorder=5)
        axes.text(
            temperature + x_shift,
            best - 0.002,
            f"{100 * best:.2f}% at T* = {temperature:.3f}",
            color=color,
            fontweight="bold",
            va="center",
        )
    axes.set_xlim(0, 4.0)
    style.percent_axis(axes, "success (%)", highest_success(result))
    axes.set_xlabel("evaluation temperature T")
    axes.legend(loc="center right", bbox_to_anchor=(1.0, 0.62))
