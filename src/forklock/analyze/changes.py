"""Which tokens training moved most: the probability of the token that a solution has, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forklock.analyze.clustered import ClusteredSums

NUM_SHOWN = 20
MIN_POSITIONS = 5
"""Tokens that stand at fewer positions are left out: one odd place would put them first."""
MIN_CHANGE = 1e-6
"""Less is rounding: the two models' sums need not be taken in one order."""
_MEASURES = ("base_probability", "trained_probability", "total_variation")


class TokenChanges:
    """Sums by token id, solution by solution."""

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}
        self._sums: dict[int, ClusteredSums] = {}

    def add_solution(self, columns: Mapping[str, NDArray[Any]]) -> None:
        values_PM = np.stack([columns[name].astype(np.float64) for name in _MEASURES], axis=1)
        ids = columns["token_id"]
        for token_id, first in zip(*(found.tolist() for found in np.unique(ids, return_index=True)), strict=True):
            self._texts.setdefault(token_id, str(columns["token_text"][first]))
            self._sums.setdefault(token_id, ClusteredSums()).add_solution(values_PM, (ids == token_id)[:, None])

    def most_changed(self) -> dict[str, list[dict[str, Any]]]:
        """Tokens that rose and that fell most in mean probability."""
        rows: list[dict[str, Any]] = []
        for token_id, sums in sorted(self._sums.items()):
            if (num_positions := sums.num_positions(0)) < MIN_POSITIONS:
                continue
            change = sums.mean(0, [1, 0])
            base, trained, moved = (sums.mean(0, [measure]).mean for measure in range(3))
            rows.append(
                {
                    "token_id": token_id,
                    "token_text": self._texts[token_id],
                    "num_positions": num_positions,
                    "base_probability": base,
                    "trained_probability": trained,
                    "change": change.mean,
                    "change_standard_error": change.standard_error,
                    "total_variation": moved,
                }
            )
        rows.sort(key=lambda row: row["change"])
        return {
            "rose": [row for row in rows[: -NUM_SHOWN - 1 : -1] if row["change"] > MIN_CHANGE],
            "fell": [row for row in rows[:NUM_SHOWN] if row["change"] < -MIN_CHANGE],
        }
