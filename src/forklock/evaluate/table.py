"""An evaluation for the terminal, in the shape of the paper's Table 2: base, +SSD and what changed, by difficulty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

UNSAFE = "programs ran WITHOUT full isolation (--unsafe-execution): these verdicts can be forged or disturbed"


def render(report: dict[str, Any]) -> RenderableType:
    """Of what `report.gather` or `report.report_of_file` gives."""
    parts: list[RenderableType] = []
    for name, benchmark in report["benchmarks"].items():
        parts += [*_benchmark(name, benchmark, report["pass_k"]), ""]
    if not parts:
        return Text("nothing is evaluated yet")
    return Group(*parts[:-1])


def _benchmark(name: str, benchmark: dict[str, Any], pass_k: list[int]) -> Iterator[RenderableType]:
    points = {point["stage"]: point for point in benchmark["points"]}
    groups = list(next(iter(points.values()))["pass_at_k"])
    table = Table(title=name, title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for k in pass_k:
        for group in groups:
            num_problems = next(iter(points.values()))["pass_at_k"][group]["num_problems"]
            table.add_column(f"pass@{k}\n{group} ({num_problems:,})", justify="right")
    for label, point in _rows(benchmark, points):
        table.add_row(label, *(_estimate(point["pass_at_k"][g][f"pass@{k}"]) for k in pass_k for g in groups))
    for student, comparison in {"": benchmark, **benchmark["others"]}.items():
        prefix = f"{student}: " if student else ""
        for label, key in (("difference", "difference"), ("to the best base", "difference_to_best_base")):
            if (found := comparison[key]) is not None and (key == "difference" or benchmark["best_base"]):
                cells = (_difference(found[g][f"pass@{k}"]) for k in pass_k for g in groups)
                table.add_row(f"{prefix}{label}", *cells)
    yield table
    for label, point in _rows(benchmark, points):
        yield Text.from_markup(f"[dim]{label.splitlines()[0]}: {escape(_shares(point))}[/]")
    if (budgets := benchmark["matched_budgets"]) is not None:
        yield from (Text(line) for line in _budgets(budgets))
    if (best := benchmark["best_base"]) is not None:
        yield Text.from_markup(f"[yellow]best base[/]: {escape(best['warning'])}")
    for note in benchmark["notes"]:
        yield Text.from_markup(f"[yellow]note[/]: {escape(note)}")
    if not benchmark["is_isolated"]:
        yield Text.from_markup(f"[bold red]{UNSAFE}[/]")


def _rows(benchmark: dict[str, Any], points: dict[str | None, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    best = benchmark["best_base"]
    named = {benchmark["student"]: "+SSD"}
    named |= {student["stage"]: f"+SSD {name}" for name, student in benchmark["others"].items()}
    named = {benchmark["base"]: "base", best and best["stage"]: "best base", **named}
    if best and best["stage"] == benchmark["base"]:
        named[benchmark["base"]] = "base, also the best"
    shown = [stage for stage in named if stage]
    for stage in shown or points:
        point = points[stage]
        decoding = point["decoding"]
        setting = f"\n{_setting(decoding)}" if decoding else ""
        yield f"{named.get(stage, 'samples') if stage else 'samples'}{setting}", point


def _setting(decoding: dict[str, Any]) -> str:
    return f"T={decoding['temperature']:g} k={decoding['top_k']} p={decoding['top_p']:g}"


def _estimate(found: dict[str, float] | None) -> str:
    """In per cent, with its interval; a dash where it is undefined."""
    if found is None:
        return "-"
    return f"{100 * found['mean']:.1f}\n{100 * found['low']:.1f} to {100 * found['high']:.1f}"


def _difference(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    bounds = f"{100 * found['low']:+.1f} to {100 * found['high']:+.1f}"
    return f"{100 * found['mean']:+.1f}\n{bounds}\np={found['p_value']:.2g}"


def _shares(point: dict[str, Any]) -> str:
    parts = [f"{point['num_problems']:,} problems x {point['num_samples_per_problem']:,} samples"]
    parts.append(f"no code {point['share_without_code']:.1%}")
    if point["share_at_limit"] is not None:
        parts.append(f"at the limit {point['share_at_limit']:.1%}")
    if point["mean_tokens"] is not None:
        parts.append(f"{point['mean_tokens']:,.0f} tokens a sample")
    parts.append(f"{point['mean_distinct_passing_programs']:.2f} distinct passing programs a problem")
    parts.append(f"{point['mean_code_blocks']:.2f} code blocks an answer")
    counts = ", ".join(f"{verdict} {number:,}" for verdict, number in point["verdicts"].items())
    return f"{'; '.join(parts)}\n  {counts}"


def _budgets(budgets: dict[str, Any]) -> Iterator[str]:
    for found in budgets.values():
        first, second, change = (_flat(found[key]) for key in ("first", "second", "difference"))
        yield f"with {found['budget_tokens']:,.0f} tokens a problem: base {first}, +SSD {second}, difference {change}"


def _flat(found: dict[str, Any] | None) -> str:
    if found is None:
        return "undefined (more would fit than were drawn)"
    text = _difference(found) if "p_value" in found else _estimate(found)
    mean, bounds, *rest = text.split("\n")
    return f"{mean} ({', '.join([bounds, *rest])})"
