"""A training in a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from forklock.train.schedule import TOO_LONG


def reasons(num_left_out: Mapping[str, int]) -> str:
    """Why samples were left out, and how many."""
    return ", ".join(f"{reason} {number:,}" for reason, number in num_left_out.items() if number) or "none"


def render(summary: dict[str, Any]) -> Table:
    """Of a stage's `summary.json`."""
    table = Table(box=None, pad_edge=False, show_header=False)
    left_out = {**summary["num_degenerate"], TOO_LONG: summary["num_too_long"], "held out": summary["num_held_out"]}
    left_out["failed their tests"] = summary.get("num_failed_tests", 0)
    left_out["held out, unfinished"] = summary["num_held_out_unfinished"]
    table.add_row("samples trained on", f"{summary['num_trained_on']:,} of {summary['num_samples']:,}")
    table.add_row("left out", reasons(left_out))
    table.add_row("cut by the length limit", f"{summary['num_without_stop_token']:,}")
    table.add_row("steps", f"{summary['num_steps']:,}")
    table.add_row("tokens trained", f"{summary['num_tokens_trained']:,}")
    table.add_row("loss", f"{summary['first_loss']:.4f} to {summary['last_loss']:.4f}")
    health = summary["stop_health"]
    if health["base"] is None:
        table.add_row("stop probability", "no finished sample to measure it on")
    else:
        where = f"{health['num_samples']} {health['measured_on']}"
        table.add_row("stop probability", f"{health['base']:.4f} to {health['trained']:.4f} at the end of {where}")
    endings = health["endings"]
    if endings["base"] is None:
        table.add_row("completions that end", f"not measured: {escape(endings['reason'])}")
    else:
        table.add_row(
            "completions that end",
            f"{endings['base']:.0%} to {endings['trained']:.0%} within {endings['max_sequence_tokens']:,} tokens, of "
            f"{endings['num_prompts']} prompts",
        )
    for warning in summary["warnings"]:
        table.add_row("[bold yellow]warning[/]", escape(warning))
    return table
