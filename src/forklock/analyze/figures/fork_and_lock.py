"""Figure 5 on real weights: a fork and a lock of this model, and the mean over all of each, before and after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from forklock import figure_style as style
from forklock.analyze.examples import MOVED_MORE_THAN, SHOWN
from forklock.figure_data import write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "figure_05_fork_and_lock"
LABELS = {"base": "base", "trained": "after training"}
BARS: dict[str, dict[str, Any]] = {"base": style.TEACHER_BAR, "trained": style.STUDENT_BAR}
SHIFTS = {"base": -0.2, "trained": 0.2}
MOST_CONTEXT = 30
ERROR_STANDARD_ERRORS = 2.0
LONGEST_FLAT = 4
"""Characters of a token that stands under its bar without being turned."""
_VISIBLE = str.maketrans({" ": "␣", "\n": "↵", "\t": "⇥", "$": r"\$"})


def draw_fork_and_lock(summary: dict[str, Any], folder: Path) -> list[Path]:
    """Left one position, right the mean over its class, with two standard errors."""
    examples = summary["examples"]
    figure = style.new_figure(9.6, 6.6)
    layout = {"left": 0.075, "right": 0.985, "top": 0.85, "bottom": 0.09, "hspace": 0.5, "wspace": 0.16}
    panels = figure.subplots(2, 2, gridspec_kw=layout)
    for (one, mean), name in zip(panels, SHOWN, strict=True):
        found = examples[name]
        if found is None:
            for axes in (one, mean):
                axes.set_axis_off()
            one.text(0, 0.5, f"the base model has no {name} in this text", color=style.FAINT)
            continue
        _draw_one(one, found, name)
        _draw_mean(mean, examples["mass_by_base_rank"][name], f"All {found['num_positions_of_class']:,} {name}s, mean")
    handles, labels = next((axes.get_legend_handles_labels() for axes in panels[:, 0] if axes.patches), ([], []))
    figure.legend(handles, labels, loc="upper right", ncols=3, bbox_to_anchor=(0.985, 1.0))
    figure.text(0.012, 0.963, "A fork and a lock of this model", fontsize=11.5, fontweight="bold")
    words = f"Each moved further than {MOVED_MORE_THAN:.0%} of its class; tokens stand in the base model's order"
    figure.text(0.012, 0.925, words, color=style.FAINT)
    rows = [
        {"class": name, "position": examples[name]["position"], "prompt_id": examples[name]["prompt_id"], **candidate}
        for name in SHOWN
        if examples[name] is not None
        for candidate in examples[name]["candidates"]
    ]
    means = [{"class": name, **row} for name in SHOWN for row in examples["mass_by_base_rank"][name]]
    tables = [write_csv(folder, NAME, rows), write_csv(folder, f"{NAME}_means", means)]
    return [*style.save(figure, folder, NAME), *tables]


def _draw_one(axes: Axes, found: dict[str, Any], name: str) -> None:
    candidates = found["candidates"]
    x = np.arange(len(candidates))
    for model, shift in SHIFTS.items():
        heights = [candidate[f"{model}_probability"] for candidate in candidates]
        axes.bar(x + shift, heights, 0.38, label=LABELS[model], **BARS[model])
    if found["support_size"] < len(candidates):
        cut = found["support_size"] - 0.5
        axes.axvline(cut, color=style.CUTOFF, linestyle=(0, (4, 2)), linewidth=1.2, label="kept while sampling (left)")
    tokens = [_shown(candidate["token_text"]) for candidate in candidates]
    is_long = max(map(len, tokens)) > LONGEST_FLAT  # neighbours would run into each other
    turned: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if is_long else {}
    axes.set_xticks(x, tokens, family="DejaVu Sans Mono", **turned)
    style.percent_axis(axes, "probability (%)", 1.05 * max(bar.get_height() for bar in axes.patches))  # type: ignore[attr-defined]
    axes.set_title(f"{name.capitalize()}:  …{_shown(found['text_before'][-MOST_CONTEXT:])} ?")
    axes.title.set_fontfamily("DejaVu Sans Mono")


def _draw_mean(axes: Axes, ranks: list[dict[str, Any]], title: str) -> None:
    x = np.arange(len(ranks))
    for model, shift in SHIFTS.items():
        means = np.array([row[model]["mean"] for row in ranks])
        errors = ERROR_STANDARD_ERRORS * np.array([row[model]["standard_error"] or 0.0 for row in ranks])
        axes.bar(x + shift, means, 0.38, **BARS[model])
        axes.errorbar(x + shift, means, yerr=errors, fmt="none", ecolor=style.INK, elinewidth=0.8, capsize=1.5)
    axes.set_xticks(x, [str(row["rank"]) for row in ranks])
    axes.set_xlabel("rank in the base model")
    style.percent_axis(axes, "", 1.05 * max(row[model]["mean"] for row in ranks for model in SHIFTS))
    axes.set_title(title)


def _shown(text: str) -> str:
    """Blanks made visible; what the font lacks as its code."""
    from matplotlib.font_manager import findfont, get_font

    known = get_font(findfont("DejaVu Sans Mono")).get_charmap()
    shown = "".join(c if (ord(c) in known and c.isprintable()) or c in "\n\t" else f"\\u{ord(c):04x}" for c in text)
    return shown.translate(_VISIBLE)
