"""What the verdicts of one evaluation point say, and what those of two say about their difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forklock.benchmarks import DIFFICULTIES, VerdictName
from forklock.errors import ForklockError
from forklock.evaluate.budgets import Budget, pass_at_samples
from forklock.evaluate.intervals import interval, paired_difference
from forklock.evaluate.pass_at_k import Array, check_even, pass_at_k
from forklock.evaluate.verdicts import Verdict
from forklock.seeds import derive_seed

ALL = "all"
SEED = derive_seed("forklock intervals")
"""Of every interval: the same verdicts give the same interval, whatever the recipe's seed."""


class MetricsError(ForklockError):
    """Verdicts that can't be counted or compared."""


class Scored(Protocol):
    """Anything with a pass@k for each of its problems."""

    @property
    def title(self) -> str: ...

    @property
    def problem_ids(self) -> list[str]: ...

    @property
    def groups(self) -> dict[str, NDArray[np.bool_]]: ...

    def pass_at(self, k: int) -> Array | None: ...


@dataclass(frozen=True)
class Point:
    """All verdicts of one evaluation point, problem by problem, each with the same number of samples."""

    title: str
    by_problem: dict[str, list[Verdict]]
    num_samples: int
    """Of each problem."""

    @classmethod
    def of(cls, title: str, verdicts: Iterable[Verdict]) -> Point:
        by_problem: dict[str, list[Verdict]] = {}
        for verdict in verdicts:
            by_problem.setdefault(verdict.problem_id, []).append(verdict)
        if not by_problem:
            raise MetricsError(f"{title}: no verdicts")
        num_samples = check_even({name: len(group) for name, group in by_problem.items()}, title)
        ordered = {
            name: sorted(by_problem[name], key=lambda verdict: verdict.sample_index) for name in sorted(by_problem)
        }
        return cls(title, ordered, num_samples)

    @property
    def problem_ids(self) -> list[str]:
        return list(self.by_problem)

    @cached_property
    def groups(self) -> dict[str, NDArray[np.bool_]]:
        """`all`, then each difficulty that occurs, as masks over problems."""
        difficulties = [group[0].difficulty for group in self.by_problem.values()]
        masks = {ALL: np.ones(len(difficulties), dtype=np.bool_)}
        for name in DIFFICULTIES:
            if name in difficulties:
                masks[name] = np.array([difficulty == name for difficulty in difficulties])
        return masks

    @cached_property
    def passed(self) -> NDArray[np.bool_]:
        """Problems by samples."""
        return np.array([[verdict.passed for verdict in group] for group in self.by_problem.values()])

    @cached_property
    def num_tokens(self) -> NDArray[np.int64] | None:
        """Problems by samples; None where samples came without their numbers of tokens."""
        rows = [[verdict.num_tokens for verdict in group] for group in self.by_problem.values()]
        if any(number is None for row in rows for number in row):
            return None
        return np.array(rows, dtype=np.int64)

    @property
    def is_isolated(self) -> bool:
        return all(verdict.is_isolated for group in self.by_problem.values() for verdict in group)

    def pass_at(self, k: int) -> Array | None:
        """Of each problem; None where k is above the number of samples."""
        return pass_at_k(self.num_samples, self.passed.sum(axis=1), k)


@dataclass(frozen=True)
class Pool:
    """Points of models that differ in the seed of their training alone, each a replicate of the others.

    A problem's value is the mean over them. Intervals are over problems: they say how far other problems would move
    the mean of *these* models, and not how far other seeds would.
    """

    title: str
    points: Sequence[Point]

    def __post_init__(self) -> None:
        if any(point.problem_ids != self.problem_ids for point in self.points):
            raise MetricsError(f"{self.title}: models with different problems, whose results can't be pooled")

    @property
    def problem_ids(self) -> list[str]:
        return self.points[0].problem_ids

    @property
    def groups(self) -> dict[str, NDArray[np.bool_]]:
        return self.points[0].groups

    def pass_at(self, k: int) -> Array | None:
        values = [found for point in self.points if (found := point.pass_at(k)) is not None]
        return np.mean(values, axis=0, dtype=np.float64) if len(values) == len(self.points) else None


