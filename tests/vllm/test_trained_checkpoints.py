"""What training writes loads in vLLM as the base does, and speaks as it does in transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from train_cases import make_recipe, make_sample, run_training
from transformers import AutoModelForCausalLM
from vllm_cases import GREEDY, MAX_SEQUENCE_TOKENS, PROMPT, STOP_TOKEN_IDS, logits_of, requests, write_model

from forklock import decoding as decode
from forklock.config import EngineConfig, LoraConfig, ModelConfig
from forklock.engines.vllm_engine import VllmEngine


@pytest.mark.slow
@pytest.mark.usefixtures("vllm_environment")
@pytest.mark.parametrize(
    ("family", "settings", "name"),
    [
        ("qwen3", {"checkpoint_every_steps": 2}, "checkpoint-000002"),
        ("llama", {"lora": LoraConfig(rank=4)}, "model"),
        ("qwen3_moe", {}, "model"),
    ],
    ids=["qwen3-checkpoint", "llama-lora-merged", "qwen3_moe"],
)
def test_a_checkpoint_speaks_in_vllm_as_in_transformers(
    family: str, settings: dict[str, Any], name: str, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    write_model(base, family)
    recipe = make_recipe(base, steps=3, learning_rate=1e-2, final_learning_rate=1e-2, **settings)
    run_training(recipe, tmp_path / "run", [make_sample(number) for number in range(16)])
    trained = ModelConfig(path=str(tmp_path / "run" / "train" / name))

    with VllmEngine(EngineConfig(kind="vllm"), trained, max_sequence_tokens=MAX_SEQUENCE_TOKENS) as engine:
        (completion,) = engine.generate(requests(1, max_new_tokens=40), GREEDY)
    (logits_TV,) = logits_of(trained, [(*PROMPT, *completion.token_ids)])
    assert completion.token_ids == tuple(decode.greedy(logits_TV[len(PROMPT) - 1 : -1]).tolist())
    before, after = (
        AutoModelForCausalLM.from_pretrained(path, dtype="float32")(torch.tensor([PROMPT])).logits.detach()
        for path in (base, trained.path)
    )
    assert float((before - after).abs().max()) > 0.1  # it is the trained one that spoke


@pytest.mark.slow
@pytest.mark.usefixtures("vllm_environment")
def test_stop_health_is_drawn_by_vllm_in_the_process_that_trained(tmp_path: Path) -> None:
    """A model that learned to stop is seen to, within the recipe's limit."""
    base = tmp_path / "base"
    base.mkdir()
    write_model(base, "qwen3")
    recipe = make_recipe(base, steps=40, learning_rate=3e-3)
    recipe = recipe.model_copy(update={"engine": EngineConfig(kind="vllm")})
    stopping = [
        make_sample(number, token_ids=(6, 7, 8, STOP_TOKEN_IDS[0]), finish_reason="stop", target=None)
        for number in range(16)
    ]
    folder = run_training(recipe, tmp_path / "run", stopping)
    endings = json.loads((folder / "summary.json").read_text())["stop_health"]["endings"]
    assert (endings["num_prompts"], endings["max_sequence_tokens"], endings["reason"]) == (16, 64, "")
    assert endings["base"] == 1.0
    assert endings["trained"] > 0.8
