"""Comparisons beside the grid: reach (pass@k to the number of samples), targets, budgets, other benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
from forklock.sweep.figures.parts import Series, plot_series, row_at
from forklock.sweep.labels import short_setting, variant

CURVE_LINES: tuple[dict[str, Any], ...] = (
    style.TEACHER_LINE,
    {"color": "#C98A4B", "linestyle": (0, (1, 1.2)), "linewidth": 1.9},
    style.STUDENT_LINE,
)


def draw_pass_curves(name: str, benchmark: Mapping[str, Any], pass_k: Sequence[int], folder: Path) -> list[Path]:
    """pass@k as far as samples were drawn: a curve that crosses another only sharpened what was there."""
    rows = benchmark["pass_curves"]
    if not rows:
        return []
    figure, (axes,) = new_panels(1, num_legend_rows=2)
    for label, line in zip(dict.fromkeys(row["label"] for row in rows), CURVE_LINES, strict=False):
        shown = [row for row in rows if row["label"] == label]
        ks = [row["k"] for row in shown]
        axes.plot(ks, [row["mean"] for row in shown], marker="o", markersize=4, label=label, **line)
        low, high = ([row[bound] for row in shown] for bound in ("low", "high"))
        axes.fill_between(ks, low, high, color=line["color"], alpha=0.1, linewidth=0)
    axes.set_xscale("log", base=2)
    ticks = sorted({row["k"] for row in rows})
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.minorticks_off()
    percent_scale(axes, "pass@k (%)")
    axes.set_xlabel("k")
    add_legend(figure, axes, num_columns=2)
    add_headline(figure, f"{name}: pass@k up to the samples drawn (95 % intervals)")
    return save_with_rows(figure, rows, folder, f"pass-curves-{name}")


def draw_targets(name: str, benchmark: Mapping[str, Any], pass_k: Sequence[int], folder: Path) -> list[Path]:
    """Soft minus hard target of the same samples, steps and decoding, a row a pair."""
    pairs = benchmark["targets"]
    if not pairs:
        return []
    rows = [
        {"setting": _pair_label(row_at(benchmark["cells"], pair["hard"])), "hard": pair["hard"], "soft": pair["soft"],
         "k": pair["k"], **estimate_fields(pair["difference"]["all"])}
        for pair in pairs
    ]  # fmt: skip
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    height = 0.28 * len(settings) + 1.8
    figure = style.new_figure(11, height)
    panels = figure.subplots(
        1, len(pass_k), squeeze=False, sharey=True,
        gridspec_kw={"left": 0.28, "right": 0.98, "top": 1 - 0.75 / height, "bottom": 0.6 / height, "wspace": 0.08},
    )[0]  # fmt: skip
    for axes, k in zip(panels, pass_k, strict=True):
        shown = [row for row in rows if row["k"] == k and row["mean"] is not None]
        axes.errorbar([row["mean"] for row in shown], [settings.index(row["setting"]) for row in shown],
                      xerr=whiskers(shown), fmt="o", color=style.STUDENT, capsize=3, linewidth=1.3)  # fmt: skip
        axes.axvline(0, color=style.INK, linewidth=0.9)
        axes.set_title(f"pass@{k}")
        axes.set_xlabel("soft minus hard (points)")
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:+g}" if value else "0")
        axes.grid(axis="x", color=style.GRID, linewidth=0.8)
    panels[0].set_yticks(range(len(settings)), settings)
    panels[0].set_ylim(len(settings) - 0.5, -0.5)
    add_headline(figure, f"{name}: soft against hard targets at equal steps (95 % intervals of paired differences)")
    return save_with_rows(figure, rows, folder, f"targets-{name}")


def _pair_label(hard: Mapping[str, Any]) -> str:
    return f"{short_setting(hard['train'])}{variant(hard)} at {short_setting(hard['eval'])}"


def draw_budgets(name: str, benchmark: Mapping[str, Any], pass_k: Sequence[int], folder: Path) -> list[Path]:
    """The best cell minus the base with as many samples, and with as many tokens: a longer answer costs."""
    budgets = benchmark["matched_budgets"]
    if budgets is None:
        return []
    matched = [budgets["by_k"][f"k={k}"] for k in pass_k]
    plain = [budgets["same_samples"][f"pass@{k}"] for k in pass_k]
    figure, (axes,) = new_panels(1, num_legend_rows=1)
    plot_series(
        axes,
        [
            Series("as many samples", style.STUDENT, "o", plain),
            Series("as many tokens", style.CONTROL, "s", [each["difference"] for each in matched], is_open=True),
        ],
        [f"k={k}\n{each['budget_tokens']:,.0f} tokens" for k, each in zip(pass_k, matched, strict=True)],
    )
    axes.axhline(0, color=style.INK, linewidth=0.9)
    percent_scale(axes, "best cell minus base (points)")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:+g}" if value else "0")
    add_legend(figure, axes)
    add_headline(figure, f"{name}: the best cell's gain at matched budgets")
    rows = [
        {"k": k, "budget_tokens": each["budget_tokens"], "cell_stage": budgets["cell"], "base_stage": budgets["base"]}
        | {"same_samples": estimate_fields(one), "same_tokens": estimate_fields(each["difference"])}
        for k, one, each in zip(pass_k, plain, matched, strict=True)
    ]
    return save_with_rows(figure, rows, folder, f"budgets-{name}")


def draw_transfer(label: str, found: Sequence[Mapping[str, Any]], pass_k: Sequence[int], folder: Path) -> list[Path]:
    """The first benchmark's best cell on all of them (Table 5)."""
    if not found:
        return []
    names = list(dict.fromkeys(row["benchmark"] for row in found))
    figure, panels = new_panels(len(pass_k), num_legend_rows=1)
    for axes, k in zip(panels, pass_k, strict=True):
        by_name = {row["benchmark"]: row for row in found if row["k"] == k}
        shown = [by_name.get(name, {}) for name in names]
        plot_series(
            axes,
            [
                Series("base, its own decoding", style.TEACHER, "o", [row.get("base") for row in shown]),
                Series(f"{label}, best cell of the first", style.STUDENT, "s", [row.get("cell") for row in shown]),
            ],
            [name.replace("-", "\n", 1) for name in names],
        )
        percent_scale(axes, f"pass@{k} (%)")
        axes.set_title(f"pass@{k}")
    add_legend(figure, panels[0])
    add_headline(figure, f"The cell that is best on {names[0]}, on other benchmarks (95 % intervals)")
    rows = [
        {name: row[name] for name in ("benchmark", "k", "base_stage", "cell_stage")}
        | {side: estimate_fields(row[side]) for side in ("base", "cell", "difference")}
        for row in found
    ]
    return save_with_rows(figure, rows, folder, "transfer")
