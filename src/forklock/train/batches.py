"""Which samples make up a step, and how they are cut into forward passes.

A step's samples depend on the seed and the step alone: epochs are shuffled one by one and laid end to end. How a step
is cut depends on the token budget and the number of processes besides, and changes no result: every part's loss is
divided by the whole step's completion tokens. (A mean of the parts' means would over-weight short ones.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Ordered
from dataclasses import dataclass

import numpy as np
import torch

from forklock.config import TrainConfig
from forklock.seeds import derive_seed
from forklock.train.data import Sequence
from forklock.train.loss import SparseTargets
from forklock.train.schedule import num_draws


def positions_a_pass_costs() -> int:
    """What starting a forward pass is taken to cost, in positions: many tiny passes are no better than some padding.

    On a CPU little, so that passes are smaller and hold less memory: 25 positions' time for a model of 3.7M parameters,
    less for larger ones. A GPU waits for hundreds of kernels to be launched; its number is an estimate.
    """
    return 128 if torch.cuda.is_available() else 32


class Schedule:
    """The samples of each step, as indices."""

    def __init__(self, train: TrainConfig, num_samples: int, seed: int) -> None:
        self._batch_size, self._num_samples, self._seed = train.global_batch_size, num_samples, seed
        self._num_draws = num_draws(train, num_samples)
        self.num_steps = math.ceil(self._num_draws / train.global_batch_size)

    def samples_of(self, step: int) -> list[int]:
        """Of step 0, 1, ...; only the last step of given epochs may be smaller than the others."""
        start = step * self._batch_size
        draws = range(start, min(start + self._batch_size, self._num_draws))
        orders = {epoch: self._order(epoch) for epoch in {draw // self._num_samples for draw in draws}}
        return [orders[draw // self._num_samples][draw % self._num_samples] for draw in draws]

    def _order(self, epoch: int) -> list[int]:
        generator = np.random.Generator(np.random.PCG64(derive_seed(self._seed, "epoch", epoch)))
        order: list[int] = generator.permutation(self._num_samples).tolist()
        return order


@dataclass(frozen=True)
class MicroBatch:
    """One forward pass: rows of equal length, each made of one sample or of several that do not see each other."""

    samples: tuple[int, ...]
    is_idle: bool = False
    """Computed and given no weight: a process whose neighbours have one pass more keeps step with them."""


def split(lengths: dict[int, int], train: TrainConfig, num_processes: int = 1) -> list[list[MicroBatch]]:
    """A step's samples as each process's forward passes; every process has equally many.

    `lengths` are positions by sample. A pass stays within `train.tokens_per_device` positions, padding included.
    """
    groups = _packed(lengths, train) if train.layout == "packed" else _bucketed(lengths, train)
    while len(groups) % num_processes and max(map(len, groups)) > 1:
        largest = max(
            (group for group in groups if len(group) > 1), key=lambda group: sum(lengths[one] for one in group)
        )
        groups.remove(largest)
        groups += [largest[: len(largest) // 2], largest[len(largest) // 2 :]]
    groups.sort(key=lambda group: (-sum(lengths[sample] for sample in group), group))
    passes = [MicroBatch(tuple(group)) for group in groups]
    shortest = min(lengths, key=lambda sample: (lengths[sample], sample))
    while len(passes) % num_processes:
        passes.append(MicroBatch((shortest,), is_idle=True))
    shares: list[list[MicroBatch]] = [[] for _ in range(num_processes)]
    for number, one in enumerate(passes):  # long and short ones in turn, forth and back
        lap, place = divmod(number, num_processes)
        shares[place if lap % 2 == 0 else num_processes - 1 - place].append(one)
    return shares


def _bucketed(lengths: dict[int, int], train: TrainConfig) -> list[list[int]]:
    """Sorted by length and cut where it costs least: a pass costs its rows times its longest, and something itself."""
    pass_cost = positions_a_pass_costs()
    order = sorted(lengths, key=lambda sample: (-lengths[sample], sample))
    least = [0] + [0] * len(order)  # cost of the first so many samples
    cut = [0] * (len(order) + 1)
    for end in range(1, len(order) + 1):
        costs = []
        for start in range(end):
            positions = (end - start) * lengths[order[start]]
            if positions <= train.tokens_per_device:
                costs.append((least[start] + positions + pass_cost, start))
        least[end], cut[end] = min(costs)
    groups: list[list[int]] = []
    end = len(order)
    while end:
        groups.append(order[cut[end] : end])
        end = cut[end]
    return groups


def _packed(lengths: dict[int, int], train: TrainConfig) -> list[list[int]]:
    """First fit, longest first: each group is one row."""
    groups: list[list[int]] = []
    room: list[int] = []
    for sample in sorted(lengths, key=lambda sample: (-lengths[sample], sample)):
        place = next((place for place, left in enumerate(room) if lengths[sample] <= left), len(groups))
        if place == len(groups):
            groups.append([])
            room.append(train.tokens_per_device)
        groups[place].append(sample)
        room[place] -= lengths[sample]
    return groups


@dataclass(frozen=True)
class ModelInput:
    """A forward pass as tensors. Only positions that predict a completion token reach the head."""

    input_ids_BL: torch.Tensor
    position_ids_BL: torch.Tensor
    predicting_T: torch.Tensor
    """Flat indices into B x L of the positions whose next token belongs to a completion."""
    targets: SparseTargets
    sample_lengths: tuple[int, ...] | None = None
    """Of the samples in the one row, where it holds several."""

    def to(self, device: torch.device) -> ModelInput:
        return ModelInput(
            self.input_ids_BL.to(device),
            self.position_ids_BL.to(device),
            self.predicting_T.to(device),
            self.targets.to(device),
            self.sample_lengths,
        )


def collate(sequences: Ordered[Sequence], *, packed: bool) -> ModelInput:
    """Padding stands at the end of a row, where under causal attention no token can see it, and is never predicted."""
    rows = [list(sequences)] if packed else [[sequence] for sequence in sequences]
    width = max(sum(sequence.num_positions for sequence in row) for row in rows)
    input_ids = np.zeros((len(rows), width), dtype=np.int64)
    position_ids = np.tile(np.arange(width), (len(rows), 1))
    predicting: list[np.ndarray] = []
    for number, row in enumerate(rows):
        start = 0
        for sequence in row:
            end = start + sequence.num_positions
            input_ids[number, start:end] = sequence.token_ids[:-1]
            position_ids[number, start:end] = np.arange(sequence.num_positions)
            first = number * width + start + sequence.num_prompt_tokens - 1
            predicting.append(np.arange(first, number * width + end))
            start = end
    return ModelInput(
        input_ids_BL=torch.from_numpy(input_ids),
        position_ids_BL=torch.from_numpy(position_ids),
        predicting_T=torch.from_numpy(np.concatenate(predicting)),
        targets=_targets([sequence for row in rows for sequence in row]),
        sample_lengths=tuple(sequence.num_positions for sequence in sequences) if packed else None,
    )


def _targets(sequences: Ordered[Sequence]) -> SparseTargets:
    recorded = [sequence.target for sequence in sequences if sequence.target is not None]
    if not recorded:
        labels = [sequence.token_ids[sequence.num_prompt_tokens :] for sequence in sequences]
        return SparseTargets.hard(torch.from_numpy(np.concatenate(labels).astype(np.int64)))
    assert len(recorded) == len(sequences)
    return SparseTargets.soft(
        torch.from_numpy(np.concatenate([target.sizes for target in recorded]).astype(np.int64)),
        torch.from_numpy(np.concatenate([target.token_ids for target in recorded]).astype(np.int64)),
        torch.from_numpy(np.concatenate([target.probabilities for target in recorded])),
    )
