"""What self-distillation must and must not do to a small model, from samples drawn from it (Section 4, Appendix B).

A model whose distributions have heads and tails is sampled from; its students are trained on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from train_cases import make_recipe, make_sample, run_training
from transformers import AutoModelForCausalLM

from forklock import decoding
from forklock.decoding import Decoding
from forklock.engines import RecordedTarget
from forklock.sampling import Sample

TinyModel = Callable[[str], Path]
PLAIN, TRUNCATED = Decoding(), Decoding(1.6, 20, 0.8)
NUM_SAMPLES, PROMPT_TOKENS, LENGTH = 1280, 3, 24


@torch.no_grad()
def draw(model: Any, setting: Decoding, first: int) -> tuple[list[Sample], torch.Tensor]:
    """Samples with their targets where there is truncation, and their token ids, N x (prompt + completion)."""
    prompts = [
        (*make_sample(number).prompt_token_ids[:2], 3 + number % 200) for number in range(first, first + NUM_SAMPLES)
    ]
    token_ids = torch.tensor(prompts)
    seeds = torch.arange(first, first + NUM_SAMPLES)
    targets = []
    for position in range(LENGTH):
        ranked = decoding.ranked_target(model(token_ids, use_cache=False).logits[:, -1], setting)
        targets.append(ranked)
        token_ids = torch.cat([token_ids, decoding.draw(ranked, seeds, position)[:, None]], dim=1)
    samples = []
    for row, tokens in enumerate(token_ids.tolist()):
        sizes = [int(ranked.num_retained[row]) for ranked in targets]
        target = RecordedTarget(
            np.array(sizes, dtype=np.int32),
            np.concatenate([ranked.token_ids[row, :size] for ranked, size in zip(targets, sizes, strict=True)]),
            np.concatenate(
                [ranked.probabilities[row, :size] for ranked, size in zip(targets, sizes, strict=True)]
            ).astype(np.float16),
        )
        changes: dict[str, Any] = {
            "prompt_token_ids": tuple(tokens[:PROMPT_TOKENS]),
            "token_ids": tuple(tokens[PROMPT_TOKENS:]),
            "finish_reason": "length",
            "decoding": setting,
            "target": target if setting.truncates else None,
        }
        samples.append(make_sample(first + row, with_target=False, **changes))
    return samples, token_ids


@torch.no_grad()
def log_probabilities(folder: Path, contexts: torch.Tensor) -> torch.Tensor:
    logits = AutoModelForCausalLM.from_pretrained(folder)(contexts, use_cache=False).logits
    return torch.log_softmax(logits[:, PROMPT_TOKENS - 1 : -1].flatten(0, 1).double(), dim=-1)


class Contexts:
    """Held out: no student sees these prompts or samples. What becomes of the base's distributions there."""

    def __init__(self, base_folder: Path, base: Any) -> None:
        _, self._contexts = draw(base, PLAIN, first=50_000)
        self._before = log_probabilities(base_folder, self._contexts)
        self._support = decoding.retained_support(self._before, TRUNCATED)

    def displacement(self, student: Path) -> torch.Tensor:
        """Of each token's log-probability at each context, less the context's mean."""
        moved = log_probabilities(student, self._contexts) - self._before
        return moved - (self._before.exp() * moved).sum(dim=-1, keepdim=True)

    def product(self, one: torch.Tensor, other: torch.Tensor) -> float:
        """Mean over what the base draws. Of a displacement with itself it is twice the KL divergence from the base, to
        second order; of two that are independent and zero in their means, zero in its mean."""
        return float((self._before.exp() * one * other).sum(dim=-1).mean())

    def lift(self, displacement: torch.Tensor) -> float:
        """Of KeptMass."""
        after = torch.log_softmax(self._before + displacement, dim=-1)
        return float(((after.exp() - self._before.exp()) * self._support).sum(dim=-1).mean())


SEEDS = range(5)
CONFIDENCE = 0.999


def noise_of(values: list[float]) -> tuple[float, float, float]:
    """Mean, how far from zero it may be, and how far from it another value may be, were there nothing but noise."""
    num, deviation = len(values), float(np.std(values, ddof=1))
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, num - 1))
    return float(np.mean(values)), quantile * deviation / num**0.5, quantile * deviation * (1 + 1 / num) ** 0.5


@pytest.mark.slow
def test_plain_sampling_moves_nothing_and_truncation_lifts_kept_mass(tiny_model: TinyModel, tmp_path: Path) -> None:
    """At T=1 without truncation students of independent samples and seeds are displaced by noise alone: no two of them
    in the same direction. (Noise itself costs KeptMass a little, since softmax is no straight line, so a single
    student's change has no zero mean.) Truncated students share a direction, and their KeptMass rises further than
    such noise would take it."""
    base_folder = tiny_model("llama")
    base = AutoModelForCausalLM.from_pretrained(base_folder)
    contexts = Contexts(base_folder, base)

    def student(name: str, setting: Decoding, target: str, seed: int) -> torch.Tensor:
        samples, _ = draw(base, setting, first=NUM_SAMPLES * seed)
        recipe = make_recipe(
            base_folder,
            record_target=True,
            target=target,
            steps=None,
            epochs=1.0,
            learning_rate=3e-4,
            final_learning_rate=3e-5,
            global_batch_size=32,
            tokens_per_device=2048,
            weight_decay=0.0,
        ).model_copy(update={"seed": seed})
        return contexts.displacement(run_training(recipe, tmp_path / name, samples) / "model")

    plain = [student(f"plain-{seed}", PLAIN, "hard", seed) for seed in SEEDS]
    hard = [student(f"hard-{seed}", TRUNCATED, "hard", seed) for seed in (0, 1)]
    soft = student("soft", TRUNCATED, "soft", 0)

    mean, from_zero, from_mean = noise_of([contexts.product(*pair) for pair in combinations(plain, 2)])
    assert abs(mean) < from_zero
    assert contexts.product(*hard) - mean > from_mean
    mean, _, from_mean = noise_of([contexts.lift(one) for one in plain])
    assert min(map(contexts.lift, hard)) - mean > from_mean
    assert contexts.lift(soft) > contexts.lift(hard[0])  # the same samples, without the noise of the draw
