"""Means over positions, with standard errors that know that positions of one solution are alike.

A mean is the sum over all positions divided by their number. Its standard error takes solutions, not positions, as the
independent draws (the usual linearised ratio estimator, with a factor S / (S - 1) for S solutions). It is undefined,
and None, with fewer than two solutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mean:
    mean: float | None
    """None where there is no position."""
    standard_error: float | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class ClusteredSums:
    """Sums of several measures over the positions of each group, solution by solution."""

    def __init__(self) -> None:
        self._counts: list[Floats] = []
        self._sums: list[Floats] = []

    def add_solution(self, values_PM: Floats, is_in_PG: NDArray[np.bool_]) -> None:
        """P positions of one solution: M measures, and in which of G groups each stands."""
        weights_GP = is_in_PG.T.astype(np.float64)
        self._counts.append(weights_GP.sum(axis=1))
        self._sums.append(weights_GP @ values_PM)

    def num_positions(self, group: int) -> int:
        return int(sum(counts[group] for counts in self._counts))

    def num_solutions(self, group: int) -> int:
        return sum(bool(counts[group]) for counts in self._counts)

    def mean(self, group: int, measures: Sequence[int]) -> Mean:
        """Of the first measure; with a second one, of the first minus the second, position by position."""
        counts_S = np.array([counts[group] for counts in self._counts])
        signs = (1.0, -1.0)[: len(measures)]
        sums_S = np.array(
            [sum(s * sums[group, m] for s, m in zip(signs, measures, strict=True)) for sums in self._sums]
        )
        sums_S, counts_S = sums_S[counts_S > 0], counts_S[counts_S > 0]
        if not len(counts_S):
            return Mean(None, None)
        mean = sums_S.sum() / counts_S.sum()
        if len(counts_S) < 2:
            return Mean(float(mean), None)
        spread = np.square(sums_S - mean * counts_S).sum() * len(counts_S) / (len(counts_S) - 1)
        return Mean(float(mean), float(np.sqrt(spread) / counts_S.sum()))
