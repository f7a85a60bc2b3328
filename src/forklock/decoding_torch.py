"""`decoding` on PyTorch tensors, on any device with float64: the same answers, in less time.

With top-k set no vocabulary is sorted: a partial selection finds the k survivors, and everything after it works
on k entries a row. Selection and ranking compare logits as they came (float16 and bfloat16 too, where ties are
common); mass is summed in float64. `decoding` calls these functions; there is no reason to call them directly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from forklock.decoding import (
    GOLDEN_GAMMA,
    MIX_MULTIPLIERS,
    MIX_SHIFTS,
    Decoding,
    InvalidLogitsError,
    RankedTarget,
)

NUCLEUS_WIDTHS = (256, 4096)
"""Numbers of candidates tried for a nucleus without top-k, before the whole vocabulary is sorted."""
LOGITS_AT_ONCE = {"cpu": 1 << 19, "cuda": 1 << 27}
"""Draws that look at the whole vocabulary go by so many logits at a time: on a CPU to stay within its caches, on a
GPU to bound the memory of a step (half a GiB in float32)."""


def greedy(logits: torch.Tensor) -> torch.Tensor:
    row_maxima, token_ids = logits.max(dim=-1)
    _check_rows(row_maxima)
    return token_ids


def ranked_target(logits: torch.Tensor, decoding: Decoding) -> RankedTarget:
    if decoding.is_greedy:
        token_ids = greedy(logits).unsqueeze(-1)
        ones = torch.ones_like(token_ids)
        return RankedTarget(token_ids, ones.to(torch.float64), ones.squeeze(-1))
    vocabulary = logits.shape[-1]
    _check_rows(logits.amax(dim=-1))
    rows_BV = logits.reshape(-1, vocabulary)
    width, log_mass_B = vocabulary, None
    if 0 < decoding.top_k < vocabulary:
        width = decoding.top_k
    elif decoding.top_p < 1.0:
        width, log_mass_B = _nucleus_width(rows_BV, decoding)
    token_ids_BK = _ranked_ids(rows_BV, width)
    ranked_BK = rows_BV.gather(-1, token_ids_BK).to(torch.float64) / decoding.temperature

    retained_BK = ranked_BK > -torch.inf
    if decoding.top_p < 1.0:
        if log_mass_B is None:
            log_mass_B = ranked_BK.logsumexp(dim=-1)
        mass_above_BK = torch.zeros_like(ranked_BK)
        torch.cumsum((ranked_BK[:, :-1] - log_mass_B[:, None]).exp(), dim=-1, out=mass_above_BK[:, 1:])
        retained_BK &= mass_above_BK < decoding.top_p
    probabilities_BK = torch.softmax(ranked_BK.masked_fill(~retained_BK, -torch.inf), dim=-1)
    shape = (*logits.shape[:-1], width)
    return RankedTarget(
        token_ids_BK.reshape(shape),
        probabilities_BK.reshape(shape),
        retained_BK.sum(dim=-1).reshape(logits.shape[:-1]),
    )


def target(logits: torch.Tensor, decoding: Decoding) -> torch.Tensor:
    result_type = torch.promote_types(logits.dtype, torch.float32)
    if not decoding.truncates:
        _check_rows(logits.amax(dim=-1))
        return torch.softmax(logits.to(torch.float64) / decoding.temperature, dim=-1).to(result_type)
    ranked = ranked_target(logits, decoding)
    dense = torch.zeros(logits.shape, dtype=result_type, device=logits.device)
    return dense.scatter_(-1, ranked.token_ids, ranked.probabilities.to(result_type))


def retained_support(logits: torch.Tensor, decoding: Decoding) -> torch.Tensor:
    ranked = ranked_target(logits, decoding)
    places = torch.arange(ranked.token_ids.shape[-1], device=logits.device)
    is_retained = places < ranked.num_retained.unsqueeze(-1)
    mask = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
    return mask.scatter_(-1, ranked.token_ids, is_retained)


def sample(logits: torch.Tensor, decoding: Decoding, seeds: Any, positions: Any = 0) -> torch.Tensor:
    if decoding.is_greedy:
        return greedy(logits)
    if decoding.top_k:
        return draw(ranked_target(logits, decoding), seeds, positions)
    rows_BV = logits.reshape(-1, logits.shape[-1])
    seeds_B, positions_B = _row_keys(logits.shape[:-1], logits.device, seeds, positions)
    at_once = LOGITS_AT_ONCE.get(logits.device.type, LOGITS_AT_ONCE["cuda"])
    rows_at_once = max(1, at_once // rows_BV.shape[-1])
    drawn = [
        draw(ranked_target(logits_bV, decoding), seeds_b, positions_b)
        if decoding.truncates
        else _race_on_vocabulary(logits_bV, seeds_b, positions_b, decoding.temperature)
        for logits_bV, seeds_b, positions_b in zip(
            torch.split(rows_BV, rows_at_once),
            torch.split(seeds_B, rows_at_once),
            torch.split(positions_B, rows_at_once),
            strict=True,
        )
    ]
    return torch.cat(drawn).reshape(logits.shape[:-1])


def draw(ranked: RankedTarget, seeds: Any, positions: Any = 0) -> torch.Tensor:
    shape = ranked.token_ids.shape
    seeds_B, positions_B = _row_keys(shape[:-1], ranked.token_ids.device, seeds, positions)
    noise_BK = exponential_noise(seeds_B, positions_B, ranked.token_ids.reshape(-1, shape[-1]))
    scores = ranked.probabilities.log() - noise_BK.log().reshape(shape)
    token_ids: torch.Tensor = ranked.token_ids.gather(-1, scores.argmax(dim=-1, keepdim=True)).squeeze(-1)
    return token_ids


def _row_keys(shape: torch.Size, device: torch.device, *keys: Any) -> Iterator[torch.Tensor]:
    return (torch.as_tensor(key, dtype=torch.int64, device=device).expand(shape).reshape(-1) for key in keys)


def _race_on_vocabulary(
    logits_BV: torch.Tensor, seeds_B: torch.Tensor, positions_B: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Without truncation the race needs neither order nor normalised probabilities: tempered logits will do."""
    _check_rows(logits_BV.amax(dim=-1))
    vocabulary = torch.arange(logits_BV.shape[-1], device=logits_BV.device)
    noise_BV = exponential_noise(seeds_B, positions_B, vocabulary)
    return (logits_BV.to(torch.float64) / temperature).sub_(noise_BV.log_()).argmax(dim=-1)


