"""The stage: prompts in, one raw sample each (or N) out; a killed call loses at most what was not yet in a shard."""

from __future__ import annotations

import json
from functools import partial

from forklock.cluster import open_engine
from forklock.config import Recipe
from forklock.model_path import identity
from forklock.prompts import read_prompts
from forklock.prompts.stage import PROMPTS_FILE
from forklock.run_dir import StageDir
from forklock.sampling import samples_in
from forklock.sampling.draw import Drawing, SamplingError, draw_samples
from forklock.synthesize.summary import summarize

SUMMARY_FILE = "summary.json"


def run(recipe: Recipe, stage_dir: StageDir) -> None:
    prompts_path = stage_dir.upstream("prompts") / PROMPTS_FILE
    prompts = read_prompts(prompts_path)
    if not prompts:
        raise SamplingError(f"{prompts_path}: holds no prompts; look at counts.json beside it for why")
    drawing = Drawing(
        model=recipe.model,
        engine=recipe.engine,
        decoding=recipe.synthesize.decoding,
        max_sequence_tokens=recipe.synthesize.max_sequence_tokens,
        num_samples_per_prompt=recipe.synthesize.num_samples_per_prompt,
        seed_parts=(recipe.seed,),
        title="synthesize",
        template=recipe.prompts.template,
        record_target=recipe.synthesize.record_target,
        samples_per_shard=recipe.synthesize.samples_per_shard,
    )
    opening = partial(open_engine, recipe, recipe.model, max_sequence_tokens=drawing.sequence_limit())
    draw_samples(drawing, prompts, stage_dir, opening)
    if not stage_dir.is_done(SUMMARY_FILE):
        summary = summarize(samples_in(stage_dir.path), recipe.model.style)
        stage_dir.write_text(SUMMARY_FILE, json.dumps(summary.as_json(), indent=1) + "\n")


def stage_config(recipe: Recipe, *, is_model_made_by_run: bool = False) -> dict[str, object]:
    """What decides the samples: not how many are drawn at once, how they are cut into shards, or which of them
    training takes."""
    return {
        "model": identity(recipe.model, is_made_by_run=is_model_made_by_run),
        "engine": recipe.engine.model_dump(mode="json", include={"kind", "strict"}),
        "synthesize": recipe.synthesize.model_dump(mode="json", exclude={"samples_per_shard", "drop_degenerate"}),
        "seed": recipe.seed,
    }
