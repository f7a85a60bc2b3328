"""What a finished run took: lengths, rates and bytes, read off its manifests, events and provenance."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from forklock import running
from forklock.config import Recipe
from forklock.planning.errors import PlanError
from forklock.prompts.stage import COUNTS_FILE
from forklock.run_dir import Manifest, Stage, Tree, read_events, read_manifest, read_provenance
from forklock.run_dir.manifest import MANIFEST_NAME
from forklock.run_dir.work_time import Interval, intervals_at_work, shares_of_time
from forklock.sampling import shards_in
from forklock.sampling.sample import read_lengths
from forklock.sweep.cells import whole_plan

Kind = Literal["prompts", "synthesize", "verify", "train", "evaluate", "analyze"]
_TELLTALES: dict[str, Kind] = {
    "synthesize": "synthesize",
    "train": "train",
    "benchmark": "evaluate",
    "problems": "verify",
}


def kind_of(stage: Stage) -> Kind:
    """By what its configuration holds: sweeps and previews name their stages as they like."""
    for key, kind in _TELLTALES.items():
        if key in stage.config:
            return kind
    return "prompts" if stage.name == "prompts" else "analyze"


@dataclass
class Drawn:
    """Samples of all stages of one kind together."""

    num_samples: int = 0
    num_tokens: int = 0
    seconds: float = 0.0
    num_bytes: int = 0
    """Of their shards."""
    num_bytes_of_tokens: int = 0
    """Tokens that those shards hold."""

    @property
    def tokens_per_sample(self) -> float:
        return self.num_tokens / self.num_samples


@dataclass
class Measured:
    """Sums over the complete stages of a run."""

    run_dir: Path
    recipe: Recipe
    drawn: dict[Kind, Drawn] = field(default_factory=lambda: defaultdict(Drawn))
    num_graded: int = 0
    grading_s: float = 0.0
    verdict_bytes: int = 0
    num_trained_tokens: float = 0.0
    training_s: float = 0.0
    num_samples_given_to_training: int = 0
    num_samples_left_out: int = 0
    """For their form or length; held-out ones not counted."""
    mean_support: float | None = None
    prompt_tokens: float | None = None
    num_prompts: int = 0
    prompt_bytes: int = 0
    analysis_bytes: int = 0
    num_cpus: int = 0
    """Of the machine that ran it."""
    overheads_s: dict[Kind, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Of each stage: what is left of its time when its tokens and answers are taken off."""

    def overhead_s(self, kind: Kind) -> float:
        found = self.overheads_s.get(kind)
        return sum(found) / len(found) if found else 0.0


def measure(run_dir: Path) -> Measured:
    """Of a run folder with at least its synthesis complete."""
    recipe = running.recipe_of(run_dir)
    found, seconds = Measured(run_dir, recipe), _work_s(run_dir)
    stages = [stage for stage in whole_plan(recipe).stages.values() if (run_dir / stage.name / MANIFEST_NAME).is_file()]
    shares = shares_of_time({stage.name: _intervals(run_dir / stage.name) for stage in stages})
    for stage in stages:
        _add(found, stage, seconds.get(stage.name, []), shares[stage.name])
    if not found.drawn["synthesize"].num_samples:
        raise PlanError(f"{run_dir}: its synthesis is not complete, so there is nothing to measure; run it first")
    return found


def _work_s(run_dir: Path) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """By stage: what was sampled, graded and trained, and how fast."""
    found: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for event in read_events(run_dir):
        if event.stage is not None and event.event in ("sampled", "graded", "trained"):
            found[event.stage].append((event.event, dict(event.details)))
    return found


def _intervals(folder: Path) -> list[Interval]:
    """In which processes worked on a stage, those left out that had GPUs: stages taken at the same time have each its
    own."""
    return intervals_at_work(each for each in read_provenance(folder).attempts if not each.machine.gpus)


def _add(found: Measured, stage: Stage, events: Iterable[tuple[str, dict[str, Any]]], share: float) -> None:
    """`share`: of the machine, that the stage had."""
    folder, kind = found.run_dir / stage.name, kind_of(stage)
    manifest = read_manifest(folder / MANIFEST_NAME)
    work_s = 0.0
    for name, details in events:
        if name == "sampled":
            drawn = found.drawn[kind]
            took = details["num_tokens"] / details["tokens_per_s"]
            drawn.num_samples += details["num_samples"]
            drawn.num_tokens += details["num_tokens"]
            drawn.seconds += took * share
        elif name == "graded":
            took = details["num_samples"] / details["samples_per_s"]
            found.num_graded += details["num_samples"]
            found.grading_s += took * share
        else:
            took = _add_training(found, folder, details, share)
        work_s += took
    attempts = read_provenance(folder).attempts
    if attempts:
        found.num_cpus = attempts[-1].machine.num_cpus
    if len(attempts) == 1 and attempts[0].duration_s is not None:
        found.overheads_s[kind].append(max(0.0, attempts[0].duration_s - work_s) * share)
    if kind in ("synthesize", "evaluate"):
        _add_shards(found, kind, folder, manifest)
    elif kind == "prompts":
        counts = json.loads((folder / COUNTS_FILE).read_text(encoding="utf-8"))["counts"]
        found.num_prompts, found.prompt_bytes = counts["num_kept"], num_bytes(manifest)
    elif kind == "analyze":
        found.analysis_bytes += num_bytes(manifest)


def _add_training(found: Measured, folder: Path, details: dict[str, Any], share: float) -> float:
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    left_out = sum(summary["num_degenerate"].values()) + summary["num_too_long"]
    found.num_samples_given_to_training += summary["num_samples"]
    found.num_samples_left_out += left_out
    if not details["num_steps"] or not details["tokens_per_s"]:
        return 0.0
    tokens = summary["num_tokens_trained"] * details["num_steps"] / summary["num_steps"]
    took = float(tokens / details["tokens_per_s"])
    found.num_trained_tokens += tokens
    found.training_s += took * share
    return took


def _add_shards(found: Measured, kind: Kind, folder: Path, manifest: Manifest) -> None:
    drawn = found.drawn[kind]
    drawn.num_bytes += num_bytes(manifest, "samples-")
    found.verdict_bytes += num_bytes(manifest, "verdicts-")
    lengths = [pair for shard in shards_in(folder) for pair in read_lengths(shard)]
    drawn.num_bytes_of_tokens += sum(completion for _, completion in lengths)
    if kind == "synthesize":
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        found.mean_support = summary["target"] and summary["target"]["mean_support"]
        found.prompt_tokens = sum(prompt for prompt, _ in lengths) / len(lengths)


def num_bytes(manifest: Manifest, prefix: str = "") -> int:
    """Of a complete stage's outputs whose names begin so."""
    total = 0
    for name, output in manifest.outputs.items():
        if name.startswith(prefix):
            contents = output.files.values() if isinstance(output, Tree) else [output]
            total += sum(content.num_bytes for content in contents)
    return total
