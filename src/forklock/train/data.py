"""Samples as training sequences: exactly the token ids that were drawn, in compact arrays.

Which samples are trained on is decided here and counted. Order does not depend on which sample finished first: it is
that of prompt id and sample index. A sample takes 4 bytes a token, and with a soft target 6 more for each entry of
its recorded support.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forklock.config import Recipe
from forklock.engines import RecordedTarget
from forklock.sampling import Sample, SampleTokens
from forklock.train.endings import MAX_PROMPTS, Ending
from forklock.train.errors import TrainingError
from forklock.train.schedule import MIN_HELD_OUT, TOO_LONG, is_held_out, left_out

Drawn = Sample | SampleTokens


@dataclass(frozen=True)
class Sequence:
    """One sample: prompt and completion in one array. The stop token is there exactly where the model drew one."""

    key: tuple[str, int]
    token_ids: NDArray[np.int32]
    num_prompt_tokens: int
    is_finished: bool
    """Ended by a stop token, not by the length limit."""
    target: RecordedTarget | None

    @property
    def num_completion_tokens(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def num_positions(self) -> int:
        """What a forward pass sees: every token but the last, which is only predicted."""
        return len(self.token_ids) - 1


@dataclass
class Counts:
    """Where every sample of the synthesis went."""

    num_samples: int = 0
    num_failed_tests: int = 0
    """Left out of a verified-only baseline; nothing else knows of tests."""
    num_degenerate: dict[str, int] = field(default_factory=dict)
    """Left out for their form, by reason (`synthesize.drop_degenerate`)."""
    num_too_long: int = 0
    """Left out for `train.max_sequence_tokens`."""
    num_held_out: int = 0
    num_held_out_unfinished: int = 0
    """Of held-out prompts, but cut by the length limit: neither trained on nor measured on."""
    num_trained_on: int = 0
    num_without_stop_token: int = 0
    """Of those trained on: ran into the length limit."""
    num_completion_tokens: int = 0
    """Of those trained on; one epoch's loss positions."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class TrainingData:
    sequences: list[Sequence]
    held_out: list[Sequence]
    counts: Counts
    endings: list[Ending] = field(default_factory=list)
    """How the frozen model ended on prompts that are held out; on prompts trained on where none are."""


def load_data(
    recipe: Recipe, samples: Iterable[Drawn], vocabulary_size: int, passed: Container[tuple[str, int]] | None = None
) -> TrainingData:
    """Sort samples into those to train on, those held out and those left out; refuse what cannot be trained on.

    `passed` is a verified-only baseline's: the samples that it may train on.
    """
    train, counts, degenerate = recipe.train, Counts(), Counter[str]()
    kept: list[Sequence] = []
    lengths: list[int] = []
    firsts: list[Drawn] = []
    for sample in samples:
        counts.num_samples += 1
        if sample.sample_index == 0:
            firsts.append(replace(sample, target=None))
        reason = left_out(recipe, sample.degenerate, len(sample.prompt_token_ids) + len(sample.token_ids))
        if reason is not None and reason != TOO_LONG:
            degenerate[reason] += 1
            continue
        if passed is not None and sample.key not in passed:
            counts.num_failed_tests += 1
            continue
        sequence = sequence_of(sample, vocabulary_size, keep_target=train.target == "soft")
        lengths.append(len(sequence.token_ids))
        if reason == TOO_LONG:
            counts.num_too_long += 1
            continue
        kept.append(sequence)
    counts.num_degenerate = dict(sorted(degenerate.items()))
    _check(recipe, counts, lengths)

    kept.sort(key=lambda sequence: sequence.key)
    held_out = [one for one in kept if one.is_finished and is_held_out(one.key[0])]
    rest = [one for one in kept if not is_held_out(one.key[0])]
    if len(held_out) >= MIN_HELD_OUT and rest:
        counts.num_held_out_unfinished = len(kept) - len(rest) - len(held_out)
        kept = rest
        firsts = [sample for sample in firsts if is_held_out(sample.prompt_id)]
    else:
        held_out = []
    firsts = sorted(firsts, key=lambda sample: sample.prompt_id)[:MAX_PROMPTS]
    counts.num_held_out = len(held_out)
    counts.num_trained_on = len(kept)
    counts.num_without_stop_token = sum(not sequence.is_finished for sequence in kept)
    counts.num_completion_tokens = sum(sequence.num_completion_tokens for sequence in kept)
    return TrainingData(kept, held_out, counts, [_ending(sample) for sample in firsts])


