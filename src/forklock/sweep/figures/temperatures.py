"""How T_train and T_eval compose: over their product with quadratic fits (3a, 9), and as heat maps (3b, 10, 11)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from forklock import figure_style as style
from forklock.figure_panels import (
    add_headline,
    add_legend,
    estimate_fields,
    new_panels,
    percent_scale,
    save_with_rows,
)
from forklock.sweep.figures.parts import (
    MARKERS,
    Heat,
    estimate_of,
    group_colors,
    plot_heat,
    row_at,
    value_range,
)
from forklock.sweep.fits import QuadraticFit
from forklock.sweep.labels import group_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOM = 0.28
"""Of a panel's height, below the dots: for the fits in words."""


def draw_effective(name: str, benchmark: Mapping[str, Any], pass_k: Sequence[int], folder: Path) -> list[Path]:
    """A dot a cell over T_eff, a fit a group; trained models alone, no checkpoints before the last."""
    fits = benchmark["fits"]
    labels = {_key(fit): group_label(fit, fits) for fit in fits}
    colors = group_colors([(labels[_key(fit)], fit["is_truncated"]) for fit in fits])
    figure, panels = new_panels(len(pass_k), num_legend_rows=math.ceil((len(labels) + 1) / 3))
    for axes, k in zip(panels, pass_k, strict=True):
        for number, fit in enumerate([fit for fit in fits if fit["k"] == k]):
            label = labels[_key(fit)]
            cells = [row for row in _ends(benchmark) if _key_of_cell(row) == _key(fit)]
            _plot_group(axes, cells, fit, (label, colors[label], MARKERS[number % len(MARKERS)]))
        if (base := estimate_of(row_at(benchmark["base"], benchmark["base_own"]), k)) is not None:
            axes.axhline(base["mean"], label="base, its own decoding", color=style.INK, linestyle="--", linewidth=1.1)
        _say_fits(axes, [(colors[labels[_key(fit)]], fit) for fit in fits if fit["k"] == k])
        percent_scale(axes, f"pass@{k} (%)")
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}" if value >= 0 else "")
        axes.set_title(f"pass@{k}")
        axes.set_xlabel("effective temperature T_eff = T_train T_eval")
    add_legend(figure, panels[0])
    add_headline(figure, f"{name}: cells over their effective temperature, with quadratic fits")
    rows = [
        {
            "stage": row["stage"],
            "group": labels[_key_of_cell(row)],
            "train_temperature": row["train"]["temperature"],
            "eval_temperature": row["eval"]["temperature"],
            "effective_temperature": row["effective_temperature"],
            "seed": row["seed"],
            "state": row["state"],
            "k": k,
            **estimate_fields(estimate_of(row, k)),
        }
        for k in pass_k
        for row in _ends(benchmark)
    ]
    return save_with_rows(figure, rows, folder, f"effective-temperature-{name}")


def _ends(benchmark: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row for row in benchmark["cells"] if row["checkpoint"] is None]


