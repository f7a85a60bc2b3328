"""Figure 5 (forks into plateaus, locks into spikes) and Figure 13 (what SSD does to a lock and to a fork)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forklock import figure_style as style
from forklock.decoding import Decoding, logits_from, target
from forklock.toy.machine import VOCABULARY_SIZE, Archetype, Floats
from forklock.toy.result import Curve, ToyResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAR_WIDTH = 0.4
NUM_SHOWN = 10
"""Ranks: beyond them no archetype has a token of 1%."""


def draw_forks_and_locks(result: ToyResult, folder: Path) -> list[Path]:
    """Figure 5: both policies at a fork and a lock as they are (bars) and heated (curves), and what that buys."""
    figure = style.new_figure(11.2, 3.9)
    layout = {"left": 0.055, "right": 0.985, "top": 0.83, "bottom": 0.215, "wspace": 0.22}
    fork, lock, success = figure.subplots(1, 3, gridspec_kw={**layout, "width_ratios": [1, 1, 1.12]})
    _reshaping_panel(fork, result, "fork")
    _reshaping_panel(lock, result, "lock")
    fork.set_title("Fork: a plateau", pad=8)
    lock.set_title("Lock: a spike", pad=8)
    percent = "probability (%)"
    style.percent_axis(fork, percent, max(0.40, 1.15 * max(result.student.probabilities["fork"])))
    style.percent_axis(lock, percent, 1.04)
    lock.set_ylabel("")
    _success_panel(success, result)
    handles, labels = fork.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, bbox_to_anchor=(0.5, 0.0), columnspacing=2.2)
    figure.text(
        0.055,
        0.945,
        "Simple self-distillation turns forks into plateaus and locks into spikes",
        fontsize=12.5,
        fontweight="bold",
    )
    return style.save(figure, folder, "figure_05_forks_and_locks")


def _reshaping_panel(axes: Axes, result: ToyResult, archetype: Archetype) -> None:
    teacher, student = _ranked(result, archetype)
    hot = result.student.best_temperature
    rank = np.arange(1, NUM_SHOWN + 1)
    axes.bar(rank - BAR_WIDTH / 2, teacher[:NUM_SHOWN], BAR_WIDTH, label="teacher", **style.TEACHER_BAR)
    axes.bar(rank + BAR_WIDTH / 2, student[:NUM_SHOWN], BAR_WIDTH, label="student, after SSD", **style.STUDENT_BAR)
    support = result.student.support[archetype]
    kept = rank <= support
    heated_teacher, heated_student = heated(teacher, hot), heated(student, hot)
    axes.plot(
        rank,
        heated_teacher[:NUM_SHOWN],
        marker="o",
        markersize=4,
        markerfacecolor="white",
        label=f"teacher, heated to T={hot:.2f}",
        **style.TEACHER_LINE,
    )
    axes.plot(
        rank[kept],
        heated_student[:NUM_SHOWN][kept],
        marker="o",
        markersize=4.5,
        markeredgecolor="white",
        markeredgewidth=0.7,
        label=f"student, heated to T={hot:.2f}",
        **style.STUDENT_LINE,
    )
    if support < NUM_SHOWN:
        _cutoff(axes, support)
    mark_right_token(axes, _right_rank(result, archetype), NUM_SHOWN)
    axes.set_xlabel("tokens by rank (✓ the right one)")


def _cutoff(axes: Axes, support: int) -> None:
    axes.axvline(support + 0.5, color=style.CUTOFF, linestyle="--", linewidth=1.2)
    axes.text(
        support + 0.62,
        0.97,
        f"dropped in training:\n{VOCABULARY_SIZE - support} of {VOCABULARY_SIZE} tokens",
        color=style.CUTOFF,
        fontsize=8.5,
        va="top",
        transform=axes.get_xaxis_transform(),
    )


def _success_panel(axes: Axes, result: ToyResult) -> None:
    plot_success_curves(axes, result.teacher_curve, result.student_curve)
    for policy, color, offset in (
        (result.teacher, style.TEACHER, (0.42, 0.0062)),
        (result.student, style.STUDENT, (0.09, 0.0012)),
    ):
        best_at, best = policy.best_temperature, policy.best_success
        axes.plot(best_at, best, marker="o", markersize=6.5, color=color, markeredgecolor="white", zorder=5)
        axes.text(
            best_at + offset[0],
            best + offset[1],
            f"{100 * best:.1f}%\nat T={best_at:.2f}",
            color=color,
            fontweight="bold",
            va="center",
            linespacing=1.3,
        )
    axes.set_xlim(0, max(3.0, result.student.best_temperature + 0.9))
    style.percent_axis(axes, f"success (%) at top-p {result.config.eval_top_p:.2f}", highest_success(result))
    axes.set_title("Success: a hotter, higher optimum", pad=8)
    axes.set_xlabel("evaluation temperature T")


def highest_success(result: ToyResult) -> float:
    """The upper limit of an axis that shows both success curves."""
    return max(0.16, 1.16 * result.student.best_success, 1.16 * result.teacher.best_success)


def plot_success_curves(axes: Axes, teacher: Curve, student: Curve) -> None:
    """Both closed forms over T, with their jumps."""
    axes.plot(teacher.temperature, teacher.success, label="teacher", **style.TEACHER_LINE)
    axes.plot(student.temperature, student.success, label="student", **style.STUDENT_LINE)


def draw_reshaping(result: ToyResult, folder: Path) -> list[Path]:
    """Figure 13: a lock in training, and the fork as evaluation sees it at each policy's best temperature."""
    figure = style.new_figure(9.0, 3.6)
    layout = {"left": 0.07, "right": 0.985, "top": 0.87, "bottom": 0.15, "wspace": 0.2}
    lock, fork = figure.subplots(1, 2, gridspec_kw={**layout, "width_ratios": [1.35, 1]})
    teacher, student = _ranked(result, "lock")
    _labelled_bars(lock, teacher[:NUM_SHOWN], student[:NUM_SHOWN], ("teacher", "student, after SSD"))
    style.percent_axis(lock, "probability (%)", 1.08)
    lock.set_title("(a) A lock, before and after training")
    mark_right_token(lock, _right_rank(result, "lock"), NUM_SHOWN)

    operational = [
        np.array(policy.operational["fork"])[_order(result, "fork")] for policy in (result.teacher, result.student)
    ]
    num_shown = int(max((row > 0).sum() for row in operational))
    labels = tuple(
        f"{name} at its best, T={policy.best_temperature:.2f}"
        for name, policy in (("teacher", result.teacher), ("student", result.student))
    )
    _labelled_bars(fork, operational[0][:num_shown], operational[1][:num_shown], labels)
    style.percent_axis(fork, "", max(0.58, *(1.1 * row.max() for row in operational)))
    fork.set_title(f"(b) A fork, as decoded with top-p {result.config.eval_top_p:.2f}")
    mark_right_token(fork, _right_rank(result, "fork"), num_shown)
    for axes in (lock, fork):
        axes.set_xlabel("tokens by rank (✓ the right one)")
        axes.legend(loc="upper right")
    return style.save(figure, folder, "figure_13_reshaping")


