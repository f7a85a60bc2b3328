"""A base model from nothing, or from another base: the ordinary training loop over the imperfect corpus."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence as Ordered
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase, Qwen3Config

from forklock.config import EvaluateConfig, ModelConfig, PromptsConfig, Recipe, SynthesizeConfig
from forklock.microworld.card import CURVE_FILE, Pretrained, write_card
from forklock.microworld.corpus import sequences
from forklock.microworld.measure import USUAL_DECODING, measure, write_measured
from forklock.microworld.settings import BaseSettings, base_folder
from forklock.microworld.tokenizer import build_tokenizer
from forklock.run_dir import write_text
from forklock.train.data import Counts, Sequence, TrainingData
from forklock.train.devices import open_accelerator
from forklock.train.loop import Job, train
from forklock.train.model_folder import gather_weights, write_model
from forklock.train.objective import Objective
from forklock.train.stage import MODEL


def pretrain(settings: BaseSettings, folder: Path, num_problems: int | None = None) -> Pretrained:
    """Make the base in `folder`; goes on from what a killed call left there, at its last state.

    `num_problems`: pass@1 is measured on the first so many of the evaluation set; absent: on all.
    """
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    recipe = _recipe(settings)
    data = corpus_data(settings, tokenizer)
    accelerator = open_accelerator(recipe.train, folder)
    objective = start_model(settings, tokenizer).to(accelerator.device)

    def write(name: str, step: int, num_steps: int, trained: Objective) -> None:
        if name == MODEL:
            write_model(folder, trained, gather_weights(trained, recipe, torch.float32), tokenizer, recipe)

    job = Job(
        recipe=recipe,
        data=data,
        stop_token_ids=(tokenizer.eos_token_id,),
        scratch=scratch,
        tracked_as=recipe.name,
        model_bytes=4 * sum(weight.numel() for weight in objective.parameters()),
        write=write,
        has=lambda name: False,
    )
    outcome = train(job, objective, accelerator)
    measured = measure(folder, settings, objective, num_problems)
    made = Pretrained(outcome.curve, sum(len(one.token_ids) for one in data.sequences), measured)
    write_measured(folder, measured)
    write_text(folder / CURVE_FILE, json.dumps([round(point.loss, 6) for point in made.curve]) + "\n")
    write_card(folder, settings, made)
    shutil.rmtree(scratch)
    return made


def corpus_data(settings: BaseSettings, tokenizer: PreTrainedTokenizerBase) -> TrainingData:
    made = sequences(settings.corpus, tokenizer, ModelConfig(path=settings.name))
    return TrainingData(made, [], _counts(made))


def start_model(settings: BaseSettings, tokenizer: PreTrainedTokenizerBase) -> Objective:
    if settings.starts_from is not None:
        folder = base_folder(settings.starts_from)
        causal: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", attn_implementation="sdpa")
    else:
        torch.manual_seed(settings.seed)
        causal = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            _network(settings, tokenizer), attn_implementation="sdpa"
        )
    causal.train()
    return Objective(causal, causal)


def _network(settings: BaseSettings, tokenizer: PreTrainedTokenizerBase) -> Qwen3Config:
    shape = settings.shape
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_key_value_heads,
        head_dim=shape.hidden_size // shape.num_heads,
        max_position_embeddings=shape.max_sequence_tokens,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _recipe(settings: BaseSettings) -> Recipe:
    """What the training loop asks of a recipe; nothing is synthesized or evaluated by it."""
    return Recipe(
        name=settings.name,
        purpose=settings.purpose,
        seed=settings.seed,
        model=ModelConfig(path=settings.name),
        prompts=PromptsConfig(source="jsonl", path="none"),
        synthesize=SynthesizeConfig(decoding=USUAL_DECODING),
        train=settings.train,
        evaluate=EvaluateConfig(base_decoding=USUAL_DECODING, student_decoding=USUAL_DECODING),
    )


def _counts(made: Ordered[Sequence]) -> Counts:
    return Counts(
        num_samples=len(made),
        num_trained_on=len(made),
        num_completion_tokens=sum(sequence.num_completion_tokens for sequence in made),
    )
