"""Makes the report from the files of a run folder: nothing in it comes from anywhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forklock.report.contents import Contents, read_contents
from forklock.report.page import page
from forklock.report.pairs import pair_data
from forklock.report.sections import Report
from forklock.report.tables import as_latex, as_markdown
from forklock.report.tokens import reader_data, token_decoder
from forklock.run_dir import write_text
from forklock.run_dir.atomic import storage_errors

REPORT_FILE = "report.html"
TABLES_FOLDER = "report"


@dataclass(frozen=True)
class Built:
    path: Path
    outcome: dict[str, Any]
    """What `evaluate.outcome.conclude` gave, of all points that could be read."""


def build(run_dir: Path) -> Built:
    """Of a run that is unfinished, failed or damaged the page shows what there is, and says so."""
    contents = read_contents(run_dir)
    report = Report(contents)
    reader = (contents.attempt(lambda: reader_data(contents)) if contents.analysis else None) or {"solutions": []}
    pairs = list(_pairs(contents))
    sections = report.sections(has_reader=bool(reader["solutions"]), pairs=[one["id"] for one in pairs])
    data = {"figures": report.figures, "reader": reader, "pairs": pairs}
    recipe = contents.recipe
    top = report.top()  # last: it says what could not be read above
    text = page(recipe.report.title or recipe.name, recipe.purpose, top, sections, data)
    _write_tables(run_dir / TABLES_FOLDER, report)
    write_text(run_dir / REPORT_FILE, text)
    return Built(run_dir / REPORT_FILE, contents.outcome)


def _pairs(contents: Contents) -> list[dict[str, Any]]:
    found = []
    decode = token_decoder(contents)
    for name, benchmark in contents.outcome["benchmarks"].items():
        base, student = benchmark["base"], benchmark["student"]
        if base is None or student is None:
            continue
        data = contents.attempt(lambda name=name, both=(base, student): pair_data(contents, name, both, decode))  # type: ignore[misc]
        if data is not None:
            found.append(data)
    return found


def _write_tables(folder: Path, report: Report) -> None:
    """Tables of an earlier call are removed."""
    with storage_errors(folder):
        folder.mkdir(exist_ok=True)
        for path in [*folder.glob("*.md"), *folder.glob("*.tex")]:
            path.unlink()
        for table in report.tables:
            (folder / f"{table.name}.md").write_text(as_markdown(table), encoding="utf-8")
            (folder / f"{table.name}.tex").write_text(as_latex(table), encoding="utf-8")
