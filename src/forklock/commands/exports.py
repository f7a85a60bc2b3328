"""What a run made, for use elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forklock.commands.options import AsJson, RunFolder, console, print_json, print_place
from forklock.export.formats import Format

app = typer.Typer(help="A run's samples for other trainers, and its model.", no_args_is_help=True)


@app.command("samples")
def export_samples(
    run_dir: RunFolder,
    form: Annotated[Format, typer.Option("--format", help="Whose format.")],
    out: Annotated[Path, typer.Option("--out", help="File to write; a folder for llama-factory.")],
    round_number: Annotated[int | None, typer.Option("--round", help="Of several rounds; else the last one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the samples that training takes for another trainer; warns where their text would not keep the tokens."""
    from forklock import export
    from forklock.train.report import reasons
    from forklock.train.schedule import TOO_LONG

    counts = export.export_samples(run_dir, form, out, round_number)
    if as_json:
        print_json({"out": str(out), **counts.as_json()})
        return
    say, left_out = console(), reasons({**counts.num_degenerate, TOO_LONG: counts.num_too_long})
    say.print(f"samples   {counts.num_exported:,} of {counts.num_samples:,}; left out: {left_out}")
    say.print(f"cut by the length limit, without a stop token: {counts.num_without_stop_token:,}")
    if counts.num_other_tokens:
        say.print(
            f"[bold yellow]warning[/] the text of {counts.num_other_tokens:,} samples tokenises to other tokens than "
            "were drawn: who reads the text trains on those",
            soft_wrap=True,
        )
    print_place("Written", out)


@app.command("model")
def export_model(
    run_dir: RunFolder,
    out: Annotated[Path, typer.Option("--out", help="Folder to make.")],
    push: Annotated[str | None, typer.Option("--push", metavar="REPO_ID", help="Upload it to a hub as well.")] = None,
    as_json: AsJson = False,
) -> None:
    """Copy the trained model out of its run, and push it to a hub if asked to."""
    from forklock import export

    export.export_model(run_dir, out)
    address = None if push is None else export.push_model(out, push)
    if as_json:
        print_json({"out": str(out), "pushed_to": address})
        return
    print_place("Model", out)
    if address is not None:
        print_place("Pushed", address)
