"""A synthesis in a few lines for the terminal, and whole for machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table

from forklock.prompts.stage import COUNTS_FILE
from forklock.run_dir import read_events
from forklock.synthesize.stage import SUMMARY_FILE


def gather(run_dir: Path) -> dict[str, Any]:
    """The stage's summary, the prompts' counts, and the rate of the last call that drew anything."""
    summary: dict[str, Any] = json.loads((run_dir / "synthesize" / SUMMARY_FILE).read_text(encoding="utf-8"))
    counts = json.loads((run_dir / "prompts" / COUNTS_FILE).read_text(encoding="utf-8"))["counts"]
    rates = [
        event.details["tokens_per_s"]
        for event in read_events(run_dir)
        if event.event == "sampled" and event.stage == "synthesize"
    ]
    return {**summary, "prompts": counts, "tokens_per_s": rates[-1] if rates else None}


def render(report: dict[str, Any]) -> Table:
    """Of what `gather` gives."""
    table = Table(box=None, pad_edge=False, show_header=False)
    counts, lengths = report["prompts"], report["length_percentiles"]
    left_out = f"{counts['num_duplicates']:,} duplicates, {counts['num_malformed']:,} malformed"
    table.add_row("prompts", f"{counts['num_kept']:,} of {counts['num_rows_read']:,} rows ({left_out})")
    table.add_row("samples", f"{report['num_samples']:,}")
    rate = "" if report["tokens_per_s"] is None else f" ({report['tokens_per_s']:,.0f} tokens/s)"
    table.add_row("tokens", f"{report['num_tokens']:,}{rate}")
    spread = "  ".join(f"{q}%: {length:,}" for q, length in lengths.items())
    table.add_row("length", f"{spread}  longest: {report['max_length']:,}")
    table.add_row("at the length limit", f"{report['share_at_limit']:.1%}")
    table.add_row("without a code block", f"{report['share_without_code']:.1%}")
    marked = {reason: number / report["num_samples"] for reason, number in report["num_degenerate"].items()}
    table.add_row("degenerate", ", ".join(f"{reason} {share:.1%}" for reason, share in marked.items()) or "none")
    is_checked = report["are_weights_checked"]
    table.add_row("weights", "the same before and after" if is_checked else "out of the engine's reach: not checked")
    if (target := report["target"]) is not None:
        table.add_row("mean support |S|", f"{target['mean_support']:.2f}")
        kept_mass = target["mean_kept_mass"]
        table.add_row("mean KeptMass", "not known to this engine" if kept_mass is None else f"{kept_mass:.4f}")
        table.add_row("q_s, bytes a token", f"{target['bytes_per_token']:.1f}")
    return table
