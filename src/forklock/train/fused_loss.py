"""The same loss by Liger's fused kernel: hard targets, on CUDA.

What a fused kernel saves is passes over the logits. The chunked loss is what it is tested against, and what stays in
charge of precision: Liger is called for a sum, its sums over positions are in float32, and the scale of the step is
put on afterwards in float32. One rounding is its own: the head's gradient comes back in the type of the products.
"""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

import torch

from forklock.packages import load_package
from forklock.train.errors import TrainingError


class Wanted(NamedTuple):
    """Which gradients."""

    hidden: bool
    head: bool


Sums = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]
"""The loss summed over positions, and its gradients in hidden states and head, None where they are not wanted."""


def require_liger(device: torch.device) -> None:
    """Refuse before anything is trained, not at the first step."""
    name = 'train.loss_kernel = "liger"'
    if device.type != "cuda":
        raise TrainingError(f'{name} runs on CUDA alone, and this training is on {device.type}; use "chunked"')
    if importlib.util.find_spec("liger_kernel") is None:
        raise TrainingError(f"{name}: liger_kernel cannot be imported: pip install 'forklock[liger]'")


def fused_sums(hidden: torch.Tensor, head: torch.Tensor, token_ids_T: torch.Tensor, wanted: Wanted) -> Sums:
    """As `chunked_sums` for a hard target; both tensors are in the type of the matrix products and part of no graph."""
    functional = load_package("liger_kernel.transformers.functional", "liger")
    hidden, head = hidden.detach(), head.detach()
    hidden.requires_grad_(wanted.hidden or wanted.head)  # Liger takes no gradient in the head alone
    head.requires_grad_(wanted.head)
    with torch.enable_grad():
        loss = functional.liger_fused_linear_cross_entropy(
            hidden, head, token_ids_T, reduction="sum", accum_dtype=torch.promote_types(head.dtype, torch.float32)
        )
    if not hidden.requires_grad:
        return loss, None, None
    loss.backward()
    return loss.detach(), hidden.grad if wanted.hidden else None, head.grad
