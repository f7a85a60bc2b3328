"""The stages of a run, and all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from forklock import train as train_stage
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
from forklock.train import launch


def run(
    recipe: RecipeNames,
    run_dir: RunDir = None,
    overrides: Overrides = None,
    cluster: Cluster = None,
    num_parallel: NumParallel = None,
    unsafe: UnsafeExecution = False,
    as_json: AsJson = False,
) -> None:
    """Everything: prompts, samples, training, evaluation of both models, analysis, report; goes on where it stopped."""
    from forklock import running

    composed, folder = run_to_take(recipe, run_dir, overrides, cluster)
    running.run_all(composed, folder, num_parallel=num_parallel, allow_unsafe=unsafe)
    from forklock.report import REPORT_FILE, build

    built = build(folder)
    print_warnings(folder, running.plan_of(composed).stages)
    training = running.plan_of(composed).trainings["student"]
    places = {"Forks and locks": "analyze", "Model": f"{training}/model", "Report": REPORT_FILE}
    if as_json:
        print_json({"run_dir": str(folder), **built.outcome, "report": str(built.path)})
        return
    _show_outcome(built.outcome)
    _show_places(folder, places)


def synthesize(
    recipe: RecipeNames,
    run_dir: RunDir = None,
    overrides: Overrides = None,
    cluster: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Read the prompts and sample from the frozen model; goes on where a killed call stopped."""
    from forklock import running

    composed, folder = run_to_take(recipe, run_dir, overrides, cluster)
    running.run_until(composed, folder, "synthesize")
    from forklock.synthesize.report import gather, render

    report = gather(folder)
    if as_json:
        print_json({"run_dir": str(folder), **report})
        return
    console().print(render(report))
    print_place("Samples", folder / "synthesize")


def train(
    recipe: RecipeNames,
    run_dir: RunDir = None,
    overrides: Overrides = None,
    cluster: Cluster = None,
    processes: Annotated[int | None, typer.Option(help="Processes (devices) on this machine.", min=1)] = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune the model on its own samples (drawn first where they are missing); goes on where it was killed.

    Starts its processes by itself, or is started by torchrun or accelerate launch, samples already drawn.
    """
    if launch.rank() > 0:
        train_stage.follow()
        return
    from forklock import running

    on_processes = [] if processes is None else [f"train.num_processes={processes}"]
    composed, folder = run_to_take(recipe, run_dir, [*(overrides or []), *on_processes], cluster)
    with launch.leading():
        summary = running.run_until(composed, folder, "train")
    plan = running.plan_of(composed)
    training = plan.trainings["student"]
    print_warnings(folder, [stage.name for stage in plan.closure([training])[:-1]])  # of rounds before the last
    if as_json:
        print_json({"run_dir": str(folder), **summary})
        return
    from forklock.train.report import render

    console().print(render(summary))
    print_place("Model", folder / training / "model")


def evaluate(
    recipe: RecipeNames,
    run_dir: RunDir = None,
    overrides: Overrides = None,
    cluster: Cluster = None,
    only: Annotated[str | None, typer.Option(help="One model alone: base (nothing is trained) or student.")] = None,
    num_parallel: NumParallel = None,
    unsafe: UnsafeExecution = False,
    as_json: AsJson = False,
) -> None:
    """Sample both models on the benchmarks, grade, and compare; does what is missing before that."""
    if only not in (None, "base", "student"):
        raise typer.BadParameter(f"{only!r} is neither base nor student", param_hint="--only")
    from forklock import running

    composed, folder = run_to_take(recipe, run_dir, overrides, cluster)
    running.run_evaluation(
        composed,
        folder,
        only,  # type: ignore[arg-type]
        num_parallel=num_parallel,
        allow_unsafe=unsafe,
    )
    from forklock.evaluate.outcome import conclude, draw

    if only != "base":
        print_warnings(folder, running.plan_of(composed).stages)
    outcome = conclude(composed, running.plan_of(composed).points, folder)
    if not as_json:  # before anything is drawn, for which the disk may be too full
        _show_outcome(outcome)
    outcome = draw(outcome, folder)
    if as_json:
        print_json({"run_dir": str(folder), **outcome})
    else:
        _show_places(folder, {"Samples and verdicts": "evaluate"})


def analyze(
    recipe: RecipeNames,
    run_dir: RunDir = None,
    overrides: Overrides = None,
    cluster: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Measure forks and locks: both models over solutions held out from training, position by position."""
    from forklock import running

    composed, folder = run_to_take(recipe, run_dir, overrides, cluster)
    summary = running.run_until(composed, folder, "analyze")
    print_warnings(folder, [stage.name for stage in running.plan_of(composed).closure(["analyze"])])
    if as_json:
        print_json({"run_dir": str(folder), **summary})
        return
    from forklock.analyze.report import render

    console().print(render(summary))
    print_place("Figures and rows", folder / "analyze")


def _show_outcome(outcome: dict[str, Any]) -> None:
    """What an evaluation came to."""
    from forklock.evaluate.table import render

    console().print(render(outcome))


def _show_places(folder: Path, places: dict[str, str]) -> None:
    """Where in the run folder the rest is."""
    from forklock.evaluate.outcome import FIGURES_FOLDER

    for name, place in {"Figures (PNG, SVG, CSV)": FIGURES_FOLDER, **places}.items():
        print_place(name, folder / place)
