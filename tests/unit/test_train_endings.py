"""Shares of completions that end: whose they are, how they are compared, and what is drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from train_cases import VOCABULARY, make_recipe, make_sample

from forklock.config import LoraConfig
from forklock.train.data import load_data
from forklock.train.endings import MAX_PROMPTS, Ending, compare, load_endings, measure_endings, save_endings

TinyModel = Callable[[str], Path]


def test_the_interval_is_agresti_and_mins() -> None:
    """Against their formula worked by hand: 9 lost, 1 won, of 30."""
    base, trained = [True] * 20 + [False] * 10, [False] * 9 + [True] * 11 + [True] + [False] * 9
    shares = compare(base, trained, 50)
    assert (shares.base, shares.trained) == (20 / 30, 12 / 30)
    assert (shares.low, shares.high) == pytest.approx((-8 / 32 - 1.96 * 3 / 32, -8 / 32 + 1.96 * 3 / 32))
    assert shares.warning is not None
    assert "40% within 50 tokens, and the frozen model 67%, of the same 30 prompts" in shares.warning


def test_a_fall_within_the_noise_is_no_warning() -> None:
    assert compare([True] * 10 + [False] * 10, [True] * 8 + [False] * 12, 50).warning is None
    assert compare([True] * 20, [True] * 20, 50).warning is None
    assert compare([False] * 20, [True] * 20, 50).warning is None  # ends more often than before


def test_one_completion_a_prompt_is_kept_whatever_training_leaves_out() -> None:
    samples = [make_sample(number, degenerate="empty" if number % 2 else None) for number in range(100)]
    again = [make_sample(number, sample_index=1) for number in range(100)]
    data = load_data(make_recipe(max_sequence_tokens=30, tokens_per_device=64), [*again, *samples], VOCABULARY)
    assert data.endings == [
        Ending(one.prompt_id, one.prompt_token_ids, len(one.token_ids), one.finish_reason == "stop")
        for one in samples[:MAX_PROMPTS]
    ]


def test_what_the_trained_model_ends_is_counted(tiny_model: TinyModel, tmp_path: Path) -> None:
    endings = [Ending(f"prompt-{number}", (5, 6, 7 + number), 20 + number, number < 12) for number in range(16)]
    save_endings(tmp_path, endings)
    assert load_endings(tmp_path) == endings
    shares = measure_endings(make_recipe(), tiny_model("qwen3"), endings)
    assert (shares.num_prompts, shares.max_new_tokens, shares.base) == (16, 31, 12 / 16)
    assert shares.trained is not None
    assert shares.trained < 0.3  # random weights over 295 tokens, one of which ends
    assert shares.warning is not None
    assert measure_endings(make_recipe(), tiny_model("qwen3"), endings) == shares


def test_why_nothing_was_drawn_is_said(tiny_model: TinyModel) -> None:
    endless = [Ending("a", (5,), 9, False)]
    assert "none of the frozen" in measure_endings(make_recipe(), tiny_model("qwen3"), endless).reason
    adapter = make_recipe(lora=LoraConfig(merge_on_save=False))
    shares = measure_endings(adapter, tiny_model("qwen3"), [Ending("a", (5,), 9, True)])
    assert "adapter alone" in shares.reason
    assert shares.warning is None
