"""The frozen model's evaluation on a cluster, from prompts to verdicts, against one process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from benchmark_cases import livecodebench_row, write_jsonl
from cluster_cases import recipe_for
from raylets import Raylets

from forklock import running
from forklock.evaluate.verdicts import Verdict, verdicts_in
from forklock.sampling import samples_in

TinyModel = Callable[[str], Path]


@pytest.mark.slow
def test_points_are_the_same_samples_and_verdicts(cluster: Raylets, tiny_model: TinyModel, tmp_path: Path) -> None:
    rows = [livecodebench_row(name, [("1 2\n", "3\n"), ("3 4\n", "7\n")]) for name in ("one", "two")]
    write_jsonl(tmp_path / "test6.jsonl", rows)
    decoding = {"temperature": 1.3, "top_k": 20, "top_p": 0.9}
    evaluate = {
        "benchmarks": ["livecodebench-v6"],
        "data_paths": {"livecodebench-v6": str(tmp_path / "test6.jsonl")},
        "base_decoding": decoding,
        "student_decoding": decoding,
        "num_samples_per_problem": 10,
        "max_sequence_tokens": 500,
    }
    recipe = recipe_for(tmp_path, tiny_model("qwen3"), evaluate=evaluate)
    running.run_evaluation(recipe, tmp_path / "alone", "base")

    running.run_evaluation(cluster.take(recipe), tmp_path / "cluster", "base")
    [alone], [together] = ((tmp_path / name / "evaluate").glob("base-*") for name in ("alone", "cluster"))
    assert sorted(samples_in(alone), key=lambda sample: sample.key) == sorted(
        samples_in(together), key=lambda sample: sample.key
    )
    assert verdicts(alone) == verdicts(together)
    assert len(verdicts(alone)) == 20


def verdicts(folder: Path) -> dict[tuple[str, int], Verdict]:
    return {verdict.key: replace(verdict, cpu_s=0.0, peak_memory_bytes=0) for verdict in verdicts_in(folder)}
