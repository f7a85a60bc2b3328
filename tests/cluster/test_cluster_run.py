"""The demo with hard targets, from its prompts to the comparison, on a cluster and in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cluster_cases import assert_same_training
from raylets import Raylets
from sandbox_cases import open_sandbox

from forklock import recipes
from forklock.microworld.rows import write_problems
from forklock.run_dir import write_text

SETTINGS = (
    "prompts.limit=32",
    "engine.strict=true",
    "train.epochs=none",
    "train.steps=3",
    "train.warmup_steps=1",
    "train.checkpoint_every_steps=2",
    "evaluate.num_samples_per_problem=4",
    "evaluate.pass_k=[1, 2]",
    "evaluate.base_temperatures=[]",
    "evaluate.student_temperatures=[]",
    "evaluate.base_grid=none",
    "cluster.num_training_workers=1",
)


@pytest.mark.slow
def test_the_demo_comes_to_the_same_on_a_cluster(cluster: Raylets, tmp_path: Path) -> None:
    with open_sandbox():
        pass  # or skip
    problems = tmp_path / "problems.jsonl"
    write_problems(problems, "eval", 3, 12)
    demo = recipes.load(["demo"], [*SETTINGS, f"evaluate.data_paths.microworld={problems}"])
    write_text(tmp_path / "recipe.toml", recipes.to_toml(demo.model_copy(update={"students": {}})))

    def evaluate(name: str, *options: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "forklock", "evaluate", str(tmp_path / "recipe.toml"), "--json"]
        command += ["--run-dir", str(tmp_path / name), "--parallel", "1", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        assert done.returncode == 0, done.stderr
        outcome: dict[str, Any] = json.loads(done.stdout.replace(str(tmp_path / name), "RUN"))
        return outcome

    alone = evaluate("alone")
    assert evaluate("together", "--cluster", cluster.address) == alone
    assert_same_training(tmp_path / "alone" / "train", tmp_path / "together" / "train")
    assert alone["benchmarks"]["microworld"]["is_isolated"]
