"""Bad data, good results? What was trained on, gains by difficulty, and the best checkpoint per T_eval (7, 15)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forklock import figure_style as style
from forklock.figure_panels import (
    add_headline,
    add_legend,
    estimate_fields,
    new_panels,
    percent_scale,
    save_with_rows,
    whiskers,
)
from forklock.sweep.figures.parts import MARKERS, estimate_of, row_at

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BestSteps = list[tuple[Mapping[str, Any], Mapping[str, float]]]
"""A row a temperature, and its estimate."""
MODEL_COLORS = (style.STUDENT, style.CONTROL, "#CC79A7", "#D55E00", "#8C7A00", "#56B4E9")
SHARES = {"share_without_code": "without extractable code", "share_at_limit": "at the length limit"}


def draw_checkpoints(name: str, benchmark: Mapping[str, Any], pass_k: Sequence[int], folder: Path) -> list[Path]:
    """The best over all checkpoints at each T_eval; the step is in the CSV, and with one model beside its dot."""
    rows = benchmark["cells"]
    if not any(row["checkpoint"] is not None for row in rows):
        return []
    models = list(dict.fromkeys(_model_of(row) for row in rows))
    figure, panels = new_panels(len(pass_k), num_legend_rows=(len(models) + 2) // 2)
    found_rows: list[dict[str, Any]] = []
    for axes, k in zip(panels, pass_k, strict=True):
        for number, model in enumerate(models):
            best = _best_steps([row for row in rows if _model_of(row) == model], k)
            drawn = f"trained at {model[0]}, best of its checkpoints", MODEL_COLORS[number % 6], MARKERS[number % 6]
            _plot_best_steps(axes, best, drawn, has_steps=len(models) == 1)
            found_rows += [
                {"model": model[0], "k": k, "eval_temperature": row["eval"]["temperature"]}
                | {name: row[name] for name in ("checkpoint", "stage")}
                | estimate_fields(each)
                for row, each in best
            ]
        if (base := estimate_of(row_at(benchmark["base"], benchmark["base_own"]), k)) is not None:
            axes.axhline(base["mean"], label="base, its own decoding", **style.TEACHER_LINE)
        percent_scale(axes, f"pass@{k} (%)")
        axes.set_title(f"pass@{k}")
        axes.set_xlabel("T_eval")
    add_legend(figure, panels[0], num_columns=2)
    add_headline(figure, f"{name}: the best checkpoint at each evaluation temperature (95 % intervals)")
    return save_with_rows(figure, found_rows, folder, f"checkpoints-{name}")


def _plot_best_steps(axes: Axes, best: BestSteps, drawn: tuple[str, str, str], *, has_steps: bool) -> None:
    label, color, marker = drawn
    places = [(row["eval"]["temperature"], each["mean"]) for row, each in best]
    line: dict[str, Any] = {"color": color, "marker": marker, "capsize": 3, "linewidth": 1.6, "label": label}
    axes.errorbar([x for x, _ in places], [y for _, y in places], whiskers([each for _, each in best]), **line)
    if has_steps:  # of several models they would be written over each other
        for (row, _), place in zip(best, places, strict=True):
            step = "end" if row["checkpoint"] is None else str(row["checkpoint"])
            axes.annotate(step, place, (5, 5), textcoords="offset points", fontsize=8)


def _model_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["model"], row["eval"]["top_k"], row["eval"]["top_p"]


def _best_steps(rows: Sequence[Mapping[str, Any]], k: int) -> BestSteps:
    found = []
    for temperature in sorted({row["eval"]["temperature"] for row in rows}):
        here = [(row, each) for row in rows if row["eval"]["temperature"] == temperature
                if (each := estimate_of(row, k)) is not None]  # fmt: skip
        if here:
            found.append(max(here, key=lambda pair: pair[1]["mean"]))
    return found


def draw_gains(name: str, benchmark: Mapping[str, Any], pass_k: Sequence[int], folder: Path) -> list[Path]:
    """The base at its own decoding and the best cell, by difficulty (15c)."""
    best = {found["k"]: found for found in benchmark["best"]}
    base = row_at(benchmark["base"], benchmark["base_own"])
    if not best or not base.get("pass_at_k"):
        return []
    groups = list(base["pass_at_k"])
    figure, panels = new_panels(len(pass_k), num_legend_rows=1)
    rows: list[dict[str, Any]] = []
    for axes, k in zip(panels, pass_k, strict=True):
        axes.set_title(f"pass@{k}")
        if k not in best:
            continue
        cell = row_at(benchmark["cells"], best[k]["cell"])
        _plot_bars(axes, base, k, -0.19, {"label": "base, its own decoding", **style.TEACHER_BAR})
        _plot_bars(axes, cell, k, 0.19, {"label": f"{benchmark['label']}, its best cell", **style.STUDENT_BAR})
        changes = best[k]["to_base_own"] or {}
        for at, group in enumerate(groups):
            sides = {"base": estimate_of(base, k, group), "cell": estimate_of(cell, k, group)}
            top = max((each["high"] for each in sides.values() if each is not None), default=0.0)
            if (change := changes.get(group)) is not None:
                axes.text(at, top + 0.015, f"{100 * change['mean']:+.1f}", ha="center", fontsize=8.5, fontweight="bold")
            named = {side: estimate_fields(each) for side, each in sides.items()}
            stages = {"base_stage": base["stage"], "cell_stage": cell["stage"]}
            rows.append({"k": k, "group": group, **stages, **named, "difference": estimate_fields(change)})
        sizes = [f"{group}\n({base['pass_at_k'][group]['num_problems']:,})" for group in groups]
        axes.set_xticks(range(len(groups)), sizes)
        axes.tick_params(axis="x", length=0)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.06)
        percent_scale(axes, f"pass@{k} (%)")
    add_legend(figure, panels[0])
    add_headline(figure, f"{name}: base and best cell by difficulty (95 % intervals; above: paired difference)")
    return save_with_rows(figure, rows, folder, f"gains-{name}")


def _plot_bars(axes: Axes, row: Mapping[str, Any], k: int, shift: float, bar: dict[str, Any]) -> None:
    shown = [
        (at, each) for at, group in enumerate(row["pass_at_k"]) if (each := estimate_of(row, k, group)) is not None
    ]
    places, found = [at + shift for at, _ in shown], [each for _, each in shown]
    axes.bar(places, [each["mean"] for each in found], width=0.36, **bar)
    line: dict[str, Any] = {"fmt": "none", "color": style.INK, "capsize": 2.5, "linewidth": 1.0}
    axes.errorbar(places, [each["mean"] for each in found], whiskers(found), **line)


def draw_trained_on(syntheses: Mapping[str, Any], folder: Path) -> list[Path]:
    """Of the samples drawn for each model: how many hold no code, how many never ended (7a)."""
    found = {name: synthesis for name, synthesis in syntheses.items() if synthesis is not None}
    if not found:
        return []
    height = 0.42 * len(found) + 1.9
    figure = style.new_figure(8.5, height)
    axes = figure.subplots(gridspec_kw={"left": 0.2, "right": 0.97, "top": 1 - 0.6 / height, "bottom": 1.05 / height})
    colors = (style.TEACHER, style.STUDENT)
    widest = 1.18 * max(0.05, *(synthesis[share] for synthesis in found.values() for share in SHARES))
    for number, (share, label) in enumerate(SHARES.items()):
        places = [place + (0.19 if number else -0.19) for place in range(len(found))]
        values = [synthesis[share] for synthesis in found.values()]
        axes.barh(places, values, height=0.36, color=colors[number], label=label)
        for place, value in zip(places, values, strict=True):
            axes.text(value + 0.006 * widest, place, f"{value:.1%}", va="center", fontsize=8)
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.set_xlim(0, widest)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    axes.set_xlabel("share of the samples drawn (%)")
    add_legend(figure, axes)
    add_headline(figure, "What was drawn to train on")
    rows = [
        {"model": name, "stage": synthesis["stage"], "num_samples": synthesis["num_samples"]}
        | {share: synthesis[share] for share in SHARES}
        for name, synthesis in found.items()
    ]
    return save_with_rows(figure, rows, folder, "trained-on")
