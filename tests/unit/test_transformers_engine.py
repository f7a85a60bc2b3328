"""The transformers engine against model.generate, the Decode operator, and itself in other batches."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import AutoModelForCausalLM, PreTrainedModel

from forklock import decoding
from forklock.config import EngineConfig, ModelConfig
from forklock.decoding import Decoding
from forklock.engines import Completion, EngineError, Request, open_engine
from forklock.engines.slots import SlotLayer
from forklock.engines.transformers_engine import _other_attention
from forklock.errors import ForklockError

SETTINGS = [Decoding(1.6, 20, 0.8), Decoding(0.9, 0, 0.85), Decoding(2.0, 0, 1.0), Decoding(0.0)]
TinyModel = Callable[[str], Path]


def draw(
    model: Path,
    requests: list[Request],
    setting: Decoding,
    *,
    record_target: bool = False,
    batch_tokens: int | None = None,
    strict: bool = False,
) -> dict[int, Completion]:
    config = EngineConfig(kind="transformers", batch_tokens=batch_tokens, strict=strict)
    with open_engine(config, ModelConfig(path=str(model)), max_sequence_tokens=400) as engine:
        before = engine.weights_digest()
        completions = list(engine.generate(iter(requests), setting, record_target=record_target))
        assert engine.weights_digest() == before
    assert sorted(completion.request_id for completion in completions) == sorted(r.request_id for r in requests)
    return {completion.request_id: completion for completion in completions}


def some_requests(number: int, max_new_tokens: int = 60) -> list[Request]:
    generator = torch.Generator().manual_seed(1)
    requests = []
    for i in range(number):
        length = int(torch.randint(1, 40, (1,), generator=generator))
        prompt = torch.randint(3, 250, (length,), generator=generator).tolist()
        requests.append(Request(i, tuple(prompt), seed=1000 + i, max_new_tokens=max_new_tokens))
    return requests


def share_that_differs(one: dict[int, Completion], other: dict[int, Completion]) -> float:
    return sum(one[i].token_ids != other[i].token_ids for i in one) / len(one)


def frozen(folder: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder).eval()
    return model


@pytest.mark.parametrize("architecture", ["qwen3", "qwen3_moe", "llama"])
def test_a_sample_does_not_depend_on_its_batch(architecture: str, tiny_model: TinyModel) -> None:
    folder = tiny_model(architecture)
    requests = some_requests(48)
    setting = Decoding(1.3, 20, 0.9)
    together = draw(folder, requests, setting)
    assert {completion.finish_reason for completion in together.values()} == {"stop", "length"}
    # One row at a time; rows that must leave and come back for lack of room; another order; groups of 16.
    for other in (
        draw(folder, requests, setting, batch_tokens=1),
        draw(folder, requests, setting, batch_tokens=600),
        draw(folder, requests[::-1], setting),
        draw(folder, requests, setting, strict=True),
        draw(folder, requests, setting, record_target=True),
    ):
        assert share_that_differs(together, other) <= 0.05  # last bits of other kernel shapes


@pytest.mark.parametrize("architecture", ["qwen3", "qwen3_moe", "llama"])
def test_greedy_equals_generate(architecture: str, tiny_model: TinyModel) -> None:
    folder = tiny_model(architecture)
    model = frozen(folder)
    requests = some_requests(20)
    ours = draw(folder, requests, Decoding(0.0))
    num_different = 0
    for request in requests:
        prompt = torch.tensor([request.prompt_token_ids])
        generated = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=60, do_sample=False)
        num_different += tuple(generated[0, prompt.shape[1] :].tolist()) != ours[request.request_id].token_ids
    assert num_different <= 1


def test_strict_groups_give_the_same_bits_whatever_the_memory(tiny_model: TinyModel) -> None:
    folder = tiny_model("qwen3")
    requests = some_requests(40)
    setting = Decoding(1.3, 20, 0.9)
    plain = draw(folder, requests, setting, strict=True)
    assert plain == draw(folder, requests, setting, strict=True, batch_tokens=300)
    second_group_alone = draw(folder, requests[16:32], setting, strict=True)
    assert all(plain[i] == completion for i, completion in second_group_alone.items())


def test_requests_that_are_not_ready_join_the_batch_later(tiny_model: TinyModel) -> None:
    folder = tiny_model("qwen3")
    requests = some_requests(24)
    setting = Decoding(1.3, 20, 0.9)
    at_once = draw(folder, requests, setting)
    given: list[int] = []

    def coming() -> Iterator[Request | None]:
        for request in requests:
            if request.request_id % 8 == 0:
                yield from [None] * 3 if given else []  # a step of the others each
            given.append(request.request_id)
            yield request
        while True:
            yield None

    config = EngineConfig(kind="transformers")
    with open_engine(config, ModelConfig(path=str(folder)), max_sequence_tokens=400) as engine:
        drawn = {completion.request_id: completion for completion in engine.generate(coming(), setting)}
    assert drawn.keys() == at_once.keys()
    assert share_that_differs(at_once, drawn) <= 0.05


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_tokens_at_a_fixed_context_follow_the_target(setting: Decoding, tiny_model: TinyModel) -> None:
    folder, context, num_draws = tiny_model("qwen3"), (5, 9, 40, 77), 6_000
    logits = frozen(folder)(torch.tensor([context])).logits[0, -1].detach().double()
    q = decoding.target(logits, setting).numpy()
    requests = [Request(i, context, seed=i, max_new_tokens=1) for i in range(num_draws)]
    drawn = [completion.token_ids[0] for completion in draw(folder, requests, setting).values()]
    observed = np.bincount(drawn, minlength=len(q))
    assert observed[q == 0].sum() == 0
    likely = q * num_draws >= 5
    if likely.sum() > 1:
        pooled_observed = np.append(observed[likely], observed[~likely].sum())
        pooled_expected = np.append(q[likely], q[~likely].sum()) * num_draws
        present = pooled_expected > 0
        assert stats.chisquare(pooled_observed[present], pooled_expected[present]).pvalue > 1e-3


def test_untouched_sampling_has_the_models_own_entropy(tiny_model: TinyModel) -> None:
    """At T=1 without truncation the mean of -log p over draws is the mean entropy of the contexts visited."""
    folder = tiny_model("qwen3")
    model = frozen(folder)
    requests = some_requests(300, max_new_tokens=20)
    surprises, entropies = [], []
    for completion in draw(folder, requests, Decoding()).values():
        prompt = requests[completion.request_id].prompt_token_ids
        sequence = torch.tensor([[*prompt, *completion.token_ids]])
        with torch.no_grad():
            log_p = model(sequence).logits[0, len(prompt) - 1 : -1].double().log_softmax(-1)
        drawn = torch.tensor(completion.token_ids)
        surprises += (-log_p.gather(-1, drawn[:, None])[:, 0]).tolist()
        entropies += (-(log_p.exp() * log_p).sum(-1)).tolist()
    differences = np.array(surprises) - np.array(entropies)  # a martingale: independent enough for a z-test
    z = differences.mean() / (differences.std() / np.sqrt(len(differences)))
    assert abs(z) < 3.5


def test_recorded_targets_are_those_of_the_decode_operator(tiny_model: TinyModel) -> None:
    folder, setting = tiny_model("qwen3"), Decoding(1.6, 20, 0.8)
    model = frozen(folder)
    requests = some_requests(12)
    for completion in draw(folder, requests, setting, record_target=True).values():
        prompt = requests[completion.request_id].prompt_token_ids
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *completion.token_ids]])).logits[0, len(prompt) - 1 : -1].double()
        q = decoding.target(logits, setting).numpy()
        recorded = completion.target
        assert recorded is not None
        assert recorded.kept_mass is not None
        assert len(recorded.sizes) == len(completion.token_ids)
        ends = np.cumsum(recorded.sizes)
        p = logits.softmax(-1).numpy()
        for position, end in enumerate(ends):
            span = slice(end - recorded.sizes[position], end)
            token_ids = recorded.token_ids[span]
            dense = np.zeros(q.shape[-1])
            dense[token_ids] = recorded.probabilities[span]
            assert completion.token_ids[position] in token_ids
            np.testing.assert_allclose(dense, q[position], atol=1e-3)  # float16
            np.testing.assert_allclose(recorded.kept_mass[position], p[position][token_ids].sum(), atol=1e-4)


def test_the_stop_token_is_kept_and_the_length_limit_adds_none(tiny_model: TinyModel) -> None:
    folder = tiny_model("qwen3")
    stop = frozen(folder).generation_config.eos_token_id
    for completion in draw(folder, some_requests(60), Decoding(1.3, 20, 0.9)).values():
        assert stop not in completion.token_ids[:-1]
        if completion.finish_reason == "stop":
            assert completion.token_ids[-1] == stop
        else:
            assert len(completion.token_ids) == 60
            assert completion.token_ids[-1] != stop


@pytest.mark.parametrize("batch_tokens", [300, 1024, 3000])
def test_room_is_made_again_when_long_sequences_end(batch_tokens: int, tiny_model: TinyModel) -> None:
    long = [Request(i, tuple(range(5, 155)), seed=i, max_new_tokens=5 + 60 * (i % 2)) for i in range(3)]
    short = [Request(i, (7, 8, 9, 10, 11, i), seed=i, max_new_tokens=20) for i in range(10, 50)]
    requests = [*long, *short, *(dataclasses.replace(one, request_id=100 + one.request_id) for one in long)]
    setting = Decoding(1.3, 20, 0.9)
    alone = draw(tiny_model("qwen3"), requests, setting, batch_tokens=1)
    assert share_that_differs(alone, draw(tiny_model("qwen3"), requests, setting, batch_tokens=batch_tokens)) <= 0.05


def test_requests_are_read_as_room_becomes_free(tiny_model: TinyModel) -> None:
    num_read = 0

    def source() -> Iterator[Request]:
        nonlocal num_read
        for request in some_requests(200, max_new_tokens=8):
            num_read += 1
            yield request

    config = EngineConfig(kind="transformers", batch_tokens=128 * 5)
    with open_engine(config, ModelConfig(path=str(tiny_model("qwen3"))), max_sequence_tokens=400) as engine:
        first = next(iter(engine.generate(source(), Decoding())))
    assert first.token_ids
    assert num_read < 20


def test_samples_of_a_prompt_share_its_prefill(tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """7 prompts of 8 samples each enter as 7 rows; the samples are those that each would be alone."""
    prompts = [request.prompt_token_ids for request in some_requests(7)]
    requests = [Request(8 * i + j, prompts[i], seed=8 * i + j, max_new_tokens=20) for i in range(7) for j in range(8)]
    setting = Decoding(1.3, 20, 0.9)
    alone = draw(tiny_model("qwen3"), requests, setting, batch_tokens=1)
    rows: list[int] = []
    write_prompts = SlotLayer.write_prompts

    def write_and_watch(layer: SlotLayer, first_row: int, keys: torch.Tensor, *rest: torch.Tensor) -> None:
        rows.append(len(keys))
        write_prompts(layer, first_row, keys, *rest)

    monkeypatch.setattr(SlotLayer, "write_prompts", write_and_watch)
    assert share_that_differs(alone, draw(tiny_model("qwen3"), requests, setting)) <= 0.05
    assert set(rows) == {7}


def test_a_changed_weight_changes_the_digest(tiny_model: TinyModel) -> None:
    from forklock.engines.transformers_engine import TransformersEngine

    model = ModelConfig(path=str(tiny_model("qwen3")))
    with TransformersEngine(EngineConfig(), model, max_sequence_tokens=400) as engine:
        before = engine.weights_digest()
        weight = next(engine._model.parameters())
        weight.data[3, 5] = torch.nextafter(weight.data[3, 5], torch.tensor(9.0))
        assert engine.weights_digest() != before


def test_what_does_not_fit_is_refused_by_name(tiny_model: TinyModel) -> None:
    fits = some_requests(1)[0]
    for wrong in (
        dataclasses.replace(fits, prompt_token_ids=tuple(range(3, 203)), max_new_tokens=201),
        dataclasses.replace(fits, prompt_token_ids=()),
        dataclasses.replace(fits, max_new_tokens=0),
    ):
        with pytest.raises(EngineError, match=r"request 0: .* do not fit the 400 tokens"):
            draw(tiny_model("qwen3"), [wrong], Decoding())


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ForklockError, match=r"no such folder"):
        draw(tmp_path / "nothing", [], Decoding())


def test_a_model_without_a_stop_token(tiny_model: TinyModel, tmp_path: Path) -> None:
    import json
    import shutil

    folder = tmp_path / "endless"
    shutil.copytree(tiny_model("qwen3"), folder)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        path = folder / name
        if path.exists():
            settings = json.loads(path.read_text())
            settings.pop("eos_token_id", None)
            settings.pop("eos_token", None)
            path.write_text(json.dumps(settings))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(EngineError, match="names no stop token"):
        draw(folder, [], Decoding())


def test_a_window_over_all_layers_is_refused() -> None:
    """Models that do not name their layers have it in one setting."""
    from transformers import LlamaConfig, MistralConfig

    assert _other_attention(MistralConfig(sliding_window=4096)) == {"sliding_attention"}
    assert _other_attention(MistralConfig(sliding_window=None)) == set()
    assert _other_attention(LlamaConfig()) == set()


def test_sliding_attention_is_refused(tiny_model: TinyModel, tmp_path: Path) -> None:
    import json
    import shutil

    folder = tmp_path / "sliding"
    shutil.copytree(tiny_model("qwen3"), folder)
    settings = json.loads((folder / "config.json").read_text())
    settings |= {
        "use_sliding_window": True,
        "sliding_window": 8,
        "layer_types": ["full_attention", "sliding_attention"],
    }
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(EngineError, match="sliding_attention"):
        draw(folder, [], Decoding())


@pytest.mark.parametrize("num_taken", [3, 20])
def test_the_cache_is_given_back_when_a_batch_ends_or_is_left(
    num_taken: int, tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without waiting for the garbage collector: the next batch of an open engine asks for as much again."""
    rooms: list[weakref.ref[torch.Tensor]] = []
    make_room = SlotLayer._room_like

    def make_and_watch(layer: SlotLayer, states: torch.Tensor) -> torch.Tensor:
        rooms.append(weakref.ref(room := make_room(layer, states)))
        return room

    monkeypatch.setattr(SlotLayer, "_room_like", make_and_watch)
    gc.disable()
    try:
        with open_engine(EngineConfig(), ModelConfig(path=str(tiny_model("qwen3"))), max_sequence_tokens=400) as engine:
            completions = engine.generate(some_requests(20), Decoding(1.3, 20, 0.9))
            assert len(list(islice(completions, num_taken))) == num_taken
            assert any(room() is not None for room in rooms)
            if num_taken < 20:
                completions.close()  # type: ignore[attr-defined]
            else:
                assert list(completions) == []
            assert all(room() is None for room in rooms)
    finally:
        gc.enable()
