"""Run folders: how far they are, what they show, and what to do when files of theirs are damaged."""

from __future__ import annotations

from typing import Annotated

import typer

from forklock.commands.options import AsJson, RunFolder, console, escape, print_json, print_place


def status(
    run_dir: RunFolder,
    verify: Annotated[bool, typer.Option("--verify", help="Hash every file, however large.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say how far a run is: what is done, running, partial, stale (and why), or damaged."""
    from rich.table import Table

    from forklock import run_dir as run_folders
    from forklock import running

    found = running.read_status(run_dir)
    damage = [result for result in run_folders.verify_run(run_dir) if result.damage] if verify else []
    if as_json:
        verified = {"damage": [result.model_dump() for result in damage]} if verify else {}
        print_json({**found.model_dump(mode="json"), **verified})
    else:
        table = Table(box=None, pad_edge=False)
        for column in ("stage", "state", "files", "why"):
            table.add_column(column, overflow="fold")
        for stage in found.stages:
            why = "\n".join((*stage.reasons, *(f"set aside: {name}" for name in stage.set_aside)))
            table.add_row(stage.stage, stage.state, str(stage.num_outputs), escape(why))
        console().print(table)
        if found.holder is not None:
            console().print(f"held by {escape(str(found.holder))}", soft_wrap=True)
        for result in damage:
            console().print("\n".join(map(escape, result.damage)), soft_wrap=True)
        if verify and not damage:
            console().print("every file is as it was recorded")
    if damage or any(stage.state == "corrupt" for stage in found.stages):
        raise typer.Exit(1)


def repair(
    run_dir: RunFolder,
    as_json: AsJson = False,
) -> None:
    """Set damaged files aside, so that the command that made them makes just those again."""
    from dataclasses import asdict

    from forklock import running

    repairs = running.repair(run_dir)
    if as_json:
        print_json({"run_dir": str(run_dir), "repairs": [asdict(repair) for repair in repairs]})
        return
    for found in repairs:
        lines = [*found.damage, *(f"set aside: {name}" for name in found.set_aside)]
        console().print(f"[bold]{found.stage}[/]\n" + "\n".join(map(escape, lines)), soft_wrap=True, highlight=False)
    console().print("run the same command again to go on" if repairs else "every file is as it was recorded")


def report(run_dir: RunFolder, as_json: AsJson = False) -> None:
    """Make RUN/report.html: verdict, tables, figures, solutions token by token, provenance; of unfinished runs too."""
    from forklock.report import build

    path = build(run_dir).path
    if as_json:
        print_json({"run_dir": str(run_dir), "report": str(path)})
        return
    print_place("Report", path)
