"""The stage: both models over the same solutions, a row a position; then the summary and the figures."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from forklock.config import Recipe
from forklock.model_path import identity
from forklock.packages import packages_of
from forklock.progress import progress_bar
from forklock.prompts import load_tokenizer
from forklock.run_dir import StageDir

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from forklock.analyze.measure import Settings
    from forklock.train.data import Sequence as Solution

SUMMARY_FILE = "summary.json"
FIGURES_FOLDER = "figures"
SOLUTIONS_PER_SHARD = 8
"""What a kill may cost, and what is in memory at once besides a model: the rows of so many solutions."""


@dataclass(frozen=True)
class Shard:
    number: int
    solutions: tuple[Solution, ...]

    @property
    def name(self) -> str:
        return f"tokens-{self.number:05d}.parquet"


def run(recipe: Recipe, stage_dir: StageDir) -> None:
    with packages_of("train"):
        from forklock.analyze.contexts import choose_solutions
        from forklock.analyze.examples import examples_in
        from forklock.analyze.figures import draw
        from forklock.analyze.measure import Settings
        from forklock.analyze.models import vocabulary_size
        from forklock.analyze.pieces import text_of_token
        from forklock.analyze.rows import shards_in
        from forklock.analyze.summary import Summary

    tokenizer, settings = load_tokenizer(recipe.model), Settings.of(recipe)
    size = vocabulary_size(recipe.model)
    solutions = choose_solutions(recipe, stage_dir.upstream("synthesize"), tokenizer, size)
    shards = _cut(solutions)
    _measure_missing(recipe, stage_dir, shards, tokenizer, settings)
    if not stage_dir.is_done(SUMMARY_FILE):
        sums = Summary(settings, recipe.evaluate.student_decoding.temperature)
        for path in shards_in(stage_dir.path):
            sums.add_shard(path)
        examples = examples_in(shards_in(stage_dir.path), partial(text_of_token, tokenizer))
        contexts = recipe.analyze.contexts or "held-out samples"
        summary = {"contexts": contexts, **sums.as_json(), "examples": examples}
        stage_dir.write_text(SUMMARY_FILE, json.dumps(summary, indent=1, allow_nan=False) + "\n")
    if not stage_dir.is_done(FIGURES_FOLDER):
        summary = json.loads((stage_dir.path / SUMMARY_FILE).read_text(encoding="utf-8"))
        with stage_dir.new_folder(FIGURES_FOLDER) as folder:
            draw(summary, folder)


def stage_config(recipe: Recipe) -> dict[str, object]:
    """What decides the rows: not how they are batched. Contexts count by their content."""
    return {
        "model": identity(recipe.model),
        "analyze": recipe.analyze.model_dump(mode="json", exclude={"contexts"}),
        "has_contexts": recipe.analyze.contexts is not None,
        "train_decoding": asdict(recipe.synthesize.decoding),
        "student_decoding": asdict(recipe.evaluate.student_decoding),
        "seed": recipe.seed,
    }


def input_files(recipe: Recipe) -> dict[str, Path]:
    contexts = recipe.analyze.contexts
    return {} if contexts is None else {"analyze.contexts": Path(contexts)}


def _cut(solutions: Sequence[Solution]) -> list[Shard]:
    starts = range(0, len(solutions), SOLUTIONS_PER_SHARD)
    return [Shard(number, tuple(solutions[start : start + SOLUTIONS_PER_SHARD])) for number, start in enumerate(starts)]


def _measure_missing(
    recipe: Recipe,
    stage_dir: StageDir,
    shards: Sequence[Shard],
    tokenizer: PreTrainedTokenizerBase,
    settings: Settings,
) -> None:
    """The base model's hidden states for every missing shard, then the trained model and the rows."""
    from forklock.analyze.models import keep, kept, read_base, read_trained
    from forklock.analyze.rows import TOKEN_STATS
    from forklock.analyze.solution_rows import Measurement

    missing = [shard for shard in shards if not stage_dir.is_done(shard.name)]
    if not missing:
        return
    folder = stage_dir.upstream("train") / "model"
    hidden_paths = {shard.number: stage_dir.scratch() / f"base-{shard.number:05d}.safetensors" for shard in missing}
    base = read_base(recipe)
    head = base.head_VH
    with progress_bar("base model", sum(len(shard.solutions) for shard in missing)) as advance:
        for shard in missing:
            if not hidden_paths[shard.number].exists():
                keep(hidden_paths[shard.number], base.hidden_states(shard.solutions))
            advance(len(shard.solutions), "")
    del base  # its head stays
    gc.collect()
    trained = read_trained(recipe, folder)
    measurement = Measurement(head, trained.head_VH, tokenizer, recipe.model.style, settings)
    with progress_bar("trained model", sum(len(shard.solutions) for shard in missing)) as advance:
        for shard in missing:
            of_trained = trained.hidden_states(shard.solutions)
            rows = measurement.rows(shard.solutions, kept(hidden_paths[shard.number]), of_trained)
            with stage_dir.new_file(shard.name) as path:
                TOKEN_STATS.write_columns(path, rows)
            hidden_paths[shard.number].unlink()
            advance(len(shard.solutions), "")
