"""How many samples a training draws, and which are left or held out: known without torch, before there are any."""

from __future__ import annotations

import math
from fractions import Fraction

from forklock.config import Recipe, TrainConfig
from forklock.seeds import derive_seed

HELD_OUT_ONE_IN = 50
"""Of so many prompts one is held out: its finished samples measure stop health and are not trained on."""
TOO_LONG = "too long"
"""For `train.max_sequence_tokens`, prompt included."""
MIN_HELD_OUT = 16
"""With fewer finished samples held out, none are, and stop health is measured on samples that were trained on."""


def num_draws(train: TrainConfig, num_samples: int) -> int:
    """Over all steps; the last step of given epochs may be smaller than the others."""
    if train.steps is not None:
        return train.steps * train.global_batch_size
    assert train.epochs is not None
    return math.ceil(Fraction(str(train.epochs)) * num_samples)


def left_out(recipe: Recipe, degenerate: str | None, num_tokens: int) -> str | None:
    """Why training takes no sample of this form: the degeneracy filter's reason, or TOO_LONG; None where it does."""
    if degenerate is not None and recipe.synthesize.drop_degenerate:
        return degenerate
    return TOO_LONG if num_tokens > recipe.train.max_sequence_tokens else None


def is_held_out(prompt_id: str) -> bool:
    """By prompt, so that no other sample of a held-out prompt is trained on."""
    return derive_seed("held out", prompt_id) % HELD_OUT_ONE_IN == 0
