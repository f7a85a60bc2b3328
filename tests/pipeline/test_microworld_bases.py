"""The shipped bases: ordinary models, and what their recipes give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from forklock.config import ModelConfig, TrainConfig
from forklock.engines.stop_tokens import stop_token_ids
from forklock.microworld.card import CURVE_FILE
from forklock.microworld.measure import held_out_loss, measure, read_measured
from forklock.microworld.pretrain import pretrain
from forklock.microworld.settings import (
    BaseName,
    BaseSettings,
    CorpusSettings,
    ShapeSettings,
    base_folder,
    load_settings,
)
from forklock.microworld.tokenizer import END, build_tokenizer
from forklock.train import loop
from forklock.train.objective import Objective
from forklock.train.state import CurvePoint

BASES: tuple[BaseName, ...] = ("firm", "leaky")
NUM_STEPS = 40
LOSS_TOLERANCE = 2e-3
"""Of single steps, on other processors: rounding grows as training goes on."""
PASS_TOLERANCE = 0.01
"""The same seeds are drawn; rounding may tip a token here and there."""


def shipped(base: BaseName) -> Objective:
    causal: Any = AutoModelForCausalLM.from_pretrained(base_folder(base), attn_implementation="sdpa")
    return Objective(causal, causal)


@pytest.mark.parametrize("base", BASES)
def test_a_base_is_an_ordinary_model_folder(base: BaseName) -> None:
    folder = base_folder(base)
    causal = shipped(base).causal
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert type(causal).__name__ == "Qwen3ForCausalLM"
    assert 300_000 < sum(weight.numel() for weight in causal.parameters()) < 400_000
    assert causal.dtype == torch.float32
    assert causal.config.vocab_size == len(tokenizer)
    assert stop_token_ids(ModelConfig(path=str(folder))) == (tokenizer.convert_tokens_to_ids(END),)
    assert tokenizer.get_vocab() == build_tokenizer().get_vocab()
    assert (folder / "model.safetensors").stat().st_size < 2_000_000


@pytest.mark.parametrize("base", BASES)
def test_the_card_states_rates_sizes_loss_and_licence(base: BaseName) -> None:
    card, settings = (base_folder(base) / "README.md").read_text(), load_settings(base)
    measured = read_measured(base_folder(base))
    curve = json.loads((base_folder(base) / CURVE_FILE).read_text())
    for said in (
        "license: apache-2.0",
        f"{settings.corpus.num_programs:,} programs",
        f"wrong idiom at {settings.corpus.wrong_idiom_share:g}",
        f"digit {settings.corpus.slip_rates.digit:g}",
        f"{len(curve):,} steps",
        f"{measured.held_out_loss:.4f} on",
        f"{100 * measured.pass_at_1:.1f} %",
    ):
        assert said in card


@pytest.mark.parametrize("base", BASES)
def test_the_weights_have_the_loss_that_was_measured(base: BaseName) -> None:
    found = held_out_loss(load_settings(base), shipped(base), build_tokenizer())
    assert found == pytest.approx(read_measured(base_folder(base)).held_out_loss, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES)
def test_the_weights_have_the_pass_rate_that_was_measured(base: BaseName) -> None:
    found = measure(base_folder(base), load_settings(base), shipped(base))
    assert found.pass_at_1 == pytest.approx(read_measured(base_folder(base)).pass_at_1, abs=PASS_TOLERANCE)


class _EnoughError(Exception):
    """The first steps are taken."""


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES)
def test_the_recipe_s_first_steps_are_those_of_the_shipped_curve(
    base: BaseName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole corpus and schedule, of which the first steps are taken."""
    curve: list[CurvePoint] = []

    def keep(path: Path, model: object, optimizer: object, points: list[CurvePoint]) -> None:
        curve.extend(points)
        raise _EnoughError

    settings = load_settings(base)
    train = settings.train.model_copy(update={"checkpoint_every_steps": NUM_STEPS})
    monkeypatch.setattr(loop, "save_state", keep)
    with pytest.raises(_EnoughError):
        pretrain(settings.model_copy(update={"train": train}), tmp_path)
    expected = json.loads((base_folder(base) / CURVE_FILE).read_text())[:NUM_STEPS]
    assert [point.loss for point in curve] == pytest.approx(expected, rel=LOSS_TOLERANCE)


def small_settings(**train: Any) -> BaseSettings:
    schedule = {"epochs": 2, "learning_rate": 1e-2, "final_learning_rate": 1e-3, "dtype": "float32"}
    return BaseSettings(
        name="small",
        purpose="A test",
        shape=ShapeSettings(num_layers=1, hidden_size=32, intermediate_size=64, num_heads=2, num_key_value_heads=1),
        corpus=CorpusSettings(num_programs=320, wrong_idiom_share=0.3),
        train=TrainConfig(**(schedule | {"global_batch_size": 32, "max_sequence_tokens": 384} | train)),
    )


def test_a_base_of_one_s_own_learns_and_goes_on_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pretrain(small_settings(), tmp_path / "whole", num_problems=2)
    losses = [point.loss for point in whole.curve]
    assert len(losses) == 20
    assert losses[-1] < 0.7 * losses[0]

    def die(*arguments: object) -> None:
        raise _EnoughError

    settings = small_settings(checkpoint_every_steps=6)
    with monkeypatch.context() as patch:
        patch.setattr("forklock.microworld.pretrain.measure", die)
        with pytest.raises(_EnoughError):
            pretrain(settings, tmp_path / "killed", num_problems=2)
    resumed = pretrain(settings, tmp_path / "killed", num_problems=2)
    assert [point.loss for point in resumed.curve] == losses
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]
    assert not (tmp_path / "whole" / "scratch").exists()
