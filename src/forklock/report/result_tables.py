"""The tables of an evaluation: the paper's Table 2, every claim by difficulty, lengths, every point."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from forklock.evaluate.contests import Form
from forklock.evaluate.metrics import ALL
from forklock.evaluate.notation import in_percent, in_points, setting_text
from forklock.evaluate.table import comparisons, shown_points
from forklock.evaluate.words import claim_of, rival_title
from forklock.report.tables import Cell, Row, Table
from forklock.students import BASE

UNDEFINED = Cell("-")
WORDS = {"beats": "gain", "is behind": "loss", "ties with": "within noise", "undefined": ""}
INTERVALS = "In per cent, with 95 % intervals over problems."
PAIRED = "Differences in points, paired by problem; an interval that holds 0 is noise."


def result_tables(name: str, benchmark: dict[str, Any], pass_k: Sequence[int]) -> Iterator[Table]:
    """Table 2, one a k: base, the base's best, students, and what changed."""
    points = {point["stage"]: point for point in benchmark["points"]}
    rows = shown_points(benchmark, points)
    groups = {group: found["num_problems"] for group, found in next(iter(rows.values()))["pass_at_k"].items()}
    for k in pass_k:
        metric = f"pass@{k}"
        lines = [
            Row(
                Cell(label, setting_text(point["decoding"])),
                tuple(estimate(point["pass_at_k"][group][metric]) for group in groups),
            )
            for label, point in rows.items()
        ]
        lines += [
            Row(
                Cell(found["label"], setting_text(found["decoding"])),
                tuple(estimate(found["pass_at_k"][group][metric]) for group in groups),
            )
            for found in benchmark["pooled"]
        ]
        lines += [
            Row(Cell(label), tuple(difference(found[group][metric]) for group in groups), is_comparison=True)
            for label, found in comparisons(benchmark, has_best="best base" in rows)
            if found is not None
        ]
        columns = ("", *(f"{group} ({number:,})" for group, number in groups.items()))
        caution = _about_best_base(benchmark, metric) if "best base" in rows else ""
        yield Table(
            f"results-{name}-{metric.replace('@', '')}",
            f"{name}, {metric}",
            columns,
            tuple(lines),
            f"{INTERVALS} {PAIRED}{caution}",
        )


def _about_best_base(benchmark: dict[str, Any], metric: str) -> str:
    best = benchmark["best_base"]
    words = f" Best base: by {best['by']} over all problems, {best['warning']}."
    if metric != best["by"] and benchmark["contests"]:
        words += f" By {metric} another may be better, and the table above compares with that one."
    return words


def claims_table(name: str, benchmark: dict[str, Any], pass_k: Sequence[int], forms: Collection[Form]) -> Table | None:
    """Each student, in these forms, against each rival, over all problems: the verdict at a glance."""
    contests = [contest for contest in benchmark["contests"] if contest["student"] in forms]
    if not contests:
        return None
    points = {point["stage"]: point for point in benchmark["points"]}
    rows: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = {}
    for contest in contests:
        rows.setdefault((contest["model"], contest["student"], contest["base"]), {})[contest["k"]] = contest
    lines, labels = [], benchmark["labels"]
    for (model, form, _), by_k in rows.items():
        first = next(iter(by_k.values()))
        decoding = setting_text(points[first["student_stage"]]["decoding"])
        who = f"{labels[model]}, {decoding}"
        if form == "best":
            who = f"{labels[model]} at the best of its {first['num_student_points']} decodings"
        label = Cell(f"against the base at {rival_title(first)}", who)
        cells = [difference(by_k[k]["differences"][ALL]) if k in by_k else UNDEFINED for k in pass_k]
        lines.append(Row(label, tuple(cells)))
    lines += _claims_of_replicates(benchmark, pass_k) if "own" in forms else []
    columns = ("", *(f"pass@{k}" for k in pass_k))
    kind = "own" if "own" in forms else "best"
    title = f"{name}: student minus base, all problems"
    return Table(f"claims-{kind}-{name}", title, columns, tuple(lines), PAIRED)


