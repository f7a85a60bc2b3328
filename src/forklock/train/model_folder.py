"""A checkpoint as a complete model folder: it loads wherever the base model loads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed
from transformers import GenerationConfig, PreTrainedTokenizerBase

from forklock import __version__
from forklock.config import Recipe
from forklock.decoding import Decoding
from forklock.model_path import local_folder
from forklock.train.data import Counts
from forklock.train.devices import whole
from forklock.train.objective import Objective

Weight = torch.Tensor | Callable[[], torch.Tensor]
"""Or what makes it when it is its turn: merged weights would be a second model on the device."""


def gather_weights(objective: Objective, recipe: Recipe, saved_type: torch.dtype) -> dict[str, torch.Tensor]:
    """What a checkpoint holds, on the host of the main process, in the type it is saved in; empty elsewhere.

    Every process calls this: where the model is sharded, its weights are gathered one by one. With
    `lora.merge_on_save = false` they are the adapters' alone, in float32.
    """
    if recipe.train.keeps_adapter:
        named: dict[str, Weight] = {
            name: weight for name, weight in objective.model.named_parameters() if weight.requires_grad
        }
        return _on_host(named, torch.float32)
    return _on_host(_named_as_base(objective.causal), saved_type)


def write_model(
    folder: Path,
    objective: Objective,
    weights: dict[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
) -> None:
    """Weights, tokenizer with its chat template, and generation config."""
    causal, model = objective.causal, cast("Any", objective.model)
    if recipe.train.keeps_adapter:
        model.save_pretrained(folder, state_dict=weights)
        (folder / "README.md").unlink(missing_ok=True)  # peft's own; ours is written over it
    else:
        saved_type = next(weight.dtype for weight in weights.values() if weight.is_floating_point())
        causal.save_pretrained(folder, state_dict=weights)  # which empties them
        config_path = folder / "config.json"
        config = json.loads(config_path.read_text(encoding="utf-8"))
        config["dtype"] = str(saved_type).removeprefix("torch.")  # transformers names the type in memory
        config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)
    generation_config(causal.generation_config, recipe.evaluate.student_decoding).save_pretrained(folder)


def generation_config(base: GenerationConfig | None, decoding: Decoding) -> GenerationConfig:
    """The base's, with the recipe's evaluation decoding as its sampling settings."""
    kept = {} if base is None else base.to_diff_dict()
    for name in ("temperature", "top_k", "top_p", "min_p", "typical_p", "do_sample", "_from_model_config"):
        kept.pop(name, None)
    if decoding.is_greedy:
        return GenerationConfig(**kept, do_sample=False)  # type: ignore[no-untyped-call]
    sampling = {"temperature": decoding.temperature, "top_k": decoding.top_k, "top_p": decoding.top_p}
    return GenerationConfig(**kept, **sampling, do_sample=True)  # type: ignore[no-untyped-call]


def _named_as_base(causal: torch.nn.Module) -> dict[str, Weight]:
    """Every tensor by the base's names, adapters added in (peft merges in place, and taking that back would round)."""
    named: dict[str, Weight] = {
        _name_in_base(name): tensor
        for name, tensor in causal.state_dict(keep_vars=True).items()
        if ".lora_" not in name
    }
    for name, module in causal.named_modules():
        if hasattr(module, "get_delta_weight"):
            adapted = getattr(module, "parameter_name", "weight")  # of experts, which are no layers of their own
            named[_name_in_base(f"{name}.{adapted}")] = partial(_merged, module, adapted)
    return named


def _name_in_base(name: str) -> str:
    return re.sub(r"(\.base_layer)+\.", ".", name)


def _merged(module: Any, adapted: str) -> torch.Tensor:
    weight: torch.Tensor = getattr(module.get_base_layer(), adapted).detach().float()
    delta: torch.Tensor = module.get_delta_weight("default").float()
    return weight + delta


def _on_host(named: Mapping[str, Weight], saved_type: torch.dtype) -> dict[str, torch.Tensor]:
    """Tied tensors stay one. A device never holds more than one of them twice."""
    is_main = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
    by_id: dict[int, torch.Tensor] = {}
    for weight in named.values():
        if id(weight) not in by_id:
            gathered = whole((weight if isinstance(weight, torch.Tensor) else weight()).detach())
            kind = saved_type if gathered.is_floating_point() else gathered.dtype
            by_id[id(weight)] = gathered.to("cpu", kind) if is_main else torch.empty(0)
    return {name: by_id[id(weight)] for name, weight in named.items()} if is_main else {}


def write_card(folder: Path, recipe: Recipe, counts: Counts, step: int, num_steps: int) -> None:
    """README.md: what the model is, how it was made and how to decode it."""
    train, adapter = recipe.train, recipe.train.lora
    form = "an adapter" if train.keeps_adapter else "merged"
    how = "all weights" if adapter is None else f"LoRA of rank {adapter.rank}, {form}"
    target = "the tokens drawn" if train.target == "hard" else "the recorded distribution they were drawn from"
    samples = "its own raw samples. No sample was checked for being right"
    if train.only_verified_samples:
        samples = "those of its own samples alone that passed their problems' tests"
    decoding = recipe.evaluate.student_decoding
    folder_of_base = local_folder(recipe.model.path)
    base = recipe.model.path if folder_of_base is None else folder_of_base.resolve().name
    lines = [
        "---",
        *([f"base_model: {base}"] if folder_of_base is None else []),  # hubs refuse what is no name of theirs
        f"library_name: {'peft' if train.keeps_adapter else 'transformers'}",
        "tags: [self-distillation, forklock]",
        "---",
        f"# {recipe.name}, step {step} of {num_steps}",
        "",
        f"{recipe.purpose}",
        "",
        f"{'A baseline for s' if train.only_verified_samples else 'S'}imple self-distillation of `{base}`"
        + (f" at revision `{recipe.model.revision}`" if recipe.model.revision else "")
        + f" with forklock {__version__}: the model was fine-tuned on {samples}.",
        "",
        f"- samples: drawn at {recipe.synthesize.decoding}; {counts.num_trained_on:,} trained on, "
        f"{counts.num_completion_tokens:,} completion tokens, {counts.num_without_stop_token:,} of them cut by the "
        "length limit",
        f"- training: cross-entropy with {target}; {how}; {step} of {num_steps} steps of {train.global_batch_size} "
        f"samples; AdamW, learning rate {train.learning_rate:g} to {train.final_learning_rate:g}; seed {recipe.seed}",
        f"- decode at {decoding} (the default in `generation_config.json`)",
    ]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
