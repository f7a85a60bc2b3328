"""pass@k's twin for models that write at different lengths: what equal numbers of tokens buy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from forklock.evaluate.pass_at_k import Array, pass_at_k


@dataclass(frozen=True)
class Budget:
    """Tokens a problem, on average over a benchmark, and how many samples of each of two models they are."""

    tokens: float
    first_samples: float
    second_samples: float

    @classmethod
    def matched(cls, k: int, first_tokens: float, second_tokens: float) -> Budget:
        """The price of k samples of the model that writes less, by mean tokens a sample. Neither model ever gets more
        than k samples by it, so that it needs no more than were drawn for pass@k."""
        shorter = min(first_tokens, second_tokens)
        return cls(k * shorter, k * (shorter / first_tokens), k * (shorter / second_tokens))


def pass_at_samples(num_samples: Any, num_passed: Any, k: float) -> Array | None:
    """pass@k for k that need not be whole, for each problem; None where it takes more samples than there are.

    A k of 4.8 means 4 samples, and a fifth with a chance of 0.8: so many on average. Its estimate is the mean of
    those of pass@4 and pass@5, so weighted, and unbiased as they are; pass@0 is 0.
    """
    assert k >= 0
    whole = math.floor(k)
    above = pass_at_k(num_samples, num_passed, max(1, math.ceil(k)))
    below = above if whole == 0 else pass_at_k(num_samples, num_passed, whole)
    if above is None or below is None:
        return None
    share = k - whole
    if whole == 0:
        return share * above
    return below if share == 0 else (1 - share) * below + share * above