def scores(scored: Scored, pass_k: Sequence[int]) -> dict[str, Any]:
    """pass@k with intervals, by group, as JSON."""
    return {
        group: {
            "num_problems": int(mask.sum()),
            **{f"pass@{k}": _estimate(scored.pass_at(k), mask) for k in pass_k},
        }
        for group, mask in scored.groups.items()
    }


def describe(point: Point, pass_k: Sequence[int]) -> dict[str, Any]:
    """Everything that is reported about one point, as JSON."""
    verdicts = [verdict for group in point.by_problem.values() for verdict in group]
    num_verdicts = Counter(verdict.verdict for verdict in verdicts)
    tokens = point.num_tokens
    passing = [len({verdict.code_hash for verdict in group if verdict.passed}) for group in point.by_problem.values()]
    passed_tokens = None if tokens is None or not point.passed.any() else tokens[point.passed].mean()
    return {
        "num_problems": len(point.by_problem),
        "num_samples_per_problem": point.num_samples,
        "pass_at_k": scores(point, pass_k),
        "verdicts": {name.value: num_verdicts[name] for name in VerdictName if num_verdicts[name]},
        "share_without_code": num_verdicts[VerdictName.NO_CODE] / len(verdicts),
        "share_at_limit": _share_at_limit(verdicts),
        "mean_share_of_tests_passed": _mean_share_of_tests(verdicts),
        "mean_distinct_passing_programs": sum(passing) / len(passing),
        "mean_code_blocks": sum(verdict.num_code_blocks for verdict in verdicts) / len(verdicts),
        "mean_tokens": None if tokens is None else float(tokens.mean()),
        "mean_tokens_of_passed": None if passed_tokens is None else float(passed_tokens),
        "is_isolated": point.is_isolated,
    }


def compare(first: Scored, second: Scored, pass_k: Sequence[int]) -> dict[str, Any]:
    """The second minus the first over the same problems, for each group and each k; None where one is undefined."""
    if first.problem_ids != second.problem_ids:
        raise MetricsError(f"{first.title} and {second.title}: not the same problems, so that no pairs can be made")
    found: dict[str, Any] = {}
    for group, mask in first.groups.items():
        found[group] = {}
        for k in pass_k:
            before, after = first.pass_at(k), second.pass_at(k)
            is_defined = before is not None and after is not None
            found[group][f"pass@{k}"] = (
                paired_difference(before[mask], after[mask], SEED).as_json() if is_defined else None  # type: ignore[index]
            )
    return found


def compare_at_budgets(first: Point, second: Point, pass_k: Sequence[int]) -> dict[str, Any] | None:
    """Both with as many tokens as k samples of the terser take; None where numbers of tokens are missing."""
    if first.num_tokens is None or second.num_tokens is None:
        return None
    found: dict[str, Any] = {}
    for k in pass_k:
        budget = Budget.matched(k, float(first.num_tokens.mean()), float(second.num_tokens.mean()))
        one = pass_at_samples(first.num_samples, first.passed.sum(axis=1), budget.first_samples)
        other = pass_at_samples(second.num_samples, second.passed.sum(axis=1), budget.second_samples)
        found[f"k={k}"] = {
            "budget_tokens": budget.tokens,
            "first_samples": budget.first_samples,
            "second_samples": budget.second_samples,
            "first": None if one is None else interval(one, SEED).as_json(),
            "second": None if other is None else interval(other, SEED).as_json(),
            "difference": None if one is None or other is None else paired_difference(one, other, SEED).as_json(),
        }
    return found


def _estimate(values: Array | None, mask: NDArray[np.bool_]) -> dict[str, float] | None:
    return None if values is None else interval(values[mask], SEED).as_json()


def _mean_share_of_tests(verdicts: Sequence[Verdict]) -> float | None:
    """Of a sample's tests, none of one without code; None unless all tests of every program ran."""
    shares = []
    for verdict in verdicts:
        if verdict.verdict is VerdictName.NO_CODE:
            shares.append(0.0)
        elif verdict.num_tests_passed is None:
            return None
        else:
            shares.append(verdict.num_tests_passed / verdict.num_tests_run)
    return sum(shares) / len(shares)


def _share_at_limit(verdicts: Sequence[Verdict]) -> float | None:
    if not all(verdict.finish_reason for verdict in verdicts):
        return None
    return sum(verdict.finish_reason == "length" for verdict in verdicts) / len(verdicts)
