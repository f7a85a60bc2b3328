"""A whole run folder, as a real run leaves it, in a second or two: made-up samples and verdicts, a real analysis."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from analyze_cases import held_out_samples
from report_cases import NUM_SAMPLES, demo, lifelike, write_point
from train_cases import make_sample

from forklock import recipes, running
from forklock.config import Recipe
from forklock.decoding import Decoding
from forklock.evaluate.points import PointPlan
from forklock.prompts.records import Prompt, write_prompts
from forklock.run_dir import Stage, StageDir, open_run, run_stages, write_text
from forklock.sampling import Sample, write_shard

NUM_PROBLEMS = 30
BASE_POINT, STUDENT_POINT = "evaluate/base-microworld-t0.7-k20-p0.8", "evaluate/student-microworld-t1.6-k20-p0.8"
HOSTILE = (
    "</script><script>window.harmed = 1</script><img src=x onerror='window.harmed = 2'>"
    "<svg onload=window.harmed=3> \" ' & <!-- \x00 \u202e gnp \u2066 \ufeff \u2028"
)
"""What a model may write. Lone surrogates are tried apart: Parquet holds none."""
CODE = "```python\ndef solve(xs):\n    return sorted(xs)\n```\n"
Bodies = dict[str, Callable[[StageDir], None]]


def report_recipe(model: Path, *overrides: str) -> Recipe:
    settings = ("evaluate.base_temperatures=[0.5]", "evaluate.student_temperatures=[1.0]", "evaluate.base_grid=none")
    return demo(f"model.path={model}", "report.num_samples_shown=4", *settings, *overrides)


def make_run(recipe: Recipe, trained: Path, run_dir: Path, *, text: str = CODE, last: str | None = None) -> Path:
    """Every stage of the recipe, or those up to `last`."""
    plan = running.plan_of(recipe)
    points = {stage: point for points in plan.points.values() for point, stage in points.items()}
    bodies: Bodies = {
        "prompts": partial(_prompts, text),
        **dict.fromkeys(plan.syntheses.values(), _synthesize),
        **{name: partial(_train, trained) for name in plan.trainings.values()},
        **{name: partial(_point, point, text) for name, point in points.items()},
    }
    stages = [_with_body(stage, bodies) for stage in plan.stages.values()]
    names = [stage.name for stage in stages]
    with open_run(run_dir) as run:
        write_text(run.path / "recipe.toml", recipes.to_toml(recipe))
        run_stages(run, stages[: len(stages) if last is None else names.index(last) + 1])
    return run_dir


def _with_body(stage: Stage, bodies: Bodies) -> Stage:
    return dataclasses.replace(stage, body=bodies.get(stage.name, stage.body))


def _prompts(text: str, stage_dir: StageDir) -> None:
    with stage_dir.new_file("prompts.parquet") as path:
        write_prompts(path, [Prompt(sample.prompt_id, f"Sort them. {text}") for sample in held_out_samples(20)])


def _synthesize(stage_dir: StageDir) -> None:
    with stage_dir.new_file("samples-00000.parquet") as path:
        write_shard(path, [*held_out_samples(20), make_sample(400, prompt_id="trained-on", with_target=False)])
    stage_dir.write_text("summary.json", "{}")


def _train(trained: Path, stage_dir: StageDir) -> None:
    with stage_dir.new_folder("model") as folder:
        shutil.copytree(trained, folder, dirs_exist_ok=True)
    stage_dir.write_text("curve.csv", "step,loss\n1,0.5\n2,0.4\n3,0.3\n")
    stage_dir.write_text("summary.json", json.dumps(training_summary()))


def training_summary(warning: str | None = None) -> dict[str, Any]:
    endings = {"base": 1.0, "trained": 1.0, "warning": None}
    health = {"base": 0.99, "trained": 0.98, "warning": warning, "endings": endings}
    return {
        "num_samples": 20,
        "num_trained_on": 18,
        "num_steps": 3,
        "target": "hard",
        "stop_health": health,
        "warnings": [warning] if warning else [],
    }


def _point(point: PointPlan, text: str, stage_dir: StageDir) -> None:
    write_point(point, lifelike(point, NUM_PROBLEMS), stage_dir)
    with stage_dir.new_file("samples-00000.parquet") as path:
        write_shard(path, answers(text))


def answers(text: str) -> Sequence[Sample]:
    return [
        Sample(
            prompt_id=f"problem-{problem:03d}",
            sample_index=index,
            prompt_token_ids=(1, 50, 51),
            token_ids=(52, 2),
            text=f"{text}\nproblem {problem}, answer {index}",
            finish_reason="stop",
            seed=index,
            decoding=Decoding(),
            engine="none",
            weights_digest="",
        )
        for problem in range(NUM_PROBLEMS)
        for index in range(NUM_SAMPLES)
    ]
