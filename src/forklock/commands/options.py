"""What the commands share: options that mean the same everywhere, and how they speak."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
RecipeNames = Annotated[list[str], typer.Argument(help="Names or files, composed left to right.", metavar="RECIPE...")]
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


def overrides_with(overrides: list[str] | None, cluster: str | None) -> list[str]:
    """Those of `--set`, and what `--cluster` stands for."""
    return [*(overrides or []), *([] if cluster is None else [f"cluster.address={json.dumps(cluster)}"])]


def print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, allow_nan=False))


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


def escape(text: str) -> str:
    from rich import markup

    return markup.escape(text)
