"""An evaluation in pictures, drawn from its JSON alone: pass@k over temperature (Figure 2), and gains by difficulty."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forklock import figure_style as style
from forklock.evaluate.metrics import ALL
from forklock.figure_panels import (
    add_headline,
    add_legend,
    estimate_fields,
    new_panels,
    percent_scale,
    save_with_rows,
    whiskers,
)
from forklock.run_dir.atomic import storage_errors
from forklock.students import BASE, OWN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEMPERATURES, GAINS = "temperatures", "gains"
STUDENT_COLORS = (style.STUDENT, style.CONTROL, "#CC79A7", "#D55E00", "#56B4E9", "#8C7A00")
"""The recipe's own student has the first; beyond the last they repeat."""
GRID_COLORS = ("#9A9A9A", "#B9A88F", "#8FA3B0", "#C4C4C4")
OWN_MARKER: dict[str, Any] = {
    "marker": "D",
    "markersize": 8.5,
    "markeredgecolor": style.INK,
    "markeredgewidth": 1.1,
    "linestyle": "none",
    "zorder": 5,
}


@dataclass(frozen=True)
class Curve:
    """The points of one model at one truncation, by temperature."""

    label: str
    points: list[dict[str, Any]]
    line: dict[str, Any]
    is_light: bool


def draw(report: dict[str, Any], folder: Path) -> list[Path]:
    """Both figures of each benchmark as PNG, SVG and CSV; gains where a student and the base are complete.

    Figures of an earlier call are removed, other files in `folder` are not. Same report, same bytes, under one
    matplotlib.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name in (TEMPERATURES, GAINS):
        for path in folder.glob(f"{name}-*.*"):
            path.unlink()
    paths: list[Path] = []
    with style.house_style():
        for name, benchmark in report["benchmarks"].items():
            paths += _draw_temperatures(name, benchmark, report["pass_k"], folder)
            if benchmark["contests"]:
                paths += _draw_gains(name, benchmark, report["pass_k"], folder)
    return paths


def _draw_temperatures(name: str, benchmark: dict[str, Any], pass_k: Sequence[int], folder: Path) -> list[Path]:
    fixed = fixed_stages(benchmark)
    shown = list(curves(benchmark))
    figure, panels = new_panels(len(pass_k), num_legend_rows=math.ceil((len(shown) + 1) / 3))
    for axes, k in zip(panels, pass_k, strict=True):
        for curve in shown:
            _plot_curve(axes, curve, f"pass@{k}", fixed)
        percent_scale(axes, f"pass@{k} (%)")
        axes.set_title(f"pass@{k}")
        axes.set_xlabel("evaluation temperature T")
    panels[0].plot([], [], color="white", label="a model's own decoding", **OWN_MARKER)
    add_legend(figure, panels[0])
    num_problems = benchmark["points"][0]["num_problems"]
    add_headline(figure, f"{name}: pass@k over temperature, {num_problems:,} problems (bands: 95 % intervals)")
    rows = [
        {
            "model": point["model"],
            "stage": point["stage"],
            **point["decoding"],
            "is_own_decoding": point["stage"] in fixed,
            "k": k,
            **estimate_fields(point["pass_at_k"][ALL][f"pass@{k}"]),
        }
        for k in pass_k
        for point in benchmark["points"]
    ]
    return save_with_rows(figure, rows, folder, f"{TEMPERATURES}-{name}")


def _draw_gains(name: str, benchmark: dict[str, Any], pass_k: Sequence[int], folder: Path) -> list[Path]:
    contests = shown_contests(benchmark)
    sizes = {group: found["num_problems"] for group, found in benchmark["points"][0]["pass_at_k"].items()}
    kinds = list(dict.fromkeys((contest["model"], contest["base"]) for contest in contests))
    figure, panels = new_panels(len(pass_k), num_legend_rows=math.ceil(len(kinds) / 2))
    for axes, k in zip(panels, pass_k, strict=True):
        for contest in (contest for contest in contests if contest["k"] == k):
            _plot_gain(axes, contest, benchmark["labels"][contest["model"]], list(sizes), kinds)
        axes.axhline(0, color=style.INK, linewidth=0.9)
        axes.set_xticks(range(len(sizes)), [f"{group}\n({number:,})" for group, number in sizes.items()])
        axes.set_xlim(-0.5, len(sizes) - 0.5)
        percent_scale(axes, "student minus base (points)")
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:+g}" if value else "0")
        axes.tick_params(axis="x", length=0)
        axes.set_title(f"pass@{k}")
    add_legend(figure, panels[0], num_columns=2)
    add_headline(figure, f"{name}: gain by difficulty (95 % intervals of paired differences)")
    rows = [
        {
            "model": contest["model"],
            "base": contest["base"],
            "student_stage": contest["student_stage"],
            "base_stage": contest["base_stage"],
            "k": contest["k"],
            "group": group,
            "num_problems": sizes[group],
            **estimate_fields(found),
        }
        for contest in contests
        for group, found in contest["differences"].items()
    ]
    return save_with_rows(figure, rows, folder, f"{GAINS}-{name}")


def shown_contests(benchmark: dict[str, Any]) -> list[dict[str, Any]]:
    """Students at their own decodings, against the base at its own and at its best temperature."""
    return [
        contest
        for contest in benchmark["contests"]
        if contest["student"] == "own" and contest["base"] in ("usual", "temperature")
    ]


def curves(benchmark: dict[str, Any]) -> Iterator[Curve]:
    """The base's other truncations first, so that they lie under the rest."""
    groups: dict[tuple[str, int, float], list[dict[str, Any]]] = {}
    for point in sorted(benchmark["points"], key=lambda point: point["decoding"]["temperature"]):
        key = (point["model"], point["decoding"]["top_k"], point["decoding"]["top_p"])
        groups.setdefault(key, []).append(point)
    fixed = fixed_stages(benchmark)
    students = list(dict.fromkeys(model for model, *_ in groups if model != BASE))
    colors = _colors(students)
    num_light = 0
    found = []
    for (model, top_k, top_p), points in sorted(groups.items(), key=lambda item: item[0]):
        is_own = any(point["stage"] in fixed for point in points)
        label = f"{benchmark['labels'][model]}, k={top_k} p={top_p:g}"
        if model == BASE and is_own:
            line = dict(style.TEACHER_LINE)
        elif model == BASE:
            line = {"color": GRID_COLORS[num_light % 4], "linestyle": style.DASHES[num_light % 4], "linewidth": 1.3}
            num_light += 1
        else:
            line = {"color": colors[model], "linestyle": "-" if is_own else style.DASHES[0], "linewidth": 1.9}
        found.append(Curve(label, points, line, is_light=model == BASE and not is_own))
    order = {BASE: 1, OWN: 2}
    yield from sorted(found, key=lambda curve: (not curve.is_light, order.get(curve.points[0]["model"], 3)))


