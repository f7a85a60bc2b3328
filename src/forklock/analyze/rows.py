"""`TokenStat`: one row for each position of a solution, base and trained model side by side.

Entropies and losses are in nats. Lists over temperatures follow `eval_temperatures` of `summary.json`, lists over
ranks its `ranks`. `docs/analysis.md` says what each column means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from forklock.tables import RowFormat

if TYPE_CHECKING:
    import pyarrow

MODELS = ("base", "trained")
_OF_EACH_MODEL = {
    "probability": "float32",
    "rank": "int32",
    "top_id": "int32",
    "top_mass": "float32",
    "mass_by_rank": "list<float32>",
    "entropy": "float32",
    "kept_mass": "float32",
    "support_compression": "float32",
    "within_support_reshaping": "float32",
    "alignment": "float32",
    "gate_entropy": "float32",
    "head_entropy": "float32",
    "tail_entropy": "float32",
    "survivors": "list<int32>",
    "entropy_after_truncation": "list<float32>",
    "own_support_size": "int32",
    "own_kept_mass": "float32",
    "choices": "float32",
    "class": "string",
}
COLUMNS: dict[str, str] = {
    "prompt_id": "string",
    "sample_index": "int32",
    "position": "int32",
    "token_id": "int32",
    "token_text": "string",
    "syntax": "string",
    "support_size": "int32",
    "loss_constant": "float32",
    "total_variation": "float32",
    **{f"{model}_{name}": kind for name, kind in _OF_EACH_MODEL.items() for model in MODELS},
    "candidate_ids": "list<int32>",
    "candidate_base_probabilities": "list<float32>",
    "candidate_trained_probabilities": "list<float32>",
}


def _fields() -> list[pyarrow.Field]:
    import pyarrow as pa

    kinds = {"string": pa.string(), "int32": pa.int32(), "float32": pa.float32()}
    kinds |= {f"list<{name}>": pa.list_(kinds[name]) for name in ("int32", "float32")}
    return [pa.field(name, kinds[kind], nullable=False) for name, kind in COLUMNS.items()]


TOKEN_STATS = RowFormat(
    "token statistics", version=1, fields=_fields, mend="delete that shard, and `forklock analyze` makes it again"
)


def shards_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("tokens-*.parquet"))


def read_columns(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    """Whole columns of one shard as arrays; lists of equal length become a second dimension."""
    table = TOKEN_STATS.open(path).read(columns=names)
    return {name: _as_array(table[name].combine_chunks(), table.num_rows) for name in names}


def _as_array(column: Any, num_rows: int) -> NDArray[Any]:
    import pyarrow as pa

    if pa.types.is_list(column.type):
        flat: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(num_rows, -1)
    array: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return array


def as_lists(flat: NDArray[Any], sizes: NDArray[Any]) -> list[NDArray[Any]]:
    """Consecutive parts of the given sizes."""
    return np.split(flat, np.cumsum(sizes)[:-1])


def solutions_of(columns: Mapping[str, NDArray[Any]]) -> Iterator[slice]:
    """The rows of each solution of a shard, which stand together."""
    starts = [0, *(np.flatnonzero(columns["position"][1:] == 0) + 1), len(columns["position"])]
    return (slice(int(first), int(last)) for first, last in pairwise(starts))
