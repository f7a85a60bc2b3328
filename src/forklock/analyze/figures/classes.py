"""Forks and locks: where positions moved, what their entropy is made of, and which syntax they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from forklock import figure_style as style
from forklock.analyze.classes import CLASSES, PositionClass
from forklock.analyze.rows import MODELS
from forklock.figure_data import write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS: dict[PositionClass, str] = {"fork": "#D55E00", "lock": "#0072B2", "neither": "#BBBBBB"}
BARS: dict[str, dict[str, Any]] = {"base": style.TEACHER_BAR, "trained": style.STUDENT_BAR}
TERMS = (("gate_entropy", "gate", 1.0), ("head_entropy", "head", 0.6), ("tail_entropy", "tail", 0.25))
ERROR_STANDARD_ERRORS = 2.0
NARROWEST_LABELLED = 0.06
NUM_SYNTAX_SHOWN = 20


def draw_moves(summary: dict[str, Any], folder: Path) -> list[Path]:
    """Of the positions of each class before, the classes after."""
    moves = summary["moves"]
    figure = style.new_figure(7.6, 2.7)
    axes = figure.subplots(1, 1, gridspec_kw={"left": 0.2, "right": 0.97, "top": 0.7, "bottom": 0.19})
    for place, before in enumerate(CLASSES):
        total, left = sum(moves[before].values()), 0.0
        for after in CLASSES:
            share = moves[before][after] / total if total else 0.0
            axes.barh(
                place, share, left=left, color=COLORS[after], edgecolor="white", label=after if not place else None
            )
            if share >= NARROWEST_LABELLED:
                color = style.INK if after == "neither" else "white"
                axes.text(left + share / 2, place, f"{100 * share:.1f}%", ha="center", va="center", color=color)
            left += share
    totals = [sum(moves[before].values()) for before in CLASSES]
    axes.set_yticks(range(len(CLASSES)), [f"{name}\n({n:,})" for name, n in zip(CLASSES, totals, strict=True)])
    axes.invert_yaxis()
    _percent_x(axes, 1.0)
    axes.set_xlabel("class in the trained model (%)")
    figure.legend(loc="upper right", ncols=3, bbox_to_anchor=(0.98, 0.86), title=None)
    figure.text(0.012, 0.9, "Forks and locks of the base model, after training", fontsize=11.5, fontweight="bold")
    rows = [{"before": b, "after": a, "num_positions": moves[b][a]} for b in CLASSES for a in CLASSES]
    return [*style.save(figure, folder, "figure_class_moves"), write_csv(folder, "figure_class_moves", rows)]


def draw_entropy_terms(summary: dict[str, Any], folder: Path) -> list[Path]:
    """Eq. 30 by class: gate, head and tail entropy stacked, base beside trained."""
    figure = style.new_figure(7.6, 3.8)
    axes = figure.subplots(1, 1, gridspec_kw={"left": 0.09, "right": 0.97, "top": 0.79, "bottom": 0.14})
    names = ("all", *CLASSES)
    rows = []
    for place, name in enumerate(names):
        measured = summary["classes"][name]
        rows.append({"class": name, "num_positions": measured["num_positions"]} | {t: measured[t] for t, *_ in TERMS})
        for model, shift in (("base", -0.2), ("trained", 0.2)):
            bottom = 0.0
            for term, words, strength in TERMS:
                height = measured[term][model]["mean"] or 0.0
                label = f"{model}, {words}" if place == 0 else None
                color = _lighter(BARS[model]["edgecolor"], strength)
                axes.bar(place + shift, height, 0.36, bottom=bottom, label=label, color=color, edgecolor="white")
                bottom += height
    axes.set_xticks(range(len(names)), [f"{row['class']}\n({row['num_positions']:,})" for row in rows])
    axes.set_ylabel("entropy (nats), mean")
    axes.grid(axis="y", color=style.GRID, linewidth=0.8)
    axes.tick_params(length=0)
    figure.legend(loc="upper right", ncols=6, bbox_to_anchor=(0.985, 0.89), columnspacing=1.2, handlelength=1.2)
    figure.text(
        0.012,
        0.92,
        "Gate, head and tail entropy (Eq. 30), by class in the base model",
        fontsize=11.5,
        fontweight="bold",
    )
    return [*style.save(figure, folder, "figure_entropy_terms"), write_csv(folder, "figure_entropy_terms", rows)]


def draw_syntax(summary: dict[str, Any], folder: Path) -> list[Path]:
    """Shares of forks and of locks by Python token class, and outside code; the most frequent classes."""
    shown = summary["syntax"][:NUM_SYNTAX_SHOWN]
    figure = style.new_figure(9.6, 1.5 + 0.36 * len(shown))
    height = figure.get_figheight()
    layout = {"left": 0.24, "right": 0.985, "top": 1 - 0.75 / height, "bottom": 0.55 / height, "wspace": 0.1}
    forks, locks = figure.subplots(1, 2, sharey=True, gridspec_kw=layout)
    for axes, name in ((forks, "forks"), (locks, "locks")):
        _shares(axes, [one[f"share_of_{name}"] for one in shown])
        axes.set_xlabel(f"positions that are {name} (%)")
    forks.set_yticks(range(len(shown)), [f"{one['syntax']} ({one['num_positions']:,})" for one in shown])
    figure.legend(
        *forks.get_legend_handles_labels(), loc="upper right", ncols=2, bbox_to_anchor=(0.985, 1 - 0.1 / height)
    )
    forks.set_ylim(len(shown) - 0.4, -0.6)
    title = "Which tokens are forks and locks, by what they begin with in Python"
    figure.text(0.012, 1 - 0.33 / height, title, fontsize=11.5, fontweight="bold")
    without_code = summary["num_solutions_without_code"]
    if without_code:
        words = f"{without_code:,} of {summary['num_solutions']:,} solutions have no code block"
        figure.text(0.012, 1 - 0.58 / height, words, color=style.FAINT)
    keys = ("syntax", "num_positions", "num_solutions", "share_of_forks", "share_of_locks")
    rows = [{key: one[key] for key in keys} for one in summary["syntax"]]
    return [*style.save(figure, folder, "figure_syntax"), write_csv(folder, "figure_syntax", rows)]


def _shares(axes: Axes, pairs: Sequence[dict[str, Any]]) -> None:
    highest = 0.0
    for model, shift in zip(MODELS, (-0.2, 0.2), strict=True):
        means = np.array([pair[model]["mean"] for pair in pairs])
        errors = ERROR_STANDARD_ERRORS * np.array([pair[model]["standard_error"] or 0.0 for pair in pairs])
        axes.barh(np.arange(len(pairs)) + shift, means, 0.38, label=model, **BARS[model])
        axes.errorbar(
            means, np.arange(len(pairs)) + shift, xerr=errors, fmt="none", ecolor=style.INK, elinewidth=0.8, capsize=1.5
        )
        highest = max(highest, float((means + errors).max()))
    _percent_x(axes, min(1.0, 1.05 * highest) or 1.0)


def _lighter(color: str, strength: float) -> str:
    """Mixed with white, and not see-through: the grid would show."""
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(color))
    return to_hex((red, green, blue))


def _percent_x(axes: Axes, highest: float) -> None:
    axes.set_xlim(0, highest)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    axes.grid(axis="x", color=style.GRID, linewidth=0.8)
    axes.tick_params(axis="y", length=0)
