"""pass@k by the unbiased estimator: the chance that one of k samples is right, where of n drawn c were."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forklock.errors import ForklockError

Array = NDArray[np.float64]


class UnevenSamplesError(ForklockError):
    """Problems have different numbers of samples, so that their estimates can't be put side by side."""


def pass_at_k(num_samples: Any, num_passed: Any, k: int) -> Array | None:
    """1 - C(n-c, k) / C(n, k) for each problem; None where k is above any n, for then it is undefined.

    As a product of k factors in [0, 1]: nothing is ever large, and a few units in the last place are all
    that is lost.
    """
    n, c = np.broadcast_arrays(np.asarray(num_samples, dtype=np.int64), np.asarray(num_passed, dtype=np.int64))
    assert k >= 1
    assert ((c >= 0) & (c <= n)).all(), "more passed than were drawn"
    if n.size == 0 or (n < k).any():
        return None
    steps = np.arange(k, dtype=np.float64)
    # Of the samples taken so far none passed: so few of the rest have not, of so many that are left.
    misses = np.maximum(n[..., None] - c[..., None] - steps, 0.0) / (n[..., None] - steps)
    result: Array = 1.0 - misses.prod(axis=-1)
    return result


def check_even(num_samples: dict[str, int], where: str) -> int:
    """The number of samples that every problem has; refuses problems that have more or fewer than others."""
    counts = sorted(set(num_samples.values()))
    if len(counts) == 1:
        return counts[0]
    few, many = counts[0], counts[-1]
    example = {number: next(name for name, count in num_samples.items() if count == number) for number in (few, many)}
    raise UnevenSamplesError(
        f"{where}: problem {example[few]} has {few} samples and problem {example[many]} has {many}; pass@k compares "
        "problems with the same number: draw or add what is missing"
    )
