"""The shipped base through every stage that works: nothing on the way is told that it is small."""

from __future__ import annotations

from pathlib import Path

import pytest
from sandbox_cases import open_sandbox

from forklock import recipes, running
from forklock.evaluate.report import gather
from forklock.microworld.rows import write_problems
from forklock.sampling import samples_in

NUM_PROMPTS, NUM_PROBLEMS, NUM_SAMPLES = 24, 12, 4


@pytest.mark.slow
def test_the_demo_s_recipe_runs_from_prompts_to_pass_at_k(tmp_path: Path) -> None:
    with open_sandbox():
        pass  # or skip
    problems = tmp_path / "problems.jsonl"
    write_problems(problems, "eval", 3, NUM_PROBLEMS)
    recipe = recipes.load(
        ["demo"],
        [
            f"prompts.limit={NUM_PROMPTS}",
            "train.epochs=none",
            "train.steps=3",
            "train.warmup_steps=1",
            f"evaluate.data_paths.microworld={problems}",
            f"evaluate.num_samples_per_problem={NUM_SAMPLES}",
            "evaluate.pass_k=[1, 2]",
            "evaluate.base_temperatures=[]",
            "evaluate.student_temperatures=[]",
            "evaluate.base_grid=none",
        ],
    )
    running.run_evaluation(recipe, tmp_path / "run")
    samples = list(samples_in(tmp_path / "run" / "synthesize"))
    assert len(samples) == NUM_PROMPTS
    assert all(sample.text.startswith("```python\ndef solve(") for sample in samples)
    assert sum(sample.finish_reason == "stop" for sample in samples) >= NUM_PROMPTS - 1
    report = gather(recipe, running.plan_of(recipe).points, tmp_path / "run")["benchmarks"]["microworld"]
    assert report["is_isolated"]
    assert [point["model"] for point in report["points"]] == ["base", "student", "soft"]
    for point in report["points"]:
        assert (point["num_problems"], point["num_samples_per_problem"]) == (NUM_PROBLEMS, NUM_SAMPLES)
        assert 0 < point["verdicts"]["passed"] < NUM_PROBLEMS * NUM_SAMPLES
        assert point["mean_code_blocks"] > 0.9
