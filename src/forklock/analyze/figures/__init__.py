"""The analysis in pictures, drawn from `summary.json` alone: Figures 5 and 6, moves between classes, entropies,
syntax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forklock.analyze.figures.classes import draw_entropy_terms, draw_moves, draw_syntax
from forklock.analyze.figures.curves import draw_figure_06
from forklock.analyze.figures.fork_and_lock import draw_fork_and_lock
from forklock.figure_style import house_style

FIGURES = (draw_fork_and_lock, draw_figure_06, draw_moves, draw_entropy_terms, draw_syntax)


def draw(summary: dict[str, Any], folder: Path) -> list[Path]:
    """Every figure as PNG and SVG, and its data as CSV. Same summary, same bytes, under one matplotlib."""
    with house_style():
        return [path for draw_figure in FIGURES for path in draw_figure(summary, folder)]


__all__ = ["draw"]
