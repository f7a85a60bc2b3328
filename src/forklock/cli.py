"""The command line. Arguments are parsed before anything heavy is imported; each command imports what it needs.

With `--json` a command prints one JSON object on standard output, and whatever is meant for people goes to
standard error. Exit codes: 0 done, 1 something to mend, 2 wrong arguments or a wrong recipe, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forklock import __version__
from forklock import train as train_stage
from forklock.errors import ForklockError
from forklock.export.formats import Format
from forklock.microworld.commands import app as microworld_app
from forklock.train import launch

if TYPE_CHECKING:
    from rich.console import Console

    from forklock.config import Recipe

app = typer.Typer(
    name="forklock",
    help="Simple self-distillation: sample from a frozen model, train on the raw samples, measure what changed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
recipes_app = typer.Typer(help="The recipes that come with forklock, and what a recipe may set.")
app.add_typer(recipes_app, name="recipes", invoke_without_command=True)
export_app = typer.Typer(help="A run's samples for other trainers, and its model.", no_args_is_help=True)
app.add_typer(export_app, name="export")
app.add_typer(microworld_app, name="microworld", no_args_is_help=True)

INTERRUPTED = 130

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
RecipeNames = Annotated[list[str], typer.Argument(help="Names or files, composed left to right.", metavar="RECIPE...")]
RunDir = Annotated[
    Path | None, typer.Option("--run-dir", help="The run folder; runs/ and the recipe's name when left out.")
]
RunFolder = Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: train.learning_rate=1e-5.")
]
UnsafeExecution = Annotated[
    bool,
    typer.Option("--unsafe-execution", help="Run programs even where they can't be isolated; marks every verdict."),
]


def main() -> None:
    """Entry point: errors that the user can mend are shown as messages."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is as clean as Ctrl-C
    # Before torch is loaded: threads that spin while they wait cost a small model nine tenths of its speed where
    # anything else runs on the machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            _say_interrupted()
        raise
    except ForklockError as error:
        if not launch.is_spokesman(error):
            sys.exit(error.exit_code)
        if "--json" in sys.argv:
            print(json.dumps({"error": str(error)}))  # noqa: T201
        _console(stderr=True).print(f"[bold red]error[/] {_escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say_interrupted()
        sys.exit(INTERRUPTED)


def _say_interrupted() -> None:
    if not launch.is_spokesman(None):
        return
    _console(stderr=True).print("stopped; what was finished is kept, and the same command goes on from there")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and stop.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"forklock {__version__}")
        raise typer.Exit


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what this machine can do, and what to install for the rest."""
    from dataclasses import asdict

    from rich.table import Table

    from forklock.doctor import examine

    findings = examine(Path.cwd())
    if as_json:
        _print_json({"findings": [asdict(finding) for finding in findings]})
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    group = ""
    for finding in findings:
        if finding.group != group:
            group = finding.group
            table.add_row(f"[bold]{group}[/]")
        mark = "[green]yes[/]" if finding.is_fine else "[yellow]no[/]"
        mend = f"\n[dim]{_escape(finding.mend)}[/]" if finding.mend and not finding.is_fine else ""
        table.add_row(f"  {finding.name}", mark, _escape(finding.detail) + mend)
    _console().print(table)


@app.command()
def toy(
    folder: Annotated[Path, typer.Option("--out", help="Where the figures go.")] = Path("runs/toy"),
    as_json: AsJson = False,
) -> None:
    """The paper's finite-state machine: every number in closed form, beside the paper's, and its figures."""
    from forklock import toy

    result = toy.compute()
    paths = toy.draw(result, folder)
    if as_json:
        _print_json({**result.model_dump(mode="json"), "figures": [str(path) for path in paths]})
        return
    _console().print(toy.render(result))
    _console().print(f"Figures (PNG and SVG): {folder}", soft_wrap=True, highlight=False)


@app.command()
def run(
    recipe: RecipeNames,
    run_dir: RunDir = None,
    overrides: Overrides = None,
    unsafe: UnsafeExecution = False,
    as_json: AsJson = False,
) -> None:
    """Everything: prompts, samples, training, evaluation of both models, analysis; goes on where it stopped."""
    from forklock import recipes, running

    composed = recipes.load(recipe, overrides or [])
    folder = run_dir or Path("runs") / composed.name
    running.run_all(composed, folder, allow_unsafe=unsafe)
    plan = running.plan_of(composed)
    places = {"Forks and locks": "analyze", "Model": f"{plan.trainings['student']}/model"}
    _show_outcome(composed, folder, places, as_json=as_json)


@app.command()
def synthesize(
    recipe: RecipeNames,
    run_dir: RunDir = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Read the prompts and sample from the frozen model; goes on where a killed call stopped."""
    from forklock import recipes, running

    composed = recipes.load(recipe, overrides or [])
    folder = run_dir or Path("runs") / composed.name
    running.run_until(composed, folder, "synthesize")
    from forklock.synthesize.report import gather, render

    report = gather(folder)
    if as_json:
        _print_json({"run_dir": str(folder), **report})
        return
    _console().print(render(report))
    _console().print(f"Samples: {folder / 'synthesize'}", soft_wrap=True, highlight=False)