def _key(fit: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(fit[name] for name in ("train_top_k", "train_top_p", "target", "eval_top_k", "eval_top_p"))


def _key_of_cell(row: Mapping[str, Any]) -> tuple[Any, ...]:
    train, decoding = row["train"], row["eval"]
    return train["top_k"], train["top_p"], row["target"], decoding["top_k"], decoding["top_p"]


def _plot_group(
    axes: Axes, cells: Sequence[Mapping[str, Any]], fit: Mapping[str, Any], drawn: tuple[str, str, str]
) -> None:
    label, color, marker = drawn
    shown = [(row["effective_temperature"], found["mean"]) for row in cells if (found := estimate_of(row, fit["k"]))]
    if shown:
        xs, ys = zip(*shown, strict=True)
        axes.plot(xs, ys, marker, color=color, markersize=6, markeredgecolor="white", label=label, linestyle="none")
    if shown and fit["fit"] is not None:
        curve = QuadraticFit(**fit["fit"])
        along = np.linspace(min(xs), max(xs), 60)
        heights = np.array([curve.at(x) for x in along])
        axes.plot(along, np.where(heights >= 0, heights, np.nan), color=color, linewidth=1.6)
        if curve.peak is not None and curve.is_peak_inside:
            axes.plot(curve.peak, curve.at(curve.peak), "v", color=color, markersize=8, markeredgecolor=style.INK)


def _say_fits(axes: Axes, fits: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    low, high = axes.get_ylim()
    axes.set_ylim(low - ROOM * (high - low), high)
    for number, (color, fit) in enumerate(fits[:4]):
        found = fit["fit"]
        if found is None:
            text = "fit undefined"
        else:
            explained = "undefined" if found["r_squared"] is None else f"{found['r_squared']:.2f}"
            peak = "no peak" if found["peak"] is None else f"peak at T_eff {found['peak']:.2f}"
            text = f"R² {explained}, {peak}{'' if found['is_peak_inside'] or not found['peak'] else ' (outside)'}"
        axes.text(0.02, 0.03 + 0.065 * number, text, color=color, transform=axes.transAxes, fontsize=8.5)


def draw_heat(name: str, benchmark: Mapping[str, Any], pass_k: Sequence[int], folder: Path) -> list[Path]:
    """A figure a k, a panel a group: best over checkpoints of the mean over seeds. The best field is outlined."""
    paths: list[Path] = []
    keys = list(dict.fromkeys(_key_of_cell(row) for row in benchmark["cells"]))
    if len({row["train"]["temperature"] for row in benchmark["cells"]}) < 2:
        return []
    for k in pass_k:
        grids = {key: _grid([row for row in benchmark["cells"] if _key_of_cell(row) == key], k) for key in keys}
        low, high = value_range([value for grid in grids.values() for line in grid.values for value in line])
        labels = {_key(fit): group_label(fit, benchmark["fits"]) for fit in benchmark["fits"]}
        figure, panels = new_panels(len(keys), num_legend_rows=0)
        for axes, key in zip(panels, keys, strict=True):
            plot_heat(axes, grids[key], low, high)
            axes.set_title(f"trained with {labels[key]}")
            axes.set_xlabel("T_eval")
            axes.set_ylabel("T_train")
        add_headline(figure, f"{name}: pass@{k} (%) over T_train and T_eval (outlined: each panel's best)")
        rows = [{"group": labels[key], "k": k, **field} for key in keys for field in _fields(grids[key])]
        paths += save_with_rows(figure, rows, folder, f"heat-{name}-pass{k}")
    return paths


def _grid(rows: Sequence[Mapping[str, Any]], k: int) -> Heat:
    trains = sorted({row["train"]["temperature"] for row in rows})
    evals = sorted({row["eval"]["temperature"] for row in rows})
    values: list[list[float | None]] = []
    words: list[list[str]] = []
    for train in trains:
        fields = [
            [row for row in rows if (row["train"]["temperature"], row["eval"]["temperature"]) == (train, at)]
            for at in evals
        ]
        values.append([_best_of_steps(field, k) for field in fields])
        words.append([next((row["state"] for row in field if row["state"] != "done"), "") for field in fields])
    places = [(line, column) for line in range(len(trains)) for column in range(len(evals))]
    best = max(places, key=lambda place: values[place[0]][place[1]] or 0.0)
    has_any = any(value is not None for line in values for value in line)
    return Heat([f"{t:g}" for t in trains], [f"{t:g}" for t in evals], values, words, best if has_any else None)


def _best_of_steps(rows: Sequence[Mapping[str, Any]], k: int) -> float | None:
    """None where no checkpoint has all of its seeds."""
    means = []
    for step in dict.fromkeys(row["checkpoint"] for row in rows):
        found = [estimate_of(row, k) for row in rows if row["checkpoint"] == step]
        defined = [each["mean"] for each in found if each is not None]
        if defined and len(defined) == len(found):
            means.append(sum(defined) / len(defined))
    return max(means, default=None)


def _fields(heat: Heat) -> Iterator[dict[str, Any]]:
    for line, train in enumerate(heat.row_labels):
        for column, at in enumerate(heat.column_labels):
            value, word = heat.values[line][column], heat.words[line][column]
            yield {"train_temperature": train, "eval_temperature": at, "mean": value, "state": word or "done"}
