"""One fork and one lock, token by token, and what all of their class come to by rank (Figure 5 on real weights)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forklock.analyze.classes import PositionClass
from forklock.analyze.clustered import ClusteredSums, Floats
from forklock.analyze.rows import TOKEN_STATS

SHOWN: tuple[PositionClass, ...] = ("fork", "lock")
MOVED_MORE_THAN = 0.75
"""Share of its class that moved less than the position shown, or just as far: one that moved, and no extreme."""
NUM_RANKS = 10
CONTEXT_CHARACTERS = 240
RULE = (
    "of the base model's forks (and of its locks), put in order by how far training moved them (total variation), the "
    f"one that {MOVED_MORE_THAN:.0%} of them do not exceed; of equals the first in the files"
)
_COLUMNS = (
    "prompt_id",
    "sample_index",
    "position",
    "token_text",
    "base_class",
    "trained_class",
    "total_variation",
    "support_size",
    "base_choices",
    "trained_choices",
    "base_kept_mass",
    "trained_kept_mass",
    "candidate_ids",
    "candidate_base_probabilities",
    "candidate_trained_probabilities",
)
TextOfToken = Callable[[int], str]


@dataclass(frozen=True)
class _Place:
    """A position of the class, in order by how far it moved."""

    total_variation: float
    shard: int
    row: int


def examples_in(shards: Sequence[Path], text_of: TextOfToken) -> dict[str, Any]:
    """Goes through the rows twice: once for the order, once more for the shards of the two that are shown."""
    places: dict[str, list[_Place]] = {name: [] for name in SHOWN}
    by_rank = _ByRank()
    for number, path in enumerate(shards):
        columns = _read(path)
        by_rank.add(columns)
        for row, (name, moved) in enumerate(zip(columns["base_class"], columns["total_variation"], strict=True)):
            if name in places:
                places[name].append(_Place(moved, number, row))
    chosen = {name: _chosen(found) for name, found in places.items()}
    return {
        "rule": RULE,
        **{
            name: None if place is None else _example(_read(shards[place.shard]), place, len(places[name]), text_of)
            for name, place in chosen.items()
        },
        "mass_by_base_rank": by_rank.as_json(),
    }


def _read(path: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = TOKEN_STATS.open(path).read(columns=list(_COLUMNS)).to_pydict()
    return found


def _chosen(places: list[_Place]) -> _Place | None:
    ordered = sorted(places, key=lambda place: place.total_variation)
    return ordered[math.ceil(MOVED_MORE_THAN * len(ordered)) - 1] if ordered else None


def _example(columns: dict[str, list[Any]], place: _Place, num_of_class: int, text_of: TextOfToken) -> dict[str, Any]:
    row = {name: values[place.row] for name, values in columns.items()}
    start = place.row - row["position"]
    candidates = sorted(
        zip(
            row.pop("candidate_ids"),
            row.pop("candidate_base_probabilities"),
            row.pop("candidate_trained_probabilities"),
            strict=True,
        ),
        key=lambda candidate: -candidate[1],
    )
    before = "".join(columns["token_text"][start : place.row])
    return {
        **row,
        "text_before": before[-CONTEXT_CHARACTERS:],
        "num_positions_of_class": num_of_class,
        "candidates": [
            {
                "rank": rank,
                "token_id": token_id,
                "token_text": text_of(token_id),
                "base_probability": base,
                "trained_probability": trained,
                "is_retained": rank <= row["support_size"],
            }
            for rank, (token_id, base, trained) in enumerate(candidates[:NUM_RANKS], start=1)
        ],
    }


class _ByRank:
    """Mean probability of the token at each rank of the base model, in both models, over all positions of a class."""

    def __init__(self) -> None:
        self._sums = ClusteredSums()
        self._num_ranks = NUM_RANKS

    def add(self, columns: dict[str, list[Any]]) -> None:
        base, trained = (columns[f"candidate_{name}_probabilities"] for name in ("base", "trained"))
        # `analyze.max_rank` may leave fewer; the same number everywhere, for it is a setting.
        self._num_ranks = min(self._num_ranks, *map(len, base))
        values = np.concatenate([_padded(base), _padded(trained)], axis=1)
        classes: NDArray[Any] = np.array(columns["base_class"])[:, None] == np.array(SHOWN)[None, :]
        starts = [row for row, position in enumerate(columns["position"]) if position == 0]
        for first, last in zip(starts, [*starts[1:], len(values)], strict=True):
            self._sums.add_solution(values[first:last], classes[first:last])

    def as_json(self) -> dict[str, Any]:
        return {name: [self._rank(group, rank) for rank in range(self._num_ranks)] for group, name in enumerate(SHOWN)}

    def _rank(self, group: int, rank: int) -> dict[str, Any]:
        trained = NUM_RANKS + rank
        return {
            "rank": rank + 1,
            "base": self._sums.mean(group, [rank]).as_json(),
            "trained": self._sums.mean(group, [trained]).as_json(),
            "difference": self._sums.mean(group, [trained, rank]).as_json(),
        }


def _padded(lists: Iterable[Sequence[float]]) -> Floats:
    return np.array([[*values[:NUM_RANKS], *([0.0] * (NUM_RANKS - len(values)))] for values in lists])