@app.command()
def train(
    recipe: RecipeNames,
    run_dir: RunDir = None,
    overrides: Overrides = None,
    processes: Annotated[int | None, typer.Option(help="Processes (devices) on this machine.", min=1)] = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune the model on its own samples (drawn first where they are missing); goes on where it was killed.

    Starts its processes by itself, or is started by torchrun or accelerate launch, samples already drawn.
    """
    if launch.rank() > 0:
        train_stage.follow()
        return
    from forklock import recipes, running

    on_processes = [] if processes is None else [f"train.num_processes={processes}"]
    composed = recipes.load(recipe, [*(overrides or []), *on_processes])
    folder = run_dir or Path("runs") / composed.name
    with launch.leading():
        summary = running.run_until(composed, folder, "train")
    if as_json:
        _print_json({"run_dir": str(folder), **summary})
        return
    from forklock.train.report import render

    _console().print(render(summary))
    training = running.plan_of(composed).trainings["student"]
    _console().print(f"Model: {folder / training / 'model'}", soft_wrap=True, highlight=False)


@app.command()
def evaluate(
    recipe: RecipeNames,
    run_dir: RunDir = None,
    overrides: Overrides = None,
    only: Annotated[str | None, typer.Option(help="One model alone: base (nothing is trained) or student.")] = None,
    unsafe: UnsafeExecution = False,
    as_json: AsJson = False,
) -> None:
    """Sample both models on the benchmarks, grade, and compare; does what is missing before that."""
    if only not in (None, "base", "student"):
        raise typer.BadParameter(f"{only!r} is neither base nor student", param_hint="--only")
    from forklock import recipes, running

    composed = recipes.load(recipe, overrides or [])
    folder = run_dir or Path("runs") / composed.name
    running.run_evaluation(composed, folder, only, allow_unsafe=unsafe)  # type: ignore[arg-type]
    _show_outcome(composed, folder, {"Samples and verdicts": "evaluate"}, as_json=as_json)


@app.command()
def analyze(
    recipe: RecipeNames,
    run_dir: RunDir = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Measure forks and locks: both models over solutions held out from training, position by position."""
    from forklock import recipes, running

    composed = recipes.load(recipe, overrides or [])
    folder = run_dir or Path("runs") / composed.name
    summary = running.run_until(composed, folder, "analyze")
    if as_json:
        _print_json({"run_dir": str(folder), **summary})
        return
    from forklock.analyze.report import render

    _console().print(render(summary))
    _console().print(f"Figures and rows: {folder / 'analyze'}", soft_wrap=True, highlight=False)


@app.command()
def grade(
    samples: Annotated[Path, typer.Argument(help="LiveCodeBench's JSON, EvalPlus' JSON lines, or our Parquet.")],
    benchmark: Annotated[str, typer.Option(help="Which benchmark they answer.", metavar="NAME")],
    data: Annotated[str | None, typer.Option(help="Local file in place of the benchmark's dataset.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the verdicts; under runs/ when left out.")] = None,
    style: Annotated[
        str, typer.Option(help="How text becomes code, of Parquet: instruct, thinking, base.")
    ] = "instruct",
    pass_k: Annotated[str, typer.Option("--pass-k", help="Which k, separated by commas.")] = "1,5",
    workers: Annotated[int | None, typer.Option(help="Programs that run at once; one a core.", min=1)] = None,
    unsafe: UnsafeExecution = False,
    as_json: AsJson = False,
) -> None:
    """Grade samples from anywhere: neither our sampler nor a recipe is needed."""
    from forklock.evaluate.grade_file import grade_file, options_from
    from forklock.evaluate.table import render

    options = options_from(
        benchmark=benchmark,
        data=data,
        style=style,
        pass_k=tuple(pass_k.split(",")),
        workers=workers,
        unsafe_execution=unsafe,
    )
    folder = out or Path("runs") / f"grade-{samples.stem}-{benchmark}"
    report = grade_file(samples, folder, options)
    if as_json:
        _print_json({"run_dir": str(folder), **report})
        return
    _console().print(render(report))
    _console().print(f"Verdicts: {folder / 'grade'}", soft_wrap=True, highlight=False)


@app.command()
def status(
    run_dir: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
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
        _print_json({**found.model_dump(mode="json"), **verified})
    else:
        table = Table("stage", "state", "files", "why", box=None, pad_edge=False)
        for stage in found.stages:
            why = "\n".join((*stage.reasons, *(f"set aside: {name}" for name in stage.set_aside)))
            table.add_row(stage.stage, stage.state, str(stage.num_outputs), _escape(why))
        _console().print(table)
        if found.holder is not None:
            _console().print(f"held by {_escape(str(found.holder))}", soft_wrap=True)
        for result in damage:
            _console().print("\n".join(map(_escape, result.damage)), soft_wrap=True)
        if verify and not damage:
            _console().print("every file is as it was recorded")
    if damage or any(stage.state == "corrupt" for stage in found.stages):
        raise typer.Exit(1)


@app.command()
def repair(
    run_dir: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    as_json: AsJson = False,
) -> None:
    """Set damaged files aside, so that the command that made them makes just those again."""
    from dataclasses import asdict

    from forklock import running

    repairs = running.repair(run_dir)
    if as_json:
        _print_json({"run_dir": str(run_dir), "repairs": [asdict(repair) for repair in repairs]})
        return
    for found in repairs:
        lines = [*found.damage, *(f"set aside: {name}" for name in found.set_aside)]
        _console().print(f"[bold]{found.stage}[/]\n" + "\n".join(map(_escape, lines)), soft_wrap=True, highlight=False)
    _console().print("run the same command again to go on" if repairs else "every file is as it was recorded")


@export_app.command("samples")
def export_samples(
    run_dir: RunFolder,
    form: Annotated[Format, typer.Option("--format", help="Whose format.")],
    out: Annotated[Path, typer.Option("--out", help="File to write; a folder for llama-factory.")],
    as_json: AsJson = False,
) -> None:
    """Write the samples that training takes for another trainer; says which keep their exact tokens."""
    from forklock import export

    counts = export.export_samples(run_dir, form, out)
    if as_json:
        _print_json({"out": str(out), **counts.as_json()})
        return
    left_out = {**counts.num_degenerate, "too long": counts.num_too_long}
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in left_out.items() if number)
    say = _console()
    say.print(f"samples   {counts.num_exported:,} of {counts.num_samples:,}; left out: {reasons or 'none'}")
    say.print(f"cut by the length limit, without a stop token: {counts.num_without_stop_token:,}")
    if counts.num_other_tokens:
        say.print(
            f"[bold yellow]warning[/] the text of {counts.num_other_tokens:,} samples tokenises to other tokens than "
            "were drawn: who reads the text trains on those",
            soft_wrap=True,
        )
    say.print(f"Written: {out}", soft_wrap=True, highlight=False)


@export_app.command("model")
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
        _print_json({"out": str(out), "pushed_to": address})
        return
    _console().print(f"Model: {out}", soft_wrap=True, highlight=False)
    if address is not None:
        _console().print(f"Pushed: {address}", soft_wrap=True, highlight=False)


@recipes_app.callback()
def list_recipes(context: typer.Context, as_json: AsJson = False) -> None:
    """List the recipes that come with forklock."""
    if context.invoked_subcommand is not None:
        return
    from rich.table import Table

    from forklock import recipes

    purposes = {name: recipes.load([name]).purpose for name, _ in recipes.shipped()}
    if as_json:
        _print_json({"recipes": [{"name": name, "purpose": purpose} for name, purpose in purposes.items()]})
        return
    table = Table("recipe", "purpose", box=None, pad_edge=False)
    for name, purpose in purposes.items():
        table.add_row(name, purpose)
    _console().print(table)


@recipes_app.command("show")
def show_recipe(
    recipe: RecipeNames,
    resolved: Annotated[bool, typer.Option("--resolved", help="With every inherited and default value.")] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Check recipes and print them: as written, or as they compose."""
    from forklock import recipes

    composed = recipes.load(recipe, overrides or [])
    if as_json:
        _print_json(composed.model_dump(mode="json"))
    elif resolved or overrides or len(recipe) > 1:
        typer.echo(recipes.to_toml(composed), nl=False)
    else:
        typer.echo(recipes.source_of(recipe[0]).read_text(encoding="utf-8"), nl=False)


@recipes_app.command("keys")
def show_keys(
    as_json: AsJson = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="As the table of docs/recipes.md.")] = False,
) -> None:
    """Every key that a recipe may set: type, default, meaning."""
    from dataclasses import asdict

    from rich.table import Table

    from forklock.recipes import reference

    if as_markdown:
        typer.echo(reference.as_markdown(), nl=False)
        return
    if as_json:
        _print_json({"keys": [asdict(row) for row in reference.rows()]})
        return
    table = Table("key", "default", "meaning", box=None, pad_edge=False)
    for row in reference.rows():
        table.add_row(row.key, _escape(row.default), _escape(f"{row.meaning} ({row.type})".strip()))
    _console().print(table)


def _show_outcome(recipe: Recipe, folder: Path, places: dict[str, str], *, as_json: bool) -> None:
    """What an evaluation came to, and where in the run folder the rest is."""
    from forklock import running
    from forklock.evaluate.outcome import FIGURES_FOLDER, conclude
    from forklock.evaluate.table import render

    report = conclude(recipe, running.plan_of(recipe).points, folder)
    if as_json:
        _print_json({"run_dir": str(folder), **report})
        return
    _console().print(render(report))
    for name, place in {**places, "Figures (PNG, SVG, CSV)": FIGURES_FOLDER}.items():
        _console().print(f"{name}: {folder / place}", soft_wrap=True, highlight=False)


def _print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, allow_nan=False))


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