def _labelled_bars(axes: Axes, teacher: Floats, student: Floats, labels: tuple[str, ...]) -> None:
    rank = np.arange(1, teacher.size + 1)
    for values, side, bar, label, color in (
        (teacher, -1, style.TEACHER_BAR, labels[0], style.TEACHER),
        (student, 1, style.STUDENT_BAR, labels[1], style.STUDENT),
    ):
        x_of_rank = rank + side * BAR_WIDTH / 2
        axes.bar(x_of_rank, values, BAR_WIDTH, label=label, **bar)
        for x, value in zip(x_of_rank, values, strict=True):
            if value >= 0.03:
                text = f"{100 * value:.1f}"
                axes.annotate(
                    text,
                    (x, value),
                    (2.5 * side, 2),
                    textcoords="offset points",
                    ha="center",
                    fontsize=7,
                    color=color,
                )


def mark_right_token(axes: Axes, right_rank: int, num_ranks: int) -> None:
    """Ranks as tick labels, the right token's with a tick mark."""
    ranks = range(1, num_ranks + 1)
    axes.set_xticks(list(ranks), [f"{rank} ✓" if rank == right_rank else str(rank) for rank in ranks])
    axes.get_xticklabels()[right_rank - 1].set_fontweight("bold")
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(0.4, num_ranks + 0.6)


def _order(result: ToyResult, archetype: Archetype) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Token ids by rank: the teacher's, which the student keeps."""
    return np.argsort(-np.array(result.teacher.probabilities[archetype]), kind="stable")


def _ranked(result: ToyResult, archetype: Archetype) -> tuple[Floats, Floats]:
    order = _order(result, archetype)
    teacher, student = result.teacher.probabilities[archetype], result.student.probabilities[archetype]
    return np.array(teacher)[order], np.array(student)[order]


def _right_rank(result: ToyResult, archetype: Archetype) -> int:
    return int(np.flatnonzero(_order(result, archetype) == 0)[0]) + 1


def heated(probabilities: Floats, temperature: float) -> Floats:
    """At another temperature, without truncation."""
    found: Floats = target(logits_from(probabilities), Decoding(temperature))
    return found
