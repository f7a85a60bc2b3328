"""What the closed form leaves out: students trained on so many walks for so many steps, and a control."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forklock import figure_style as style
from forklock.toy.figures.mechanism import highest_success, plot_success_curves
from forklock.toy.machine import Archetype
from forklock.toy.result import ToyResult
from forklock.toy.training import Optimizer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OPTIMIZER_COLORS: dict[Optimizer, str] = {"gradient descent": style.FAINT, "adam": style.STUDENT}
CONTROL_LABEL = "control: T=1, no truncation"


def draw_convergence(result: ToyResult, folder: Path) -> list[Path]:
    """Six panels: best success, distance and visits by number of walks; mass and success by steps; the control."""
    figure = style.new_figure(11.4, 6.6)
    layout = {"left": 0.06, "right": 0.985, "top": 0.94, "bottom": 0.085, "hspace": 0.42, "wspace": 0.24}
    axes = figure.subplots(2, 3, gridspec_kw=layout)
    _best_success(axes[0, 0], result)
    _distance(axes[0, 1], result)
    _visits(axes[0, 2], result)
    _dropped_mass(axes[1, 0], result)
    _success_by_steps(axes[1, 1], result)
    _control(axes[1, 2], result)
    return style.save(figure, folder, "figure_convergence")


def _best_success(axes: Axes, result: ToyResult) -> None:
    num_walks = [row.num_trajectories for row in result.convergence]
    for values, color, marker, label in (
        ([row.student_best_success for row in result.convergence], style.STUDENT, "o", "SSD student"),
        ([row.control_best_success for row in result.convergence], style.CONTROL, "s", CONTROL_LABEL),
    ):
        runs = np.array(values)
        axes.fill_between(num_walks, runs.min(axis=1), runs.max(axis=1), color=color, alpha=0.16, linewidth=0)
        axes.plot(num_walks, runs.mean(axis=1), color=color, marker=marker, markersize=5, linewidth=1.6, label=label)
    for policy, line in ((result.student, style.STUDENT_LINE), (result.teacher, style.TEACHER_LINE)):
        axes.axhline(policy.best_success, **{**line, "linewidth": 1.1, "linestyle": "--"})
    style.log_axis(axes.xaxis)
    most = max(max(row.student_best_success + row.control_best_success) for row in result.convergence)
    style.percent_axis(axes, "best success over T (%)", max(0.20, 1.1 * most))
    axes.set_title(f"Best success, mean and range of {result.config.num_seeds} seeds")
    axes.set_xlabel("sampled walks N (dashed: N = ∞)")
    axes.legend(loc="upper right")


def _distance(axes: Axes, result: ToyResult) -> None:
    num_walks = [row.num_trajectories for row in result.convergence]
    for values, expected, color, marker in (
        (
            [row.student_total_variation for row in result.convergence],
            [row.student_expected_total_variation for row in result.convergence],
            style.STUDENT,
            "o",
        ),
        (
            [row.control_total_variation for row in result.convergence],
            [row.control_expected_total_variation for row in result.convergence],
            style.CONTROL,
            "s",
        ),
    ):
        axes.plot(num_walks, np.mean(values, axis=1), color=color, marker=marker, markersize=5, linewidth=0)
        axes.plot(num_walks, expected, color=color, linewidth=1.3, linestyle=":")
    style.log_axis(axes.xaxis)
    style.log_axis(axes.yaxis)
    axes.grid(color=style.GRID, linewidth=0.8)
    axes.set_title("Distance to the limit falls as 1/√N")
    axes.set_ylabel("total variation, mean over states")
    axes.set_xlabel("sampled walks N (dotted: expected)")


def _visits(axes: Axes, result: ToyResult) -> None:
    names, shares = list(result.visits), list(result.visits.values())
    axes.barh(names, shares, 0.62, facecolor=style.STUDENT_FILL, edgecolor=style.STUDENT, linewidth=0.9)
    for index, share in enumerate(shares):
        inside = share > 0.8
        axes.text(
            share + (-0.02 if inside else 0.02),
            index,
            f"{100 * share:.1f}%",
            va="center",
            ha="right" if inside else "left",
            fontsize=8.5,
        )
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    axes.tick_params(axis="y", length=0)
    axes.set_title("Few walks ever get to a lock")
    axes.set_xlabel("sampled walks that get there (%)")


def _dropped_mass(axes: Axes, result: ToyResult) -> None:
    styles: dict[Archetype, str] = {"lock": "-", "root": ":"}
    for optimizer, color in OPTIMIZER_COLORS.items():
        path = result.training[optimizer]
        for archetype, linestyle in styles.items():
            axes.plot(
                path.steps[1:],
                path.dropped_mass[archetype][1:],
                color=color,
                linestyle=linestyle,
                marker="o",
                markersize=3.5,
                linewidth=1.5,
                label=f"{optimizer}, {archetype}",
            )
    style.log_axis(axes.xaxis)
    style.log_axis(axes.yaxis)
    axes.grid(color=style.GRID, linewidth=0.8)
    axes.set_title("Truncated tokens vanish only in the limit")
    axes.set_ylabel("1 − KeptMass")
    axes.set_xlabel("training steps")
    axes.legend(loc="lower left")


def _success_by_steps(axes: Axes, result: ToyResult) -> None:
    for optimizer, color in OPTIMIZER_COLORS.items():
        path = result.training[optimizer]
        axes.plot(
            path.steps[1:],
            path.best_success[1:],
            color=color,
            marker="o",
            markersize=4,
            linewidth=1.6,
            label=optimizer,
        )
    axes.axhline(result.student.best_success, **{**style.STUDENT_LINE, "linewidth": 1.1, "linestyle": "--"})
    axes.axhline(result.teacher.best_success, **{**style.TEACHER_LINE, "linewidth": 1.1, "linestyle": "--"})
    style.log_axis(axes.xaxis)
    style.percent_axis(axes, "best success over T (%)", highest_success(result))
    axes.set_title("Short training earns part of the gain")
    axes.set_xlabel("training steps (dashed: student, teacher)")
    axes.legend(loc="lower right")


def _control(axes: Axes, result: ToyResult) -> None:
    control = result.control
    curves = np.array(control.success)
    axes.fill_between(
        control.temperature,
        curves.min(axis=0),
        curves.max(axis=0),
        facecolor=style.CONTROL,
        edgecolor=style.CONTROL,
        alpha=0.45,
        label=f"{CONTROL_LABEL} (range)",
    )
    plot_success_curves(axes, result.teacher_curve, result.student_curve)
    for line in axes.lines:
        line.set_linewidth(1.2)
    axes.set_xlim(0, 3.0)
    style.percent_axis(axes, "success (%)", 1.25 * highest_success(result))
    axes.set_title(f"The control stays put (N = {result.convergence[-1].num_trajectories:,})")
    axes.set_xlabel("evaluation temperature T (lines: closed form)")
    axes.legend(loc="upper left", borderaxespad=0.2)
