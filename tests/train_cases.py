"""Samples and recipes for the tests of training."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from forklock import train
from forklock.config import EvaluateConfig, ModelConfig, PromptsConfig, Recipe, SynthesizeConfig, TrainConfig
from forklock.decoding import Decoding
from forklock.engines import RecordedTarget
from forklock.run_dir import Stage, StageDir, open_run, run_stages
from forklock.sampling import Sample, write_shard

VOCABULARY, STOP = 295, 2


def make_recipe(model: Path | str = "model", *, record_target: bool = False, **settings: Any) -> Recipe:
    """`settings` are of the train section; `model` is a folder."""
    defaults = {
        "steps": 4,
        "global_batch_size": 8,
        "learning_rate": 1e-3,
        "final_learning_rate": 1e-4,
        "dtype": "float32",
        "tokens_per_device": 128,
    }
    merged = {name: value for name, value in (defaults | settings).items() if value is not None}
    return Recipe(
        name="test",
        purpose="a test",
        seed=3,
        model=ModelConfig(path=str(model)),
        prompts=PromptsConfig(source="jsonl", path="nowhere.jsonl"),
        synthesize=SynthesizeConfig(
            decoding=Decoding(1.6, 20, 0.8), record_target=record_target, max_sequence_tokens=64
        ),
        train=TrainConfig(**merged),
        evaluate=EvaluateConfig(base_decoding=Decoding(), student_decoding=Decoding(1.1, 20, 0.8)),
    )


def make_sample(number: int, *, with_target: bool = True, **changes: Any) -> Sample:
    """Ragged, drawn by a generator of its own; three of four end with a stop token."""
    chance = random.Random(number)
    is_finished = number % 4 != 3
    completion = [chance.randrange(3, VOCABULARY) for _ in range(chance.randrange(3, 50))]
    token_ids = (*completion, STOP) if is_finished else tuple(completion)
    target = None
    if with_target:
        sizes = [chance.randrange(1, 5) for _ in token_ids]
        supports = [
            [token, *chance.sample(sorted(set(range(VOCABULARY)) - {token}), size - 1)]
            for token, size in zip(token_ids, sizes, strict=True)
        ]
        target = RecordedTarget(
            sizes=np.array(sizes, dtype=np.int32),
            token_ids=np.array([token for support in supports for token in support], dtype=np.int32),
            probabilities=np.array([1 / len(support) for support in supports for _ in support], dtype=np.float16),
        )
    fields: dict[str, Any] = {
        "prompt_id": f"prompt-{number:03d}",
        "sample_index": 0,
        "prompt_token_ids": tuple(chance.randrange(3, VOCABULARY) for _ in range(chance.randrange(2, 12))),
        "token_ids": token_ids,
        "text": "a\nb",
        "finish_reason": "stop" if is_finished else "length",
        "seed": number,
        "decoding": Decoding(1.6, 20, 0.8),
        "engine": "none",
        "weights_digest": "",
        "target": target,
    }
    return Sample(**(fields | changes))


def run_training(recipe: Recipe, run_dir: Path, samples: Sequence[Sample], stage: str = "train") -> Path:
    """The train stage over these samples, as a synthesis would have left them; gives its folder."""

    def synthesize(stage_dir: StageDir) -> None:
        with stage_dir.new_file("samples-00000.parquet") as path:
            write_shard(path, samples)

    stages = [
        Stage(name="synthesize", body=synthesize),
        Stage(
            name=stage,
            body=partial(train.run, recipe),
            config=train.stage_config(recipe),
            reads={"synthesize": "synthesize"},
            inputs={"model": Path(recipe.model.path)},
        ),
    ]
    with open_run(run_dir) as run:
        return run_stages(run, stages)[-1].path


def curve(folder: Path) -> list[dict[str, float]]:
    with (folder / "curve.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
