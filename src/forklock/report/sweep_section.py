"""A sweep on the page: its best cell against the base's best, its fits, its figures, and every cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from forklock.evaluate.metrics import ALL
from forklock.evaluate.notation import setting_text
from forklock.report.markup import Markup, Part, element, together
from forklock.report.page import file_links, picture
from forklock.report.result_tables import PAIRED, UNDEFINED, difference, estimate
from forklock.report.tables import Cell, Row, Table, as_html
from forklock.sweep.labels import group_label, variant

MOST_PICTURE_BYTES = 400_000
FIGURES = {
    "heat": "Training temperature by evaluation temperature: is the best cell off the edges, and is there a ridge?",
    "effective-temperature": "Cells over T_eff = T_train T_eval: if one curve carries them all, the two compose.",
    "decode-only": "The base at every temperature, and the best cell as a line: is it above the base's best?",
    "base-grid": "The base over temperature and truncation: the baseline that tunes all of the decoding.",
    "gains": "The base and the best cell by difficulty.",
    "checkpoints": "The best checkpoint at each evaluation temperature.",
    "trained-on": "How much of what was trained on holds no code, or never ended.",
    "pass-curves": "pass@k up to the samples drawn: where curves meet, training sharpened and did not widen.",
    "targets": "Soft minus hard targets, from the same samples in as many steps.",
    "budgets": "The best cell's gain with as many samples, and with as many tokens.",
    "transfer": "The first benchmark's best cell on the others.",
}
"""What each figure is looked at for, in the order in which they are shown."""


def sweep_tables(name: str, benchmark: Mapping[str, Any], pass_k: Sequence[int]) -> Iterator[Table]:
    """Of what `sweep/summary.json` says of one benchmark; every cell comes last."""
    if benchmark["best"]:
        yield _best(name, benchmark)
    if benchmark["fits"]:
        yield _fits(name, benchmark["fits"])
    yield _cells(name, benchmark, pass_k)


def sweep_section(tables: Sequence[Table], run_dir: Path, folder: str) -> Markup:
    """`folder` is where its figures are, seen from the run folder."""
    parts: list[Part] = []
    for table in tables:
        if table.name.startswith("sweep-cells"):
            parts.append(
                element("details", element("summary", f"{table.title}: {len(table.rows)} rows"), as_html(table))
            )
        else:
            parts.append(as_html(table))
    found = sorted((run_dir / folder).glob("*.svg"), key=lambda path: (_place(path), path.name))
    return together(*parts, *(_figure(path, folder) for path in found))


def _best(name: str, benchmark: Mapping[str, Any]) -> Table:
    """The best cell by each pass@k, against the base as it is used and at its best."""
    stages = {row["stage"]: row for row in (*benchmark["base"], *benchmark["cells"])}
    rows = []
    groups = list(benchmark["best"][0]["to_best_base"])
    for found in benchmark["best"]:
        cell, base = stages[found["cell"]], stages[found["base"]]
        who = f"trained at {setting_text(cell['train'])}{variant(cell)}, decoded at {setting_text(cell['eval'])}"
        rivals = {
            "to_base_own": "its own decoding",
            "to_best_base": f"the best of its {found['num_base_points']} decodings ({setting_text(base['decoding'])})",
        }
        for key, rival in rivals.items():
            differences = found[key] or dict.fromkeys(groups)
            label = Cell(f"pass@{found['k']}, against the base at {rival}", who)
            rows.append(Row(label, tuple(difference(differences[group]) for group in groups)))
    number = benchmark["best"][0]["num_cells"]
    title = f"{name}: the best of {number} cells minus the base"
    return Table(f"sweep-best-{name}", title, ("", *groups), tuple(rows), f"{PAIRED} {benchmark['caution']}")


def _fits(name: str, found: list[dict[str, Any]]) -> Table:
    rows = []
    for one in found:
        fit = one["fit"] or {"peak": None, "r_squared": None, "is_peak_inside": True}
        peak = UNDEFINED if fit["peak"] is None else Cell(f"{fit['peak']:.2f}", *_outside(fit))
        explained = UNDEFINED if fit["r_squared"] is None else Cell(f"{fit['r_squared']:.2f}")
        label = Cell(f"pass@{one['k']}", group_label(one, found))
        rows.append(Row(label, (Cell(f"{one['num_points']}"), peak, explained)))
    note = "A parabola through pass@k over T_eff = T_train T_eval; a dash where fewer than three T_eff leave it open."
    return Table(f"sweep-fits-{name}", f"{name}: fits", ("", "cells", "peak at T_eff", "R squared"), tuple(rows), note)


def _outside(fit: Mapping[str, Any]) -> tuple[str, ...]:
    return () if fit["is_peak_inside"] else ("outside the cells",)


def _cells(name: str, benchmark: Mapping[str, Any], pass_k: Sequence[int]) -> Table:
    def cells(row: Mapping[str, Any]) -> tuple[Cell, ...]:
        if row.get("pass_at_k") is None:
            return tuple(Cell(str(row.get("state", "-"))) for _ in pass_k)
        return tuple(estimate(row["pass_at_k"][ALL][f"pass@{k}"]) for k in pass_k)

    rows = [Row(Cell("base", setting_text(row["decoding"])), (Cell(""), *cells(row))) for row in benchmark["base"]]
    for row in benchmark["cells"]:
        details = [f"decoded at {setting_text(row['eval'])}", str(row["target"]), f"seed {row['seed']}"]
        if row.get("checkpoint") is not None:
            details.append(f"step {row['checkpoint']}")
        label = Cell(f"trained at {setting_text(row['train'])}", ", ".join(details))
        rows.append(Row(label, (Cell(f"{row['effective_temperature']:.3g}"), *cells(row))))
    columns = ("", "T_eff", *(f"pass@{k}" for k in pass_k))
    note = f"In per cent, with 95 % intervals over problems. {benchmark['caution']}"
    return Table(f"sweep-cells-{name}", f"{name}: every cell of the sweep, and the base", columns, tuple(rows), note)


def _figure(path: Path, folder: str) -> Markup:
    stem = next((stem for stem in FIGURES if path.stem.startswith(stem)), None)
    words = path.stem.replace("-", " ").replace("_", " ") if stem is None else FIGURES[stem]
    if path.stat().st_size > MOST_PICTURE_BYTES:
        return element("p", f"{path.name} is too large to be shown here.", class_="note")
    files = sorted(each.name for each in path.parent.glob(f"{path.stem}.*"))
    return picture(path, words, *file_links(f"{folder}/{name}" for name in files))


def _place(path: Path) -> int:
    return next((place for place, stem in enumerate(FIGURES) if path.stem.startswith(stem)), len(FIGURES))
