"""A recipe's cost: all stages, what is done of them already, memory, disk, time, and what does not fit."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from forklock import running
from forklock.config import Recipe
from forklock.doctor import gpu_memory_bytes, memory_bytes
from forklock.planning.disk import Disk
from forklock.planning.measured import measure
from forklock.planning.memory import Memory, num_sequences_at_once, sampling_memory, training_memory
from forklock.planning.rates import Known, Rates, find_rates
from forklock.planning.shape import ModelShape, read_shape
from forklock.planning.timing import GIB, Clock, Machines, StageTime, find_machines
from forklock.planning.work import Counter, Prompts, StageWork, find_prompts
from forklock.run_dir import Stage
from forklock.run_dir import read_status as read_run_status
from forklock.sweep.cells import stages_of_sweep, whole_plan

TOTALS = ("num_steps", "num_graded", "num_bytes")


@dataclass(frozen=True)
class Estimate:
    recipe: Recipe
    run_dir: Path
    shape: ModelShape
    rates: Rates
    prompts: Prompts
    machines: Machines
    work: list[StageWork]
    times: dict[str, StageTime]
    memory: dict[str, Memory]
    of_sweep: frozenset[str]
    """Stages that `forklock sweep` takes through, its own and those that it shares with `forklock run`."""
    free_bytes: int
    """On the file system of the run folder, now."""

    @property
    def remaining(self) -> list[StageWork]:
        return [work for work in self.work if not work.is_done]

    @property
    def swept(self) -> list[StageWork]:
        return [work for work in self.work if work.stage in self.of_sweep]

    def seconds(self, work: Sequence[StageWork]) -> tuple[float, bool]:
        """The sum of what is known, and whether that is all of it."""
        found = [self.times[each.stage].seconds for each in work]
        return sum(each for each in found if each is not None), None not in found

    def bottleneck(self) -> tuple[str, float] | None:
        """What most seconds of the remaining work go to."""
        parts: dict[str, float] = defaultdict(float)
        for work in self.remaining or self.work:
            for name, seconds in self.times[work.stage].parts.items():
                parts[name] += seconds
        return max(parts.items(), key=lambda item: item[1]) if any(parts.values()) else None

    def scratch_bytes(self) -> float:
        """Trainings run one after another, and give theirs back."""
        return max((work.num_scratch_bytes for work in self.remaining), default=0.0)

    def unknown(self) -> list[str]:
        said = (self.times[work.stage].unknown for work in self.work)
        return list(dict.fromkeys(part for each in said for part in each.split("; ") if part))

    def warnings(self) -> list[str]:
        return [*self._memory_warnings(), *self._disk_warnings()]

    def _memory_warnings(self) -> list[str]:
        return [
            f"{name} needs {memory.total / GIB:.1f} GiB on each device, which has {memory.limit_bytes / GIB:.1f}"
            for name, memory in self.memory.items()
            if memory.fits is False and memory.limit_bytes is not None
        ]

    def _disk_warnings(self) -> list[str]:
        needed = sum(work.num_bytes for work in self.remaining) + self.scratch_bytes()
        if needed <= self.free_bytes:
            return []
        return [
            f"the run needs {needed / GIB:.1f} GiB of disk, and {self.free_bytes / GIB:.1f} are free at {self.run_dir}"
        ]

    def as_json(self) -> dict[str, Any]:
        bottleneck = self.bottleneck()
        return {
            "run_dir": str(self.run_dir),
            "model": {
                "source": self.shape.source,
                "num_parameters": self.shape.num_parameters,
                "num_active_parameters": self.shape.num_active_parameters,
                "saved_bytes": self.shape.saved_bytes,
            },
            "num_prompts": asdict(self.prompts.number),
            "rates": {name: asdict(known) for name, known in vars(self.rates).items() if isinstance(known, Known)},
            "measured_in": None if self.rates.measured is None else str(self.rates.measured.run_dir),
            "machines": asdict(self.machines),
            "stages": [
                {**asdict(work), **asdict(self.times[work.stage]), "bottleneck": self.times[work.stage].bottleneck}
                for work in self.work
            ],
            "total": self._sums(self.work),
            "sweep": self._sums(self.swept) if self.swept else None,
            "remaining": self._sums(self.remaining),
            "scratch_bytes": self.scratch_bytes(),
            "free_bytes": self.free_bytes,
            "memory": {
                name: {**asdict(memory), "total": memory.total, "fits": memory.fits}
                for name, memory in self.memory.items()
            },
            "sequences_at_once": self.sequences_at_once(),
            "bottleneck": None if bottleneck is None else {"part": bottleneck[0], "seconds": bottleneck[1]},
            "unknown": self.unknown(),
            "warnings": self.warnings(),
        }

    def sequences_at_once(self) -> float | None:
        """Of mean length, prompt included, on one engine."""
        longest = max(self.recipe.synthesize.max_sequence_tokens, self.recipe.evaluate.max_sequence_tokens)
        mean = (self.rates.synthesis_tokens.value or longest) + (self.rates.prompt_tokens.value or 0)
        return num_sequences_at_once(self.memory["sampling"], min(1.0, mean / longest))

    def _sums(self, work: Sequence[StageWork]) -> dict[str, Any]:
        """Drawn tokens and trained-on ones apart."""
        sums: dict[str, Any] = {name: sum(getattr(each, name) for each in work) for name in TOTALS}
        sums["num_tokens"] = sum(each.num_tokens for each in work if each.kind != "train")
        sums["num_samples"] = sum(each.num_samples for each in work if each.kind != "train")
        sums["num_tokens_trained"] = sum(each.num_tokens for each in work if each.kind == "train")
        seconds, is_all = self.seconds(work)
        return {**sums, "seconds": seconds, "are_all_seconds_known": is_all}


def estimate(recipe: Recipe, run_dir: Path, measured_in: Path | None = None) -> Estimate:
    """Nothing is loaded, drawn or written; `measured_in` is a finished run."""
    recipe = running.as_pinned(recipe, run_dir)
    shape = read_shape(recipe)
    rates = find_rates(recipe, None if measured_in is None else measure(measured_in))
    prompts, machines = find_prompts(recipe, run_dir, rates), find_machines(recipe)
    stages = list(whole_plan(recipe).stages.values())
    counted = Counter(recipe, rates, prompts, Disk(recipe, shape, rates)).count(stages)
    done = _done(run_dir, stages)
    work = [replace(each, is_done=each.stage in done) for each in counted]
    clock, limit = Clock(recipe, shape, rates, machines), _device_memory(recipe)
    return Estimate(
        recipe=recipe,
        run_dir=run_dir,
        shape=shape,
        rates=rates,
        prompts=prompts,
        machines=machines,
        work=work,
        times={each.stage: clock.time(each) for each in work},
        memory={
            "sampling": sampling_memory(recipe, shape, limit),
            "training": training_memory(recipe, shape, machines.num_training_devices, limit),
        },
        of_sweep=stages_of_sweep(recipe),
        free_bytes=shutil.disk_usage(_first_that_exists(run_dir)).free,
    )


def _done(run_dir: Path, stages: Sequence[Stage]) -> set[str]:
    if not run_dir.is_dir():
        return set()
    return {stage.stage for stage in read_run_status(run_dir, stages).stages if stage.state == "done"}


def _device_memory(recipe: Recipe) -> float:
    """As given; else of this machine's first GPU; else, without GPUs, this machine's memory over its processes."""
    if recipe.plan.device_memory_gib is not None:
        return recipe.plan.device_memory_gib * GIB
    if gpus := gpu_memory_bytes():
        return gpus[0]
    return memory_bytes()[0] / recipe.train.num_processes


def _first_that_exists(path: Path) -> Path:
    return path if path.exists() else _first_that_exists(path.absolute().parent)
