"""Who is put against whom: each student against the base as it is usually decoded, and against the base at its best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from forklock.evaluate.metrics import ALL, Point, Pool, Scored, compare
from forklock.evaluate.points import PointPlan
from forklock.students import BASE

Rival = Literal["usual", "temperature", "everything"]
"""The base at its own decoding; at the best temperature with that decoding's truncation; at its best of all."""
Form = Literal["own", "best"]
"""A student at its own decoding, or at the best of all that it was decoded at."""


@dataclass(frozen=True)
class Contest:
    """One student against one rival at one k. The best are the best at that k over all problems of the benchmark, so
    that no other point of the base is above the one that stands for it."""

    model: str
    k: int
    student: Form
    base: Rival
    student_stage: str
    base_stage: str
    num_student_points: int
    """That the student's was chosen from; 1 where it was not chosen."""
    num_base_points: int
    differences: dict[str, dict[str, Any] | None]
    """Student minus base, by group; None where undefined."""


@dataclass(frozen=True)
class PooledContest:
    """Replicates of a student, each at its own decoding, against one rival at one k."""

    k: int
    base: Rival
    base_stage: str
    num_base_points: int
    differences: dict[str, dict[str, Any] | None]
    """Mean of the students minus base, by group; None where undefined."""


@dataclass(frozen=True)
class Field:
    """All points of one benchmark that are complete."""

    points: Mapping[PointPlan, Point]
    stages: Mapping[PointPlan, str]
    base: PointPlan
    """At its own decoding."""
    students: Mapping[str, PointPlan]
    """Each at its own."""
    pass_k: Sequence[int]

    def contests(self) -> list[dict[str, Any]]:
        """As JSON. Without a sweep there is nothing to choose from, and no best."""
        return [
            asdict(contest)
            for k in self.pass_k
            for name, own in self.students.items()
            for contest in self._contests_of(name, own, k)
        ]

    def pooled(self, pool: Pool) -> list[dict[str, Any]]:
        """The same of replicates taken together, as JSON."""
        return [
            asdict(PooledContest(k, rival, self.stages[base], num_points, self._differences(base, pool, k)))
            for k in self.pass_k
            for rival, base, num_points in self._rivals(k)
        ]

    def _differences(self, base: PointPlan, student: Scored, k: int) -> dict[str, dict[str, Any] | None]:
        by_group = compare(self.points[base], student, [k])
        return {group: by_k[f"pass@{k}"] for group, by_k in by_group.items()}

    def _contests_of(self, name: str, own: PointPlan, k: int) -> Iterator[Contest]:
        found: dict[tuple[PointPlan, PointPlan], dict[str, dict[str, Any] | None]] = {}
        rivals = list(self._rivals(k))
        for form, student, num_student_points in self._forms(name, own, k):
            # A chosen point is put against chosen ones, where there are any.
            for rival, base, num_base_points in rivals if form == "own" else rivals[1:] or rivals:
                if (student, base) not in found:
                    found[student, base] = self._differences(base, self.points[student], k)
                yield Contest(
                    model=name,
                    k=k,
                    student=form,
                    base=rival,
                    student_stage=self.stages[student],
                    base_stage=self.stages[base],
                    num_student_points=num_student_points,
                    num_base_points=num_base_points,
                    differences=found[student, base],
                )

    def _forms(self, name: str, own: PointPlan, k: int) -> Iterator[tuple[Form, PointPlan, int]]:
        yield "own", own, 1
        plans = [plan for plan in self.points if plan.model == name]
        if len(plans) > 1:
            yield "best", best_of(self.points, plans, k), len(plans)

    def _rivals(self, k: int) -> Iterator[tuple[Rival, PointPlan, int]]:
        yield "usual", self.base, 1
        plans = [plan for plan in self.points if plan.model == BASE]
        alike = [plan for plan in plans if _truncation(plan) == _truncation(self.base)]
        if len(alike) > 1:
            yield "temperature", best_of(self.points, alike, k), len(alike)
        if len(plans) > len(alike):
            yield "everything", best_of(self.points, plans, k), len(plans)


def best_of(points: Mapping[PointPlan, Point], plans: Sequence[PointPlan], k: int) -> PointPlan:
    """By mean pass@k over all problems; of equals the first."""
    return max(plans, key=lambda plan: _score(points[plan], k))


def _score(point: Point, k: int) -> float:
    values = point.pass_at(k)
    return -1.0 if values is None else float(values[point.groups[ALL]].mean())


def _truncation(plan: PointPlan) -> tuple[int, float]:
    return plan.decoding.top_k, plan.decoding.top_p
