"""The command line. Arguments are parsed before anything heavy is imported; each command imports what it needs.

With `--json` a command prints one JSON object on standard output, and whatever is meant for people goes to
standard error. Exit codes: 0 done, 1 something to mend, 2 wrong arguments or a wrong recipe, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from forklock import __version__
from forklock.commands import exports, folders, foresight, grading, machine, microworld, pipeline, recipes, sweep
from forklock.commands.options import TakenThere, console, escape
from forklock.errors import ForklockError
from forklock.train import launch

app = typer.Typer(
    name="forklock",
    help="Simple self-distillation: sample from a frozen model, train on the raw samples, measure what changed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (
    machine.doctor,
    machine.toy,
    foresight.plan,
    foresight.preview,
    pipeline.run,
    pipeline.synthesize,
    pipeline.train,
    pipeline.evaluate,
    pipeline.analyze,
    sweep.sweep,
    grading.grade,
    folders.status,
    folders.repair,
    folders.report,
):
    app.command()(command)
app.add_typer(recipes.app, name="recipes", invoke_without_command=True)
app.add_typer(exports.app, name="export")
app.add_typer(microworld.app, name="microworld", no_args_is_help=True)

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> None:
    """Entry point: errors that the user can mend are shown as messages. Arguments are those of `sys.argv`, or others in
    their place."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is as clean as Ctrl-C
    # Before torch is loaded: threads that spin while they wait cost a small model nine tenths of its speed where
    # anything else runs on the machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app(arguments)
    except SystemExit as stop:
        if stop.code == INTERRUPTED and not isinstance(stop, TakenThere):
            _say_interrupted()
        raise
    except ForklockError as error:
        if not launch.is_spokesman(error):
            sys.exit(error.exit_code)
        if "--json" in sys.argv:
            print(json.dumps({"error": str(error)}))  # noqa: T201
        console(stderr=True).print(f"[bold red]error[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say_interrupted()
        sys.exit(INTERRUPTED)


def _say_interrupted() -> None:
    if not launch.is_spokesman(None):
        return
    command = "the same command" if launch.is_launched() else _as_typed()
    words = f"stopped; what was finished is kept. To go on: {command}"
    console(stderr=True).print(words, soft_wrap=True, markup=False, highlight=False)


def _as_typed() -> str:
    """This command, to be typed again; by its path where the shell would not find it, as in `make demo`."""
    program = sys.argv[0]
    is_elsewhere = Path(program).name == "forklock" and shutil.which("forklock") != program
    return shlex.join([program if is_elsewhere else "forklock", *sys.argv[1:]])


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and stop.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"forklock {__version__}")
        raise typer.Exit
