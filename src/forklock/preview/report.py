"""Predictions for the terminal, 80 columns wide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from forklock.evaluate.metrics import ALL
from forklock.evaluate.notation import in_points, setting_text
from forklock.evaluate.table import estimate_text

CAUTION = (
    "Played by the frozen model, not trained: every student is taken to fit its samples ideally at every position. "
    "The best was chosen on these same problems, so its mean is too high."
)


def render(report: dict[str, Any]) -> RenderableType:
    """Of what `prediction.gather` gives."""
    parts: list[RenderableType] = []
    for name, benchmark in report["benchmarks"].items():
        parts += [_ranking(name, benchmark, report["pass_k"]), *_best(benchmark, report["pass_k"]), ""]
        if benchmark["agreement"] is not None:
            parts += [*_agreement(benchmark, report["pass_k"]), ""]
    return Group(*parts, Text(CAUTION))


def _ranking(name: str, benchmark: dict[str, Any], pass_k: list[int]) -> Table:
    num_problems = next((entry["num_problems"] for entry in benchmark["cells"]), 0)
    title = f"{name}, {num_problems:,} problems, best predicted pass@{pass_k[0]} first"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("trained at", "decoded at"):
        table.add_column(heading)
    for k in pass_k:
        table.add_column(f"pass@{k}", justify="right")
    for entry in benchmark["base"]:
        estimates = (estimate_text(entry["pass_at_k"][ALL][f"pass@{k}"]) for k in pass_k)
        table.add_row("(base)", setting_text(entry["decoding"]), *estimates, style="bold")
    for cell in benchmark["cells"]:
        estimates = (estimate_text(cell["pass_at_k"][ALL][f"pass@{k}"]) for k in pass_k)
        table.add_row(setting_text(cell["training"]), setting_text(cell["decoding"]), *estimates)
    return table


def _best(benchmark: dict[str, Any], pass_k: list[int]) -> Iterator[Text]:
    if not benchmark["cells"]:
        yield Text("nothing is played yet")
        return
    best = benchmark["cells"][0]
    where = f"trained at {setting_text(best['training'])}, decoded at {setting_text(best['decoding'])}"
    yield Text(f"best cell: {where}", style="bold")
    if (difference := best["difference_to_base"]) is not None:
        for k in pass_k:
            if (found := difference[ALL][f"pass@{k}"]) is not None:
                mean, bounds = in_points(found)
                yield Text(f"  pass@{k} predicted above the base: {mean} ({bounds})")


def _agreement(benchmark: dict[str, Any], pass_k: list[int]) -> Iterator[RenderableType]:
    for k in pass_k:
        found = benchmark["agreement"][f"pass@{k}"]
        table = Table(title=f"predicted minus trained, pass@{k}", title_justify="left", box=None, pad_edge=False)
        table.add_column("")
        for heading in ("pairs", "ranks", "mean", "mean size", "largest"):
            table.add_column(heading, justify="right")
        table.add_row("all", *_errors(found))
        for target, errors in found["by_target"].items():
            table.add_row(f"{target} targets", *_errors(errors))
        for temperature, errors in found["by_eval_temperature"].items():
            table.add_row(f"T_eval {temperature}", *_errors(errors))
        yield table
        yield Text(
            f"trained at the settings predicted best: {100 * found['trained_at_predicted_best']:.1f}; the best of "
            f"those trained: {100 * found['best_trained']:.1f}"
        )


def _errors(found: dict[str, Any]) -> list[str]:
    ranks = found["rank_correlation"]
    sizes = (
        f"{100 * found['mean_error']:+z.1f}",
        f"{100 * found['mean_absolute_error']:.1f}",
        f"{100 * found['largest_error']:+z.1f}",
    )
    return [str(found["num_pairs"]), "-" if ranks is None else f"{ranks:.2f}", *sizes]
