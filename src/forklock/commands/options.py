"""What the commands share: options that mean the same everywhere, and how they speak."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from forklock.config import Recipe

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
RecipeNames = Annotated[list[str], typer.Argument(help="Names or files, composed left to right.", metavar="RECIPE")]
RunDir = Annotated[
    Path | None, typer.Option("--run-dir", help="The run folder; runs/ and the recipe's name when left out.")
]
RunFolder = Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: train.learning_rate=1e-5.")
]
Cluster = Annotated[
    str | None,
    typer.Option("--cluster", metavar="ADDRESS", help="A Ray cluster to run on: host:port, auto or local."),
]
NumParallel = Annotated[
    int | None,
    typer.Option(
        "--parallel", help="Stages at a time, in processes or on nodes of a cluster; else as the recipe says.", min=1
    ),
]
UnsafeExecution = Annotated[
    bool,
    typer.Option("--unsafe-execution", help="Run programs even where they can't be isolated; marks every verdict."),
]


def chosen_run(
    names: list[str], run_dir: Path | None, overrides: list[str] | None, cluster: str | None = None
) -> tuple[Recipe, Path]:
    """The recipe that the options describe, and the folder of its run."""
    from forklock import recipes

    address = [] if cluster is None else [f"cluster.address={json.dumps(cluster)}"]
    recipe = recipes.load(names, [*(overrides or []), *address])
    return recipe, run_dir or Path("runs") / recipe.name


def print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, allow_nan=False))


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


def print_place(name: str, place: Path | str) -> None:
    """On one line, however long, so that it can be copied."""
    console().print(f"{name}: {place}", soft_wrap=True, highlight=False)


def escape(text: str) -> str:
    from rich import markup

    return markup.escape(text)
