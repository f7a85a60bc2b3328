"""Rows of whole solutions, from hidden states: logits exist for a few hundred positions at a time."""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from forklock.analyze.classes import classify
from forklock.analyze.measure import Settings, measure
from forklock.analyze.pieces import pieces_of
from forklock.analyze.python_syntax import SPECIAL, classes_of_pieces
from forklock.analyze.rows import COLUMNS, MODELS, as_lists
from forklock.code_blocks import Style
from forklock.train.data import Sequence

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LOGITS_AT_ONCE = 1 << 24
"""Entries of one model's logits: 128 MiB in float64, 110 positions of a vocabulary of 151,936. About five such arrays
exist at once, twelve where training truncates nothing."""


@dataclass(frozen=True)
class Measurement:
    """What rows are made with."""

    base_head_VH: torch.Tensor
    trained_head_VH: torch.Tensor
    tokenizer: PreTrainedTokenizerBase
    style: Style
    settings: Settings

    def rows(
        self, solutions: Ordered[Sequence], base: Ordered[torch.Tensor], trained: Ordered[torch.Tensor]
    ) -> dict[str, Any]:
        """The columns of some solutions, one after the other; hidden states are T x H, one for each of them."""
        parts = [self._solution(*one) for one in zip(solutions, base, trained, strict=True)]
        return {name: _joined([part[name] for part in parts]) for name in COLUMNS}

    def _solution(self, solution: Sequence, base_TH: torch.Tensor, trained_TH: torch.Tensor) -> dict[str, Any]:
        token_ids = solution.token_ids[solution.num_prompt_tokens :]
        measured = self._measured(torch.from_numpy(token_ids.astype(np.int64)), base_TH, trained_TH)
        pieces = pieces_of(self.tokenizer, token_ids.tolist())
        num = len(token_ids)
        columns: dict[str, Any] = {
            "prompt_id": [solution.key[0]] * num,
            "sample_index": [solution.key[1]] * num,
            "position": np.arange(num),
            "token_id": token_ids,
            "token_text": pieces,
            "syntax": self._syntax(token_ids, pieces),
        }
        sizes = measured.pop("num_candidates")
        for name in [name for name in measured if name.startswith("candidate_")]:
            columns[name] = as_lists(measured.pop(name), sizes)
        for model in MODELS:
            columns[f"{model}_class"] = classify(measured[f"{model}_choices"], measured[f"{model}_own_kept_mass"])
        return columns | measured

    def _syntax(self, token_ids: NDArray[np.int32], pieces: list[str]) -> list[str]:
        is_special = np.isin(token_ids, self.tokenizer.all_special_ids).tolist()
        # Left out of the text: a stop token right behind the closing fence would hide it.
        texts = ["" if special else piece for special, piece in zip(is_special, pieces, strict=True)]
        found = classes_of_pieces(texts, self.style)
        return [SPECIAL if special else one for special, one in zip(is_special, found, strict=True)]

    @torch.no_grad()
    def _measured(
        self, drawn_T: torch.Tensor, base_TH: torch.Tensor, trained_TH: torch.Tensor
    ) -> dict[str, NDArray[Any]]:
        device = self.base_head_VH.device
        num_at_once = max(1, LOGITS_AT_ONCE // len(self.base_head_VH))
        chunks = []
        for start in range(0, len(drawn_T), num_at_once):
            place = slice(start, start + num_at_once)
            # In the type that the model computes in, as engines do: what it rounds is part of what it draws from.
            base_logits_CV = (base_TH[place].to(device) @ self.base_head_VH.T).float()
            trained_logits_CV = (trained_TH[place].to(device) @ self.trained_head_VH.T).float()
            found = measure(base_logits_CV, trained_logits_CV, drawn_T[place].to(device), self.settings)
            chunks.append({name: values.cpu().numpy() for name, values in found.items()})
        return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _joined(parts: list[Any]) -> Any:
    """One column out of several: arrays where they can be, else a list."""
    if all(isinstance(part, np.ndarray) and part.ndim == 1 for part in parts):
        return np.concatenate(parts)
    return [value for part in parts for value in part]
