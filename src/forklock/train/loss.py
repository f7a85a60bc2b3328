"""Cross-entropy with a sparse target, straight from hidden states and the language-model head (Eqs. 2 and 8).

Both targets are one case: at each position a distribution over a few tokens. The hard target puts all its mass on the
token drawn; the soft one is q_s as it was recorded. Logits exist for a few hundred positions at a time, and gradients
are taken in the same sweep, so that neither pass holds batch x length x vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from forklock.config import LossKernel
from forklock.train.fused_loss import Sums, Wanted, fused_sums

LOGITS_AT_ONCE = 1 << 25
"""Entries of the one buffer of logits: 128 MiB in float32, 220 positions of a vocabulary of 151,936."""


@dataclass(frozen=True)
class SparseTargets:
    """A distribution for each of T positions: entries in the order of their positions, probabilities summing to 1."""

    rows_E: torch.Tensor
    """Position of each entry."""
    token_ids_E: torch.Tensor
    probabilities_E: torch.Tensor
    starts: tuple[int, ...]
    """First entry of each position, and the number of entries at the end; on the host, so that no chunk waits."""

    @classmethod
    def hard(cls, token_ids_T: torch.Tensor) -> SparseTargets:
        """All mass on one token a position."""
        rows_T = torch.arange(len(token_ids_T), device=token_ids_T.device)
        ones_T = torch.ones(len(token_ids_T), dtype=torch.float32, device=token_ids_T.device)
        return cls(rows_T, token_ids_T, ones_T, tuple(range(len(token_ids_T) + 1)))

    @classmethod
    def soft(cls, sizes_T: torch.Tensor, token_ids_E: torch.Tensor, probabilities_E: torch.Tensor) -> SparseTargets:
        """`sizes_T` says how many entries each position has; probabilities are made to sum to 1 (they were float16)."""
        rows_E = torch.repeat_interleave(torch.arange(len(sizes_T)), sizes_T)
        exact_E = probabilities_E.to(torch.promote_types(probabilities_E.dtype, torch.float32))
        sums_T = exact_E.new_zeros(len(sizes_T)).index_add_(0, rows_E, exact_E)
        starts = (0, *sizes_T.cumsum(0).tolist())
        return cls(rows_E, token_ids_E, exact_E / sums_T[rows_E], starts)

    def to(self, device: torch.device) -> SparseTargets:
        return SparseTargets(
            self.rows_E.to(device), self.token_ids_E.to(device), self.probabilities_E.to(device), self.starts
        )


def cross_entropy(
    hidden_TH: torch.Tensor,
    head_VH: torch.Tensor,
    targets: SparseTargets,
    scale: float = 1.0,
    kernel: LossKernel = "chunked",
) -> torch.Tensor:
    """`scale` times the sum over positions of CE(target, softmax(head @ hidden)); a scalar in float32 or wider.

    Give 1 / (completion tokens of the whole global batch) as scale: parts then add up to the batch's mean, however it
    is split. Under autocast logits are computed in its type; sums and normalisation are in float32 in any case.
    Differentiable once. `liger` is for hard targets and CUDA.
    """
    loss: torch.Tensor = _SparseCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden_TH, head_VH, targets, scale, kernel
    )
    return loss


class _SparseCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_TH: torch.Tensor,
        head_VH: torch.Tensor,
        targets: SparseTargets,
        scale: float,
        kernel: LossKernel,
    ) -> torch.Tensor:
        device = hidden_TH.device.type
        matmul_type = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_TH.dtype
        wanted = Wanted(*ctx.needs_input_grad[:2])
        with torch.autocast(device, enabled=False):
            hidden, head = hidden_TH.detach().to(matmul_type), head_VH.detach().to(matmul_type)
            if kernel == "liger":
                loss, grad_hidden, grad_head = fused_sums(hidden, head, targets.token_ids_E, wanted)
            else:
                loss, grad_hidden, grad_head = chunked_sums(hidden, head, targets, wanted)
        sum_type = torch.promote_types(hidden_TH.dtype, torch.float32)
        ctx.grad_hidden = None if grad_hidden is None else grad_hidden.to(hidden_TH.dtype)
        ctx.grad_head = None if grad_head is None else grad_head.to(sum_type)
        ctx.head_type, ctx.scale = head_VH.dtype, scale
        return loss.to(sum_type) * scale

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_loss: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        factor = grad_loss * ctx.scale
        grad_hidden, grad_head = ctx.grad_hidden, ctx.grad_head
        del ctx.grad_hidden, ctx.grad_head  # they are changed in place: a second backward pass is refused
        if grad_hidden is not None:
            grad_hidden = grad_hidden.mul_(factor)
        if grad_head is not None:
            grad_head = grad_head.mul_(factor).to(ctx.head_type)
        return grad_hidden, grad_head, None, None, None


def chunked_sums(hidden: torch.Tensor, head: torch.Tensor, targets: SparseTargets, wanted: Wanted) -> Sums:
    """Any target on any device; both tensors are in the type of the matrix products and part of no graph."""
    sum_type = torch.promote_types(hidden.dtype, torch.float32)
    loss = hidden.new_zeros((), dtype=sum_type)
    grad_hidden = torch.empty_like(hidden) if wanted.hidden else None
    grad_head = torch.zeros_like(head, dtype=sum_type) if wanted.head else None
    num_at_once = max(1, LOGITS_AT_ONCE // head.shape[0])
    for start in range(0, len(hidden), num_at_once):
        chunk = hidden[start : start + num_at_once]
        first, last = targets.starts[start], targets.starts[start + len(chunk)]
        rows_E = targets.rows_E[first:last] - start
        token_ids_E = targets.token_ids_E[first:last]
        probabilities_E = targets.probabilities_E[first:last].to(sum_type)

        scores_CV = (chunk @ head.T).to(sum_type)
        scores_CV.sub_(scores_CV.amax(dim=-1, keepdim=True))
        expected = (probabilities_E * scores_CV[rows_E, token_ids_E]).sum()
        mass_C = scores_CV.exp_().sum(dim=-1, keepdim=True)
        loss += mass_C.log().sum() - expected
        if not any(wanted):
            continue
        grad_CV = scores_CV.div_(mass_C)  # softmax, then softmax - target: the gradient in the logits
        grad_CV.index_put_((rows_E, token_ids_E), -probabilities_E, accumulate=True)
        narrow_CV = grad_CV.to(hidden.dtype)
        if grad_hidden is not None:
            torch.mm(narrow_CV, head, out=grad_hidden[start : start + len(chunk)])
        if grad_head is not None and hidden.dtype == sum_type:
            grad_head.addmm_(narrow_CV.T, chunk)
        elif grad_head is not None:
            grad_head += narrow_CV.T @ chunk
    return loss, grad_hidden, grad_head
