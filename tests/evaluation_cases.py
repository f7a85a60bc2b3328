"""A recipe whose fake engine answers two small problems, and what its evaluation left in a run folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark_cases import livecodebench_row, write_jsonl
from transformers import AutoTokenizer

from forklock.config import Recipe
from forklock.engines.fake_engine import SCRIPT_FILE

ANSWERS = (
    "```python\na, b = map(int, input().split())\nprint(a + b)\n```\n",
    "First\n```python\nprint(1)\n```\nthen\n```python\nprint(3)\n```\n",
    "```python\nwhile\n```\n",
    "I can't.",
)
PROBLEMS = ("one", "two", "three")


def write_script(model: Path, answers: Sequence[str] = ANSWERS) -> Path:
    """Lets a tiny model's folder answer from a script."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    completions = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in answers]
    (model / SCRIPT_FILE).write_text(json.dumps({"completions": completions}))
    return model


def write_files(folder: Path) -> None:
    tests = [("1 2\n", "3\n"), ("3 4\n", "7\n")]
    difficulties = ("easy", "medium", "hard")
    rows = [livecodebench_row(name, tests, difficulty=how) for name, how in zip(PROBLEMS, difficulties, strict=True)]
    write_jsonl(folder / "test6.jsonl", rows)
    write_jsonl(folder / "prompts.jsonl", [{"question": f"Print {number}."} for number in range(6)])


def recipe_for(folder: Path, model: Path, **settings: Any) -> Recipe:
    """`evaluate.base_temperatures` and the like as keyword arguments, with __ for the dot."""
    values: dict[str, Any] = {
        "name": "test",
        "purpose": "a test",
        "model": {"path": str(model)},
        "prompts": {"source": "jsonl", "path": str(folder / "prompts.jsonl")},
        "engine": {"kind": "fake"},
        "synthesize": {"decoding": {"temperature": 1.3, "top_k": 20}, "max_sequence_tokens": 300},
        "train": {"steps": 1, "global_batch_size": 2, "dtype": "float32"},
        "evaluate": {
            "benchmarks": ["livecodebench-v6"],
            "data_paths": {"livecodebench-v6": str(folder / "test6.jsonl")},
            "base_decoding": {"temperature": 0.7, "top_k": 20, "top_p": 0.8},
            "student_decoding": {"temperature": 1.1, "top_k": 20, "top_p": 0.8},
            "num_samples_per_problem": 8,
            "max_sequence_tokens": 512,
        },
    }
    for name, value in settings.items():
        section, _, key = name.partition("__")
        values[section] = {**values[section], key: value} if key else value
    return Recipe.model_validate_json(json.dumps(values))
