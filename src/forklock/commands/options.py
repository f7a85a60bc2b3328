"""What the commands share: options that mean the same everywhere, and how they speak."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
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
    typer.Option(
        "--cluster", metavar="ADDRESS", help="A Ray cluster: host:port, ray://host:port (from outside), auto or local."
    ),
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


class TakenThere(SystemExit):
    """The command was taken through on a cluster, which has said how it ended too."""


def chosen_run(names: list[str], run_dir: Path | None, overrides: list[str] | None) -> tuple[Recipe, Path]:
    """The recipe that the options describe, and the folder of its run."""
    from forklock import recipes

    recipe = recipes.load(names, overrides or [])
    return recipe, run_dir or Path("runs") / recipe.name


def run_to_take(
    names: list[str], run_dir: Path | None, overrides: list[str] | None, address: str | None
) -> tuple[Recipe, Path]:
    """The same for commands that may work on a cluster. One given through Ray's client works there alone."""
    on_cluster = [] if address is None else [f"cluster.address={json.dumps(address)}"]
    recipe, folder = chosen_run(names, run_dir, [*(overrides or []), *on_cluster])
    from forklock import cluster
    from forklock.train import launch

    if cluster.is_through_client(recipe.cluster) and not launch.is_launched():
        raise TakenThere(cluster.take_there(recipe.cluster, sys.argv[1:]))
    return recipe, folder


def print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, allow_nan=False))


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


def print_place(name: str, place: Path | str) -> None:
    """On one line, however long, so that it can be copied."""
    console().print(f"{name}: {place}", soft_wrap=True, highlight=False)


def print_warnings(folder: Path, stages: Iterable[str]) -> None:
    """What is amiss with what these stages made, as their manifests keep it. Standard error has it with --json too."""
    from forklock.run_dir import read_manifest
    from forklock.run_dir.manifest import MANIFEST_NAME

    for stage in stages:
        if (path := folder / stage / MANIFEST_NAME).exists():
            for text in read_manifest(path).warnings:
                line = f"[bold yellow]warning[/] {stage}: {escape(text)}"
                console(stderr=True).print(line, soft_wrap=True, highlight=False)


def escape(text: str) -> str:
    from rich import markup

    return markup.escape(text)
