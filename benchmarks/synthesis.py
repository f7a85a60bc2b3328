"""Sampling with the transformers engine against `model.generate`, same model, same tokens wanted, same memory.

Ragged lengths are geometric with mean a sixth of the limit, as samples that end by themselves have; equal lengths
are all at the limit. Both sides get the length of each request from the benchmark, so both draw as many tokens.

What it gave (2 cores, torch 2.13.0 CPU, 3.7M-parameter Qwen3 in float32, batch 256, limit 128, tokens/s as
median of 2 turns):

    ragged lengths, T=1.6 k=20 p=0.8:  4,508 against 705, ratio 6.4 (target 2)
    ragged lengths, no truncation:     5,322 against 717, ratio 7.4 (target 2)
    equal lengths, T=1.6 k=20 p=0.8:   5,550 against 3,363, ratio 1.65 (target 1)
    equal lengths, no truncation:      5,191 against 3,225, ratio 1.61 (target 1)

On ragged lengths `generate` computes every row to its batch's last token, and a geometric length reaches far.
"""

from __future__ import annotations

import statistics

import torch
from _model import small_model
from _rows import Row, publish, seconds_in_turn
from transformers import Qwen3ForCausalLM, StoppingCriteria, StoppingCriteriaList

from forklock.decoding import Decoding
from forklock.engines import Request
from forklock.engines.continuous import BatchLimits, ContinuousBatch

BATCH, LIMIT, PROMPT_TOKENS = 256, 128, 16


class PerRowLimit(StoppingCriteria):
    def __init__(self, lengths: torch.Tensor) -> None:
        self.lengths = lengths

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        return input_ids.shape[1] - PROMPT_TOKENS >= self.lengths


def with_generate(model: Qwen3ForCausalLM, requests: list[Request], setting: Decoding) -> int:
    num_drawn = 0
    for start in range(0, len(requests), BATCH):
        together = requests[start : start + BATCH]
        lengths = torch.tensor([request.max_new_tokens for request in together])
        model.generate(
            torch.tensor([request.prompt_token_ids for request in together]),
            do_sample=True,
            temperature=setting.temperature,
            top_k=setting.top_k,
            top_p=setting.top_p,
            max_new_tokens=LIMIT,
            stopping_criteria=StoppingCriteriaList([PerRowLimit(lengths)]),
            pad_token_id=0,
            eos_token_id=None,
        )
        num_drawn += int(lengths.sum())
    return num_drawn


def with_forklock(model: Qwen3ForCausalLM, requests: list[Request], setting: Decoding) -> int:
    limits = BatchLimits(tokens=BATCH * (PROMPT_TOKENS + LIMIT), max_rows=BATCH, strict=False)
    batch = ContinuousBatch(model, limits, frozenset(), setting)
    return sum(len(completion.token_ids) for completion in batch.run(requests, record_target=False))


def main() -> None:
    model = small_model().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    rows = []
    for shape, target in (("ragged", 2.0), ("equal", 1.0)):
        num_requests = 2 * BATCH if shape == "ragged" else BATCH
        chance = torch.full((num_requests,), 6 / LIMIT)
        lengths = torch.distributions.Geometric(chance).sample().add(1).clamp(max=LIMIT).int().tolist()
        requests = [
            Request(
                request_id=number,
                prompt_token_ids=tuple(torch.randint(2048, (PROMPT_TOKENS,), generator=generator).tolist()),
                seed=number,
                max_new_tokens=length if shape == "ragged" else LIMIT,
            )
            for number, length in enumerate(lengths)
        ]
        num_tokens = sum(request.max_new_tokens for request in requests)
        for setting in (Decoding(1.6, 20, 0.8), Decoding(1.0, 0, 1.0)):
            ours, peers = seconds_in_turn(
                [
                    lambda requests=requests, setting=setting: with_forklock(model, requests, setting),
                    lambda requests=requests, setting=setting: with_generate(model, requests, setting),
                ],
                repeats=2,
            )
            rows.append(
                Row(
                    name=f"{shape} lengths, {setting}",
                    ours=num_tokens / statistics.median(ours),
                    peer=num_tokens / statistics.median(peers),
                    floor=None,
                    ratio=statistics.median(peer / mine for mine, peer in zip(ours, peers, strict=True)),
                    target=target,
                    unit="tokens/s",
                )
            )
    publish(rows)


if __name__ == "__main__":
    main()
