"""A sweep for the terminal, within 80 columns: its cells, the best of them against the base's best, its fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from forklock.evaluate.notation import in_points
from forklock.evaluate.table import UNSAFE
from forklock.parallel.schedule import is_consequence
from forklock.sweep.labels import group_label, short_setting, variant
from forklock.sweep.rows import DONE, FAILED


def render(report: Mapping[str, Any]) -> RenderableType:
    """Of what `results.gather` gives."""
    parts: list[RenderableType] = []
    for name, benchmark in report["benchmarks"].items():
        parts += [_cells(name, benchmark, report["pass_k"]), *_best(benchmark), *_fits(benchmark)]
        parts += [Text.from_markup(f"[yellow]note[/]: {escape(note)}") for note in benchmark["notes"]]
        if not benchmark["is_isolated"]:
            parts.append(Text.from_markup(f"[bold red]{UNSAFE}[/]"))
    parts += _transfer(report["transfer"], report["benchmarks"])
    if report["failures"]:
        parts.append(_failures(report["failures"]))
    return Group(*parts)


def _cells(name: str, benchmark: Mapping[str, Any], pass_k: list[int]) -> Table:
    table = Table(
        title=f"{name}: % with 95 % intervals; settings are T/k/p", title_justify="left", box=None, pad_edge=False
    )
    for header in ("train", "eval", "T_eff"):
        table.add_column(header, no_wrap=True)
    for k in pass_k:
        table.add_column(f"pass@{k}", justify="right", no_wrap=True)
    table.add_column("no code", justify="right", no_wrap=True)
    best = {(found["k"], found["cell"]) for found in benchmark["best"]}
    best |= {(found["k"], found["base"]) for found in benchmark["best"]}
    for row in benchmark["base"]:
        table.add_row("base", short_setting(row["decoding"]), "", *_numbers(row, pass_k, best))
    for row in benchmark["cells"]:
        named = f"{short_setting(row['train'])}{variant(row)}"
        table.add_row(
            named, short_setting(row["eval"]), f"{row['effective_temperature']:.3g}", *_numbers(row, pass_k, best)
        )
    return table


def _numbers(row: Mapping[str, Any], pass_k: list[int], best: set[tuple[int, str]]) -> Iterator[str]:
    if row["state"] != DONE:
        style = "bold red" if row["state"] == FAILED else "dim"
        yield f"[{style}]{row['state']}[/]"
        yield from [""] * len(pass_k)
        return
    for k in pass_k:
        found = row["pass_at_k"]["all"][f"pass@{k}"]
        mark = "*" if (k, row["stage"]) in best else " "
        yield "-" if found is None else f"{_flat(found)}{mark}"
    yield f"{row['share_without_code']:.1%}"


def _best(benchmark: Mapping[str, Any]) -> Iterator[RenderableType]:
    rows = {row["stage"]: row for row in (*benchmark["base"], *benchmark["cells"])}
    cells = {row["stage"]: row for row in benchmark["cells"]}
    for found in benchmark["best"]:
        k, cell, base = found["k"], cells[found["cell"]], rows[found["base"]]
        named = f"trained at {short_setting(cell['train'])}{variant(cell)}, decoded at {short_setting(cell['eval'])}"
        yield Text(f"pass@{k}: the best of {found['num_cells']} cells (*) is {named}")
        yield Text(f"  to base at its own decoding: {_difference(found['to_base_own'])}")
        at = short_setting(base["decoding"])
        num_points = found["num_base_points"]
        yield Text(f"  to base at the best of its {num_points} decodings ({at}): {_difference(found['to_best_base'])}")
    if benchmark["best"]:
        yield Text(benchmark["caution"], style="dim")


def _fits(benchmark: Mapping[str, Any]) -> Iterator[RenderableType]:
    for found in benchmark["fits"]:
        group = f"pass@{found['k']} over T_eff, {group_label(found, benchmark['fits'])} ({found['num_points']} cells)"
        fit = found["fit"]
        if fit is None:
            yield Text(f"{group}: undefined, it needs three different T_eff")
            continue
        explained = "undefined (all equal)" if fit["r_squared"] is None else f"{fit['r_squared']:.2f}"
        peak = "no peak" if fit["peak"] is None else f"peak at {fit['peak']:.2f}"
        outside = "" if fit["peak"] is None or fit["is_peak_inside"] else ", outside the cells"
        yield Text(f"{group}: R2 {explained}, {peak}{outside}")


def _transfer(found: list[dict[str, Any]], benchmarks: Mapping[str, Any]) -> Iterator[RenderableType]:
    if len(benchmarks) < 2:
        return
    yield Text(f"transfer: the cell that is best on {next(iter(benchmarks))}, against base at its own decoding")
    for row in found:
        base, cell = (_flat(row[side]) if row[side] else "-" for side in ("base", "cell"))
        yield Text(f"  {row['benchmark']} pass@{row['k']}: {base} to {cell}, {_signed(row['difference'])}")


def _failures(failures: Mapping[str, str]) -> Table:
    table = Table(title="failed (the same command tries them again)", title_justify="left", box=None, pad_edge=False)
    table.add_column("stage", overflow="fold")
    table.add_column("why", overflow="fold")
    for stage, reason in failures.items():
        if not is_consequence(reason, failures):
            table.add_row(f"[red]{stage}[/]", escape(reason))
    if num_more := len(failures) - table.row_count:
        table.add_row(f"{num_more} more", "need these")
    return table


def _flat(found: Mapping[str, float]) -> str:
    return f"{100 * found['mean']:.1f} ({100 * found['low']:.1f}-{100 * found['high']:.1f})"


def _difference(found: Mapping[str, Any] | None) -> str:
    return "-" if found is None else _signed(found["all"])


def _signed(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "undefined"
    mean, bounds = in_points(found)
    return f"{mean} points ({bounds})"
