"""Evaluation: samples of both models, their verdicts, and pass@k with intervals.

`points` says what is evaluated, `stage` draws and grades one point, `session` holds what points share, `grading` gives
verdicts (`verdicts`), `metrics` counts them with `pass_at_k`, `budgets` and `intervals`, `report` puts points side by
side and `contests` students against the base, `words` and `figures` say and show what came out (`outcome` does all
three), `table` prints it. `foreign` and `grade_file` are for samples from elsewhere.
"""

from forklock.evaluate.points import PointPlan, plan_points
from forklock.evaluate.session import Session
from forklock.evaluate.stage import run
from forklock.evaluate.verdicts import Verdict, read_verdicts, verdicts_in

__all__ = ["PointPlan", "Session", "Verdict", "plan_points", "read_verdicts", "run", "verdicts_in"]
