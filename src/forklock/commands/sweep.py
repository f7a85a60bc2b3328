"""`forklock sweep`: a grid of runs in one folder."""

from __future__ import annotations

import typer

from forklock.commands.options import (
    AsJson,
    Cluster,
    NumParallel,
    Overrides,
    RecipeNames,
    RunDir,
    UnsafeExecution,
    console,
    print_json,
    print_place,
    print_warnings,
    run_to_take,
)


def sweep(
    recipe: RecipeNames,
    run_dir: RunDir = None,
    overrides: Overrides = None,
    cluster: Cluster = None,
    num_parallel: NumParallel = None,
    unsafe: UnsafeExecution = False,
    as_json: AsJson = False,
) -> None:
    """The grid of a recipe's sweep table: whatever cells share is done once; goes on where it stopped.

    A stage that fails takes the cells that need it with it and no others; the exit code is 1 then, and the same
    command tries them again.
    """
    from forklock.sweep.taking import run_sweep

    composed, folder = run_to_take(recipe, run_dir, overrides, cluster)
    failures = run_sweep(composed, folder, num_parallel=num_parallel, allow_unsafe=unsafe)
    from forklock.sweep.cells import plan_sweep
    from forklock.sweep.conclude import conclude
    from forklock.sweep.table import render

    report = conclude(composed, folder)
    print_warnings(folder, plan_sweep(composed).plan.stages)
    if as_json:
        print_json({"run_dir": str(folder), **report})
    else:
        console().print(render(report))
        print_place("Rows, numbers and figures", folder / "sweep")
    if failures:
        raise typer.Exit(1)
