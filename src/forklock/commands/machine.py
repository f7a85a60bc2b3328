"""What needs no recipe: what this machine can do, and the paper's own toy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forklock.commands.options import AsJson, console, escape, print_json, print_place


def doctor(as_json: AsJson = False) -> None:
    """Say what this machine can do, and what to install for the rest."""
    from dataclasses import asdict

    from rich.table import Table

    from forklock.doctor import examine

    findings = examine(Path.cwd())
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    group = ""
    for finding in findings:
        if finding.group != group:
            group = finding.group
            table.add_row(f"[bold]{group}[/]")
        mark = "[green]yes[/]" if finding.is_fine else "[yellow]no[/]"
        mend = f"\n[dim]{escape(finding.mend)}[/]" if finding.mend and not finding.is_fine else ""
        table.add_row(f"  {finding.name}", mark, escape(finding.detail) + mend)
    console().print(table)


def toy(
    folder: Annotated[Path, typer.Option("--out", help="Where the figures go.")] = Path("runs/toy"),
    as_json: AsJson = False,
) -> None:
    """The paper's finite-state machine: every number in closed form, beside the paper's, and its figures."""
    from forklock import toy

    result = toy.compute()
    if not as_json:  # before anything is drawn, for which the disk may be too full
        console().print(toy.render(result))
    paths = toy.draw(result, folder)
    if as_json:
        print_json({**result.model_dump(mode="json"), "figures": [str(path) for path in paths]})
        return
    print_place("Figures (PNG and SVG)", folder)
