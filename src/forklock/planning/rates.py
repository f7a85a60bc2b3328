"""What is known of lengths and speeds, and from where: given in the recipe, measured in a run, or a bound."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from forklock.config import PlanConfig, Recipe
from forklock.planning.measured import Kind, Measured

Source = Literal["given", "measured", "upper bound", "this machine", "unknown"]


@dataclass(frozen=True)
class Known:
    """A number and where it is from; None where nobody said."""

    value: float | None
    source: Source
    mend: str = ""
    """What would make it known."""


@dataclass(frozen=True)
class Rates:
    """A recipe's key comes before a measurement, a measurement before a bound."""

    synthesis_tokens: Known
    """Mean of a completion."""
    evaluation_tokens: Known
    prompt_tokens: Known
    sampling_tokens_per_s: Known
    """Of one device."""
    training_tokens_per_s: Known
    graded_per_s: Known
    """Of one worker."""
    num_grading_workers: Known
    """In all."""
    measured: Measured | None


def find_rates(recipe: Recipe, measured: Measured | None) -> Rates:
    plan = recipe.plan
    lengths: dict[Kind, float] = {}
    prompt_tokens = sampling = training = grading = None
    if measured is not None:
        lengths = {kind: drawn.tokens_per_sample for kind, drawn in measured.drawn.items() if drawn.num_samples}
        prompt_tokens, sampling = measured.prompt_tokens, _sampling_rate(measured)
        training, grading = _training_rate(measured), _grading_rate(measured)
    synthesized = lengths.get("synthesize")
    return Rates(
        synthesis_tokens=_length(plan, synthesized, recipe.synthesize.max_sequence_tokens),
        evaluation_tokens=_length(plan, lengths.get("evaluate", synthesized), recipe.evaluate.max_sequence_tokens),
        prompt_tokens=_known(plan.prompt_tokens, prompt_tokens, "prompt_tokens"),
        sampling_tokens_per_s=_known(plan.sampling_tokens_per_s, sampling, "sampling_tokens_per_s"),
        training_tokens_per_s=_known(plan.training_tokens_per_s, training, "training_tokens_per_s"),
        graded_per_s=_known(plan.graded_per_s, grading, "graded_per_s"),
        num_grading_workers=_workers(recipe),
        measured=measured,
    )


def num_sampling_devices(recipe: Recipe) -> int:
    """That an engine of the recipe uses on one machine."""
    return recipe.engine.tensor_parallel * recipe.engine.data_parallel


def _known(given: float | None, measured: float | None, key: str) -> Known:
    if given is not None:
        return Known(given, "given")
    if measured is not None:
        return Known(measured, "measured")
    return Known(None, "unknown", f"give plan.{key}, or --from RUN")


def _length(plan: PlanConfig, measured: float | None, limit: int) -> Known:
    found = _known(plan.solution_tokens, measured, "solution_tokens")
    if found.value is not None:
        return found
    return Known(limit - (plan.prompt_tokens or 0), "upper bound", "give plan.solution_tokens, or --from RUN")


def _sampling_rate(found: Measured) -> float | None:
    drawn = [each for each in found.drawn.values() if each.seconds]
    seconds = sum(each.seconds for each in drawn)
    tokens = sum(each.num_tokens for each in drawn)
    return tokens / seconds / num_sampling_devices(found.recipe) if seconds else None


def _training_rate(found: Measured) -> float | None:
    if not found.training_s:
        return None
    return found.num_trained_tokens / found.training_s / found.recipe.train.num_processes


def _grading_rate(found: Measured) -> float | None:
    if not found.grading_s:
        return None
    workers = found.recipe.evaluate.num_grading_workers or found.num_cpus or 1
    return found.num_graded / found.grading_s / workers


def _workers(recipe: Recipe) -> Known:
    each = recipe.plan.grading_workers_per_node or recipe.evaluate.num_grading_workers
    if each is not None:
        return Known(each * recipe.plan.num_nodes, "given")
    return Known(len(os.sched_getaffinity(0)) * recipe.plan.num_nodes, "this machine")
