"""One analysis in a process of its own, which may be made to die at a chosen place."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from analyze_cases import analysis_recipe, held_out_samples, run_analysis

from forklock.analyze import figures, models, solution_rows

PLACES: dict[str, tuple[Any, str]] = {
    "keep": (models, "keep"),
    "kept": (models, "kept"),
    "rows": (solution_rows.Measurement, "rows"),
    "draw": (figures, "draw"),
}
"""The base model's states on their way to disk and back, rows, and figures."""


def analyze(base: str, trained: str, run_dir: str, place: str | None = None, at_call: int = 0) -> None:
    """Dies right after the named function has come back for the `at_call`-th time, counted from 0."""
    torch.set_num_threads(1)
    if place is not None:
        _die_after(*PLACES[place], at_call)
    run_analysis(analysis_recipe(Path(base)), Path(run_dir), held_out_samples(20), Path(trained))


def _die_after(owner: Any, name: str, at_call: int) -> None:
    original, num_calls = getattr(owner, name), 0

    def dying(*arguments: Any, **named: Any) -> Any:
        nonlocal num_calls
        result = original(*arguments, **named)
        if num_calls == at_call:
            os.kill(os.getpid(), signal.SIGKILL)
        num_calls += 1
        return result

    setattr(owner, name, dying)
