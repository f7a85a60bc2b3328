"""Forks and locks: the rule, and the one place for its thresholds.

The paper says what they are in words (4.1, 4.3, B.4): at a lock very few tokens carry most of the mass and the
retained head is nearly a singleton; at a fork several plausible continuations survive truncation. The rule puts
numbers on those words. S is the retained support of the model that is classed, under the training decoding; the
*effective choices* are exp H(p(. | S)), with the conditional head entropy of Eq. 30: two tokens of equal probability
count as 2, one of 0.9 beside one of 0.1 as 1.4, however many more tokens follow with next to nothing.

Effective choices are read off the model's own probabilities, not off the tempered ones: a hot training temperature
keeps a lock's distractors in S, and they would pass for alternatives.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

PositionClass: TypeAlias = Literal["fork", "lock", "neither"]

CLASSES: tuple[PositionClass, ...] = ("fork", "lock", "neither")
FORK_FROM = 2.0
"""Effective choices of a fork, at least: as many as two equally likely tokens."""
LOCK_BELOW = 1.5
"""Effective choices of a lock, less than this: of two tokens, one has over 86 % of the head."""
LOCK_KEPT_MASS = 0.5
"""A lock's head holds at least this much: "most of the mass"."""
RULE = (
    f"fork: at least {FORK_FROM:g} effective choices in the retained head; lock: under {LOCK_BELOW:g}, and the head "
    f"holds at least {LOCK_KEPT_MASS:.0%} of the mass; neither: the rest"
)


def classify(choices: NDArray[np.floating], kept_mass: NDArray[np.floating]) -> NDArray[np.str_]:
    """The class of each position by its effective choices and the mass of its head, both of one model."""
    is_lock = (choices < LOCK_BELOW) & (kept_mass >= LOCK_KEPT_MASS)
    return np.where(choices >= FORK_FROM, "fork", np.where(is_lock, "lock", "neither"))