def _ending(sample: Drawn) -> Ending:
    prompt_token_ids = tuple(map(int, sample.prompt_token_ids))
    return Ending(sample.prompt_id, prompt_token_ids, len(sample.token_ids), sample.finish_reason == "stop")


def sequence_of(sample: Drawn, vocabulary_size: int, *, keep_target: bool) -> Sequence:
    """One sample, refused where it has nothing to predict or is of another vocabulary."""
    name = f"sample {sample.sample_index} of prompt {sample.prompt_id}"
    if not len(sample.prompt_token_ids) or not len(sample.token_ids):
        raise TrainingError(f"{name}: has no prompt or no completion, so there is nothing to predict it from")
    token_ids = np.concatenate([sample.prompt_token_ids, sample.token_ids]).astype(np.int32)
    lowest, highest = int(token_ids.min()), int(token_ids.max())
    if keep_target:
        if sample.target is None:
            raise TrainingError(
                f'{name}: has no recorded target, which train.target = "soft" needs; sample again with '
                "synthesize.record_target = true, or train on the hard target"
            )
        if len(sample.target.sizes) != len(sample.token_ids) or not sample.target.sizes.all():
            raise TrainingError(f"{name}: its recorded target does not cover its {len(sample.token_ids)} tokens")
        lowest = min(lowest, int(sample.target.token_ids.min()))
        highest = max(highest, int(sample.target.token_ids.max()))
    if lowest < 0 or highest >= vocabulary_size:
        raise TrainingError(
            f"{name}: holds token id {highest}, and the model's vocabulary ends at {vocabulary_size - 1}: it was "
            "drawn from another model or with another tokenizer than model.path names; sample again"
        )
    return Sequence(
        key=sample.key,
        token_ids=token_ids,
        num_prompt_tokens=len(sample.prompt_token_ids),
        is_finished=sample.finish_reason == "stop",
        target=sample.target if keep_target else None,
    )


def _check(recipe: Recipe, counts: Counts, lengths: list[int]) -> None:
    train = recipe.train
    if counts.num_samples == 0:
        raise TrainingError("there are no samples to train on; run synthesize first")
    if not lengths and counts.num_failed_tests:
        raise TrainingError(f"no sample is left to train on: {counts.num_failed_tests} failed their problems' tests")
    if not lengths:
        reasons = ", ".join(f"{number} {reason}" for reason, number in counts.num_degenerate.items())
        raise TrainingError(
            f"no sample is left to train on: all {counts.num_samples} are degenerate ({reasons}); look at their text, "
            "or set synthesize.drop_degenerate = false to train on them all the same"
        )
    if min(lengths) > train.max_sequence_tokens:
        raise TrainingError(
            f"train.max_sequence_tokens = {train.max_sequence_tokens} is under the shortest sample, which has "
            f"{min(lengths)} tokens with its prompt: no sample is left to train on; raise it"
        )
    if counts.num_too_long and train.too_long == "stop":
        raise TrainingError(
            f"{counts.num_too_long} of {len(lengths)} samples are longer than train.max_sequence_tokens = "
            f"{train.max_sequence_tokens} (the longest has {max(lengths)}); raise it, or leave them out with "
            'train.too_long = "drop"'
        )
    longest = max(length for length in lengths if length <= train.max_sequence_tokens)
    if longest - 1 > train.tokens_per_device:
        raise TrainingError(
            f"train.tokens_per_device = {train.tokens_per_device} is under the {longest - 1} positions of the longest "
            "sample; raise it, or leave such samples out with train.max_sequence_tokens"
        )
