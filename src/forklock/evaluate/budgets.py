"""pass@k's twin for models that write at different lengths: what a budget of tokens a problem buys."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forklock.evaluate.pass_at_k import Array

NUM_ORDERS = 500
"""Random orders of each problem's samples."""


def pass_at_budget(
    num_tokens_PN: NDArray[np.int64], passed_PN: NDArray[np.bool_], budget_tokens: float, seed: int
) -> Array | None:
    """For each problem, the chance that a right sample is complete before the budget is.

    A problem's samples are taken one after another in random order, as long as the next is complete within the budget;
    the first that is not ends it. None where some problem's samples, all together, do not use the budget up: then more
    would have fit than were drawn. With samples of one length this is pass@k for k = budget / length.
    """
    if num_tokens_PN.size == 0 or (num_tokens_PN.sum(axis=1) < budget_tokens).any():
        return None
    generator = np.random.default_rng(seed)
    num_problems, num_samples = num_tokens_PN.shape
    hits = np.zeros(num_problems)
    for _ in range(NUM_ORDERS):
        order_PN = generator.random((num_problems, num_samples)).argsort(axis=1)
        spent_PN = np.take_along_axis(num_tokens_PN, order_PN, axis=1).cumsum(axis=1)
        hits += ((spent_PN <= budget_tokens) & np.take_along_axis(passed_PN, order_PN, axis=1)).any(axis=1)
    result: Array = hits / NUM_ORDERS
    return result
