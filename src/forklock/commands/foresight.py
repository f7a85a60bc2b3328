"""Before anything is paid for: what a recipe would cost, and what its student would do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forklock.commands.options import (
    AsJson,
    Overrides,
    RecipeNames,
    RunDir,
    UnsafeExecution,
    chosen_run,
    console,
    print_json,
    print_place,
)


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
    from forklock.planning.estimate import estimate

    composed, folder = chosen_run(recipe, run_dir, overrides)
    found = estimate(composed, folder, measured_in)
    if as_json:
        print_json(found.as_json())
        return
    from forklock.planning.report import render

    console().print(render(found))


def preview(
    recipe: RecipeNames,
    run_dir: RunDir = None,
    overrides: Overrides = None,
    unsafe: UnsafeExecution = False,
    as_json: AsJson = False,
) -> None:
    """Play students with the frozen model instead of training them: predicted pass@k over the recipe's settings."""
    from forklock import running
    from forklock.preview import cells, figure, prediction

    composed, folder = chosen_run(recipe, run_dir, overrides)
    cells.check_engine(composed)
    points = [*cells.base_points(composed), *cells.played_points(composed)]
    running.run_points(composed, folder, points, allow_unsafe=unsafe)
    report = prediction.gather(composed, folder)
    paths = figure.draw(report, folder / figure.FOLDER)
    if as_json:
        print_json({"run_dir": str(folder), **report, "figures": [str(path) for path in paths]})
        return
    from forklock.preview.report import render

    console().print(render(report))
    if paths:
        print_place("Figures (PNG, SVG, CSV)", folder / figure.FOLDER)
