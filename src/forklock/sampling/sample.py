"""A sample as it passes between stages, and the Parquet shards that hold samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from forklock.decoding import Decoding
from forklock.engines import FinishReason, RecordedTarget
from forklock.tables import RowFormat

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class Sample:
    """One raw draw. It *is* its token ids; the text is for reading and grading."""

    prompt_id: str
    sample_index: int
    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    """The completion, the stop token included where the model drew it; a sample at the length limit has none."""
    text: str
    """The completion without special tokens."""
    finish_reason: FinishReason
    seed: int
    decoding: Decoding
    engine: str
    weights_digest: str
    """Of the frozen weights in memory; empty where the engine cannot reach them."""
    degenerate: str | None = None
    """Why the filter marks it (`empty`, `single_line`), or None. Marked samples are kept."""
    target: RecordedTarget | None = None

    @property
    def key(self) -> tuple[str, int]:
        return self.prompt_id, self.sample_index


def write_shard(path: Path, samples: Sequence[Sample]) -> None:
    SAMPLES.write(path, [_row(sample) for sample in samples])


def read_shard(path: Path) -> Iterator[Sample]:
    for batch in SAMPLES.open(path).iter_batches(batch_size=64):
        for row in batch.to_pylist():
            yield _sample(row)


def read_keys(path: Path) -> list[tuple[str, int]]:
    """Which samples a shard holds, without reading them."""
    table = SAMPLES.open(path).read(columns=["prompt_id", "sample_index"])
    return list(zip(table["prompt_id"].to_pylist(), table["sample_index"].to_pylist(), strict=True))


def read_lengths(path: Path) -> list[tuple[int, int]]:
    """Tokens of each sample's prompt and completion, without reading the rest."""
    table = SAMPLES.open(path).read(columns=["prompt_token_ids", "token_ids"])
    prompts, completions = ([len(ids) for ids in table[name].to_numpy()] for name in ("prompt_token_ids", "token_ids"))
    return list(zip(prompts, completions, strict=True))


def _fields() -> list[pyarrow.Field]:
    import pyarrow as pa

    required = [
        ("prompt_id", pa.string()),
        ("sample_index", pa.int32()),
        ("prompt_token_ids", pa.list_(pa.int32())),
        ("token_ids", pa.list_(pa.int32())),
        ("text", pa.string()),
        ("finish_reason", pa.string()),
        ("seed", pa.int64()),
        ("temperature", pa.float64()),
        ("top_k", pa.int32()),
        ("top_p", pa.float64()),
        ("engine", pa.string()),
        ("weights_digest", pa.string()),
    ]
    optional = [
        ("degenerate", pa.string()),
        ("support_sizes", pa.list_(pa.int32())),
        ("support_token_ids", pa.list_(pa.int32())),
        ("support_probabilities", pa.list_(pa.float16())),
        ("kept_mass", pa.list_(pa.float32())),
    ]
    fields = [pa.field(name, kind, nullable=False) for name, kind in required]
    return fields + [pa.field(name, kind) for name, kind in optional]


SAMPLES = RowFormat(
    "samples", version=1, fields=_fields, mend="`forklock repair` has damaged samples of a run drawn again"
)


def _row(sample: Sample) -> dict[str, Any]:
    target = sample.target
    return {
        "prompt_id": sample.prompt_id,
        "sample_index": sample.sample_index,
        "prompt_token_ids": sample.prompt_token_ids,
        "token_ids": sample.token_ids,
        "text": sample.text,
        "finish_reason": sample.finish_reason,
        "seed": sample.seed,
        "temperature": sample.decoding.temperature,
        "top_k": sample.decoding.top_k,
        "top_p": sample.decoding.top_p,
        "engine": sample.engine,
        "weights_digest": sample.weights_digest,
        "degenerate": sample.degenerate,
        "support_sizes": None if target is None else target.sizes,
        "support_token_ids": None if target is None else target.token_ids,
        "support_probabilities": None if target is None else target.probabilities,
        "kept_mass": None if target is None else target.kept_mass,
    }


def _sample(row: dict[str, Any]) -> Sample:
    target = None
    if row["support_sizes"] is not None:
        target = RecordedTarget(
            sizes=np.array(row["support_sizes"], dtype=np.int32),
            token_ids=np.array(row["support_token_ids"], dtype=np.int32),
            probabilities=np.array(row["support_probabilities"], dtype=np.float16),
            kept_mass=None if row["kept_mass"] is None else np.array(row["kept_mass"], dtype=np.float32),
        )
    return Sample(
        prompt_id=row["prompt_id"],
        sample_index=row["sample_index"],
        prompt_token_ids=tuple(row["prompt_token_ids"]),
        token_ids=tuple(row["token_ids"]),
        text=row["text"],
        finish_reason=row["finish_reason"],
        seed=row["seed"],
        decoding=Decoding(row["temperature"], row["top_k"], row["top_p"]),
        engine=row["engine"],
        weights_digest=row["weights_digest"],
        degenerate=row["degenerate"],
        target=target,
    )
