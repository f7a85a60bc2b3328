"""Which tokens training moved most: the probability of the token that a solution has, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_SHOWN = 20
MIN_POSITIONS = 5
"""Tokens that stand at fewer positions are left out: one odd place would put them first."""
MIN_CHANGE = 1e-6
"""Less is rounding: the two models' sums need not be taken in one order."""


@dataclass
class _Token:
    text: str
    num_positions: int = 0
    base: float = 0.0
    trained: float = 0.0
    total_variation: float = 0.0


class TokenChanges:
    """Sums by token id."""

    def __init__(self) -> None:
        self._tokens: dict[int, _Token] = {}

    def add(self, columns: Mapping[str, NDArray[Any]]) -> None:
        ids, first, place = np.unique(columns["token_id"], return_index=True, return_inverse=True)
        counts = np.bincount(place)
        base, trained, distance = (
            np.bincount(place, weights=columns[name].astype(np.float64))
            for name in ("base_probability", "trained_probability", "total_variation")
        )
        for number, token_id in enumerate(ids.tolist()):
            token = self._tokens.setdefault(token_id, _Token(str(columns["token_text"][first[number]])))
            token.num_positions += int(counts[number])
            token.base += float(base[number])
            token.trained += float(trained[number])
            token.total_variation += float(distance[number])

    def most_changed(self) -> dict[str, list[dict[str, Any]]]:
        """Tokens that rose and that fell most in mean probability."""
        rows: list[dict[str, Any]] = [
            {
                "token_id": token_id,
                "token_text": token.text,
                "num_positions": token.num_positions,
                "base_probability": token.base / token.num_positions,
                "trained_probability": token.trained / token.num_positions,
                "change": (token.trained - token.base) / token.num_positions,
                "total_variation": token.total_variation / token.num_positions,
            }
            for token_id, token in sorted(self._tokens.items())
            if token.num_positions >= MIN_POSITIONS
        ]
        rows.sort(key=lambda row: row["change"])
        return {
            "rose": [row for row in rows[: -NUM_SHOWN - 1 : -1] if row["change"] > MIN_CHANGE],
            "fell": [row for row in rows[:NUM_SHOWN] if row["change"] < -MIN_CHANGE],
        }
