"""Everything that is measured at a position, from the logits of both models there: no other file sees logits.

Sums over the vocabulary are in float64. The names of the results are columns of `rows.TOKEN_STATS`; `theory` has the
same equations for distributions as a whole, and the tests hold one against the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from forklock.config import Recipe
from forklock.decoding import Decoding, RankedTarget, ranked_target

NUM_CANDIDATES = 20
"""Most likely tokens that a row names, of each model; also the "top 20" of Figure 6d."""
RANK_MARKS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 50, 100, 200, 500, 1000)
"""Ranks at which cumulative mass is kept, as far as `analyze.max_rank` goes."""


@dataclass(frozen=True)
class Settings:
    """What decides the numbers, besides the logits."""

    train: Decoding
    """Its retained support of the base model is S in Eqs. 10, 15 and 30."""
    evals: tuple[Decoding, ...]
    max_rank: int

    @classmethod
    def of(cls, recipe: Recipe) -> Settings:
        """Evaluation's truncation at `analyze.eval_temperatures`, and at the recipe's own temperature among them."""
        own = recipe.evaluate.student_decoding
        temperatures = sorted({*recipe.analyze.eval_temperatures, own.temperature})
        return cls(
            train=recipe.synthesize.decoding,
            evals=tuple(Decoding(temperature, own.top_k, own.top_p) for temperature in temperatures),
            max_rank=recipe.analyze.max_rank,
        )

    @property
    def rank_marks(self) -> tuple[int, ...]:
        return (*(rank for rank in RANK_MARKS if rank < self.max_rank), self.max_rank)

    @property
    def num_ranked(self) -> int:
        """Tokens of each model that have to be put in order."""
        return max(self.max_rank, NUM_CANDIDATES, self.train.top_k, *(decoding.top_k for decoding in self.evals))


Columns = dict[str, torch.Tensor]


def measure(
    base_logits_TV: torch.Tensor, trained_logits_TV: torch.Tensor, drawn_T: torch.Tensor, settings: Settings
) -> Columns:
    """Columns by name; what is measured of both models has `base_` or `trained_` before its name."""
    base, trained = _Model.of(base_logits_TV, settings), _Model.of(trained_logits_TV, settings)
    support = base.ranked(settings.train)
    columns: Columns = {"support_size": support.num_retained}
    for name, model in (("base", base), ("trained", trained)):
        found = {
            **_drawn(model, drawn_T),
            **_mass(model, settings),
            **support_terms(model.log_p_TV, support, settings.train),
            **_own_support(model, support if model is base else model.ranked(settings.train)),
            **_decoded(model, settings.evals),
        }
        columns |= {f"{name}_{key}": value for key, value in found.items()}
    columns["loss_constant"] = columns.pop("base_constant")
    del columns["trained_constant"]
    columns["total_variation"] = (base.log_p_TV.exp() - trained.log_p_TV.exp()).abs_().sum(dim=-1) / 2
    return columns | _candidates(base, trained, min(NUM_CANDIDATES, settings.max_rank))


class _Model(NamedTuple):
    """One model at T positions."""

    logits_TV: torch.Tensor
    log_p_TV: torch.Tensor
    top_ids_TK: torch.Tensor

    @classmethod
    def of(cls, logits_TV: torch.Tensor, settings: Settings) -> _Model:
        num_ranked = min(settings.num_ranked, logits_TV.shape[-1])
        top = ranked_target(logits_TV, Decoding(1.0, num_ranked))
        return cls(logits_TV, torch.log_softmax(logits_TV.double(), dim=-1), top.token_ids[..., :num_ranked])

    def ranked(self, decoding: Decoding) -> RankedTarget:
        """`decoding.ranked_target`; the vocabulary is not searched again where top-k leaves only ranked tokens."""
        if decoding.top_k == 0 and not decoding.is_greedy:
            return ranked_target(self.logits_TV, decoding)
        ids_TK = self.top_ids_TK[:, : 1 if decoding.is_greedy else decoding.top_k]
        places = ranked_target(self.logits_TV.gather(-1, ids_TK), decoding)
        return places._replace(token_ids=ids_TK.gather(-1, places.token_ids))


def support_terms(log_p_TV: torch.Tensor, support: RankedTarget, decoding: Decoding) -> Columns:
    """KeptMass (Eq. 10), the terms of Eq. 15 and of Eq. 30, for a model's log-probabilities and a target q on S."""
    # Greedy decoding leaves one token, where every term but the first is 0 at any temperature.
    temperature = 1.0 if decoding.is_greedy else decoding.temperature
    places = torch.arange(support.token_ids.shape[-1], device=log_p_TV.device)
    is_retained_TK = places < support.num_retained[:, None]
    log_p_TK = log_p_TV.gather(-1, support.token_ids)
    log_inside_TK = log_p_TK.masked_fill(~is_retained_TK, -torch.inf)
    log_kept_T = log_inside_TK.logsumexp(dim=-1)
    outside_TV = log_p_TV.exp().scatter_(-1, support.token_ids, log_p_TK.exp().masked_fill(is_retained_TK, 0.0))
    outside_T = outside_TV.sum(dim=-1)
    # Each form is exact where the other cancels.
    gate_T = torch.where(outside_T < 0.5, -torch.log1p(-outside_T.clamp(max=0.5)), -log_kept_T)
    kept_T = log_kept_T.exp()

    log_head_TK = (log_inside_TK - log_kept_T[:, None]).masked_fill(~is_retained_TK, 0.0)
    head_TK = log_head_TK.exp().masked_fill(~is_retained_TK, 0.0)
    tempered_TK = (log_head_TK / temperature).masked_fill(~is_retained_TK, -torch.inf)
    log_partition_T = tempered_TK.logsumexp(dim=-1)
    log_tempered_TK = (tempered_TK - log_partition_T[:, None]).masked_fill(~is_retained_TK, 0.0)
    q_TK = support.probabilities
    target_entropy_T = -torch.xlogy(q_TK, q_TK).sum(dim=-1)
    out_log_out_T = torch.xlogy(outside_T, outside_T)
    return {
        "kept_mass": kept_T,
        "support_compression": gate_T,
        "within_support_reshaping": -temperature * log_partition_T,
        "alignment": temperature * (-target_entropy_T - (q_TK * log_tempered_TK).sum(dim=-1)).clamp(min=0.0),
        "constant": temperature * target_entropy_T,
        "gate_entropy": kept_T * gate_T - out_log_out_T,
        "head_entropy": -kept_T * (head_TK * log_head_TK).sum(dim=-1),
        "tail_entropy": (out_log_out_T - outside_TV.mul_(log_p_TV).sum(dim=-1)).clamp(min=0.0),
    }


