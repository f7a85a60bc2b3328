"""Continuous batching over a transformers model: a finished sequence's slot goes to the next prompt.

Each step runs the model on one new token of every sequence in the batch. A prompt enters by a prefill of all its
tokens but the last, which is then just another sequence's new token; several samples of a prompt that enter together
share one. When sequences grow past the memory budget, the youngest leave and enter again later, prompt and drawn
tokens together: what was drawn is never drawn again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from forklock import decoding as decode
from forklock.composed import Law, sample
from forklock.decoding import Decoding, RankedTarget
from forklock.engines import STRICT_GROUP, Completion, FinishReason, RecordedTarget, Request
from forklock.engines.slots import Slots

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREFILL_TOKENS = 8_192
"""Positions of one prefill pass, padding included."""
HEADROOM_COLUMNS = 32
"""Columns a newcomer has to itself before sequences are made to leave for lack of room."""
FREE_SHARE_TO_ADMIT = 16
"""A batch at work is filled up once a sixteenth of its rows is free: a prefill for each row that falls free would
double the number of passes, and keep samples of one prompt from entering together."""


class PositionTarget(NamedTuple):
    """q_s at one position, and the untempered mass on its support."""

    token_ids: NDArray[np.int32]
    probabilities: NDArray[np.float16]
    kept_mass: float


class StepTargets(NamedTuple):
    """q_s of every sequence in a step."""

    ranked: RankedTarget
    kept_mass_B: torch.Tensor


@dataclass(eq=False)
class Sequence:
    """A request on its way: the prompt, and what has been drawn for it."""

    request: Request
    drawn: list[int] = field(default_factory=list)
    targets: list[PositionTarget] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        return len(self.request.prompt_token_ids) + len(self.drawn)

    def finished(self, stop_token_ids: frozenset[int]) -> Completion | None:
        reason: FinishReason = "stop" if self.drawn[-1] in stop_token_ids else "length"
        if reason == "length" and len(self.drawn) < self.request.max_new_tokens:
            return None
        target = _packed(self.targets) if self.targets else None
        return Completion(self.request.request_id, tuple(self.drawn), reason, target)


@dataclass(frozen=True)
class BatchLimits:
    """How much one batch may hold."""

    tokens: int
    max_rows: int
    strict: bool
    """Groups of STRICT_GROUP sequences, in the order of the requests, each run to its end before the next."""


class ContinuousBatch:
    """The sequences at work, one a row of the slots, and those that wait."""

    def __init__(self, model: PreTrainedModel, limits: BatchLimits, stop_token_ids: frozenset[int], law: Law) -> None:
        self._model = model
        self._limits = limits
        self._stop_token_ids = stop_token_ids
        self._law = law
        num_layers = model.config.get_text_config().num_hidden_layers
        max_rows = STRICT_GROUP if limits.strict else limits.max_rows
        self._slots = Slots(num_layers, limits.tokens, max_rows)
        self._active: list[Sequence] = []
        self._waiting: deque[Sequence] = deque()
        self._device = model.device

    @torch.inference_mode()
    def run(self, requests: Iterable[Request | None], *, record_target: bool) -> Iterator[Completion]:
        source = iter(requests)
        try:
            while True:
                self._admit(source)
                if not self._active:
                    return
                targets = self._step(record_target)
                yield from self._retire(targets)
        finally:
            self._slots.release()

    def _admit(self, source: Iterator[Request | None]) -> None:
        if self._limits.strict:
            if not self._active:
                group = [Sequence(request) for request in islice(source, STRICT_GROUP) if request is not None]
                self._slots.budget_tokens = max(
                    self._limits.tokens, len(group) * self._slots.rounded(max(map(_most_tokens, group), default=1))
                )
                self._enter(group)
            return
        columns = max((sequence.num_tokens for sequence in self._active), default=0)
        num_rows = self._slots.rows_for(columns + HEADROOM_COLUMNS)
        if self._active and num_rows - len(self._active) < num_rows // FREE_SHARE_TO_ADMIT:
            return
        newcomers: list[Sequence] = []
        while True:
            if not self._waiting:
                self._waiting.extend(Sequence(request) for request in islice(source, 1) if request is not None)
            if not self._waiting:
                break
            columns = max(columns, self._waiting[0].num_tokens + HEADROOM_COLUMNS)
            num_rows = len(self._active) + len(newcomers)
            if num_rows and num_rows >= self._slots.rows_for(columns):
                break
            newcomers.append(self._waiting.popleft())
        self._enter(newcomers)

    def _enter(self, newcomers: list[Sequence]) -> None:
        if not newcomers:
            return
        everyone = [*self._active, *newcomers]
        self._slots.fit(max(sequence.num_tokens for sequence in everyone), len(everyone))
        for together in _by_prefill_budget(newcomers):
            first_row = len(self._active)
            sharers = [sequence for sequences in together.values() for sequence in sequences]
            self._active += sharers
            longest = max(map(len, together))
            if longest == 0:
                continue
            token_ids = torch.zeros(len(together), longest, dtype=torch.long)
            for row, prefix in enumerate(together):
                token_ids[row, : len(prefix)] = torch.tensor(prefix, dtype=torch.long)
            # Padding stands on the right, where causal attention keeps it from every real token.
            prefilled = DynamicCache(config=self._model.config)
            self._model(input_ids=token_ids.to(self._device), past_key_values=prefilled, logits_to_keep=1)
            sources = [row for row, sequences in enumerate(together.values()) for _ in sequences]
            self._slots.write_prompts(first_row, prefilled, torch.tensor(sources, device=self._device))

    def _step(self, record_target: bool) -> StepTargets | None:
        """One new token for every sequence; its targets too where they are wanted."""
        self._make_room()
        cached = torch.tensor([sequence.num_tokens - 1 for sequence in self._active], device=self._device)
        width = max(sequence.num_tokens for sequence in self._active)
        newest = torch.tensor(
            [
                sequence.drawn[-1] if sequence.drawn else sequence.request.prompt_token_ids[-1]
                for sequence in self._active
            ],
            device=self._device,
        )
        self._slots.begin_step(cached, width)
        sees_BL = torch.arange(width, device=self._device) <= cached[:, None]
        logits_BV = self._model(
            input_ids=newest[:, None],
            position_ids=cached[:, None],
            attention_mask=sees_BL[:, None, None, :],
            past_key_values=self._slots,
            logits_to_keep=1,
        ).logits[:, -1]
        seeds = torch.tensor([sequence.request.seed for sequence in self._active])
        positions = torch.tensor([len(sequence.drawn) for sequence in self._active])
        targets = None
        if record_target:
            assert isinstance(self._law, Decoding), "only the model's own q_s is ever recorded"
            ranked = decode.ranked_target(logits_BV, self._law)
            targets = StepTargets(ranked, _kept_mass(logits_BV, ranked))
            drawn = decode.draw(ranked, seeds, positions)
        else:
            drawn = sample(logits_BV, self._law, seeds, positions)
        for sequence, token_id in zip(self._active, drawn.tolist(), strict=True):
            sequence.drawn.append(token_id)
        return targets

    def _make_room(self) -> None:
        """Widen the slots for the coming token; where the budget allows fewer rows, the youngest wait again."""
        columns = max(sequence.num_tokens for sequence in self._active)
        if not self._limits.strict:
            while len(self._active) > self._slots.rows_for(columns):
                youngest = min(range(len(self._active)), key=lambda row: len(self._active[row].drawn))
                self._waiting.appendleft(self._active[youngest])
                self._vacate(youngest)
                columns = max(sequence.num_tokens for sequence in self._active)
        self._slots.fit(columns, len(self._active))

    def _retire(self, targets: StepTargets | None) -> list[Completion]:
        if targets is not None:
            token_ids = targets.ranked.token_ids.to("cpu", torch.int32).numpy()
            probabilities = targets.ranked.probabilities.to("cpu", torch.float16).numpy()
            sizes, kept_mass = targets.ranked.num_retained.tolist(), targets.kept_mass_B.tolist()
            for row, sequence in enumerate(self._active):
                kept = slice(sizes[row])
                entry = PositionTarget(token_ids[row, kept].copy(), probabilities[row, kept].copy(), kept_mass[row])
                sequence.targets.append(entry)
        completions = []
        for row in reversed(range(len(self._active))):
            completion = self._active[row].finished(self._stop_token_ids)
            if completion is not None:
                completions.append(completion)
                self._vacate(row)
        return completions

    def _vacate(self, row: int) -> None:
        """Free a row; the last one moves there, so that rows in use stay together."""
        last = self._active.pop()
        if row < len(self._active):
            self._slots.move_row(len(self._active), row)
            self._active[row] = last


def _most_tokens(sequence: Sequence) -> int:
    return len(sequence.request.prompt_token_ids) + sequence.request.max_new_tokens


def _by_prefill_budget(newcomers: list[Sequence]) -> Iterator[dict[tuple[int, ...], list[Sequence]]]:
    """Who shares which prefix; prefixes of like length together, each pass within its budget of positions."""
    sharers: dict[tuple[int, ...], list[Sequence]] = {}
    for sequence in newcomers:
        sharers.setdefault((*sequence.request.prompt_token_ids, *sequence.drawn)[:-1], []).append(sequence)
    together: dict[tuple[int, ...], list[Sequence]] = {}
    longest = 0
    for prefix in sorted(sharers, key=len, reverse=True):
        if together and longest * (len(together) + 1) > PREFILL_TOKENS:
            yield together
            together = {}
        longest = longest if together else len(prefix)
        together[prefix] = sharers[prefix]
    if together:
        yield together


def _kept_mass(logits_BV: torch.Tensor, ranked: RankedTarget) -> torch.Tensor:
    """The untempered mass on each retained support (Eq. 10)."""
    ranked_BK = logits_BV.gather(-1, ranked.token_ids).to(torch.float64)
    places = torch.arange(ranked_BK.shape[-1], device=logits_BV.device)
    ranked_BK.masked_fill_(places >= ranked.num_retained[:, None], -torch.inf)
    return (ranked_BK.logsumexp(dim=-1) - logits_BV.to(torch.float64).logsumexp(dim=-1)).exp()


def _packed(targets: list[PositionTarget]) -> RecordedTarget:
    return RecordedTarget(
        sizes=np.array([len(target.token_ids) for target in targets], dtype=np.int32),
        token_ids=np.concatenate([target.token_ids for target in targets]),
        probabilities=np.concatenate([target.probabilities for target in targets]),
        kept_mass=np.array([target.kept_mass for target in targets], dtype=np.float32),
    )
