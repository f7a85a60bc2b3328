"""Whether completions still end: drawn from the trained model, beside those that the frozen model drew.

The frozen model's completions are the samples themselves, so that one of each held-out prompt costs nothing. The
trained model is loaded as anyone would load it and draws one completion for each of the same prompts, at the same
decoding, by the recipe's engine, within the recipe's limit. What is compared is the share that ends. It says nothing
about the evaluation-time decoding: evaluation counts those in full.

A server speaks for the base model alone, and under a launcher vLLM would meet the launcher's own settings: there the
transformers engine stands in, within fewer tokens, and what that leaves out is counted and said.
"""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Sequence as Ordered
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from forklock.cluster import open_engine
from forklock.config import EngineConfig, ModelConfig, Recipe
from forklock.engines import EngineError, Request
from forklock.engines.stop_tokens import context_tokens
from forklock.progress import progress_bar
from forklock.seeds import derive_seed
from forklock.train.launch import is_launched

MAX_PROMPTS = 64
STAND_IN_TOKENS = 8_192
"""Prompt and completion of one draw by the engine that stands in for the recipe's, which is slower."""
ENDINGS_FILE = "endings.json"
_DEVIATIONS = 1.96


@dataclass(frozen=True)
class Ending:
    """How the frozen model's first completion of a prompt went."""

    prompt_id: str
    prompt_token_ids: tuple[int, ...]
    num_completion_tokens: int
    is_finished: bool

    def ends_within(self, max_sequence_tokens: int) -> bool:
        return self.is_finished and len(self.prompt_token_ids) + self.num_completion_tokens <= max_sequence_tokens


@dataclass(frozen=True)
class EndingShares:
    """Shares of completions that end within `max_sequence_tokens`; None where nothing was drawn, for `reason`."""

    num_prompts: int
    max_sequence_tokens: int
    """Prompt and completion together: the recipe's limit, or less where another engine stands in for its own."""
    base: float | None = None
    trained: float | None = None
    low: float | None = None
    """95 % interval of the difference, trained minus base."""
    high: float | None = None
    num_beyond: int = 0
    """Of the frozen model's completions that ended: past `max_sequence_tokens`, where the trained model is not seen."""
    reason: str = ""

    @property
    def warning(self) -> str | None:
        said = [text for text in (self._fall, self._blind) if text is not None]
        return "; ".join(said) or None

    @property
    def _fall(self) -> str | None:
        if self.high is None or self.high >= 0:
            return None
        return (
            f"the trained model ends fewer of its completions: {self.trained:.0%} within {self.max_sequence_tokens:,} "
            f"tokens, and the frozen model {self.base:.0%}, of the same {self.num_prompts} prompts at the "
            f"training-time decoding (95 % interval of the difference: {self.low:+.0%} to {self.high:+.0%})"
        )

    @property
    def _blind(self) -> str | None:
        if not self.num_beyond:
            return None
        return (
            f"whether long completions still end was not measured: {self.num_beyond} of the frozen model's finished "
            f"ones pass the {self.max_sequence_tokens:,} tokens that were drawn here, where the recipe's engine cannot "
            "draw from the trained model; evaluation counts those that end"
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
    limit, engine = recipe.synthesize.max_sequence_tokens, _engine(recipe)
    if not any(ending.is_finished for ending in endings):
        return EndingShares(len(endings), limit, reason="none of the frozen model's completions ended")
    if recipe.train.keeps_adapter:
        return EndingShares(len(endings), limit, reason="an adapter alone is not a model to draw from")
    model = ModelConfig(path=str(model_folder))
    limit = min(limit, context_tokens(model) or limit)
    if engine.kind != recipe.engine.kind:
        limit = min(limit, STAND_IN_TOKENS)
    num_beyond = sum(ending.is_finished and not ending.ends_within(limit) for ending in endings)
    asked = [ending for ending in endings if len(ending.prompt_token_ids) < limit]
    if not any(ending.ends_within(limit) for ending in asked):
        reason = f"none of the frozen model's completions ends within {limit:,} tokens"
        return EndingShares(len(asked), limit, num_beyond=num_beyond, reason=reason)
    try:
        ended = _draw(recipe.model_copy(update={"engine": engine}), model, asked, limit)
    except (EngineError, torch.OutOfMemoryError) as error:
        return EndingShares(len(asked), limit, num_beyond=num_beyond, reason=str(error).splitlines()[0])
    return replace(compare([ending.ends_within(limit) for ending in asked], ended, limit), num_beyond=num_beyond)


def _engine(recipe: Recipe) -> EngineConfig:
    """One that can draw from a folder here and now; strict where there is such a mode, so that a call after a kill
    measures the same."""
    if recipe.engine.kind == "vllm" and not is_launched():
        return recipe.engine
    if recipe.engine.kind == "transformers":
        return recipe.engine.model_copy(update={"strict": True})
    return EngineConfig(kind="transformers", strict=True)


def compare(base: Ordered[bool], trained: Ordered[bool], limit: int) -> EndingShares:
    """The interval is Agresti and Min's for paired shares: half a prompt is added to each of the four outcomes."""
    num_lost = sum(one and not other for one, other in zip(base, trained, strict=True)) + 0.5
    num_won = sum(other and not one for one, other in zip(base, trained, strict=True)) + 0.5
    num_pairs = len(base) + 2
    difference = (num_won - num_lost) / num_pairs
    half = _DEVIATIONS * math.sqrt(num_won + num_lost - num_pairs * difference**2) / num_pairs
    shares = sum(base) / len(base), sum(trained) / len(base)
    return EndingShares(len(base), limit, *shares, low=difference - half, high=difference + half)


def _draw(recipe: Recipe, model: ModelConfig, endings: Ordered[Ending], limit: int) -> list[bool]:
    requests = [
        Request(
            request_id=number,
            prompt_token_ids=ending.prompt_token_ids,
            seed=derive_seed(recipe.seed, "stop health", ending.prompt_id),
            max_new_tokens=limit - len(ending.prompt_token_ids),
        )
        for number, ending in enumerate(endings)
    ]
    if torch.cuda.is_available():  # what the training left to its allocator is the engine's now
        gc.collect()
        torch.cuda.empty_cache()
    reasons = {}
    with (
        open_engine(recipe, model, max_sequence_tokens=limit) as engine,
        progress_bar("stop health", len(requests)) as advance,
    ):
        for drawn in engine.generate(requests, recipe.synthesize.decoding):
            reasons[drawn.request_id] = drawn.finish_reason
            advance(1, "")
    return [reasons[request.request_id] == "stop" for request in requests]
