"""An evaluation for the terminal, as the paper's Table 2: models and what changed, by difficulty; a table a k."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from forklock.evaluate.notation import in_percent, in_points, setting_text
from forklock.students import OWN

BEST = "best base"
UNSAFE = "programs ran WITHOUT full isolation (--unsafe-execution): these verdicts can be forged or disturbed"


def render(report: dict[str, Any]) -> RenderableType:
    """Of what `report.gather` or `report.report_of_file` gives, and the words where `outcome.conclude` added them."""
    parts: list[RenderableType] = []
    for name, benchmark in report["benchmarks"].items():
        parts += [*_benchmark(name, benchmark, report["pass_k"]), ""]
    if not parts:
        return Text("nothing is evaluated yet")
    return Group(*parts[:-1])


def _benchmark(name: str, benchmark: dict[str, Any], pass_k: list[int]) -> Iterator[RenderableType]:
    points = {point["stage"]: point for point in benchmark["points"]}
    rows = shown_points(benchmark, points)
    for k in pass_k:
        yield _table(f"{name}, pass@{k}", benchmark, rows, f"pass@{k}")
    for label, point in rows.items():
        yield Text(f"{label}: {_shares(point)}", style="dim")
    if (budgets := benchmark["matched_budgets"]) is not None:
        yield from (Text(line) for line in _budgets(budgets, benchmark["labels"][OWN]))
    if (best := benchmark["best_base"]) is not None:
        if best["stage"] == benchmark["base"]:
            yield Text(f"no other temperature of the sweep gives base a higher {best['by']}")
        else:
            yield Text.from_markup(f"[yellow]{BEST}[/] by {best['by']}: {escape(best['warning'])}")
    for note in benchmark["notes"]:
        yield Text.from_markup(f"[yellow]note[/]: {escape(note)}")
    if not benchmark["is_isolated"]:
        yield Text.from_markup(f"[bold red]{UNSAFE}[/]")
    if sentences := benchmark.get("verdict"):
        yield Text("in words", style="bold")
        yield from (Text(sentence) for sentence in sentences)


def _table(title: str, benchmark: dict[str, Any], rows: dict[str, dict[str, Any]], metric: str) -> Table:
    groups = {group: found["num_problems"] for group, found in next(iter(rows.values()))["pass_at_k"].items()}
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for group, num_problems in groups.items():
        table.add_column(f"{group} ({num_problems:,})", justify="right")
    chosen_by = _best_by(benchmark, metric)
    for label, point in rows.items():
        setting = f" {setting_text(point['decoding'])}" if point["decoding"] else ""
        table.add_row(
            f"{label}{chosen_by if label == BEST else ''}{setting}",
            *(estimate_text(point["pass_at_k"][group][metric]) for group in groups),
        )
    for found in benchmark["pooled"]:
        label = f"{found['label']} {setting_text(found['decoding'])}"
        table.add_row(label, *(estimate_text(found["pass_at_k"][group][metric]) for group in groups))
    for label, found in comparisons(benchmark, has_best=BEST in rows):
        if found is not None:
            table.add_row(
                f"{label}{chosen_by if label.endswith(BEST) else ''}",
                *(_difference(found[group][metric]) for group in groups),
            )
    return table


def _best_by(benchmark: dict[str, Any], metric: str) -> str:
    """What chose the best base, where it is not the table's own metric: by that one another may be better."""
    best = benchmark["best_base"]
    return "" if best is None or best["by"] == metric else f" by {best['by']}"


def comparisons(benchmark: dict[str, Any], *, has_best: bool) -> Iterator[tuple[str, Any]]:
    pooled = {found["label"]: found for found in benchmark["pooled"]}
    for student, comparison in {"": benchmark, **benchmark["others"], **pooled}.items():
        prefix = f"{student}: " if student else ""
        yield f"{prefix}difference", comparison["difference"]
        if has_best:
            yield f"{prefix}to the best base", comparison["difference_to_best_base"]


def shown_points(benchmark: dict[str, Any], points: dict[str | None, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is shown side by side; the other points of a sweep are in the JSON."""
    best = benchmark["best_base"]
    labels = benchmark["labels"]
    named = {"base": benchmark["base"], BEST: best and best["stage"]}
    if named[BEST] == named["base"]:
        del named[BEST]
    students = {OWN: benchmark["student"]} | {name: each["stage"] for name, each in benchmark["others"].items()}
    named |= {labels[name]: stage for name, stage in students.items() if stage is not None}
    shown = {label: points[stage] for label, stage in named.items() if stage is not None}
    return shown or {str(point["stage"] or "samples"): point for point in points.values()}


def estimate_text(found: dict[str, float] | None) -> str:
    """In per cent, with its interval; a dash where it is undefined."""
    if found is None:
        return "-"
    mean, bounds = in_percent(found)
    return f"{mean} ({bounds})"


def _difference(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    mean, bounds = in_points(found)
    return f"{mean} ({bounds})\np={found['p_value']:.2g}"


def _shares(point: dict[str, Any]) -> str:
    num_problems, num_samples = point["num_problems"], point["num_samples_per_problem"]
    parts = [f"{_counted(num_problems, 'problem')} x {_counted(num_samples, 'sample')}"]
    parts.append(f"no code {point['share_without_code']:.1%}")
    if point["share_at_limit"] is not None:
        parts.append(f"at the limit {point['share_at_limit']:.1%}")
    if point["mean_share_of_tests_passed"] is not None:
        parts.append(f"tests passed {point['mean_share_of_tests_passed']:.1%}")
    if point["mean_tokens"] is not None:
        parts.append(f"{point['mean_tokens']:,.0f} tokens a sample")
    parts.append(f"{point['mean_distinct_passing_programs']:.2f} distinct passing programs a problem")
    parts.append(f"{point['mean_code_blocks']:.2f} code blocks an answer")
    counts = ", ".join(f"{verdict} {number:,}" for verdict, number in point["verdicts"].items())
    return f"{'; '.join(parts)}\n  {counts}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _budgets(budgets: dict[str, Any], label: str) -> Iterator[str]:
    for name, found in budgets.items():
        first, second, change = (_flat(found[key]) for key in ("first", "second", "difference"))
        budget = f"{found['budget_tokens']:,.0f} tokens a problem ({name})"
        samples = [f"in {found[key]:.2f} samples" for key in ("first_samples", "second_samples")]
        yield f"with {budget}: base {first} {samples[0]}, {label} {second} {samples[1]}, difference {change}"


def _flat(found: dict[str, Any] | None) -> str:
    if found is None:
        return "undefined (fewer than k samples were drawn)"
    return _difference(found).replace("\n", ", ") if "p_value" in found else estimate_text(found)
