"""An analysis in a few lines for the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from forklock.analyze.classes import CLASSES

NOISE_STANDARD_ERRORS = 2.0
"""A difference of less is called noise."""
SHOWN_MEASURES = (
    ("kept_mass", "KeptMass"),
    ("support_compression", "-log KeptMass"),
    ("within_support_reshaping", "(1 - T) Rényi entropy"),
    ("alignment", "T KL to the base"),
    ("entropy", "entropy"),
    ("gate_entropy", "  gate"),
    ("head_entropy", "  head"),
    ("tail_entropy", "  tail"),
    ("top_mass", "top-20 mass"),
    ("share_of_forks", "forks"),
    ("share_of_locks", "locks"),
)


def render(summary: dict[str, Any]) -> Group:
    """Of the stage's `summary.json`."""
    return Group(_head(summary), "", _means(summary["classes"]["all"]), "", _moves(summary["moves"]))


def _head(summary: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row("solutions", f"{summary['num_solutions']:,} ({escape(summary['contexts'])})")
    if summary["num_solutions_without_code"]:
        table.add_row(
            "without a code block", f"{summary['num_solutions_without_code']:,}: no Python token classes there"
        )
    table.add_row("positions", f"{summary['num_positions']:,}")
    table.add_row("rule", escape(summary["rule"]["words"]))
    return table


def _means(measured: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("mean over positions")
    for name in ("base", "trained", "difference (s.e.)"):
        table.add_column(name, justify="right")
    table.add_column("")
    for key, words in SHOWN_MEASURES:
        pair = measured[key]
        difference = pair["difference"]
        table.add_row(
            words,
            _number(pair["base"]["mean"]),
            _number(pair["trained"]["mean"]),
            f"{_number(difference['mean'], sign='+')} ({_number(difference['standard_error'])})",
            words_for(difference),
        )
    return table


def words_for(difference: dict[str, Any]) -> str:
    """What may be said about a difference: nothing where it stands out of the noise."""
    mean, error = difference["mean"], difference["standard_error"]
    if mean is None or error is None:
        return "too few solutions to tell"
    if mean == 0.0:
        return "none"
    return "within noise" if abs(mean) < NOISE_STANDARD_ERRORS * error else ""


def _moves(moves: dict[str, dict[str, int]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("class before")
    for name in CLASSES:
        table.add_column(f"{name} after", justify="right")
    for before in CLASSES:
        table.add_row(before, *(f"{moves[before][after]:,}" for after in CLASSES))
    return table


def _number(value: float | None, sign: str = "") -> str:
    return "undefined" if value is None else f"{value:{sign}.4f}"
