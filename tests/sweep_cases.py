"""A small sweep: a fake engine that answers from a script, and a training that only adds to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluation_cases import ANSWERS, recipe_for, write_files, write_script

from forklock import stages
from forklock.config import Recipe
from forklock.errors import ForklockError
from forklock.evaluate import verdicts_in
from forklock.run_dir import StageDir

GRID: dict[str, Any] = {
    "train_temperatures": [0.7, 1.3],
    "train_truncations": [{"top_k": 20, "top_p": 0.9}, {}],
    "eval_temperatures": [0.5, 1.0, 1.5],
}
NUM_TRAININGS, NUM_CELLS, NUM_BASE_POINTS = 4, 12, 4
"""The base: its own decoding, and the three of the grid."""
FAILS = "this cell fails on purpose"


def sweep_recipe(folder: Path, model: Path, **settings: Any) -> Recipe:
    write_files(folder)
    return recipe_for(folder, model, **{"sweep": GRID, "evaluate__pass_k": [1, 5], **settings})


def scripted(tiny: Path, folder: Path) -> Path:
    return write_script(Path(shutil.copytree(tiny, folder / "model")))


def use_fake_training(
    fails_at: float | None = None, dies_at: float | None = None
) -> Callable[[Recipe, StageDir], None]:
    """Hotter trainings know the right answer more often; those of one T_train fail, or die. Gives what it replaced."""

    def train(recipe: Recipe, stage_dir: StageDir) -> None:
        temperature = recipe.synthesize.decoding.temperature
        if temperature == fails_at:
            raise ForklockError(FAILS)
        if temperature == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        every, steps = recipe.train.checkpoint_every_steps, recipe.train.steps or 0
        names = [f"checkpoint-{step:06d}" for step in range(every, steps, every)] if every else []
        for number, name in enumerate([*names, "model"]):
            with stage_dir.new_folder(name) as folder:
                shutil.copytree(recipe.model.path, folder, dirs_exist_ok=True)
                write_script(folder, [*ANSWERS, *[ANSWERS[0]] * (round(2 * temperature) + number)])
        stage_dir.write_text("summary.json", "{}")
        stage_dir.warn("it forgets to stop")

    replaced, stages.train.run = stages.train.run, train
    return replaced


def contents(run_dir: Path) -> dict[str, Any]:
    """Every verdict of every point, and the summary: what two sweeps of one recipe have to agree on."""
    found: dict[str, Any] = {}
    for folder in sorted((run_dir / "evaluate").iterdir()):
        rows = sorted(verdicts_in(folder), key=lambda verdict: verdict.key)
        found[folder.name] = [(row.key, row.verdict, row.code_hash, row.num_tokens, row.finish_reason) for row in rows]
    found["summary"] = json.loads((run_dir / "sweep" / "summary.json").read_text())
    found["cells"] = (run_dir / "sweep" / "cells.csv").read_text()
    return found
