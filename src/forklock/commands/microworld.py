"""`forklock microworld`: the world's problems, and its base models from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from forklock.commands.options import AsJson, print_json

app = typer.Typer(help="The small world that comes with forklock: its problems and its base models.")


@app.command()
def problems(
    out: Annotated[Path, typer.Option("--out", help="The JSON lines file to write.")],
    split: Annotated[Literal["eval", "ssd"], typer.Option(help="To be evaluated on, or to sample from.")] = "eval",
    seed: Annotated[int, typer.Option(help="Seed 0 of eval is the evaluation set.", min=0)] = 1,
    num: Annotated[int, typer.Option(help="How many.", min=1)] = 400,
    as_json: AsJson = False,
) -> None:
    """Draw problems of a seed of your own: a file for evaluate.data_paths or prompts.path."""
    from forklock.microworld.rows import write_problems

    write_problems(out, split, seed, num)
    if as_json:
        print_json({"path": str(out), "split": split, "seed": seed, "num_problems": num})
    else:
        typer.echo(f"{num} problems: {out}")


@app.command()
def pretrain(
    out: Annotated[Path, typer.Option("--out", help="The model folder to make.")],
    base: Annotated[str, typer.Option(help="leaky, firm, or a TOML file like theirs.")] = "leaky",
    as_json: AsJson = False,
) -> None:
    """Make a base model from its settings; goes on where it was killed."""
    from forklock.packages import packages_of

    with packages_of("train"):
        from forklock.microworld.pretrain import pretrain as make
    from forklock.microworld.settings import load_settings

    made = make(load_settings(base), out)
    found = {
        "folder": str(out),
        "num_steps": len(made.curve),
        "num_tokens": made.num_tokens,
        "last_loss": made.curve[-1].loss,
        "held_out_loss": made.measured.held_out_loss,
        "pass_at_1": made.measured.pass_at_1,
    }
    if as_json:
        print_json(found)
    else:
        typer.echo("\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in found.items()))
