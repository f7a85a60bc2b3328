"""What the benchmarks of training share: ragged samples, a training without a run folder."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from forklock.config import EvaluateConfig, ModelConfig, PromptsConfig, Recipe, SynthesizeConfig, TrainConfig
from forklock.decoding import Decoding
from forklock.train.data import Counts, Sequence, TrainingData
from forklock.train.devices import open_accelerator
from forklock.train.loop import Job, train
from forklock.train.objective import Objective

BATCH, NUM_SAMPLES, BUDGET, PROMPT_TOKENS = 8, 96, 2048, 8


def make_sequences() -> list[Sequence]:
    chance = random.Random(0)
    sequences = []
    for number in range(NUM_SAMPLES):
        length = min(1024, max(32, int(chance.lognormvariate(5.3, 0.9))))
        token_ids = np.array([chance.randrange(2048) for _ in range(length + 1)], dtype=np.int32)
        sequences.append(Sequence((f"{number:03d}", 0), token_ids, PROMPT_TOKENS, False, None))
    return sequences


def make_recipe(**settings: Any) -> Recipe:
    defaults = {"epochs": 1.0, "global_batch_size": BATCH, "dtype": "float32", "tokens_per_device": BUDGET}
    return Recipe(
        name="benchmark",
        purpose="speed",
        model=ModelConfig(path="none"),
        prompts=PromptsConfig(source="jsonl", path="none"),
        synthesize=SynthesizeConfig(decoding=Decoding()),
        train=TrainConfig.model_validate(defaults | settings),
        evaluate=EvaluateConfig(base_decoding=Decoding(), student_decoding=Decoding()),
    )


def with_forklock(model: PreTrainedModel, sequences: list[Sequence], **settings: Any) -> None:
    """Train over the samples; no checkpoint is written."""
    recipe = make_recipe(**settings)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / "stage" / "scratch"
        scratch.mkdir(parents=True)
        accelerator = open_accelerator(recipe.train, Path(folder))
        data = TrainingData(sequences, [], Counts())
        job = Job(recipe, data, (0,), scratch, "benchmark", 0, lambda *_: None, lambda _: False)
        train(job, Objective(model, model).to(accelerator.device), accelerator)


def peak_resident_bytes() -> int:
    """Of this program alone; ru_maxrss would count what its parent held."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
