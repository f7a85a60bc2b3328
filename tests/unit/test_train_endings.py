"""Shares of completions that end: whose they are, how they are compared, and what is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from train_cases import VOCABULARY, make_recipe, make_sample

from forklock.config import EngineConfig, LoraConfig, Recipe
from forklock.engines import Completion, Request
from forklock.train import endings as endings_module
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
    assert (shares.num_prompts, shares.max_sequence_tokens, shares.base) == (16, 64, 12 / 16)
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


THINKING = 30_000
"""Tokens of a completion, the frozen model's and the trained one's alike."""


@pytest.mark.parametrize(
    ("kind", "is_launched", "drawn_by", "limit"),
    [
        ("transformers", False, "transformers", 40_000),
        ("transformers", True, "transformers", 40_000),
        ("vllm", False, "vllm", 40_000),
        ("vllm", True, "transformers", 8_192),
        ("server", False, "transformers", 8_192),
    ],
)
def test_long_completions_are_drawn_whole_or_said_not_to_be(
    kind: Any, is_launched: bool, drawn_by: str, limit: int, tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but one of the frozen model's completions end after a long thought, and so do the trained model's."""
    opened: list[tuple[str, int]] = []

    class Thinking:
        def generate(self, requests: Sequence[Request], decoding: object) -> Iterator[Completion]:
            for one in requests:
                assert len(one.prompt_token_ids) + one.max_new_tokens == limit
                yield Completion(one.request_id, (5,), "stop" if one.max_new_tokens >= THINKING else "length")

    @contextmanager
    def open_engine(recipe: Recipe, model: object, *, max_sequence_tokens: int) -> Iterator[Thinking]:
        opened.append((recipe.engine.kind, max_sequence_tokens))
        yield Thinking()

    monkeypatch.setattr(endings_module, "open_engine", open_engine)
    monkeypatch.setattr(endings_module, "context_tokens", lambda model: 50_000)
    monkeypatch.setattr(endings_module, "is_launched", lambda: is_launched)
    recipe = make_recipe()
    recipe = recipe.model_copy(
        update={
            "engine": EngineConfig(kind=kind, server_url="http://nowhere/v1" if kind == "server" else None),
            "synthesize": recipe.synthesize.model_copy(update={"max_sequence_tokens": 40_000}),
        }
    )
    endings = [Ending(f"prompt-{number}", (5, 6), THINKING, True) for number in range(19)]
    shares = measure_endings(recipe, tiny_model("qwen3"), [*endings, Ending("short", (5,), 9, True)])
    assert opened == [(drawn_by, limit)]
    if limit == 40_000:
        assert (shares.base, shares.trained, shares.num_beyond, shares.warning) == (1.0, 1.0, 0, None)
        return
    assert (shares.base, shares.trained, shares.num_beyond) == (1 / 20, 0.0, 19)
    assert shares.warning is not None
    assert shares.warning.startswith("whether long completions still end was not measured: 19 of the frozen model's")
    only_long = measure_endings(recipe, tiny_model("qwen3"), endings)
    assert (only_long.base, only_long.num_beyond) == (None, 19)
    assert only_long.reason == "none of the frozen model's completions ends within 8,192 tokens"
    assert only_long.warning is not None
