"""How sure a mean over problems is: percentile intervals by the bootstrap over problems, and paired comparisons.

What is resampled are problems, since a result is meant to say something about problems like these. The samples of a
problem stay together.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from forklock.evaluate.pass_at_k import Array

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95
EXACT_UP_TO = 16
"""With so few problems that differ all patterns of signs are tried, with more a sample of them."""
_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A mean over problems and its interval."""

    mean: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class PairedDifference(Estimate):
    """Of two means over the same problems, the second minus the first."""

    p_value: float
    """Two-sided, of the hypothesis that which of a pair is which makes no difference: signs flipped at random."""
    num_better: int
    num_worse: int


def interval(values: Array, seed: int) -> Estimate:
    """The mean with its 95 % percentile interval. One problem, or problems that agree, have no width."""
    low, high = np.quantile(_resampled_means(values, seed), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(values.mean()), float(low), float(high))


def paired_difference(first: Array, second: Array, seed: int) -> PairedDifference:
    """The same problems in the same order on both sides; each is resampled together with its pair."""
    assert first.shape == second.shape
    differences = second - first
    found = interval(differences, seed)
    return PairedDifference(
        mean=found.mean,
        low=found.low,
        high=found.high,
        p_value=sign_flip_p_value(differences, seed),
        num_better=int((differences > 0).sum()),
        num_worse=int((differences < 0).sum()),
    )


def sign_flip_p_value(differences: Array, seed: int) -> float:
    """Share of all ways to flip signs that give a mean at least as far from 0; sampled where there are too many.

    A sampled one counts the data themselves as one of the ways, so that it is never 0 and never too small on average.
    """
    moved = np.abs(differences[differences != 0])
    if moved.size == 0:
        return 1.0
    # Sums that are equal on paper must compare as equal, in whatever order they were added.
    observed = abs(differences.sum()) * (1 - 1e-9)
    if moved.size <= EXACT_UP_TO:
        patterns = np.arange(1 << moved.size)[:, None] >> np.arange(moved.size) & 1
        sums = (1.0 - 2.0 * patterns) @ moved
        return float((np.abs(sums) >= observed).mean())
    generator = np.random.default_rng(seed)
    num_as_far = 0
    for size in _chunks(NUM_RESAMPLES, moved.size):
        signs = generator.integers(0, 2, (size, moved.size), dtype=np.int8)
        num_as_far += int((np.abs((1.0 - 2.0 * signs) @ moved) >= observed).sum())
    return (num_as_far + 1) / (NUM_RESAMPLES + 1)


def _resampled_means(values: Array, seed: int) -> Array:
    """Each resample draws as many problems as there are, with replacement: counts of a multinomial, times values."""
    levels, members = np.unique(values, return_inverse=True)
    generator = np.random.default_rng(seed)
    # Problems with equal values are interchangeable, so that only how many of each level are drawn matters.
    shares = np.bincount(members, minlength=levels.size) / values.size
    counts = generator.multinomial(values.size, shares, size=NUM_RESAMPLES)
    means: Array = counts @ levels / values.size
    return means


def _chunks(total: int, width: int) -> list[int]:
    size = max(1, min(total, _AT_ONCE // width))
    return [min(size, total - start) for start in range(0, total, size)]
