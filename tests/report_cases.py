"""Evaluations with made-up verdicts, in run folders as a real one leaves them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Container, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from forklock import recipes, running
from forklock.benchmarks import VerdictName
from forklock.config import Recipe
from forklock.evaluate.outcome import conclude, draw
from forklock.evaluate.points import PointPlan
from forklock.evaluate.stage import SUMMARY_FILE
from forklock.evaluate.verdicts import Verdict, write_verdicts
from forklock.run_dir import Stage, StageDir, open_run, run_stages

NUM_SAMPLES = 10
DIFFICULTIES = ("easy", "medium", "hard")
Counts = Callable[[PointPlan], list[int]]
"""How many of ten samples pass, problem by problem."""


def demo(*overrides: str) -> Recipe:
    """A base at six temperatures and on a grid of two truncations by five, two students at four temperatures."""
    return recipes.load(["demo"], [f"evaluate.num_samples_per_problem={NUM_SAMPLES}", *overrides])


def concluded(recipe: Recipe, run_dir: Path, counts: Counts, models: Container[str] | None = None) -> dict[str, Any]:
    """What `forklock evaluate` gives, with the points of all models or of these alone."""
    points = running.plan_of(recipe).points
    plans = {
        stage: plan
        for model, stages in points.items()
        if models is None or model in models
        for plan, stage in stages.items()
    }
    leave_points(run_dir, plans, counts)
    return draw(conclude(recipe, points, run_dir), run_dir)


def leave_points(run_dir: Path, plans: Mapping[str, PointPlan], counts: Counts) -> None:
    """Complete stages of these names, with verdicts."""
    stages = [
        Stage(name=name, body=partial(write_point, plan, counts(plan)), config={"counts": counts(plan)})
        for name, plan in plans.items()
    ]
    with open_run(run_dir) as run:
        run_stages(run, stages)


def write_point(plan: PointPlan, counts: list[int], stage_dir: StageDir) -> None:
    verdicts = [
        _verdict(plan, problem, index, passed=index < num_passed)
        for problem, num_passed in enumerate(counts)
        for index in range(NUM_SAMPLES)
    ]
    with stage_dir.new_file("verdicts-00000.parquet") as path:
        write_verdicts(path, verdicts)
    stage_dir.write_text(SUMMARY_FILE, json.dumps({"notes": []}))


def _verdict(plan: PointPlan, problem: int, index: int, *, passed: bool) -> Verdict:
    """Students write half as many tokens again."""
    return Verdict(
        problem_id=f"problem-{problem:03d}",
        sample_index=index,
        verdict=VerdictName.PASSED if passed else VerdictName.WRONG_ANSWER,
        difficulty=DIFFICULTIES[problem % 3],  # type: ignore[arg-type]
        failing_test=None if passed else 0,
        expected="",
        got="",
        cause="",
        num_tests_run=1,
        num_tests_passed=None,
        cpu_s=0.01,
        peak_memory_bytes=1,
        is_isolated=True,
        code_hash=hashlib.sha256(f"{problem} {index}".encode()).hexdigest(),
        num_code_blocks=1,
        num_tokens=100 if plan.model == "base" else 150,
        finish_reason="stop",
    )


def lifelike(plan: PointPlan, num_problems: int = 120) -> list[int]:
    """A base that a hotter decoding soon hurts, students that bear it."""
    temperature, top_p = plan.decoding.temperature, plan.decoding.top_p
    peak, width, height = {"base": (0.8, 1.0, 0.0), "student": (1.4, 1.6, 0.9), "soft": (1.3, 1.5, 0.6)}[plan.model]
    level = height - ((temperature - peak) / width) ** 2 - 4 * (top_p - 0.8)
    generator = np.random.default_rng(round(1000 * temperature + 17 * top_p) + len(plan.model))
    ease = 1.2 - 1.3 * (np.arange(num_problems) % 3) + 0.8 * np.sin(np.arange(num_problems))
    found: list[int] = generator.binomial(NUM_SAMPLES, 1 / (1 + np.exp(-(level + ease)))).tolist()
    return found


def check_layout(figure: Figure, name: str) -> None:
    """No text lies over another, or beyond an edge."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    outside = {id(label) for axes in figure.axes for label in _labels_out_of_view(axes)}
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and id(text) not in outside]
    boxes = [(text.get_text(), text.get_window_extent(canvas.get_renderer()).padded(-1)) for text in texts]
    boxes = [(text, box) for text, box in boxes if box.width > 0 and box.height > 0]
    for index, (text, box) in enumerate(boxes):
        assert box.x0 >= 0, (name, text)
        assert box.x1 <= figure.bbox.width, (name, text)
        for other, other_box in boxes[index + 1 :]:
            assert not box.overlaps(other_box), (name, text, other)


def _labels_out_of_view(axes: Axes) -> Iterator[Text]:
    """Of ticks beyond the limits, which are not drawn."""
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        yield from (tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high)
