"""Figure 6: what both models put on their top ranks, and what temperature then has to work with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from forklock import figure_style as style
from forklock.analyze.rows import MODELS
from forklock.decoding import Decoding
from forklock.figure_data import write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES: dict[str, dict[str, Any]] = {"base": style.TEACHER_LINE, "trained": style.STUDENT_LINE}
BAND_STANDARD_ERRORS = 2.0
FEWEST_POSITIONS = 30
"""Bins of 6d with fewer positions are in the CSV alone."""


def draw_figure_06(summary: dict[str, Any], folder: Path) -> list[Path]:
    """Four panels, as the paper's; bands are two standard errors to either side."""
    data, decoding = summary["figures"], Decoding(**summary["eval_decoding"])
    figure = style.new_figure(9.6, 7.0)
    layout = {"left": 0.075, "right": 0.985, "top": 0.9, "bottom": 0.085, "hspace": 0.36, "wspace": 0.2}
    (mass, survivors), (entropy, by_mass) = figure.subplots(2, 2, gridspec_kw=layout)
    _curve(mass, data["cumulative_mass"], "rank")
    style.log_axis(mass.xaxis)
    _rank_axis(mass, summary["ranks"])
    mass.set_title("(a) Cumulative mass by rank")
    mass.set_ylabel("mass of the most likely tokens (%)")
    mass.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    mass.legend(loc="lower right")

    _curve(survivors, data["surviving_tokens"], "temperature")
    survivors.set_title("(b) Tokens that survive truncation")
    survivors.set_ylabel("surviving tokens, mean")
    _curve(entropy, data["entropy_after_truncation"], "temperature")
    entropy.set_title("(c) Entropy after truncation")
    entropy.set_ylabel("entropy (nats), mean")
    for axes in (survivors, entropy):
        axes.set_xlabel(f"evaluation temperature T (k={decoding.top_k}, p={decoding.top_p:g})")
    _by_mass(by_mass, data["entropy_by_top_mass"])
    by_mass.set_title(f"(d) That entropy at T={decoding.temperature:g}, by top-20 mass")
    for axes in (mass, survivors, entropy, by_mass):
        axes.grid(axis="y", color=style.GRID, linewidth=0.8)
        axes.tick_params(axis="y", length=0)
    words = f"{summary['num_positions']:,} positions of {summary['num_solutions']:,} solutions"
    figure.text(0.012, 0.955, f"Base and trained model over the same text: {words}", fontsize=11.5, fontweight="bold")
    names = ("cumulative_mass", "surviving_tokens", "entropy_after_truncation", "entropy_by_top_mass")
    tables = [
        write_csv(folder, f"figure_06{letter}_{name}", data[name]) for letter, name in zip("abcd", names, strict=True)
    ]
    return [*style.save(figure, folder, "figure_06_real_model"), *tables]


def _curve(axes: Axes, points: Sequence[dict[str, Any]], key: str) -> None:
    x = [point[key] for point in points]
    for model in MODELS:
        mean = np.array([point[model]["mean"] for point in points])
        band = BAND_STANDARD_ERRORS * np.array([point[model]["standard_error"] or 0.0 for point in points])
        color = LINES[model]["color"]
        axes.fill_between(x, mean - band, mean + band, color=color, alpha=0.16, linewidth=0)
        axes.plot(x, mean, label=model, marker="o", markersize=3.5, **LINES[model])


def _rank_axis(axes: Axes, ranks: Sequence[int]) -> None:
    from matplotlib.ticker import FixedLocator

    labelled = [rank for rank in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if rank <= ranks[-1]]
    axes.xaxis.set_major_locator(FixedLocator(labelled))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("rank in the model's own order")


def _by_mass(axes: Axes, bins: Sequence[dict[str, Any]]) -> None:
    places: list[int] = []
    for model, shift in (("base", -0.09), ("trained", 0.09)):
        shown = [
            (place, one[model]) for place, one in enumerate(bins) if one[model]["num_positions"] >= FEWEST_POSITIONS
        ]
        if not shown:
            continue
        places += [place for place, _ in shown]
        x = np.array([place for place, _ in shown]) + shift
        mean = np.array([one["mean"] for _, one in shown])
        error = BAND_STANDARD_ERRORS * np.array([one["standard_error"] or 0.0 for _, one in shown])
        axes.errorbar(x, mean, yerr=error, label=model, marker="o", markersize=4.5, capsize=2.5, **LINES[model])
    edges = [*(one["top_mass_from"] for one in bins), bins[-1]["top_mass_to"]]
    axes.set_xticks(np.arange(len(edges)) - 0.5, [f"{100 * edge:g}" for edge in edges])
    axes.set_xlim(min(places, default=0) - 0.5, max(places, default=len(bins) - 1) + 0.5)
    axes.set_xlabel("top-20 mass (%), bins from the left mark to the right")
    axes.set_ylabel("entropy (nats), mean")
