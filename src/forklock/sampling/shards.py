"""Samples on disk: shards that appear whole as samples finish, in the folder of the stage that draws them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from forklock.run_dir import StageDir
from forklock.sampling.sample import Sample, read_shard, write_shard

FLUSH_AFTER_S = 600.0


def shards_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("samples-*.parquet"))


def samples_in(folder: Path) -> Iterator[Sample]:
    """All samples of a stage, shard by shard, in the order in which they finished."""
    for shard in shards_in(folder):
        yield from read_shard(shard)


class ShardWriter:
    """Collects finished samples and makes them shards, by number and at the latest after ten minutes."""

    def __init__(self, stage_dir: StageDir, samples_per_shard: int) -> None:
        self._stage_dir = stage_dir
        self._samples_per_shard = samples_per_shard
        self._finished: list[Sample] = []
        self._last_flush = time.monotonic()

    def add(self, sample: Sample) -> None:
        self._finished.append(sample)
        waited_s = time.monotonic() - self._last_flush
        if len(self._finished) >= self._samples_per_shard or waited_s > FLUSH_AFTER_S:
            self.flush()

    def flush(self) -> None:
        if self._finished:
            taken = [int(shard.stem.partition("-")[2]) for shard in shards_in(self._stage_dir.path)]
            name = f"samples-{max(taken, default=-1) + 1:05d}.parquet"
            with self._stage_dir.new_file(name) as path:
                write_shard(path, self._finished)
        self._finished = []
        self._last_flush = time.monotonic()
