"""What a synthesis gave, counted over its shards one sample at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from forklock.code_blocks import Style, last_code_block
from forklock.sampling import Sample

PERCENTILES = (1, 10, 25, 50, 75, 90, 99)


@dataclass(frozen=True)
class TargetSummary:
    """Of the recorded targets, over all positions."""

    mean_support: float
    """Mean |S_s|."""
    mean_kept_mass: float | None
    """Mean mass of the frozen model, untempered, on S_s (Eq. 10); None where the engine cannot tell."""
    bytes_per_token: float
    """Of q_s in memory: ids of 4 bytes, probabilities of 2, a size of 4 for each position."""


@dataclass(frozen=True)
class Summary:
    num_samples: int
    num_tokens: int
    length_percentiles: dict[int, int]
    """Tokens of a completion, stop token included."""
    max_length: int
    share_at_limit: float
    """Ran into the length limit: no stop token."""
    share_without_code: float
    """No closed code block in the answer (62 % in the paper's stress test)."""
    num_degenerate: dict[str, int]
    are_weights_checked: bool
    """Whether the engine could show that the weights were the same before and after."""
    target: TargetSummary | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def summarize(samples: Iterable[Sample], style: Style = "instruct") -> Summary:
    lengths: list[int] = []
    num_at_limit = num_without_code = num_unchecked = 0
    degenerate: Counter[str] = Counter()
    num_positions = num_entries = num_with_mass = 0
    kept_mass = 0.0
    for sample in samples:
        lengths.append(len(sample.token_ids))
        num_unchecked += not sample.weights_digest
        num_at_limit += sample.finish_reason == "length"
        num_without_code += last_code_block(sample.text, style) is None
        if sample.degenerate is not None:
            degenerate[sample.degenerate] += 1
        if sample.target is not None:
            num_positions += len(sample.target.sizes)
            num_entries += len(sample.target.token_ids)
            if sample.target.kept_mass is not None:
                num_with_mass += len(sample.target.kept_mass)
                kept_mass += float(sample.target.kept_mass.sum(dtype=np.float64))
    assert lengths, "a synthesis without samples is refused before it starts"
    percentiles = np.percentile(lengths, PERCENTILES, method="inverted_cdf")
    target = None
    if num_positions:
        target = TargetSummary(
            mean_support=num_entries / num_positions,
            mean_kept_mass=kept_mass / num_with_mass if num_with_mass else None,
            bytes_per_token=(6 * num_entries + 4 * num_positions) / num_positions,
        )
    return Summary(
        num_samples=len(lengths),
        num_tokens=sum(lengths),
        length_percentiles={q: int(value) for q, value in zip(PERCENTILES, percentiles, strict=True)},
        max_length=max(lengths),
        share_at_limit=num_at_limit / len(lengths),
        share_without_code=num_without_code / len(lengths),
        num_degenerate=dict(sorted(degenerate.items())),
        are_weights_checked=num_unchecked == 0,
        target=target,
    )
