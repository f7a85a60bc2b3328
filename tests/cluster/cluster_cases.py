"""Recipes that run on a cluster and alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from forklock.config import Recipe
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