def _plot_curve(axes: Axes, curve: Curve, metric: str, fixed: set[str]) -> None:
    shown = [point for point in curve.points if point["pass_at_k"][ALL][metric] is not None]
    found = [point["pass_at_k"][ALL][metric] for point in shown]
    temperatures = [point["decoding"]["temperature"] for point in shown]
    means, lows, highs = ([each[key] for each in found] for key in ("mean", "low", "high"))
    color = curve.line["color"]
    if len(shown) == 1:
        axes.errorbar(temperatures, means, whiskers(found), color=color, capsize=3, linewidth=1.3, fmt="none")
    else:
        axes.fill_between(temperatures, lows, highs, color=color, alpha=0.07 if curve.is_light else 0.14, linewidth=0)
    axes.plot(temperatures, means, label=curve.label, marker="o", markersize=3 if curve.is_light else 4.5, **curve.line)
    for index, point in enumerate(shown):
        if point["stage"] in fixed:
            axes.plot(temperatures[index], means[index], color=color, **OWN_MARKER)
            if point["model"] != BASE:
                axes.axhline(means[index], color=color, linewidth=0.9, linestyle=(0, (1, 2.5)), zorder=1)


def _plot_gain(
    axes: Axes, contest: dict[str, Any], label: str, groups: list[str], kinds: list[tuple[str, str]]
) -> None:
    shown = [(group, found) for group, found in contest["differences"].items() if found is not None]
    kind = contest["model"], contest["base"]
    shift = 0.7 * ((kinds.index(kind) + 0.5) / len(kinds) - 0.5)
    color = _colors([model for model, _ in kinds])[contest["model"]]
    is_usual = contest["base"] == "usual"
    axes.errorbar(
        [groups.index(group) + shift for group, _ in shown],
        [found["mean"] for _, found in shown],
        whiskers([found for _, found in shown]),
        fmt="o" if is_usual else "s",
        markersize=6,
        color=color,
        markerfacecolor=color if is_usual else "white",
        linewidth=1.4,
        capsize=3,
        label=f"{label} minus " + ("base at its own decoding" if is_usual else "base at its best temperature"),
    )


def _colors(students: Sequence[str]) -> dict[str, str]:
    unique = sorted(dict.fromkeys(students), key=lambda name: name != OWN)
    return {name: STUDENT_COLORS[index % len(STUDENT_COLORS)] for index, name in enumerate(unique)}


def fixed_stages(benchmark: dict[str, Any]) -> set[str]:
    """Stages of the models at their own decodings."""
    others = [student["stage"] for student in benchmark["others"].values()]
    return {stage for stage in (benchmark["base"], benchmark["student"], *others) if stage is not None}
