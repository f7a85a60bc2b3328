"""Two rounds with a real small model: the second samples from the first one's student, and trains it further."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from test_synthesis import write_recipe

from forklock import recipes, running
from forklock.config import EngineConfig, ModelConfig
from forklock.engines import open_engine
from forklock.export import export_samples
from forklock.run_dir import read_manifest
from forklock.sampling import samples_in


def digest_of(folder: Path) -> str | None:
    with open_engine(EngineConfig(), ModelConfig(path=str(folder)), max_sequence_tokens=64) as engine:
        return engine.weights_digest()


@pytest.mark.slow
def test_the_student_of_one_round_is_the_frozen_model_of_the_next(
    tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = {"synthesize.num_samples_per_prompt": 1, "train.steps": 2, "train.warmup_steps": 0, "rounds": 2}
    extra = {"train.dtype": "float32", "train.learning_rate": 1e-3, "synthesize.drop_degenerate": False}
    recipe = recipes.load([str(write_recipe(tmp_path, tiny_model("qwen3"), **settings, **extra))])
    running.run_until(recipe, tmp_path / "run", "train")
    run = tmp_path / "run"
    first, second = (
        {sample.weights_digest for sample in samples_in(run / name)} for name in ("synthesize", "synthesize-round2")
    )
    assert first == {digest_of(tiny_model("qwen3"))}
    assert second == {digest_of(run / "train" / "model")}
    assert first != second
    trained_on = read_manifest(run / "train-round2" / "manifest.json").upstream
    assert trained_on == {
        "synthesize": read_manifest(run / "synthesize-round2" / "manifest.json").digest,
        "model": read_manifest(run / "train" / "manifest.json").digest,
    }
    for number, folder in ((None, "synthesize-round2"), (1, "synthesize"), (2, "synthesize-round2")):
        out = tmp_path / f"round-{number}"
        export_samples(run, "trl", out, number)
        rows = [json.loads(line)["input_ids"] for line in out.read_text(encoding="utf-8").splitlines()]
        assert rows == [[*one.prompt_token_ids, *one.token_ids] for one in samples_in(run / folder)]
    assert digest_of(run / "train-round2" / "model") not in (*first, *second)
    assert [stage.state for stage in running.read_status(run).stages[:5]] == ["done"] * 5
