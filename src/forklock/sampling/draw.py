"""Draws every sample that is missing, from one frozen model at one decoding: what synthesis and evaluation share."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forklock.config import EngineConfig, ModelConfig
from forklock.decoding import Decoding
from forklock.engines import STRICT_GROUP, Completion, Engine, Request
from forklock.engines.stop_tokens import context_tokens
from forklock.errors import ForklockError
from forklock.progress import progress_bar
from forklock.prompts import Prompt, Renderer, load_tokenizer
from forklock.run_dir import StageDir
from forklock.sampling.degeneracy import degeneracy_of
from forklock.sampling.sample import Sample, read_keys, read_shard
from forklock.sampling.shards import ShardWriter, shards_in
from forklock.seeds import derive_seed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


FROZEN_MODEL_FILE = "frozen_model.json"
"""Written after the last draw: digests of the weights, found the same before and after, and of the tokenizer."""
_CHANGED = "weights-changed"


class SamplingError(ForklockError):
    """Nothing can be sampled, or what was sampled cannot be trusted."""


@dataclass(frozen=True)
class Drawing:
    """Which samples are drawn, and how."""

    model: ModelConfig
    engine: EngineConfig
    decoding: Decoding
    max_sequence_tokens: int
    """Prompt and completion together; the model's context counts where it is shorter."""
    num_samples_per_prompt: int
    seed_parts: tuple[int | str, ...]
    """With prompt id and sample index they give each sample's seed."""
    title: str
    """Stands before the progress bar."""
    template: str | None = None
    record_target: bool = False
    samples_per_shard: int = 256

    def sequence_limit(self) -> int:
        return min(self.max_sequence_tokens, context_tokens(self.model) or self.max_sequence_tokens)


@dataclass(frozen=True)
class Wanted:
    """One sample to draw."""

    prompt_id: str
    sample_index: int
    request: Request

    @property
    def key(self) -> tuple[str, int]:
        return self.prompt_id, self.sample_index


def draw_samples(
    drawing: Drawing,
    prompts: Sequence[Prompt],
    stage_dir: StageDir,
    open_engine: Callable[[], AbstractContextManager[Engine]],
) -> None:
    """Leave the stage's shards with every sample in them. The engine is opened only if some are missing.

    Every prompt is rendered and measured before that; what a killed call finished is kept and not drawn again.
    """
    tokenizer = load_tokenizer(drawing.model)
    wanted = _plan(drawing, prompts, Renderer(tokenizer, drawing.model, drawing.template))
    done = {key for shard in shards_in(stage_dir.path) for key in read_keys(shard)}
    missing = _incomplete(wanted, done, strict=drawing.engine.strict)
    if (stage_dir.scratch() / _CHANGED).exists():
        raise _weights_changed(drawing, stage_dir)
    if missing or not stage_dir.is_done(FROZEN_MODEL_FILE):
        with open_engine() as engine:
            digest = _Draw(drawing, stage_dir, engine, tokenizer).run(missing, done)
        if not stage_dir.is_done(FROZEN_MODEL_FILE):
            record = {"weights": digest, "tokenizer": tokenizer_digest(tokenizer)}
            stage_dir.write_text(FROZEN_MODEL_FILE, json.dumps(record) + "\n")


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over every token and its id, and how text is cut into them where that can be told."""
    rules = getattr(tokenizer, "backend_tokenizer", None)
    text = json.dumps(sorted(tokenizer.get_vocab().items())) + (rules.to_str() if rules is not None else "")
    return hashlib.sha256(text.encode()).hexdigest()


def _weights_changed(drawing: Drawing, stage_dir: StageDir) -> SamplingError:
    return SamplingError(
        f"the weights of {drawing.model.path} changed while they were sampled from: the samples in "
        f"{stage_dir.path} are not the frozen model's; delete that folder"
    )


def _plan(drawing: Drawing, prompts: Sequence[Prompt], renderer: Renderer) -> list[Wanted]:
    limit = drawing.sequence_limit()
    wanted: list[Wanted] = []
    for prompt in prompts:
        token_ids = renderer.render(prompt).token_ids
        if len(token_ids) >= limit:
            raise SamplingError(
                f"prompt {prompt.prompt_id}: its {len(token_ids)} tokens leave no room for an answer within {limit} "
                "tokens (max_sequence_tokens of the recipe's section, or the model's context where that is shorter); "
                "leave the prompt out of the source, or raise the limit"
            )
        for index in range(drawing.num_samples_per_prompt):
            request = Request(
                request_id=len(wanted),
                prompt_token_ids=token_ids,
                seed=derive_seed(*drawing.seed_parts, prompt.prompt_id, index),
                max_new_tokens=limit - len(token_ids),
            )
            wanted.append(Wanted(prompt.prompt_id, index, request))
    return wanted


def _incomplete(wanted: Sequence[Wanted], done: set[tuple[str, int]], *, strict: bool) -> list[Wanted]:
    """What is still to be drawn. Strict groups are drawn whole: a sample's last bits depend on its group."""
    size = STRICT_GROUP if strict else 1
    groups = (wanted[start : start + size] for start in range(0, len(wanted), size))
    return [one for group in groups if any(member.key not in done for member in group) for one in group]


