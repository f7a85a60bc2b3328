"""The training loop: AdamW over whole global batches, with checkpoints and a state to go on from.

A loop of our own on accelerate, not transformers' Trainer. The Trainer counts a step in micro-batches of one size,
fixed beforehand, and divides by what those hold; here a step's forward passes are cut to a token budget, differ in
number and shape from step to step, and share one divisor known before the first of them. It writes checkpoints in
place, where a kill leaves half of one, once in its own layout and once more in ours. What would be overridden
(batches, step, saving, resuming, logging) is more than what is below. Optimizer, schedule, mixed precision,
distribution and trackers are torch's, transformers' and accelerate's.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.distributed.fsdp import FSDPModule
from transformers import get_scheduler

from forklock.config import Recipe, TrainConfig
from forklock.progress import progress_bar
from forklock.seeds import derive_seed
from forklock.train import stop_health
from forklock.train.batches import MicroBatch, Schedule, collate, split
from forklock.train.data import TrainingData
from forklock.train.devices import whole, wrap
from forklock.train.errors import TrainingError
from forklock.train.objective import Objective
from forklock.train.stage import MODEL, folder_at
from forklock.train.state import CurvePoint, load_state, num_state_bytes, save_state
from forklock.train.stop_health import StopHealth
from forklock.train.trackers import tracking

MAX_NAMED = 32
"""Samples of one message."""


@dataclass(frozen=True)
class Job:
    """Everything a process needs."""

    recipe: Recipe
    data: TrainingData
    stop_token_ids: tuple[int, ...]
    scratch: Path
    tracked_as: str
    model_bytes: int
    """Of one checkpoint's weights."""
    write: Callable[[str, int, int, Objective], None]
    """Makes a complete model folder: its name, the step, the number of steps, the model. Every process calls it."""
    has: Callable[[str], bool]
    """Whether a checkpoint of that name is finished already."""


@dataclass(frozen=True)
class Outcome:
    curve: list[CurvePoint]
    stop_health: StopHealth
    num_resumed_steps: int


def train(job: Job, objective: Objective, accelerator: Accelerator) -> Outcome:
    """Train to the last step, from the state in scratch if there is one. Every process calls this with the same job;
    `objective` is on its device."""
    settings = job.recipe.train
    if not job.has(MODEL):
        _require_space(job.scratch, job.model_bytes, MODEL)  # known now, better than after the last step
    measured_on, watched = stop_health.choose(job.data)
    base = stop_health.stop_probability(objective, watched, job.stop_token_ids, settings, accelerator)

    schedule = Schedule(settings, len(job.data.sequences), job.recipe.seed)
    if settings.warmup_steps >= schedule.num_steps:
        raise TrainingError(
            f"train.warmup_steps = {settings.warmup_steps} leaves none of the {schedule.num_steps} steps for the cosine"
        )
    optimizer = make_optimizer(objective, settings)
    curve = load_state(job.scratch, objective, optimizer)
    num_resumed = len(curve)
    rates = _learning_rates(settings, schedule.num_steps)
    stepper = _Stepper(job, accelerator, wrap(objective, accelerator), optimizer)
    bar = _progress(accelerator, schedule.num_steps, num_resumed)
    with tracking(job.recipe, job.tracked_as, accelerator), bar as advance:
        for step in range(num_resumed, schedule.num_steps):
            point = stepper.take(step, schedule.samples_of(step), rates[step])
            curve.append(point)
            advance(1, f"loss {point.loss:.4f}")
            accelerator.log({name: value for name, value in asdict(point).items() if name != "step"}, step=point.step)
            every = settings.checkpoint_every_steps
            if every is not None and point.step % every == 0 and point.step < schedule.num_steps:
                _checkpoint(job, schedule.num_steps, objective, optimizer, curve)
    if settings.checkpoint_every_steps is not None and num_resumed < schedule.num_steps:
        _keep_last_step(job, objective, optimizer, curve)
    trained = stop_health.stop_probability(objective, watched, job.stop_token_ids, settings, accelerator)
    if trained is not None and not math.isfinite(trained):  # of the last step's weights no loss was taken
        raise TrainingError(
            f"after step {schedule.num_steps}: the model has no finite probabilities where {measured_on} end. It was "
            "not written; checkpoints before that step are good. Lower train.learning_rate, or look at those samples"
        )
    if not job.has(MODEL):
        _require_space(job.scratch, job.model_bytes, MODEL)
        job.write(MODEL, schedule.num_steps, schedule.num_steps, objective)
    health = StopHealth(measured_on, len(watched), base, trained)
    return Outcome(curve, health, num_resumed)


