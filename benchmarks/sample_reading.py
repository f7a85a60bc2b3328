"""How long a training takes to read its samples, and in how much memory: as arrays, and as whole samples.

Shards of long samples with recorded targets (three entries a position in the mean) are made in a temporary folder;
each side reads them into training sequences in a process of its own. `ours` and `peer` are seconds, and MiB of peak
memory besides what the process had before. 400 samples, or as many as `--num` says.

2026-11-21, `--num 10000`, other load on the machine: 6.1 s against 66.4, 1,318 MiB against 3,142.
With TOKENS at 8,192 the arrays take 2,541 MiB, and 10.1 s of one core.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from _rows import Row, publish

from forklock.config import EvaluateConfig, ModelConfig, PromptsConfig, Recipe, SynthesizeConfig, TrainConfig
from forklock.decoding import Decoding
from forklock.sampling import samples_in, tokens_in
from forklock.sampling.sample import SAMPLES
from forklock.train.data import load_data

VOCABULARY, TOKENS, PROMPT_TOKENS, A_SHARD = 151_936, 4_096, 200, 100


def write_shards(folder: Path, num: int) -> None:
    chance = np.random.Generator(np.random.PCG64(0))
    for first in range(0, num, A_SHARD):
        rows = range(first, min(first + A_SHARD, num))
        sizes = chance.integers(1, 6, size=(len(rows), TOKENS), dtype=np.int32)
        a_row, probabilities = sizes.sum(axis=1), np.repeat(1 / sizes.flatten(), sizes.flatten())
        columns = {
            "prompt_id": [f"prompt-{row:06d}" for row in rows],
            "sample_index": [0] * len(rows),
            "prompt_token_ids": _lists(_tokens(chance, len(rows) * PROMPT_TOKENS), [PROMPT_TOKENS] * len(rows)),
            "token_ids": _lists(_tokens(chance, len(rows) * TOKENS), [TOKENS] * len(rows)),
            "text": ["x" * 4 * TOKENS] * len(rows),
            "finish_reason": ["length"] * len(rows),
            "seed": list(rows),
            **{name: [value] * len(rows) for name, value in (("temperature", 1.6), ("top_k", 20), ("top_p", 0.8))},
            "engine": ["none"] * len(rows),
            "weights_digest": [""] * len(rows),
            "degenerate": [None] * len(rows),
            "support_sizes": _lists(sizes.flatten(), [TOKENS] * len(rows)),
            "support_token_ids": _lists(_tokens(chance, int(a_row.sum())), a_row),
            "support_probabilities": _lists(probabilities.astype(np.float16), a_row),
            "kept_mass": _lists(np.full(len(rows) * TOKENS, 0.7, dtype=np.float32), [TOKENS] * len(rows)),
        }
        SAMPLES.write_columns(folder / f"samples-{first:05d}.parquet", columns)


def _tokens(chance: np.random.Generator, num: int) -> np.ndarray:
    return chance.integers(0, VOCABULARY, size=num, dtype=np.int32)


def _lists(values: np.ndarray, lengths: object) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(values))


def read(folder: Path, side: str) -> None:
    """Prints seconds, MiB, and how many tokens there were."""
    recipe = Recipe(
        name="reading",
        purpose="a measurement",
        model=ModelConfig(path="none"),
        prompts=PromptsConfig(source="jsonl", path="none"),
        synthesize=SynthesizeConfig(decoding=Decoding(1.6, 20, 0.8), record_target=True),
        train=TrainConfig(target="soft", steps=1),
        evaluate=EvaluateConfig(base_decoding=Decoding(), student_decoding=Decoding()),
    )
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before, start = _mib("VmRSS"), time.perf_counter()
    samples = tokens_in(folder, with_targets=True) if side == "arrays" else samples_in(folder)
    data = load_data(recipe, samples, VOCABULARY)
    print(json.dumps([time.perf_counter() - start, _mib("VmHWM") - before, data.counts.num_completion_tokens]))


def _mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 2**10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--num", type=int, default=400)
    parser.add_argument("--read", nargs=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.read:
        read(Path(arguments.read[0]), arguments.read[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        write_shards(Path(folder), arguments.num)
        found = {}
        for side in ("arrays", "objects"):
            command = [sys.executable, __file__, "--read", folder, side]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[side] = json.loads(done.stdout)
    assert found["arrays"][2] == found["objects"][2] == arguments.num * TOKENS
    name = f"reading {arguments.num:,} samples of {TOKENS:,} tokens with targets"
    rows = [
        Row(f"{name}{suffix}", ours, peer, None, peer / ours, None, unit=unit)
        for suffix, unit, ours, peer in zip(
            ("", ", peak memory"), ("s", "MiB"), found["arrays"], found["objects"], strict=False
        )
    ]
    publish(rows)


if __name__ == "__main__":
    main()
