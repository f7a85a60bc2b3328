"""The toy's figures: the paper's 4, 5, 12, 13 and 14, and one for what the paper leaves out."""

from __future__ import annotations

from pathlib import Path

from forklock.figure_style import house_style
from forklock.run_dir.atomic import storage_errors
from forklock.toy.figures.conflict import draw_conflict
from forklock.toy.figures.convergence import draw_convergence
from forklock.toy.figures.mechanism import draw_forks_and_locks, draw_reshaping
from forklock.toy.figures.regimes import draw_regimes
from forklock.toy.figures.state_machine import draw_state_machine
from forklock.toy.result import ToyResult

FIGURES = (
    draw_conflict,
    draw_forks_and_locks,
    draw_state_machine,
    draw_reshaping,
    draw_regimes,
    draw_convergence,
)


def draw(result: ToyResult, folder: Path) -> list[Path]:
    """Every figure as PNG and SVG in `folder`, which is made if it is missing. Same result, same bytes.

    "Same" holds for one version of matplotlib and its fonts; others rasterise and name things differently.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with house_style():
        return [path for draw_figure in FIGURES for path in draw_figure(result, folder)]


__all__ = ["draw"]