def exponential_noise(seeds: torch.Tensor, positions: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """Bit for bit `decoding.exponential_noise`, up to the last digit of the logarithm."""
    row_key = _mix(_mix(seeds) + positions)
    bits = _mix(row_key.unsqueeze(-1) + token_ids)
    uniform = _shift_right(bits, 12).to(torch.float64).add_(0.5).mul_(2.0**-52)
    return uniform.log_().neg_()


def _nucleus_width(logits_BV: torch.Tensor, decoding: Decoding) -> tuple[int, torch.Tensor]:
    """How many of the most likely tokens are sure to hold every row's nucleus, and each row's log-mass.

    Where a model is peaked, a few hundred tokens reach top-p, and the vocabulary need not be sorted.
    """
    log_mass_B = (logits_BV.to(torch.float64) / decoding.temperature).logsumexp(dim=-1)
    for width in NUCLEUS_WIDTHS:
        if width >= logits_BV.shape[-1]:
            break
        top_BK = logits_BV.topk(width, dim=-1).values.to(torch.float64) / decoding.temperature
        reached_B = (top_BK.logsumexp(dim=-1) - log_mass_B).exp()
        if bool((reached_B > decoding.top_p + 1e-9).all()):  # clear of the rounding of a running sum
            return width, log_mass_B
    return logits_BV.shape[-1], log_mass_B


def _ranked_ids(logits_BV: torch.Tensor, width: int) -> torch.Tensor:
    if width < logits_BV.shape[-1]:
        return _top_k_ids(logits_BV, width)
    return torch.sort(logits_BV, dim=-1, descending=True, stable=True).indices


def _top_k_ids(logits_BV: torch.Tensor, k: int) -> torch.Tensor:
    """The k largest a row, by falling logit, then by rising token id.

    `torch.topk` leaves the choice among equal logits open, so rows where equals stand on both sides of the cut
    (seen by asking for k + 1) are chosen again.
    """
    values, ids = torch.topk(logits_BV, k + 1, dim=-1)
    cut_among_equals = values[:, k] == values[:, k - 1]
    ids = ids[:, :k]
    if bool(cut_among_equals.any()):
        ids[cut_among_equals] = _lowest_ids_at_cut(logits_BV[cut_among_equals], values[cut_among_equals, k], k)
    ids = ids.sort(dim=-1).values
    by_logit = torch.sort(logits_BV.gather(-1, ids), dim=-1, descending=True, stable=True).indices
    return ids.gather(-1, by_logit)


def _lowest_ids_at_cut(logits_BV: torch.Tensor, cut_B: torch.Tensor, k: int) -> torch.Tensor:
    above = logits_BV > cut_B.unsqueeze(-1)
    equal = logits_BV == cut_B.unsqueeze(-1)
    places_left = k - above.sum(dim=-1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(dim=-1) <= places_left))
    return chosen.nonzero()[:, 1].reshape(-1, k)


def _check_rows(row_maxima: torch.Tensor) -> None:
    bad = (~torch.isfinite(row_maxima)).reshape(-1)
    if bool(bad.any()):
        raise InvalidLogitsError(
            f"no distribution in {int(bad.sum())} of {bad.numel()} rows (first: row {int(bad.nonzero()[0])})"
        )


def _shift_right(x: torch.Tensor, num_bits: int) -> torch.Tensor:
    """Of a 64-bit pattern held in an int64, without carrying the sign along."""
    return (x >> num_bits).bitwise_and_((1 << (64 - num_bits)) - 1)


def _mix(x: torch.Tensor) -> torch.Tensor:
    x = x + _as_int64(GOLDEN_GAMMA)
    for shift, multiplier in zip(MIX_SHIFTS, MIX_MULTIPLIERS, strict=False):
        x.bitwise_xor_(_shift_right(x, shift)).mul_(_as_int64(multiplier))
    return x.bitwise_xor_(_shift_right(x, MIX_SHIFTS[-1]))


def _as_int64(pattern: int) -> int:
    return pattern - (1 << 64) if pattern >= 1 << 63 else pattern
