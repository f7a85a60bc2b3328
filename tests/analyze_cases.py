"""Recipes, solutions and runs for the tests of the analysis."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from train_cases import make_recipe, make_sample

from forklock import analyze
from forklock.config import AnalyzeConfig, Recipe
from forklock.run_dir import Stage, StageDir, open_run, run_stages
from forklock.sampling import Sample, write_shard
from forklock.seeds import derive_seed
from forklock.train.data import Sequence as Solution
from forklock.train.data import sequence_of
from forklock.train.schedule import HELD_OUT_ONE_IN

CODE = (
    'Sorted.\n```python\nimport math\n\ndef solve(xs):\n    total = sum(xs)\n    return f"{total!r}", xs.copy()\n```\n'
)


def analysis_recipe(model: Path, **analysis: Any) -> Recipe:
    recipe = make_recipe(model, record_target=False, tokens_per_device=128)
    settings = {"eval_temperatures": (0.7, 1.5), "max_rank": 30, **analysis}
    return recipe.model_copy(update={"analyze": AnalyzeConfig(**settings)})


def held_out_prompt(number: int) -> str:
    """A prompt id that training holds out, by its own rule."""
    tries = (f"held-{number}-{attempt}" for attempt in range(10_000))
    return next(name for name in tries if derive_seed("held out", name) % HELD_OUT_ONE_IN == 0)


def held_out_samples(num: int) -> list[Sample]:
    return [make_sample(4 * number, prompt_id=held_out_prompt(number), with_target=False) for number in range(num)]


def solutions(num: int, vocabulary_size: int = 295) -> list[Solution]:
    return [sequence_of(sample, vocabulary_size, keep_target=False) for sample in held_out_samples(num)]


def run_analysis(recipe: Recipe, run_dir: Path, samples: Sequence[Sample], trained: Path | None) -> Path:
    """The analyze stage over this trained model, these samples and one that is not held out."""

    def synthesize(stage_dir: StageDir) -> None:
        with stage_dir.new_file("samples-00000.parquet") as path:
            write_shard(path, [*samples, make_sample(400, prompt_id="trained-on", with_target=False)])

    def train(stage_dir: StageDir) -> None:
        if trained is not None:
            with stage_dir.new_folder("model") as folder:
                shutil.copytree(trained, folder, dirs_exist_ok=True)

    stages = [
        Stage(name="synthesize", body=synthesize),
        Stage(name="train", body=train),
        Stage(
            name="analyze",
            body=partial(analyze.run, recipe),
            config=analyze.stage_config(recipe),
            reads={"synthesize": "synthesize", "train": "train"},
            inputs={"model": Path(recipe.model.path)} | analyze.input_files(recipe),
        ),
    ]
    with open_run(run_dir) as run:
        return run_stages(run, stages)[-1].path
