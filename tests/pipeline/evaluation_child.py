"""An evaluation in a process of its own, which is killed at a chosen shard of samples or verdicts."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forklock import running
from forklock.config import Recipe
from forklock.evaluate import verdicts
from forklock.sampling import shards


def evaluate(recipe: Recipe, run_dir: Path, kind: str, at_shard: int) -> None:
    """`kind`: samples or verdicts. The process dies when that shard is half written."""
    module: Any = shards if kind == "samples" else verdicts
    name = "write_shard" if kind == "samples" else "write_verdicts"
    write, num_written = getattr(module, name), 0

    def write_or_die(path: Path, rows: Sequence[Any]) -> None:
        nonlocal num_written
        if num_written == at_shard:
            path.write_bytes(b"PAR1 half of it")
            os.kill(os.getpid(), signal.SIGKILL)
        num_written += 1
        write(path, rows)

    setattr(module, name, write_or_die)
    verdicts.VERDICTS_PER_SHARD = 3
    running.run_evaluation(recipe, run_dir, "base")
