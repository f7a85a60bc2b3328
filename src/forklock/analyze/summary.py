"""What the rows come to: the data of every figure and table, with standard errors clustered by solution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forklock.analyze.changes import TokenChanges
from forklock.analyze.classes import CLASSES, FORK_FROM, LOCK_BELOW, LOCK_KEPT_MASS, RULE
from forklock.analyze.clustered import ClusteredSums, Floats
from forklock.analyze.measure import Settings
from forklock.analyze.python_syntax import OUTSIDE_CODE
from forklock.analyze.rows import COLUMNS, MODELS, read_columns, solutions_of

Arrays = dict[str, NDArray[Any]]

MEASURES = (
    "probability",
    "entropy",
    "kept_mass",
    "support_compression",
    "within_support_reshaping",
    "alignment",
    "gate_entropy",
    "head_entropy",
    "tail_entropy",
    "top_mass",
    "own_support_size",
    "own_kept_mass",
    "choices",
)
"""Columns of either model whose means are given, by class of position and by Python token class."""
SHARED_MEASURES = ("support_size", "loss_constant", "total_variation")
TAIL_EDGES = (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 1e-4, 0.0)
"""Bins of Figure 6d, by the mass outside the top 20: from all of it down to none."""
_UNUSED = ("candidate_ids", "candidate_base_probabilities", "candidate_trained_probabilities", "position")


class Summary:
    """Takes shards one by one and keeps sums."""

    def __init__(self, settings: Settings, eval_temperature: float) -> None:
        self._settings = settings
        self._temperatures = [decoding.temperature for decoding in settings.evals]
        self._own_place = self._temperatures.index(eval_temperature)
        self._sums = {name: ClusteredSums() for name in ("curves", "classes", *MODELS)}
        self._by_syntax: dict[str, ClusteredSums] = {}
        self._moves: Counter[tuple[str, str, str]] = Counter()
        self._tokens = TokenChanges()
        self._num_positions = self._num_solutions = self._num_without_code = 0

    def add_shard(self, path: Path) -> None:
        columns = read_columns(path, [name for name in COLUMNS if name not in _UNUSED] + ["position"])
        moves = zip(columns["syntax"], columns["base_class"], columns["trained_class"], strict=True)
        self._moves.update((str(syntax), str(before), str(after)) for syntax, before, after in moves)
        for rows in solutions_of(columns):
            self._add_solution({name: column[rows] for name, column in columns.items()})

    def _add_solution(self, of: Arrays) -> None:
        num = len(of["syntax"])
        everywhere = np.ones((num, 1), dtype=np.bool_)
        self._num_positions += num
        self._num_solutions += 1
        self._num_without_code += OUTSIDE_CODE.issuperset(of["syntax"].tolist())
        self._tokens.add_solution(of)
        measured = _measures(of)
        by_class = np.stack([of["base_class"] == name for name in CLASSES], axis=1)
        self._sums["classes"].add_solution(measured, np.concatenate([everywhere, by_class], axis=1))
        for name in sorted(set(of["syntax"].tolist())):
            is_of_it = (of["syntax"] == name)[:, None]
            self._by_syntax.setdefault(name, ClusteredSums()).add_solution(measured, is_of_it)
        self._sums["curves"].add_solution(_stack(_curves(of)), everywhere)
        for model in MODELS:
            values = [of[f"{model}_entropy_after_truncation"][:, self._own_place], of[f"{model}_top_mass"]]
            self._sums[model].add_solution(_stack(values), _tail_bins(of[f"{model}_top_mass"]))

    def as_json(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "num_solutions": self._num_solutions,
            "num_solutions_without_code": self._num_without_code,
            "num_positions": self._num_positions,
            "train_decoding": asdict(settings.train),
            "eval_decoding": asdict(settings.evals[self._own_place]),
            "eval_temperatures": self._temperatures,
            "ranks": list(settings.rank_marks),
            "rule": {
                "words": RULE,
                "fork_from": FORK_FROM,
                "lock_below": LOCK_BELOW,
                "lock_kept_mass": LOCK_KEPT_MASS,
            },
            "figures": self._figures(),
            "classes": self._classes(),
            "moves": self._moves_of(None),
            "syntax": [self._syntax(name) for name in self._syntax_order()],
            "most_changed_tokens": self._tokens.most_changed(),
        }

    def _figures(self) -> dict[str, Any]:
        curves = self._sums["curves"]
        num_ranks, num_temperatures = len(self._settings.rank_marks), len(self._temperatures)
        starts = np.cumsum([0, num_ranks, num_ranks, *(4 * [num_temperatures])])

        def points(key: str, values: Sequence[float], family: int) -> list[dict[str, Any]]:
            first, second = int(starts[family]), int(starts[family + 1])
            return [{key: x, **_pair(curves, 0, first + i, second + i)} for i, x in enumerate(values)]

        return {
            "cumulative_mass": points("rank", self._settings.rank_marks, 0),
            "surviving_tokens": points("temperature", self._temperatures, 2),
            "entropy_after_truncation": points("temperature", self._temperatures, 4),
            "entropy_by_top_mass": [self._tail_bin(group) for group in range(len(TAIL_EDGES) - 1)],
        }

    def _tail_bin(self, group: int) -> dict[str, Any]:
        row: dict[str, Any] = {"top_mass_from": 1 - TAIL_EDGES[group], "top_mass_to": 1 - TAIL_EDGES[group + 1]}
        for model in MODELS:
            sums = self._sums[model]
            row[model] = {
                "num_positions": sums.num_positions(group),
                "num_solutions": sums.num_solutions(group),
                **sums.mean(group, [0]).as_json(),
                "mean_top_mass": sums.mean(group, [1]).mean,
            }
        return row

    def _classes(self) -> dict[str, Any]:
        sums = self._sums["classes"]
        return {name: _group(sums, group) for group, name in enumerate(("all", *CLASSES))}

    def _syntax(self, name: str) -> dict[str, Any]:
        return {"syntax": name, **_group(self._by_syntax[name], 0), "moves": self._moves_of(name)}

    def _syntax_order(self) -> list[str]:
        return sorted(self._by_syntax, key=lambda name: (-self._by_syntax[name].num_positions(0), name))

    def _moves_of(self, syntax: str | None) -> dict[str, dict[str, int]]:
        """Positions by class before and, within, after."""
        wanted = list(self._by_syntax) if syntax is None else [syntax]
        return {
            before: {after: sum(self._moves[name, before, after] for name in wanted) for after in CLASSES}
            for before in CLASSES
        }


def _measures(of: Arrays) -> Floats:
    """Of the base model, of the trained one, then what belongs to both."""
    columns = [of[f"{model}_{name}"] for model in MODELS for name in MEASURES]
    columns += [of[f"{model}_class"] == name for model in MODELS for name in ("fork", "lock")]
    columns += [of[name] for name in SHARED_MEASURES]
    columns += [of["base_top_id"] != of["trained_top_id"]]
    columns += [of["trained_rank"] < of["base_rank"], of["trained_rank"] > of["base_rank"]]
    return _stack(columns)


def _group(sums: ClusteredSums, group: int) -> dict[str, Any]:
    """The means over a group of positions, in the order of `_measures`."""
    num, shares = len(MEASURES), 2 * len(MEASURES)
    shared = shares + 4
    alone = (*SHARED_MEASURES, "top_token_changed", "drawn_token_rose_in_rank", "drawn_token_fell_in_rank")
    return {
        "num_positions": sums.num_positions(group),
        "num_solutions": sums.num_solutions(group),
        **{name: _pair(sums, group, i, num + i) for i, name in enumerate(MEASURES)},
        "share_of_forks": _pair(sums, group, shares, shares + 2),
        "share_of_locks": _pair(sums, group, shares + 1, shares + 3),
        **{name: sums.mean(group, [shared + i]).as_json() for i, name in enumerate(alone)},
    }


def _pair(sums: ClusteredSums, group: int, base: int, trained: int) -> dict[str, Any]:
    return {
        "base": sums.mean(group, [base]).as_json(),
        "trained": sums.mean(group, [trained]).as_json(),
        "difference": sums.mean(group, [trained, base]).as_json(),
    }


def _curves(of: Arrays) -> list[NDArray[Any]]:
    names = ("mass_by_rank", "survivors", "entropy_after_truncation")
    return [column for name in names for model in MODELS for column in of[f"{model}_{name}"].T]


def _stack(columns: Sequence[NDArray[Any]]) -> Floats:
    return np.stack([column.astype(np.float64) for column in columns], axis=1)


def _tail_bins(top_mass: NDArray[Any]) -> NDArray[np.bool_]:
    """Each position in one bin; the upper edge of the tail's mass belongs to a bin, the last also has 0."""
    edges = np.array(TAIL_EDGES)
    tail = np.clip(1.0 - top_mass.astype(np.float64), 0.0, 1.0)[:, None]
    is_in: NDArray[np.bool_] = (tail <= edges[:-1]) & ((tail > edges[1:]) | (edges[1:] == 0.0))
    return is_in
