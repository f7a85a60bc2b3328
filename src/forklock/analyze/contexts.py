"""The solutions whose positions are measured: held out from training, or given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forklock.analyze.errors import AnalysisError
from forklock.config import Recipe
from forklock.decoding import Decoding
from forklock.sampling import Sample, samples_in, tokens_in
from forklock.sampling.sample import read_shard
from forklock.sampling.shards import shards_in
from forklock.seeds import derive_seed
from forklock.train.data import Sequence, load_data, sequence_of
from forklock.train.schedule import HELD_OUT_ONE_IN, MIN_HELD_OUT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_IDS = ("prompt_token_ids", "token_ids")
_TEXTS = ("prompt", "completion")


def choose_solutions(
    recipe: Recipe, synthesized: Path, tokenizer: PreTrainedTokenizerBase, vocabulary_size: int
) -> list[Sequence]:
    """At most `analyze.num_solutions`, chosen by the recipe's seed; a higher number adds to those of a lower one."""
    if recipe.analyze.contexts is None:
        found = _held_out(recipe, synthesized, vocabulary_size)
    else:
        samples = _given(Path(recipe.analyze.contexts), tokenizer)
        found = [sequence_of(sample, vocabulary_size, keep_target=False) for sample in samples]
    if len({sequence.key for sequence in found}) < len(found):
        raise AnalysisError(
            f"analyze.contexts = {recipe.analyze.contexts!r}: two samples have the same prompt id and sample index"
        )
    order = sorted(found, key=lambda sequence: derive_seed(recipe.seed, "analyze", *sequence.key))
    return order[: recipe.analyze.num_solutions]


def _held_out(recipe: Recipe, synthesized: Path, vocabulary_size: int) -> list[Sequence]:
    """By training's own rule, so that none of them was trained on."""
    on_tokens_drawn = recipe.model_copy(update={"train": recipe.train.model_copy(update={"target": "hard"})})
    data = load_data(on_tokens_drawn, tokens_in(synthesized, with_targets=False), vocabulary_size)
    if not data.held_out:
        raise AnalysisError(
            f"no solution is held out: the finished samples of one prompt in {HELD_OUT_ONE_IN} are, once there are "
            f"{MIN_HELD_OUT} of them; {data.counts.num_samples} samples gave fewer, so training took them all. Draw "
            "from more prompts (prompts.limit), or name other solutions: analyze.contexts"
        )
    return data.held_out


def _given(path: Path, tokenizer: PreTrainedTokenizerBase) -> Iterator[Sample]:
    if path.is_dir():
        if not shards_in(path):
            raise AnalysisError(f"analyze.contexts = {str(path)!r}: holds no samples-*.parquet")
        yield from samples_in(path)
    elif path.suffix == ".parquet":
        yield from read_shard(path)
    elif path.suffix == ".jsonl":
        yield from _lines(path, tokenizer)
    else:
        raise AnalysisError(
            f"analyze.contexts = {str(path)!r}: is neither .jsonl, nor .parquet, nor a folder of samples"
        )


def _lines(path: Path, tokenizer: PreTrainedTokenizerBase) -> Iterator[Sample]:
    """Token ids where a line has them, else its text as it stands: chat template and stop token are not added."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise AnalysisError(f"{where}: is no JSON: {error}") from error
            prompt, completion = _tokens_of(row, where, tokenizer)
            yield Sample(
                prompt_id=str(row.get("prompt_id", f"line {number}")),
                sample_index=int(row.get("sample_index", 0)),
                prompt_token_ids=prompt,
                token_ids=completion,
                text="",
                finish_reason="stop",
                seed=0,
                decoding=Decoding(),
                engine="given",
                weights_digest="",
            )


def _tokens_of(row: Any, where: str, tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[int, ...], tuple[int, ...]]:
    given = row if isinstance(row, dict) else {}
    ids: list[Any]
    texts: list[Any]
    ids, texts = ([given.get(name) for name in names] for names in (_IDS, _TEXTS))
    if all(isinstance(value, list) and all(type(one) is int for one in value) for value in ids):
        return tuple(ids[0]), tuple(ids[1])
    if all(isinstance(value, str) for value in texts):
        prompt, completion = (tuple(tokenizer.encode(text, add_special_tokens=False)) for text in texts)
        return prompt, completion
    raise AnalysisError(
        f"{where}: needs {' and '.join(_IDS)} (lists of numbers), or {' and '.join(_TEXTS)} (the text put to the "
        "model, chat template and all, and what followed)"
    )