def _drawn(model: _Model, drawn_T: torch.Tensor) -> Columns:
    """Probability and rank of the token that the solution has here; equals rank by token id, as in `decoding`."""
    logit_T1 = model.logits_TV.gather(-1, drawn_T[:, None])
    ids = torch.arange(model.logits_TV.shape[-1], device=drawn_T.device)
    is_equal_above_TV = (model.logits_TV == logit_T1) & (ids < drawn_T[:, None])
    num_above_T = (model.logits_TV > logit_T1).sum(dim=-1) + is_equal_above_TV.sum(dim=-1)
    probability_T = model.log_p_TV.gather(-1, drawn_T[:, None]).squeeze(-1).exp()
    return {"probability": probability_T, "rank": num_above_T + 1}


def _mass(model: _Model, settings: Settings) -> Columns:
    cumulative_TK = model.log_p_TV.gather(-1, model.top_ids_TK).exp().cumsum(dim=-1)
    last = cumulative_TK.shape[-1]
    places = torch.tensor([min(rank, last) - 1 for rank in settings.rank_marks], device=cumulative_TK.device)
    return {
        "top_id": model.top_ids_TK[:, 0],
        "mass_by_rank": cumulative_TK[:, places],
        "top_mass": cumulative_TK[:, min(NUM_CANDIDATES, last) - 1],
        "entropy": -(model.log_p_TV.exp() * model.log_p_TV).sum(dim=-1),
    }


def _own_support(model: _Model, own: RankedTarget) -> Columns:
    """What the class rests on: the mass of the model's own retained support, and the effective choices in it."""
    is_retained_TK = torch.arange(own.token_ids.shape[-1], device=own.token_ids.device) < own.num_retained[:, None]
    log_p_TK = model.log_p_TV.gather(-1, own.token_ids).masked_fill(~is_retained_TK, -torch.inf)
    log_kept_T = log_p_TK.logsumexp(dim=-1)
    head_TK = (log_p_TK - log_kept_T[:, None]).exp()
    return {
        "own_support_size": own.num_retained,
        "own_kept_mass": log_kept_T.exp(),
        "choices": (-torch.xlogy(head_TK, head_TK).sum(dim=-1)).exp(),
    }


def _decoded(model: _Model, evals: tuple[Decoding, ...]) -> Columns:
    """Surviving tokens and the entropy among them, one entry a temperature."""
    targets = [model.ranked(decoding) for decoding in evals]
    entropies = [-torch.xlogy(target.probabilities, target.probabilities).sum(dim=-1) for target in targets]
    return {
        "survivors": torch.stack([target.num_retained for target in targets], dim=-1),
        "entropy_after_truncation": torch.stack(entropies, dim=-1),
    }


def _candidates(base: _Model, trained: _Model, num: int) -> Columns:
    """The most likely tokens of both models: the base's in order, then those that only the trained model has.

    Flat over all positions, with `num_candidates` saying how many each position has.
    """
    of_base, of_trained = base.top_ids_TK[:, :num], trained.top_ids_TK[:, :num]
    is_new_TK = ~(of_trained[:, :, None] == of_base[:, None, :]).any(dim=-1)
    ids_TK = torch.cat([of_base, of_trained], dim=-1)
    is_named_TK = torch.cat([torch.ones_like(of_base, dtype=torch.bool), is_new_TK], dim=-1)
    return {
        "num_candidates": is_named_TK.sum(dim=-1),
        "candidate_ids": ids_TK[is_named_TK],
        "candidate_base_probabilities": base.log_p_TV.gather(-1, ids_TK).exp()[is_named_TK],
        "candidate_trained_probabilities": trained.log_p_TV.gather(-1, ids_TK).exp()[is_named_TK],
    }