def _progress(
    accelerator: Accelerator, num_steps: int, num_done: int
) -> AbstractContextManager[Callable[[int, str], None]]:
    if accelerator.is_main_process:
        return progress_bar("train", num_steps, num_done)
    return nullcontext(lambda steps, note: None)


@dataclass
class _Stepper:
    """One optimizer step after another."""

    job: Job
    accelerator: Accelerator
    wrapped: torch.nn.Module
    """What forward and backward go through: DDP around the objective, or the sharded objective itself."""
    optimizer: torch.optim.Optimizer

    def take(self, step: int, samples: list[int], learning_rate: float) -> CurvePoint:
        settings, sequences = self.job.recipe.train, self.job.data.sequences
        num_tokens = sum(sequences[sample].num_completion_tokens for sample in samples)
        rank, num_processes = self.accelerator.process_index, self.accelerator.num_processes
        share = _share(samples, self.job.data, settings, rank, num_processes)
        torch.manual_seed(derive_seed(self.job.recipe.seed, "step", step, rank))  # dropout, if there is any
        losses = []
        for one in share:
            scale = 0.0 if one.is_idle else num_processes / num_tokens  # gradients become the processes' mean
            is_last = one is share[-1]
            with nullcontext() if is_last else self._unsynchronised():
                chosen = [sequences[sample] for sample in one.samples]
                batch = collate(chosen, packed=settings.layout == "packed").to(self.accelerator.device)
                with self.accelerator.autocast():
                    loss = self.wrapped(batch, scale)
                self.accelerator.backward(loss)
            losses.append(loss.detach())
        means: Any = self.accelerator.gather(torch.stack(losses))
        mean = float(means.sum()) / num_processes
        weights = [weight for weight in self.wrapped.parameters() if weight.requires_grad]
        norm = float(whole(torch.nn.utils.clip_grad_norm_(weights, settings.max_grad_norm)))
        if not (math.isfinite(mean) and math.isfinite(norm)):
            self._stop(step, share, losses, samples)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return CurvePoint(step + 1, mean, learning_rate, norm, num_tokens)

    def _unsynchronised(self) -> Any:
        """Gradients are summed over processes with the last pass; sharded ones with each, or every device would hold
        those of the whole model."""
        return nullcontext() if isinstance(self.wrapped, FSDPModule) else self.accelerator.no_sync(self.wrapped)

    def _stop(self, step: int, share: list[MicroBatch], losses: list[torch.Tensor], samples: list[int]) -> None:
        """Before the optimizer has seen the step: the last checkpoint and state stay good."""
        of_my_passes = [
            sample
            for one, loss in zip(share, losses, strict=True)
            if not torch.isfinite(loss)
            for sample in one.samples
        ]
        suspects = sorted(set(gather_object(of_my_passes)))
        what = "loss" if suspects else "gradient"
        suspects = suspects or sorted(set(samples))
        guilty = [sample for sample in suspects if not self._is_finite_alone(sample)]
        names = [
            f"{prompt_id} ({index})"
            for prompt_id, index in (self.job.data.sequences[one].key for one in guilty or suspects)
        ]
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        together = "" if guilty else ", each of which is finite alone"
        raise TrainingError(
            f"step {step + 1}: the {what} is not a finite number, at the samples (prompt id, sample index) "
            f"{', '.join(names[:MAX_NAMED])}{more}{together}. Training stopped before that step changed the weights; "
            "checkpoints up to it are good. Lower train.learning_rate, or look at those samples"
        )

    def _is_finite_alone(self, sample: int) -> bool:
        """Loss and gradient of one sample. Every process computes it: a sharded model needs all of them."""
        settings, sequence = self.job.recipe.train, self.job.data.sequences[sample]
        self.optimizer.zero_grad(set_to_none=True)
        batch = collate([sequence], packed=settings.layout == "packed").to(self.accelerator.device)
        with self._unsynchronised():
            with self.accelerator.autocast():
                loss = self.wrapped(batch, 1 / sequence.num_completion_tokens)
            self.accelerator.backward(loss)
        gradients = [weight.grad for weight in self.wrapped.parameters() if weight.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(gradients))
        return math.isfinite(float(loss.detach())) and math.isfinite(float(norm))