@dataclass(frozen=True)
class _Draw:
    drawing: Drawing
    stage_dir: StageDir
    engine: Engine
    tokenizer: PreTrainedTokenizerBase

    def run(self, missing: Sequence[Wanted], done: set[tuple[str, int]]) -> str | None:
        """The digest of the weights, the same after the last draw as before the first; None where it can't be had."""
        completions = self.engine.generate(
            (one.request for one in missing), self.drawing.decoding, record_target=self.drawing.record_target
        )
        digest = self.engine.weights_digest()  # a cluster's engines can tell once they are at work
        self._check_same_weights(digest)
        by_id = {one.request.request_id: one for one in missing}
        total = sum(one.key not in done for one in missing)
        writer = ShardWriter(self.stage_dir, self.drawing.samples_per_shard)
        start, num_tokens = time.monotonic(), 0
        with progress_bar(self.drawing.title, total + len(done), len(done)) as advance:
            try:
                for completion in completions:
                    one = by_id[completion.request_id]
                    if one.key in done:
                        continue  # drawn again for its strict group's sake
                    writer.add(self._sample(digest, one, completion))
                    num_tokens += len(completion.token_ids)
                    advance(1, f"{num_tokens / (time.monotonic() - start):,.0f} tokens/s")
            finally:
                writer.flush()  # also on Ctrl-C: what is finished is kept
        if self.engine.weights_digest() != digest:
            (self.stage_dir.scratch() / _CHANGED).touch()  # so that no later call takes these samples for good
            raise _weights_changed(self.drawing, self.stage_dir)
        if total:
            rate = num_tokens / (time.monotonic() - start)
            self.stage_dir.note("sampled", num_samples=total, num_tokens=num_tokens, tokens_per_s=rate)
        return digest

    def _sample(self, digest: str | None, one: Wanted, completion: Completion) -> Sample:
        text = str(self.tokenizer.decode(list(completion.token_ids), skip_special_tokens=True))
        return Sample(
            prompt_id=one.prompt_id,
            sample_index=one.sample_index,
            prompt_token_ids=one.request.prompt_token_ids,
            token_ids=completion.token_ids,
            text=text,
            finish_reason=completion.finish_reason,
            seed=one.request.seed,
            decoding=self.drawing.decoding,
            engine=self.engine.version,
            weights_digest=digest or "",
            degenerate=degeneracy_of(text),
            target=completion.target,
        )

    def _check_same_weights(self, digest: str | None) -> None:
        """A call that goes on must sample from the weights that the calls before it sampled from."""
        for shard in shards_in(self.stage_dir.path)[:1]:
            earlier = next(read_shard(shard)).weights_digest
            if digest and earlier and digest != earlier:
                raise SamplingError(
                    f"the samples in {self.stage_dir.path} were drawn from other weights; if the model is meant to be "
                    "another one, give the run another folder"
                )
