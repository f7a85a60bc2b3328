"""How far the frozen model's own decoding reaches (Figure 2), and its best over temperature and truncation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forklock import figure_style as style
from forklock.evaluate.metrics import ALL
from forklock.evaluate.notation import in_points
from forklock.figure_panels import (
    add_headline,
    add_legend,
    estimate_fields,
    new_panels,
    percent_scale,
    save_with_rows,
    whiskers,
)
from forklock.sweep.figures.parts import Heat, estimate_of, plot_heat, row_at, value_range
from forklock.sweep.labels import cut_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LIGHT = ("#C98A4B", "#9A9A9A", "#B9A88F", "#8FA3B0")
Rows = Sequence[Mapping[str, Any]]


def draw_decode_only(name: str, benchmark: Mapping[str, Any], pass_k: Sequence[int], folder: Path) -> list[Path]:
    """Base curves over temperature, and the best cell as a line over all of them."""
    curves = _curves(benchmark)
    figure, panels = new_panels(len(pass_k), num_legend_rows=math.ceil((len(curves) + 1) / 3))
    for axes, k in zip(panels, pass_k, strict=True):
        for number, (label, rows) in enumerate(curves.items()):
            _plot_curve(axes, label, rows, k, number)
        _plot_best(axes, benchmark, k)
        percent_scale(axes, f"pass@{k} (%)")
        axes.set_title(f"pass@{k}")
        axes.set_xlabel("evaluation temperature T of the base")
    add_legend(figure, panels[0])
    add_headline(figure, f"{name}: the base's decodings against the best cell (95 % intervals)")
    rows = [
        {"kind": "base", "stage": row["stage"], "state": row["state"], **row["decoding"], "k": k}
        | estimate_fields(estimate_of(row, k))
        for k in pass_k
        for row in benchmark["base"]
    ]
    for best in benchmark["best"]:
        row = row_at(benchmark["cells"], best["cell"])
        rows.append(
            {"kind": "best cell", "stage": row["stage"], "state": row["state"], **row["eval"], "k": best["k"]}
            | estimate_fields(estimate_of(row, best["k"]))
        )
    return save_with_rows(figure, rows, folder, f"decode-only-{name}")


def _curves(benchmark: Mapping[str, Any]) -> dict[str, Rows]:
    """By truncation, the own decoding's first."""
    own = row_at(benchmark["base"], benchmark["base_own"])["decoding"]
    found: dict[tuple[int, float], list[Mapping[str, Any]]] = {(own["top_k"], own["top_p"]): []}
    for row in sorted(benchmark["base"], key=lambda row: row["decoding"]["temperature"]):
        found.setdefault(_cut(row), []).append(row)
    return {f"base, {cut_label(*cut)}": rows for cut, rows in found.items()}


def _cut(row: Mapping[str, Any]) -> tuple[int, float]:
    return row["decoding"]["top_k"], row["decoding"]["top_p"]


def _plot_curve(axes: Axes, label: str, rows: Rows, k: int, number: int) -> None:
    shown = [(row["decoding"]["temperature"], each) for row in rows if (each := estimate_of(row, k)) is not None]
    if not shown:
        return
    temperatures, found = [at for at, _ in shown], [each for _, each in shown]
    line = style.TEACHER_LINE if number == 0 else {"color": LIGHT[number % 4], "linestyle": style.DASHES[number % 4]}
    if len(shown) == 1:
        axes.errorbar(temperatures, found[0]["mean"], whiskers(found), color=line["color"], capsize=3, fmt="none")
    elif number == 0:
        low, high = ([each[key] for each in found] for key in ("low", "high"))
        axes.fill_between(temperatures, low, high, color=line["color"], alpha=0.14, linewidth=0)
    axes.plot(temperatures, [each["mean"] for each in found], label=label, marker="o", markersize=4, **line)


def _plot_best(axes: Axes, benchmark: Mapping[str, Any], k: int) -> None:
    best = next((best for best in benchmark["best"] if best["k"] == k), None)
    if best is None:
        return
    found = estimate_of(row_at(benchmark["cells"], best["cell"]), k)
    highest = estimate_of(row_at(benchmark["base"], best["base"]), k)
    if found is None or highest is None:
        return
    axes.axhline(found["mean"], label=f"{benchmark['label']}, its best cell", **style.STUDENT_LINE)
    axes.axhspan(found["low"], found["high"], color=style.STUDENT, alpha=0.1, linewidth=0)
    axes.axhline(highest["mean"], color=style.TEACHER, linewidth=0.9, linestyle=(0, (1, 2.5)), zorder=1)
    mean, bounds = in_points(best["to_best_base"][ALL])
    text = f"{mean} to the base's best ({bounds})"
    axes.set_title(text, loc="right", fontsize=8.5, fontweight="normal")


def draw_base_grid(name: str, benchmark: Mapping[str, Any], pass_k: Sequence[int], folder: Path) -> list[Path]:
    """The frozen model over (T, top-k, top-p): what tuning the decoding alone could have given."""
    rows = benchmark["base"]
    if len(rows) < 2:
        return []
    cuts = sorted({_cut(row) for row in rows})
    temperatures = sorted({row["decoding"]["temperature"] for row in rows})
    by_place = {(cuts.index(_cut(row)), temperatures.index(row["decoding"]["temperature"])): row for row in rows}
    figure, panels = new_panels(len(pass_k), num_legend_rows=0, left=1.1)
    for axes, k in zip(panels, pass_k, strict=True):
        values: list[list[float | None]] = [[None] * len(temperatures) for _ in cuts]
        words = [[""] * len(temperatures) for _ in cuts]
        for (line, column), row in by_place.items():
            found = estimate_of(row, k)
            values[line][column], words[line][column] = None if found is None else found["mean"], row["state"]
        best = next((best["base"] for best in benchmark["best"] if best["k"] == k), None)
        outlined = next((place for place, row in by_place.items() if row["stage"] == best), None)
        labels = [f"{temperature:g}" for temperature in temperatures]
        heat = Heat([cut_label(*cut) for cut in cuts], labels, values, words, outlined)
        plot_heat(axes, heat, *value_range([value for line in values for value in line]))
        axes.tick_params(axis="y", labelleft=axes is panels[0])
        axes.set_title(f"pass@{k} (%)")
        axes.set_xlabel("evaluation temperature T")
    add_headline(figure, f"{name}: the frozen model over temperature and truncation (outlined: its best)")
    found_rows = [
        {"stage": row["stage"], "state": row["state"], **row["decoding"], "k": k} | estimate_fields(estimate_of(row, k))
        for k in pass_k
        for row in rows
    ]
    return save_with_rows(figure, found_rows, folder, f"base-grid-{name}")
