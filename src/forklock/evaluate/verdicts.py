"""A verdict: what became of one sample. Its Parquet shards, written as samples are graded."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forklock.benchmarks.problem import Difficulty
from forklock.benchmarks.score import VerdictName
from forklock.run_dir import StageDir
from forklock.tables import RowFormat

if TYPE_CHECKING:
    import pyarrow

VERDICTS_PER_SHARD = 2_000
FLUSH_AFTER_S = 60.0


@dataclass(frozen=True)
class Verdict:
    """One row. Numbers of tokens are None, and the finish reason empty, where samples came without them."""

    problem_id: str
    sample_index: int
    verdict: VerdictName
    difficulty: Difficulty | None
    failing_test: int | None
    """The first, counted from 0."""
    expected: str
    got: str
    """Of the first failing test, cut."""
    cause: str
    """In words: which limit, which error."""
    num_tests_run: int
    num_tests_passed: int | None
    """None where no more tests were run once one had failed."""
    cpu_s: float
    peak_memory_bytes: int
    is_isolated: bool
    code_hash: str
    """SHA-256 of what was scored, empty without any; equal code of one problem was scored once, for all its rows."""
    num_code_blocks: int
    num_tokens: int | None
    finish_reason: str

    @property
    def key(self) -> tuple[str, int]:
        return self.problem_id, self.sample_index

    @property
    def passed(self) -> bool:
        return self.verdict is VerdictName.PASSED


def _fields() -> list[pyarrow.Field]:
    import pyarrow as pa

    kinds = {
        "problem_id": pa.string(),
        "sample_index": pa.int32(),
        "verdict": pa.string(),
        "difficulty": pa.string(),
        "failing_test": pa.int32(),
        "expected": pa.string(),
        "got": pa.string(),
        "cause": pa.string(),
        "num_tests_run": pa.int32(),
        "num_tests_passed": pa.int32(),
        "cpu_s": pa.float64(),
        "peak_memory_bytes": pa.int64(),
        "is_isolated": pa.bool_(),
        "code_hash": pa.string(),
        "num_code_blocks": pa.int32(),
        "num_tokens": pa.int32(),
        "finish_reason": pa.string(),
    }
    optional = {"difficulty", "failing_test", "num_tests_passed", "num_tokens"}
    return [pa.field(name, kind, nullable=name in optional) for name, kind in kinds.items()]


VERDICTS = RowFormat("verdicts", version=2, fields=_fields, mend="delete that file, and its samples are graded again")


def write_verdicts(path: Path, verdicts: Sequence[Verdict]) -> None:
    VERDICTS.write(path, [asdict(verdict) for verdict in verdicts])


def read_verdicts(path: Path) -> Iterator[Verdict]:
    for batch in VERDICTS.open(path).iter_batches():
        for row in batch.to_pylist():
            yield Verdict(**{**row, "verdict": VerdictName(row["verdict"])})


def verdict_shards_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("verdicts-*.parquet"))


def verdicts_in(folder: Path) -> Iterator[Verdict]:
    """All verdicts of a stage, in the order in which they were reached."""
    for shard in verdict_shards_in(folder):
        yield from read_verdicts(shard)


class VerdictWriter:
    """Collects verdicts and makes them shards, by number and at the latest after a minute."""

    def __init__(self, stage_dir: StageDir) -> None:
        self._stage_dir = stage_dir
        self._waiting: list[Verdict] = []
        self._last_flush = time.monotonic()

    def add(self, verdict: Verdict) -> None:
        self._waiting.append(verdict)
        if len(self._waiting) >= VERDICTS_PER_SHARD or time.monotonic() - self._last_flush > FLUSH_AFTER_S:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            taken = [int(shard.stem.partition("-")[2]) for shard in verdict_shards_in(self._stage_dir.path)]
            with self._stage_dir.new_file(f"verdicts-{max(taken, default=-1) + 1:05d}.parquet") as path:
                write_verdicts(path, self._waiting)
        self._waiting = []
        self._last_flush = time.monotonic()
