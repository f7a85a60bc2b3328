"""Whether the model still stops: the probability it gives to stopping where a sample stopped."""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from dataclasses import asdict, dataclass
from typing import Any

import torch
from accelerate import Accelerator

from forklock.config import TrainConfig
from forklock.train.batches import collate, split
from forklock.train.data import Sequence, TrainingData
from forklock.train.devices import release
from forklock.train.objective import Objective

MAX_SAMPLES = 256
FALL = 0.9
"""A trained mean under this share of the base's is a warning."""


@dataclass(frozen=True)
class StopHealth:
    """Mean probability of the stop tokens at the place where each finished sample has its own."""

    measured_on: str
    num_samples: int
    base: float | None
    trained: float | None

    @property
    def warning(self) -> str | None:
        if self.base is None or self.trained is None or self.trained >= FALL * self.base:
            return None
        return (
            f"the model is losing its stop token: where {self.num_samples} {self.measured_on} end, the probability of "
            f"stopping fell from {self.base:.3f} to {self.trained:.3f}"
        )

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "warning": self.warning}


def choose(data: TrainingData) -> tuple[str, list[Sequence]]:
    """Held-out finished samples; where too few were held out, finished ones that are trained on."""
    if data.held_out:
        return "held-out samples", data.held_out[:MAX_SAMPLES]
    return "samples trained on", [sequence for sequence in data.sequences if sequence.is_finished][:MAX_SAMPLES]


@torch.no_grad()
def stop_probability(
    objective: Objective,
    sequences: Ordered[Sequence],
    stop_token_ids: Ordered[int],
    settings: TrainConfig,
    accelerator: Accelerator,
) -> float | None:
    """None where no sample is finished. Every process measures a share and gets the mean over all."""
    if not sequences:
        return None
    objective.eval()
    device = accelerator.device
    stops = torch.tensor(stop_token_ids, device=device)
    total = torch.zeros((), dtype=torch.float64, device=device)
    lengths = {number: sequence.num_positions for number, sequence in enumerate(sequences)}
    for one in split(lengths, settings, accelerator.num_processes)[accelerator.process_index]:
        chosen = [sequences[number] for number in one.samples]
        batch = collate(chosen, packed=settings.layout == "packed").to(device)
        ends = torch.tensor([sequence.num_completion_tokens for sequence in chosen], device=device).cumsum(0) - 1
        with accelerator.autocast():
            mass_B = objective.stop_mass(batch, ends, stops)
        if not one.is_idle:
            total += mass_B.double().sum()
    release(objective)
    objective.train()
    sums: Any = accelerator.reduce(total)
    return float(sums) / len(sequences)
