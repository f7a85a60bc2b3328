"""What self-distillation must and must not do to a small model, from samples drawn from it (Section 4, Appendix B).

A model whose distributions have heads and tails is sampled from; its students are trained on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
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


@pytest.mark.slow
def test_plain_sampling_moves_nothing_and_truncation_lifts_kept_mass(tiny_model: TinyModel, tmp_path: Path) -> None:
    base_folder = tiny_model("llama")
    base = AutoModelForCausalLM.from_pretrained(base_folder)
    _, contexts = draw(base, PLAIN, first=5000)  # held out: neither student sees these prompts or samples
    before = log_probabilities(base_folder, contexts)
    support = decoding.retained_support(before, TRUNCATED)
    kept = float((before.exp() * support).sum(dim=-1).mean())

    moved, lifted = {}, {}
    for name, setting, target in (("plain", PLAIN, "hard"), ("hard", TRUNCATED, "hard"), ("soft", TRUNCATED, "soft")):
        samples, _ = draw(base, setting, first=0)
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
        )
        after = log_probabilities(run_training(recipe, tmp_path / name, samples) / "model", contexts)
        moved[name] = float((before.exp() * (before - after)).sum(dim=-1).mean())
        lifted[name] = float((after.exp() * support).sum(dim=-1).mean()) - kept
    # T=1 without truncation: what a finite number of draws leaves of a gradient that is zero in expectation.
    assert abs(lifted["plain"]) < 0.2 * lifted["hard"]
    assert moved["plain"] < 0.5 * moved["soft"]
    assert moved["plain"] < 0.75 * moved["hard"]
    assert lifted["hard"] > 0.01
    assert lifted["soft"] > lifted["hard"]  # the same samples, without the noise of the draw
