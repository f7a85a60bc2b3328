"""What each stage of a recipe has to do, counted off the graph of stages: what is shared is counted once."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from forklock.benchmarks import BENCHMARKS, load_benchmark
from forklock.config import BenchmarkName, Recipe, SynthesizeConfig, TrainConfig
from forklock.planning.disk import Disk
from forklock.planning.errors import PlanError
from forklock.planning.measured import Kind, kind_of
from forklock.planning.rates import Known, Rates
from forklock.prompts import hub_dataset, read_prompts
from forklock.prompts.loading import load_prompts
from forklock.prompts.stage import PROMPTS_FILE
from forklock.run_dir import Stage
from forklock.run_dir.manifest import MANIFEST_NAME
from forklock.train.schedule import MIN_HELD_OUT, is_held_out, num_draws


@dataclass(frozen=True)
class StageWork:
    """One stage. Numbers that its kind does not have are 0."""

    stage: str
    kind: Kind
    is_done: bool = False
    num_samples: int = 0
    num_tokens: float = 0.0
    """Drawn, or trained on (completions alone)."""
    num_trained_on: int = 0
    """Samples of one epoch."""
    num_steps: int = 0
    num_graded: int = 0
    num_bytes: float = 0.0
    """That stay in the run folder."""
    num_scratch_bytes: float = 0.0
    """More, while it is at work."""


@dataclass(frozen=True)
class Prompts:
    """How many, and which where that is known."""

    number: Known
    ids: tuple[str, ...] | None = None

    @property
    def count(self) -> int:
        assert self.number.value is not None
        return int(self.number.value)


@dataclass(frozen=True)
class Counter:
    """Counts the work of stages, in their order."""

    recipe: Recipe
    rates: Rates
    prompts: Prompts
    disk: Disk

    def count(self, stages: Sequence[Stage]) -> list[StageWork]:
        found: dict[str, StageWork] = {}
        for stage in stages:
            kind, config = kind_of(stage), stage.config
            work = StageWork(stage.name, kind)
            if kind == "prompts":
                work = replace(work, num_bytes=self.disk.prompt_bytes(self.prompts.count))
            elif kind == "synthesize":
                work = self._synthesis(work, config["synthesize"])
            elif kind == "verify":
                num_samples = found[stage.reads["synthesize"]].num_samples
                num_bytes = self.disk.verdict_bytes(num_samples)
                work = replace(work, num_graded=num_samples, num_bytes=num_bytes)
            elif kind == "train":
                work = self._training(work, config["train"], found[stage.reads["synthesize"]], config)
            elif kind == "evaluate":
                work = self._point(work, config)
            else:
                work = replace(work, num_bytes=self.disk.analysis_bytes())
            found[stage.name] = work
        return list(found.values())

    def _synthesis(self, work: StageWork, config: object) -> StageWork:
        settings = SynthesizeConfig.model_validate_json(json.dumps(config))
        num_samples = self.prompts.count * settings.num_samples_per_prompt
        num_tokens = num_samples * _value(self.rates.synthesis_tokens)
        num_bytes = self.disk.sample_bytes("synthesize", num_samples, num_tokens, settings)
        return replace(work, num_samples=num_samples, num_tokens=num_tokens, num_bytes=num_bytes)

    def _training(self, work: StageWork, config: object, synthesis: StageWork, all_config: Any) -> StageWork:
        settings = TrainConfig.model_validate_json(json.dumps(config))
        num_each = synthesis.num_samples / self.prompts.count
        num_trained_on = self._num_trained_on(synthesis.num_samples, num_each, settings, all_config)
        draws = num_draws(settings, num_trained_on)
        num_steps = math.ceil(draws / settings.global_batch_size)
        every = settings.checkpoint_every_steps
        num_checkpoints = 0 if every is None else (num_steps - 1) // every
        return replace(
            work,
            num_samples=synthesis.num_samples,
            num_trained_on=num_trained_on,
            num_steps=num_steps,
            num_tokens=draws * _value(self.rates.synthesis_tokens),
            num_bytes=self.disk.model_bytes(settings) * (1 + num_checkpoints),
            num_scratch_bytes=0.0 if every is None else self.disk.state_bytes(settings),
        )

    def _num_trained_on(self, num_samples: int, num_each: float, train: TrainConfig, config: Any) -> int:
        """Held-out prompts off, and the share that a measured run left out for form or length."""
        measured, share = self.rates.measured, 0.0
        if measured is not None and measured.num_samples_given_to_training:
            share = measured.num_samples_left_out / measured.num_samples_given_to_training
        if self.prompts.ids is not None:
            num_held_out = round(num_each * sum(map(is_held_out, self.prompts.ids)))
        else:
            num_held_out = num_samples // 50
        kept, held_out = round(num_samples * (1 - share)), round(num_held_out * (1 - share))
        return max(1, kept - held_out if held_out >= MIN_HELD_OUT and kept > held_out else kept)

    def _point(self, work: StageWork, config: Any) -> StageWork:
        num_problems = self.num_problems(config["benchmark"])
        num_samples = num_problems * int(config["num_samples_per_problem"])
        num_tokens = num_samples * _value(self.rates.evaluation_tokens)
        num_bytes = self.disk.sample_bytes("evaluate", num_samples, num_tokens, None)
        return replace(
            work,
            num_samples=num_samples,
            num_tokens=num_tokens,
            num_graded=num_samples,
            num_bytes=num_bytes + self.disk.verdict_bytes(num_samples),
        )

    def num_problems(self, benchmark: BenchmarkName) -> int:
        """Counted where its data are local files; else as many as it is known to have."""
        path = self.recipe.evaluate.data_paths.get(benchmark)
        return BENCHMARKS[benchmark].num_expected if path is None else _num_local_problems(benchmark, path)


def find_prompts(recipe: Recipe, run_dir: Path, rates: Rates) -> Prompts:
    """Off the run folder, else counted in the source itself where it is here, else as given, measured or limited."""
    folder = run_dir / "prompts"
    if (folder / MANIFEST_NAME).is_file():
        prompts = read_prompts(folder / PROMPTS_FILE)
        return Prompts(Known(len(prompts), "measured"), tuple(prompt.prompt_id for prompt in prompts))
    if hub_dataset(recipe.prompts) is None:
        prompts = load_prompts(recipe.prompts, recipe.seed).prompts
        return Prompts(Known(len(prompts), "this machine"), tuple(prompt.prompt_id for prompt in prompts))
    if recipe.plan.num_prompts is not None:
        number = recipe.plan.num_prompts
        return Prompts(Known(min(number, recipe.prompts.limit or number), "given"))
    measured = rates.measured
    if measured is not None and measured.recipe.prompts == recipe.prompts:
        prompts = read_prompts(measured.run_dir / "prompts" / PROMPTS_FILE)
        return Prompts(Known(len(prompts), "measured"), tuple(prompt.prompt_id for prompt in prompts))
    if recipe.prompts.limit is not None:
        return Prompts(Known(recipe.prompts.limit, "upper bound", "give plan.num_prompts"))
    raise PlanError(
        "the number of prompts is not known before their dataset is read: give plan.num_prompts (or prompts.limit), or "
        "--from a run with the same prompts"
    )


@cache
def _num_local_problems(benchmark: BenchmarkName, path: str) -> int:
    return len(load_benchmark(benchmark, path).problems)


def _value(known: Known) -> float:
    assert known.value is not None
    return known.value
