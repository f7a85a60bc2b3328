"""Samples from anywhere, graded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forklock.commands.options import AsJson, UnsafeExecution, console, print_json, print_place


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
    all_tests: Annotated[
        bool, typer.Option("--all-tests", help="Count the tests passed, also after a failure.")
    ] = False,
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
        all_tests=all_tests,
        unsafe_execution=unsafe,
    )
    folder = out or Path("runs") / f"grade-{samples.absolute().name}-{benchmark}"
    report = grade_file(samples, folder, options)
    if as_json:
        print_json({"run_dir": str(folder), **report})
        return
    console().print(render(report))
    print_place("Verdicts", folder / "grade")