def _share(
    samples: list[int], data: TrainingData, settings: TrainConfig, rank: int, num_processes: int
) -> list[MicroBatch]:
    """This process's forward passes. A sample drawn twice in a step (few samples, large batch) is passed twice."""
    draws = dict(enumerate(samples))
    lengths = {number: data.sequences[sample].num_positions for number, sample in draws.items()}
    passes = split(lengths, settings, num_processes)[rank]
    return [MicroBatch(tuple(draws[number] for number in one.samples), one.is_idle) for one in passes]


def make_optimizer(objective: torch.nn.Module, settings: TrainConfig) -> torch.optim.Optimizer:
    """AdamW; decay on matrices, none on norms and biases."""
    weights = [weight for weight in objective.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [weight for weight in weights if weight.dim() < 2], "weight_decay": 0.0},
    ]
    betas = (settings.adam_beta1, settings.adam_beta2)
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.learning_rate, betas=betas)


def _learning_rates(settings: TrainConfig, num_steps: int) -> list[float]:
    """Of every step: transformers' schedule, run once over an optimizer of its own."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=settings.learning_rate)
    scheduler = get_scheduler(
        "cosine_with_min_lr",
        optimizer,
        num_warmup_steps=settings.warmup_steps,
        num_training_steps=num_steps,
        scheduler_specific_kwargs={"min_lr": settings.final_learning_rate},
    )
    rates = []
    for _ in range(num_steps):
        rates.append(float(scheduler.get_last_lr()[0]))
        optimizer.step()
        scheduler.step()
    return rates


def _checkpoint(
    job: Job, num_steps: int, objective: Objective, optimizer: torch.optim.Optimizer, curve: list[CurvePoint]
) -> None:
    """The model first, then the state: a kill between them takes the steps again and finds the model there."""
    step = curve[-1].step
    name, is_there = folder_at(step), job.has(folder_at(step))
    _require_space(job.scratch, num_state_bytes(objective) + (0 if is_there else job.model_bytes), name)
    if not is_there:
        job.write(name, step, num_steps, objective)
    save_state(job.scratch, objective, optimizer, curve)


def _keep_last_step(job: Job, objective: Objective, optimizer: torch.optim.Optimizer, curve: list[CurvePoint]) -> None:
    """So that a kill before the model is whole takes no step again; where there is room for it besides the model."""
    if _free_bytes(job.scratch) >= num_state_bytes(objective) + job.model_bytes:
        save_state(job.scratch, objective, optimizer, curve)


def _require_space(folder: Path, num_bytes: int, name: str) -> None:
    free = _free_bytes(folder)
    if free < num_bytes:
        raise TrainingError(
            f"{name} needs {num_bytes / 2**20:,.1f} MiB, and {free / 2**20:,.1f} MiB are "
            f"free on the file system of {folder.parent}. Nothing was written; earlier checkpoints are safe. Free "
            "space there and run the same command again to go on"
        )


def _free_bytes(folder: Path) -> int:
    """The same for all processes, each of which calls this: as they were before any of them went on to write."""
    free: list[int] = gather_object([shutil.disk_usage(folder).free])
    return min(free)
