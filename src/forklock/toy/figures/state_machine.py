"""Figure 12: the machine, and the distributions of its three kinds of states."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from forklock import figure_style as style
from forklock.toy.machine import NUM_LOCKS, NUM_PATHS, VOCABULARY_SIZE, Archetype
from forklock.toy.result import ToyResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RIGHT, WRONG = "#00745A", "#B9B9B9"
FILLS = {"root": "#EFEFEF", "fork": "#F9DDB1", "lock": "#CFE5F5", "PASS": "#BFE5D8", "FAIL": "#F3C9C4"}
PATH_HEIGHT = 1.15
LETTERS = "AB"
RADIUS = 0.36
SHRINK = 25.5
"""RADIUS in points."""


def draw_state_machine(result: ToyResult, folder: Path) -> list[Path]:
    """Figure 12: (a) states and transitions, (b) the teacher's distributions by token id."""
    figure = style.new_figure(10.4, 4.4)
    _draw_machine(figure.add_axes((0.005, 0.02, 0.63, 0.9)))
    archetypes = figure.add_gridspec(3, 1, left=0.655, right=0.99, top=0.85, bottom=0.105, hspace=0.5)
    titles: dict[Archetype, str] = {
        "root": "root: FAIL leads, two tokens enter a path",
        "fork": "fork: the right token is second of many",
        "lock": "lock: one right token, and a tail",
    }
    for index, (archetype, title) in enumerate(titles.items()):
        axes = figure.add_subplot(archetypes[index])
        _draw_archetype(axes, result, archetype)
        axes.set_title(title, fontsize=9, fontweight="normal", pad=3)
        axes.set_xlabel("token id" if archetype == "lock" else "")
    figure.text(0.015, 0.945, f"(a) The machine, {VOCABULARY_SIZE} tokens a state", fontsize=10, fontweight="bold")
    figure.text(0.655, 0.945, "(b) The teacher's distributions (%)", fontsize=10, fontweight="bold")
    return style.save(figure, folder, "figure_12_state_machine")


class _Node(NamedTuple):
    x: float
    y: float
    label: str
    fill: str


def _draw_machine(axes: Axes) -> None:
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(-0.5, 6.25)
    axes.set_ylim(-2.5, 1.75)
    passing = _Node(2 + NUM_LOCKS + 0.75, 0.0, "PASS", FILLS["PASS"])
    root = _Node(0.0, 0.0, "root", FILLS["root"])
    for path in range(NUM_PATHS):
        y = PATH_HEIGHT * (1 - 2 * path)
        states = [_Node(1.35, y, f"fork\n{LETTERS[path]}", FILLS["fork"])]
        states += [_Node(2.45 + 1.0 * i, y, f"lock\n{LETTERS[path]}{i + 1}", FILLS["lock"]) for i in range(NUM_LOCKS)]
        chain = [root, *states, passing]
        for index, (start, end) in enumerate(pairwise(chain)):
            _arrow(axes, start, end, f"tok{path if index == 0 else 0}")
        for state in states:
            _falling(axes, state)
            _node(axes, state)
    _falling(axes, root)
    _node(axes, root)
    _node(axes, passing)
    axes.annotate(
        "✗  every other token leads to FAIL",
        (2.875, -2.28),
        ha="center",
        va="center",
        color="#8A1C13",
        bbox={
            "boxstyle": "round,pad=0.45",
            "facecolor": FILLS["FAIL"],
            "edgecolor": style.CUTOFF,
            "linewidth": 1.0,
        },
    )


def _node(axes: Axes, node: _Node) -> None:
    from matplotlib.patches import Circle

    axes.add_patch(Circle((node.x, node.y), RADIUS, facecolor=node.fill, edgecolor=style.INK, linewidth=1.1, zorder=3))
    is_end = node.label == "PASS"
    axes.text(
        node.x,
        node.y,
        node.label,
        ha="center",
        va="center",
        fontsize=8.5,
        fontweight="bold" if is_end else "normal",
        linespacing=1.05,
        zorder=4,
    )


def _arrow(axes: Axes, start: _Node, end: _Node, label: str) -> None:
    arrow = {"arrowstyle": "-|>", "color": RIGHT, "linewidth": 1.6, "shrinkA": SHRINK, "shrinkB": SHRINK}
    axes.annotate("", (end.x, end.y), (start.x, start.y), arrowprops=arrow)
    is_level = start.y == end.y
    outward = 0.2 if max(start.y, end.y) > 0 else -0.2
    x, y = (start.x + end.x) / 2, (start.y + end.y) / 2
    shift = 0.0 if is_level else (-0.22 if end.y != 0 else 0.22)
    axes.text(x + shift, y + outward, label, color=RIGHT, fontsize=8, ha="center", va="center")


def _falling(axes: Axes, node: _Node) -> None:
    """A stub: arrows to one FAIL state from everywhere would hide the machine."""
    arrow = {"arrowstyle": "-|>", "color": style.CUTOFF, "linewidth": 1.0, "shrinkA": SHRINK, "shrinkB": 0}
    axes.annotate("", (node.x, node.y - 0.66), (node.x, node.y), arrowprops=arrow)
    axes.text(node.x, node.y - 0.78, "✗", color=style.CUTOFF, ha="center", va="center", fontsize=9)


def _draw_archetype(axes: Axes, result: ToyResult, archetype: Archetype) -> None:
    values = np.array(result.teacher.probabilities[archetype])
    num_right = NUM_PATHS if archetype == "root" else 1
    tokens = np.arange(values.size)
    axes.bar(tokens, values, 0.78, color=[RIGHT if token < num_right else WRONG for token in tokens])
    highest = 1.3 * values.max()
    style.percent_axis(axes, "", highest)
    axes.set_yticks([])
    for token in tokens[values >= 0.0195]:
        text = f"{100 * values[token]:.1f}"
        axes.annotate(text, (token, values[token]), (0, 1.5), textcoords="offset points", ha="center", fontsize=6.3)
    axes.set_xticks(list(tokens) if archetype == "lock" else [])
    axes.tick_params(axis="x", length=0, labelsize=7)
    axes.spines["left"].set_visible(False)
    axes.set_xlim(-0.6, values.size - 0.4)
