"""Both models over the same solutions, one in memory at a time.

A hidden state takes a thousandth of the room of its logits and holds all there is to know of them. So the base model's
hidden states go to disk, its head stays, and the trained model takes its place: logits of both exist for as many
positions as are measured at once, and no machine needs room for two models.
"""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from forklock.analyze.errors import AnalysisError
from forklock.config import ModelConfig, Recipe, TrainConfig
from forklock.engines.transformers_engine import load_frozen
from forklock.packages import packages_of
from forklock.run_dir.atomic import atomic_file
from forklock.train.batches import collate, split
from forklock.train.data import Sequence
from forklock.train.objective import Objective

ADAPTER_FILE = "adapter_config.json"


class Reader:
    """A model that gives hidden states; `head` is what turns them into logits, and may outlive it."""

    def __init__(self, causal: Any, train: TrainConfig) -> None:
        self._objective = Objective(causal, causal)
        self._train = train
        self.head_VH = self._objective.head().detach()

    @torch.no_grad()
    def hidden_states(self, solutions: Ordered[Sequence]) -> list[torch.Tensor]:
        """Of the positions that predict each completion token, T x H a solution, on the CPU.

        A forward pass stays within `train.tokens_per_device` positions, where the longest solution does.
        """
        lengths = {number: solution.num_positions for number, solution in enumerate(solutions)}
        most = max(self._train.tokens_per_device, *lengths.values())
        budget = self._train.model_copy(update={"tokens_per_device": most, "layout": "bucketed"})
        found: dict[int, torch.Tensor] = {}
        for one in split(lengths, budget)[0]:
            chosen = [solutions[number] for number in one.samples]
            hidden_TH = self._objective.hidden_states(collate(chosen, packed=False).to(self.head_VH.device)).cpu()
            parts = torch.split(hidden_TH, [solution.num_completion_tokens for solution in chosen])
            found |= dict(zip(one.samples, parts, strict=True))
        return [found[number] for number in range(len(solutions))]


def read_base(recipe: Recipe) -> Reader:
    return Reader(load_frozen(recipe.model), recipe.train)


def read_trained(recipe: Recipe, folder: Path) -> Reader:
    """The model that training wrote; an adapter by itself is added to the base model."""
    if not folder.is_dir():
        raise AnalysisError(f"{folder}: there is no trained model; run `forklock train` first")
    if (folder / ADAPTER_FILE).exists():
        with packages_of("train"):
            import peft
        adapted: Any = peft.PeftModel.from_pretrained(load_frozen(recipe.model), str(folder))
        return Reader(adapted.merge_and_unload().eval(), recipe.train)
    return Reader(load_frozen(ModelConfig(path=str(folder), dtype=recipe.model.dtype)), recipe.train)


def vocabulary_size(model: ModelConfig) -> int:
    config = AutoConfig.from_pretrained(model.path, revision=model.revision or "main")
    size: int = config.get_text_config().vocab_size
    return size


def keep(path: Path, hidden: Ordered[torch.Tensor]) -> None:
    """On disk, there whole or not at all."""
    with atomic_file(path) as temporary:
        save_file({f"{number:06d}": states_TH.contiguous() for number, states_TH in enumerate(hidden)}, temporary)


def kept(path: Path) -> list[torch.Tensor]:
    return [states_TH for _, states_TH in sorted(load_file(path).items())]
