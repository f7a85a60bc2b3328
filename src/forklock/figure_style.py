"""How all figures look, and how they are written: the same input gives the same bytes.

Colours are of Okabe and Ito's set, told apart with any colour vision; teacher (base) and student (trained)
also differ by hatching and by dashes. matplotlib is imported when something is drawn, not before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from forklock.run_dir.atomic import storage_errors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

TEACHER, TEACHER_FILL = "#B45F06", "#F9DDB1"
STUDENT, STUDENT_FILL = "#00568A", "#6FB3DE"
CONTROL = "#009E73"
CUTOFF = "#C1272D"
INK, FAINT, GRID = "#222222", "#767676", "#E4E4E4"

TEACHER_BAR: dict[str, Any] = {"facecolor": TEACHER_FILL, "edgecolor": TEACHER, "hatch": "////", "linewidth": 0.9}
STUDENT_BAR: dict[str, Any] = {"facecolor": STUDENT_FILL, "edgecolor": STUDENT, "linewidth": 0.9}
TEACHER_LINE: dict[str, Any] = {"color": TEACHER, "linestyle": (0, (4, 1.6)), "linewidth": 1.9}
STUDENT_LINE: dict[str, Any] = {"color": STUDENT, "linestyle": "-", "linewidth": 1.9}
DASHES: tuple[Any, ...] = ((0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (2.5, 1.5)), "-")
"""Of lines beside those two."""

DPI = 150
SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titley": 1.0,  # placing titles automatically measures every label first
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "hatch.linewidth": 0.7,
    "hatch.color": TEACHER,
    "savefig.facecolor": "white",
    "svg.hashsalt": "forklock",
    "svg.fonttype": "path",
    "text.hinting": "none",
}


@contextmanager
def house_style() -> Iterator[None]:
    """All settings of the house, and nothing of the user's own matplotlib configuration."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        parameters: Any = mpl.rcParams
        parameters.update(SETTINGS)
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure outside pyplot: no display is looked for, nothing stays behind."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def log_axis(axis: Axis) -> None:
    """Makes an axis logarithmic, to be called once the data are drawn.

    Labels are plain text: mathtext would take longer than the drawing.
    """
    from matplotlib.ticker import FixedLocator, NullLocator

    if axis is axis.axes.xaxis:
        axis.axes.set_xscale("log")
    else:
        axis.axes.set_yscale("log")
    lowest, highest = np.log10(axis.get_view_interval())
    axis.set_major_locator(
        FixedLocator([10.0**exponent for exponent in range(math.ceil(lowest), math.floor(highest) + 1)])
    )
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: "10" + f"{round(math.log10(value))}".translate(SUPERSCRIPTS))


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """PNG and SVG, without the date and versions that would make two runs differ."""
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    with storage_errors(png):
        figure.savefig(png, dpi=DPI, metadata={"Software": None}, pil_kwargs={"compress_level": 4})
    with storage_errors(svg):
        figure.savefig(svg, metadata={"Date": None, "Creator": None})
    return [png, svg]


def percent_axis(axes: Axes, label: str, highest: float) -> None:
    """A y axis of fractions, labelled in percent, with a light grid."""
    axes.set_ylim(0, highest)
    if highest <= 0.25:
        axes.set_yticks(np.arange(0, highest, 0.05))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    axes.set_ylabel(label)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.tick_params(axis="y", length=0)
