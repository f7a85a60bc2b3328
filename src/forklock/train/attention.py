"""Attention of rows that hold several samples, none of which sees another: each sample's own, one after the other.

No mask is made, which would take the row's square. A kernel for ragged rows would do the same in one call; this one
needs no package, runs on any device, and costs a call a sample.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

SAMPLES_APART = "forklock_samples_apart"
"""The name that models know it by."""


def attend(
    module: torch.nn.Module,
    query_BHLD: torch.Tensor,
    key_BGLD: torch.Tensor,
    value_BGLD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    sample_lengths: tuple[int, ...] | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Causal. `sample_lengths` cut the rows; None leaves them whole. As transformers calls it: no mask comes in."""
    assert attention_mask is None
    if sample_lengths is None:
        sample_lengths = (query_BHLD.shape[2],)
    apart = [torch.split(states, list(sample_lengths), dim=2) for states in (query_BHLD, key_BGLD, value_BGLD)]
    attended = [
        sdpa_attention_forward(module, query, key, value, _window(length, sliding_window, query.device), **more)[0]
        for length, query, key, value in zip(sample_lengths, *apart, strict=True)
    ]
    return torch.cat(attended, dim=1), None


def _window(length: int, width: int | None, device: torch.device) -> torch.Tensor | None:
    """What may be seen, where that is less than all that came before."""
    if width is None or length <= width:
        return None
    place = torch.arange(length, device=device)
    back_LL = place.unsqueeze(1) - place
    return ((back_LL >= 0) & (back_LL < width))[None, None]


AttentionInterface.register(SAMPLES_APART, attend)
