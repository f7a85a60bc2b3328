"""The shipped bases under vLLM: the greedy answers that transformers gives."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from vllm_cases import GREEDY, MAX_SEQUENCE_TOKENS

from forklock.config import EngineConfig, ModelConfig
from forklock.engines import Completion, Engine, Request
from forklock.engines.transformers_engine import TransformersEngine
from forklock.engines.vllm_engine import VllmEngine
from forklock.microworld.corpus import as_prompt
from forklock.microworld.problems import draw_problems
from forklock.microworld.settings import BaseName, base_folder
from forklock.prompts import Renderer, load_tokenizer


@pytest.mark.parametrize("base", ["firm", "leaky"])
def test_a_base_answers_as_it_does_in_transformers(vllm_environment: None, base: BaseName) -> None:
    model = ModelConfig(path=str(base_folder(base)))
    renderer = Renderer(load_tokenizer(model), model)
    prompts = [renderer.render(as_prompt(problem)).token_ids for problem in draw_problems("eval", 0, 8)]
    requests = [Request(number, prompt, number, 120) for number, prompt in enumerate(prompts)]

    def answers(engine: Engine) -> dict[int, tuple[int, ...]]:
        drawn: Iterable[Completion] = engine.generate(iter(requests), GREEDY)
        return {completion.request_id: completion.token_ids for completion in drawn}

    with TransformersEngine(EngineConfig(), model, max_sequence_tokens=MAX_SEQUENCE_TOKENS) as engine:
        expected = answers(engine)
    with VllmEngine(EngineConfig(kind="vllm"), model, max_sequence_tokens=MAX_SEQUENCE_TOKENS) as opened:
        assert answers(opened) == expected
