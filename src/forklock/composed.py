"""Two decodings, one after the other: what an ideally fitted student says when it is decoded (Eqs. 23-29).

Training at one decoding makes the student q_s (Eq. 7), if it fits ideally: the frozen model tempered, truncated and
renormalised. Evaluation then decodes *that*: q_s to the power of 1 / T_eval, top-k and top-p over what is left of it.
So a student can be drawn from with the frozen model alone. Its noise is that of `decoding.sample`, by token id: the
played student and the trained one are drawn with the same luck.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from forklock import decoding as decode
from forklock.decoding import Decoding, RankedTarget

if TYPE_CHECKING:
    from forklock.decoding import Array


@dataclass(frozen=True)
class Composed:
    """Prints as `T=0.7 k=20 p=0.9, then T=1.6 k=20 p=0.8`."""

    training: Decoding
    evaluation: Decoding

    def __str__(self) -> str:
        return f"{self.training}, then {self.evaluation}"


Law: TypeAlias = Decoding | Composed


def composed(training: Decoding, evaluation: Decoding) -> Law:
    """Without truncation in training the two are one: temperatures multiply (Eq. 28)."""
    if training.is_greedy or evaluation.is_greedy:
        return Decoding(temperature=0.0)  # both keep the likeliest token in its place
    if training.truncates:
        return Composed(training, evaluation)
    product = training.temperature * evaluation.temperature
    return Decoding(product, evaluation.top_k, evaluation.top_p)


def ranked_target(logits: Array, law: Law) -> RankedTarget:
    """What is drawn from at each row, by rank."""
    if isinstance(law, Decoding):
        return decode.ranked_target(logits, law)
    first = decode.ranked_target(logits, law.training)
    is_numpy = isinstance(first.probabilities, np.ndarray)
    with np.errstate(divide="ignore"):
        log_q = np.log(first.probabilities) if is_numpy else first.probabilities.log()
    second = decode.ranked_target(log_q, law.evaluation)
    # The second ranks entries of the first, which stand by falling probability, then by token id.
    if is_numpy:
        token_ids = np.take_along_axis(first.token_ids, second.token_ids, axis=-1)
    else:
        token_ids = first.token_ids.gather(-1, second.token_ids)
    return RankedTarget(token_ids, second.probabilities, second.num_retained)


def sample(logits: Array, law: Law, seeds: Any, positions: Any = 0) -> Any:
    """One token id a row, as `decoding.sample` draws it."""
    if isinstance(law, Decoding):
        return decode.sample(logits, law, seeds, positions)
    return decode.draw(ranked_target(logits, law), seeds, positions)
