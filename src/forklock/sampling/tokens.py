"""What training takes of samples on disk: their token ids and targets as arrays, without their texts.

Of a large synthesis everything is read by every process that trains: an object for each token would take longer than
the first steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from forklock.engines import FinishReason, RecordedTarget
from forklock.sampling.sample import SAMPLES
from forklock.sampling.shards import shards_in

if TYPE_CHECKING:
    import pyarrow

_COLUMNS = ("prompt_id", "sample_index", "prompt_token_ids", "token_ids", "finish_reason", "degenerate")
_OF_TARGET = ("support_sizes", "support_token_ids", "support_probabilities")


@dataclass(frozen=True, eq=False)
class SampleTokens:
    """A sample's part in training; fields are those of `Sample`, kept mass left out."""

    prompt_id: str
    sample_index: int
    prompt_token_ids: NDArray[np.int32]
    token_ids: NDArray[np.int32]
    finish_reason: FinishReason
    degenerate: str | None
    target: RecordedTarget | None

    @property
    def key(self) -> tuple[str, int]:
        return self.prompt_id, self.sample_index


def tokens_in(folder: Path, *, with_targets: bool) -> Iterator[SampleTokens]:
    """All samples of a stage in the order in which they finished; targets where they are wanted and were recorded."""
    columns = [*_COLUMNS, *(_OF_TARGET if with_targets else ())]
    for shard in shards_in(folder):
        for batch in SAMPLES.open(shard).iter_batches(batch_size=64, columns=columns):
            yield from _rows(batch, with_targets=with_targets)


def _rows(batch: pyarrow.RecordBatch, *, with_targets: bool) -> Iterator[SampleTokens]:
    lists = {name: _arrays(batch[name]) for name in batch.schema.names if name in (*_COLUMNS[2:4], *_OF_TARGET)}
    plain = {name: batch[name].to_pylist() for name in batch.schema.names if name not in lists}
    for row in range(batch.num_rows):
        target = None
        if with_targets and (sizes := lists["support_sizes"][row]) is not None:
            target = RecordedTarget(sizes, lists["support_token_ids"][row], lists["support_probabilities"][row])
        yield SampleTokens(
            prompt_id=plain["prompt_id"][row],
            sample_index=plain["sample_index"][row],
            prompt_token_ids=lists["prompt_token_ids"][row],
            token_ids=lists["token_ids"][row],
            finish_reason=plain["finish_reason"][row],
            degenerate=plain["degenerate"][row],
            target=target,
        )


def _arrays(column: pyarrow.ListArray) -> list[Any]:
    """Each row's own array (a view would keep the whole batch), None for a row that has none."""
    values, offsets = column.values.to_numpy(), column.offsets.to_numpy()
    is_there = column.is_valid().to_numpy(zero_copy_only=False)
    return [
        values[start:end].copy() if there else None
        for start, end, there in zip(offsets[:-1], offsets[1:], is_there, strict=True)
    ]
