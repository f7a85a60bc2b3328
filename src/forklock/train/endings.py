"""Whether completions still end: drawn from the trained model, beside those that the frozen model drew.

The frozen model's completions are the samples themselves, so that one of each held-out prompt costs nothing. The
trained model is loaded as anyone would load it and draws one completion for each of the same prompts, at the same
decoding, within as many tokens as the longest of the frozen model's finished ones took, or fewer. What is compared is
the share that ends within that. It says nothing about completions that are longer, nor about the evaluation-time
decoding: evaluation counts those in full.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence as Ordered
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from forklock.cluster import open_engine
from forklock.config import EngineConfig, ModelConfig, Recipe
from forklock.engines import EngineError, Request
from forklock.engines.stop_tokens import context_tokens
from forklock.seeds import derive_seed

MAX_PROMPTS = 64
MAX_NEW_TOKENS = 2_048
"""Together with the prompts a bound on what the measurement takes, whatever the model."""
ENDINGS_FILE = "endings.json"
_DEVIATIONS = 1.96


@dataclass(frozen=True)
class Ending:
    """How the frozen model's first completion of a prompt went."""

    prompt_id: str
    prompt_token_ids: tuple[int, ...]
    num_completion_tokens: int
    is_finished: bool

    def ends_within(self, num_tokens: int) -> bool:
        return self.is_finished and self.num_completion_tokens <= num_tokens


@dataclass(frozen=True)
class EndingShares:
    """Shares of completions that end within `max_new_tokens`; None where nothing was drawn, for `reason`."""

    num_prompts: int
    max_new_tokens: int
    base: float | None = None
    trained: float | None = None
    low: float | None = None
    """95 % interval of the difference, trained minus base."""
    high: float | None = None
    reason: str = ""

    @property
    def warning(self) -> str | None:
        if self.high is None or self.high >= 0:
            return None
        return (
            f"the trained model ends fewer of its completions: {self.trained:.0%} within {self.max_new_tokens} tokens, "
            f"and the frozen model {self.base:.0%}, of the same {self.num_prompts} prompts at the training-time "
            f"decoding (95 % interval of the difference: {self.low:+.0%} to {self.high:+.0%})"
        )

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "warning": self.warning}


def save_endings(scratch: Path, endings: Ordered[Ending]) -> None:
    text = json.dumps([asdict(ending) for ending in endings])
    (scratch / ENDINGS_FILE).write_text(text, encoding="utf-8")


def load_endings(scratch: Path) -> list[Ending]:
    rows = json.loads((scratch / ENDINGS_FILE).read_text(encoding="utf-8"))
    return [Ending(**{**row, "prompt_token_ids": tuple(row["prompt_token_ids"])}) for row in rows]


def measure_endings(recipe: Recipe, model_folder: Path, endings: Ordered[Ending]) -> EndingShares:
    """Draw from the model in that folder. Where it cannot be drawn from here, the training is none the worse."""
    finished = [ending.num_completion_tokens for ending in endings if ending.is_finished]
    limit = min(MAX_NEW_TOKENS, max(finished, default=0))
    if not finished:
        return EndingShares(len(endings), limit, reason="none of the frozen model's completions ended")
    if recipe.train.lora is not None and not recipe.train.lora.merge_on_save:
        return EndingShares(len(endings), limit, reason="an adapter alone is not a model to draw from")
    try:
        ended = _draw(recipe, model_folder, endings, limit)
    except (EngineError, torch.OutOfMemoryError) as error:
        return EndingShares(len(endings), limit, reason=str(error).splitlines()[0])
    return compare([ending.ends_within(limit) for ending in endings], ended, limit)


def compare(base: Ordered[bool], trained: Ordered[bool], limit: int) -> EndingShares:
    """The interval is Agresti and Min's for paired shares: half a prompt is added to each of the four outcomes."""
    num_lost = sum(one and not other for one, other in zip(base, trained, strict=True)) + 0.5
    num_won = sum(other and not one for one, other in zip(base, trained, strict=True)) + 0.5
    num_pairs = len(base) + 2
    difference = (num_won - num_lost) / num_pairs
    half = _DEVIATIONS * math.sqrt(num_won + num_lost - num_pairs * difference**2) / num_pairs
    shares = sum(base) / len(base), sum(trained) / len(base)
    return EndingShares(len(base), limit, *shares, low=difference - half, high=difference + half)


def _draw(recipe: Recipe, model_folder: Path, endings: Ordered[Ending], limit: int) -> list[bool]:
    model = ModelConfig(path=str(model_folder))
    longest = max(len(ending.prompt_token_ids) for ending in endings) + limit
    room = min(longest, context_tokens(model) or longest)
    requests = [
        Request(
            request_id=number,
            prompt_token_ids=ending.prompt_token_ids,
            seed=derive_seed(recipe.seed, "stop health", ending.prompt_id),
            max_new_tokens=min(limit, room - len(ending.prompt_token_ids)),
        )
        for number, ending in enumerate(endings)
    ]
    config = EngineConfig(kind="transformers", strict=True)  # a run that goes on after a kill measures the same
    drawing = recipe.model_copy(update={"engine": config})
    with open_engine(drawing, model, max_sequence_tokens=room) as engine:
        drawn = engine.generate(requests, recipe.synthesize.decoding)
        reasons = {completion.request_id: completion.finish_reason for completion in drawn}
    return [reasons[request.request_id] == "stop" for request in requests]
