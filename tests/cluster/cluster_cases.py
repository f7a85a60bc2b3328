"""Recipes that run on a cluster and alone, and commands that run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import losses
import torch
from raylets import raylets
from safetensors.torch import load_file

from forklock import recipes
from forklock.config import Recipe
from forklock.run_dir import write_text
from forklock.sampling import Sample, samples_in

NUM_PROMPTS, NUM_SAMPLES = 60, 2


def recipe_for(folder: Path, model: Path, **settings: Any) -> Recipe:
    """Sections as keyword arguments, or single keys of them as `section__key`."""
    questions = [{"question": f"Write a program that prints {number}."} for number in range(NUM_PROMPTS)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
    values: dict[str, Any] = {
        "name": "test",
        "purpose": "a test",
        "model": {"path": str(model)},
        "prompts": {"source": "jsonl", "path": str(folder / "prompts.jsonl")},
        "engine": {"strict": True, "batch_tokens": 8192},
        "synthesize": {
            "decoding": {"temperature": 1.3, "top_k": 20, "top_p": 0.9},
            "num_samples_per_prompt": NUM_SAMPLES,
            "max_sequence_tokens": 300,
            "samples_per_shard": 5,
        },
        "train": {"steps": 1, "dtype": "float32"},
        "evaluate": {"base_decoding": {}, "student_decoding": {}},
    }
    for name, value in settings.items():
        section, _, key = name.partition("__")
        values[section] = {**values.get(section, {}), key: value} if key else value
    return Recipe.model_validate_json(json.dumps(values))


def by_key(run_dir: Path) -> dict[tuple[str, int], Sample]:
    samples = list(samples_in(run_dir / "synthesize"))
    keyed = {sample.key: sample for sample in samples}
    assert len(keyed) == len(samples), "a sample was drawn twice"
    return keyed


def assert_same_training(alone: Path, together: Path) -> None:
    """To the last bit."""
    for name in ("model", "checkpoint-000002"):
        expected, got = (load_file(folder / name / "model.safetensors") for folder in (alone, together))
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[key], got[key]) for key in expected)
    assert json.loads((together / "summary.json").read_text()) == json.loads((alone / "summary.json").read_text())
    assert _losses(together) == _losses(alone)


def _losses(folder: Path) -> list[float]:
    return [float(line.split(",")[1]) for line in (folder / "curve.csv").read_text().splitlines()[1:]]


def lose_the_head(name: str, recipe: Recipe, folder: Path, *options: str) -> None:
    """The command, in `folder`'s run folder, on a cluster of one node that ends in the middle."""
    with raylets() as other:
        other.fill(1)
        (folder / "head").write_text(" ".join(map(str, other.head_processes())))
        done = command(name, write_recipe(folder, other.take(recipe)), *options)
    assert done.returncode == 1, done.stderr
    assert "the cluster's head cannot be reached any more" in json.loads(done.stdout)["error"]


def write_recipe(folder: Path, recipe: Recipe) -> Path:
    write_text(folder / "recipe.toml", recipes.to_toml(recipe))
    return folder / "recipe.toml"


def command(name: str, recipe_file: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    run_dir = str(recipe_file.parent / "run")
    return subprocess.run(
        [sys.executable, losses.__file__, name, str(recipe_file), "--run-dir", run_dir, "--json", *options],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