def _claims_of_replicates(benchmark: dict[str, Any], pass_k: Sequence[int]) -> Iterator[Row]:
    for found in benchmark["pooled"]:
        by_rival: dict[str, dict[int, dict[str, Any]]] = {}
        for contest in found["contests"]:
            by_rival.setdefault(contest["base"], {})[contest["k"]] = contest
        for by_k in by_rival.values():
            label = f"against the base at {rival_title(next(iter(by_k.values())))}"
            cells = [difference(by_k[k]["differences"][ALL]) if k in by_k else UNDEFINED for k in pass_k]
            yield Row(Cell(label, f"{found['label']}, {setting_text(found['decoding'])}"), tuple(cells))


def length_table(name: str, benchmark: dict[str, Any]) -> Table:
    """Tokens and code blocks: what a gain may have been paid with."""
    points = {point["stage"]: point for point in benchmark["points"]}
    columns = (
        "",
        "tokens a solution",
        "of those that pass",
        "code blocks",
        "no code",
        "at the limit",
        "different right programs",
    )
    rows = tuple(
        Row(
            Cell(label, setting_text(point["decoding"])),
            (
                _number(point["mean_tokens"], ".1f"),
                _number(point["mean_tokens_of_passed"], ".1f"),
                _number(point["mean_code_blocks"], ".2f"),
                _number(point["share_without_code"], ".1%"),
                _number(point["share_at_limit"], ".1%"),
                _number(point["mean_distinct_passing_programs"], ".2f"),
            ),
        )
        for label, point in shown_points(benchmark, points).items()
    )
    return Table(f"lengths-{name}", f"{name}: what an answer holds", columns, rows, "Means over samples or problems.")


def budget_table(name: str, benchmark: dict[str, Any]) -> Table | None:
    """Both models allowed the same number of tokens a problem."""
    students = {"student": benchmark["matched_budgets"]}
    students |= {student: found["matched_budgets"] for student, found in benchmark["others"].items()}
    rows = tuple(
        Row(
            Cell(f"{benchmark['labels'][student]}, {found['budget_tokens']:,.0f} tokens a problem", budget),
            (estimate(found["first"]), estimate(found["second"]), difference(found["difference"])),
        )
        for student, budgets in students.items()
        if budgets is not None
        for budget, found in budgets.items()
    )
    if not rows:
        return None
    note = (
        "The chance that one of as many samples as the tokens pay for is right: k samples of the model that writes "
        "less, fewer of the other. A part of a sample is one that is drawn with that chance."
    )
    columns = ("", "base", "student", "difference")
    return Table(f"budgets-{name}", f"{name}: at equal numbers of tokens", columns, rows, note)


def points_table(name: str, benchmark: dict[str, Any], pass_k: Sequence[int]) -> Table:
    """Every point that was evaluated, and what became of its samples."""
    kinds = list(dict.fromkeys(kind for point in benchmark["points"] for kind in point["verdicts"]))
    order = sorted(benchmark["points"], key=lambda point: (point["model"] != BASE, point["model"]))
    rows = tuple(
        Row(
            Cell(benchmark["labels"][point["model"]], setting_text(point["decoding"])),
            (
                *(estimate(point["pass_at_k"][ALL][f"pass@{k}"]) for k in pass_k),
                *(Cell(f"{point['verdicts'].get(kind, 0):,}") for kind in kinds),
            ),
        )
        for point in order
    )
    columns = ("", *(f"pass@{k}" for k in pass_k), *(kind.replace("_", " ") for kind in kinds))
    num = benchmark["points"][0]["num_problems"]
    title = f"{name}: every decoding, {num:,} problems, and the verdicts on its samples"
    return Table(f"points-{name}", title, columns, rows, INTERVALS)


def estimate(found: Mapping[str, Any] | None) -> Cell:
    if found is None:
        return UNDEFINED
    return Cell(*in_percent(found))


def difference(found: dict[str, Any] | None) -> Cell:
    if found is None:
        return UNDEFINED
    return Cell(*in_points(found), WORDS[claim_of(found)])


def _number(value: float | None, form: str) -> Cell:
    return UNDEFINED if value is None else Cell(format(value, form))
