"""Before anything is paid for: what a recipe would cost, and what its student would do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forklock.commands.options import AsJson, Overrides, RecipeNames, RunDir, console, print_json


def plan(
    recipe: RecipeNames,
    run_dir: RunDir = None,
    measured_in: Annotated[
        Path | None, typer.Option("--from", metavar="RUN", help="A finished run to take lengths and rates from.")
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Say what a recipe would cost: samples, tokens, steps, disk, memory of a device, time; nothing is run."""
    from forklock import recipes
    from forklock.planning.estimate import estimate

    composed = recipes.load(recipe, overrides or [])
    found = estimate(composed, run_dir or Path("runs") / composed.name, measured_in)
    if as_json:
        print_json(found.as_json())
        return
    from forklock.planning.report import render

    console().print(render(found))
