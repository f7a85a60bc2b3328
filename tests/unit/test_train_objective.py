"""The model's loss and gradients, whatever the layout, against transformers' own logits one sample at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from train_cases import VOCABULARY, make_recipe, make_sample
from transformers import AutoConfig, AutoModelForCausalLM, Trainer

from forklock.config import LoraConfig
from forklock.train import TrainingError
from forklock.train.batches import collate, split
from forklock.train.data import load_data
from forklock.train.loop import make_optimizer
from forklock.train.objective import Objective, load_objective

TinyModel = Callable[[str], Path]
SAMPLES = [make_sample(number) for number in range(9)]
Gradients = dict[str, torch.Tensor]


def exact_type(architecture: str) -> torch.dtype:
    """Experts are multiplied by a kernel that has no float64."""
    return torch.float32 if architecture == "qwen3_moe" else torch.float64


def one_by_one(folder: Path, dtype: torch.dtype) -> tuple[float, Gradients]:
    """Mean over all completion tokens, from full logits, no batching, no padding."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    num_tokens = sum(len(sample.token_ids) for sample in SAMPLES)
    loss = torch.zeros((), dtype=dtype)
    for sample in SAMPLES:
        token_ids = torch.tensor([sample.prompt_token_ids + sample.token_ids])
        logits = model(token_ids, use_cache=False).logits[0, len(sample.prompt_token_ids) - 1 : -1]
        labels = torch.tensor(sample.token_ids)
        loss = loss + torch.nn.functional.cross_entropy(logits, labels, reduction="sum") / num_tokens
    loss.backward()
    return float(loss.detach()), {
        name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None
    }


def ours(objective: Objective, layout: str, tokens_per_device: int) -> tuple[float, Gradients]:
    recipe = make_recipe(layout=layout, tokens_per_device=tokens_per_device)
    data = load_data(recipe, SAMPLES, VOCABULARY)
    lengths = {number: sequence.num_positions for number, sequence in enumerate(data.sequences)}
    total = 0.0
    for one in split(lengths, recipe.train)[0]:
        batch = collate([data.sequences[number] for number in one.samples], packed=layout == "packed")
        loss = objective(batch, 1 / data.counts.num_completion_tokens)
        loss.backward()
        total += float(loss.detach())
    return total, {
        name.removeprefix("model."): weight.grad
        for name, weight in objective.named_parameters()
        if weight.grad is not None
    }


@pytest.mark.parametrize(("layout", "budget"), [("bucketed", 64), ("bucketed", 1000), ("packed", 64), ("packed", 1000)])
@pytest.mark.parametrize(
    ("architecture", "checkpointed"), [("qwen3", False), ("qwen3", True), ("qwen3_moe", False), ("llama", False)]
)
def test_every_layout_gives_the_loss_and_gradients_of_samples_alone(
    architecture: str, layout: str, budget: int, checkpointed: bool, tiny_model: TinyModel
) -> None:
    folder = tiny_model(architecture)
    objective, _ = load_objective(make_recipe(folder, gradient_checkpointing=checkpointed))
    objective.to(exact_type(architecture))
    loss, gradients = ours(objective, layout, budget)
    expected_loss, expected = one_by_one(folder, exact_type(architecture))
    tolerance = 1e-6 if exact_type(architecture) == torch.float64 else 1e-4
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        largest = float(expected[name].abs().max())
        torch.testing.assert_close(gradient, expected[name], rtol=tolerance, atol=tolerance * largest)


def save_made(folder: Path, model_type: str, **settings: Any) -> Path:
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    config = AutoConfig.for_model(
        model_type, **sizes, num_hidden_layers=2, num_key_value_heads=2, tie_word_embeddings=True, **settings
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("layout", ["bucketed", "packed"])
def test_windows_are_kept_where_a_sample_is_longer(layout: str, tmp_path: Path) -> None:
    folder = save_made(tmp_path, "mistral", sliding_window=4)
    objective, _ = load_objective(make_recipe(folder, layout=layout))
    _, gradients = ours(objective.double(), layout, 1000)
    _, expected = one_by_one(folder, torch.float64)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-6, atol=1e-9)


@pytest.mark.filterwarnings("ignore:.*causal_conv1d")
def test_rows_whose_samples_would_see_each_other_are_refused(tmp_path: Path) -> None:
    folder = save_made(tmp_path, "lfm2", layer_types=["conv", "full_attention"])
    with pytest.raises(TrainingError, match=r'layout = "packed": samples in one row of .* use "bucketed"'):
        load_objective(make_recipe(folder, layout="packed"))
    objective, _ = load_objective(make_recipe(folder, layout="bucketed"))
    _, gradients = ours(objective.double(), "bucketed", 1000)
    _, expected = one_by_one(folder, torch.float64)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-6, atol=1e-9)


def test_decay_reaches_what_transformers_would_decay(tiny_model: TinyModel) -> None:
    for architecture in ("qwen3", "qwen3_moe", "llama"):
        objective, _ = load_objective(make_recipe(tiny_model(architecture)))
        decayed, rest = make_optimizer(objective, make_recipe().train).param_groups
        names = set(Trainer.get_decay_parameter_names(None, objective.causal))  # type: ignore[arg-type]
        by_id = {id(weight): name for name, weight in objective.causal.named_parameters()}
        assert {by_id[id(weight)] for weight in decayed["params"]} == names
        assert (decayed["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
        assert decayed["betas"] == (0.9, 0.95)


def test_adapters_alone_are_trained(tiny_model: TinyModel) -> None:
    objective, _ = load_objective(make_recipe(tiny_model("llama"), lora=LoraConfig(rank=4)))
    names = [name for name, weight in objective.named_parameters() if weight.requires_grad]
    assert len(names) == 2 * 2 * 7  # A and B of seven matrices in two layers; never the head
    assert all(".lora_" in name for name in names)
    with pytest.raises(TrainingError, match=r"train\.lora: .*nonesuch"):
        load_objective(make_recipe(tiny_model("llama"), lora=LoraConfig(target_modules=("nonesuch",))))
    with pytest.raises(TrainingError, match="names the model's head"):
        load_objective(make_recipe(tiny_model("llama"), lora=LoraConfig(target_modules=("q_proj", "lm_head"))))


def test_logits_that_are_more_than_a_product_are_refused(tmp_path: Path) -> None:
    import transformers

    config = transformers.AutoConfig.for_model(
        "gemma2", vocab_size=60, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, final_logit_softcapping=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(TrainingError, match="more than head weights times hidden states"):
        load_objective(make_recipe(tmp_path))
