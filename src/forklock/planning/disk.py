"""Bytes that stages leave in a run folder: by a measured run's bytes a token, else bounded from above."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from forklock.config import Recipe, SynthesizeConfig, TrainConfig
from forklock.model_path import local_folder
from forklock.planning.measured import Kind
from forklock.planning.rates import Rates
from forklock.planning.shape import ModelShape

ID_BYTES, TEXT_BYTES_A_TOKEN = 4, 4
ROW_BYTES = 200
"""Bounds of a sample's names, settings and digest, and of a verdict's words, before compression."""
VERDICT_BYTES = 300
PROMPT_BYTES = 2_000
POSITION_BYTES, ENTRY_BYTES = 8, 6
"""Of q_s: a size and a kept mass for each position; an id and a probability for each entry."""


@dataclass(frozen=True)
class Disk:
    recipe: Recipe
    shape: ModelShape
    rates: Rates

    def prompt_bytes(self, num_prompts: int) -> float:
        measured = self.rates.measured
        if measured is not None and measured.num_prompts:
            return num_prompts * measured.prompt_bytes / measured.num_prompts
        return num_prompts * PROMPT_BYTES

    def sample_bytes(self, kind: Kind, num_samples: int, num_tokens: float, settings: SynthesizeConfig | None) -> float:
        """Of shards. A measured run counts where it kept q_s just as these do."""
        measured = self.rates.measured
        records = settings is not None and settings.record_target
        drawn = None if measured is None else measured.drawn.get(kind)
        is_alike = settings is None or (measured and measured.recipe.synthesize.record_target) == records
        if drawn is not None and drawn.num_bytes_of_tokens and is_alike:
            return num_tokens * drawn.num_bytes / drawn.num_bytes_of_tokens
        total = num_tokens * (ID_BYTES + TEXT_BYTES_A_TOKEN)
        total += num_samples * (ROW_BYTES + ID_BYTES * (self.rates.prompt_tokens.value or 0))
        if settings is not None and records:
            support = (measured and measured.mean_support) or settings.decoding.top_k or 1
            total += num_tokens * (POSITION_BYTES + ENTRY_BYTES * support)
        return total

    def verdict_bytes(self, num_verdicts: int) -> float:
        measured = self.rates.measured
        if measured is not None and measured.num_graded:
            return num_verdicts * measured.verdict_bytes / measured.num_graded
        return num_verdicts * VERDICT_BYTES

    def model_bytes(self, train: TrainConfig) -> float:
        """Of one model folder: weights, or the adapter alone, and the files beside them where they are known."""
        beside = _bytes_beside_weights(local_folder(self.recipe.model.path))
        if train.lora is not None and not train.lora.merge_on_save:
            return beside + 4 * self.shape.num_adapter_parameters(train.lora.rank, train.lora.target_modules)
        return beside + self.shape.saved_bytes

    def state_bytes(self, train: TrainConfig) -> float:
        """To go on from: float32 weights and two moments, and the state before it until the new one is named."""
        return 2 * 3 * 4 * num_trained_parameters(self.shape, train)

    def analysis_bytes(self) -> float:
        measured = self.rates.measured
        return 0.0 if measured is None else measured.analysis_bytes


def num_trained_parameters(shape: ModelShape, train: TrainConfig) -> int:
    if train.lora is None:
        return shape.num_parameters
    return shape.num_adapter_parameters(train.lora.rank, train.lora.target_modules)


def _bytes_beside_weights(folder: Path | None) -> int:
    """Of the tokenizer above all."""
    if folder is None or not folder.is_dir():
        return 0
    is_other = (path for path in folder.iterdir() if path.is_file() and path.suffix != ".safetensors")
    return sum(path.stat().st_size for path in is_other)
