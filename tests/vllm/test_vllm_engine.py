"""vLLM draws what forklock.decoding defines: the same model in transformers gives the distributions to expect."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from vllm_cases import (
    GREEDY,
    MAX_SEQUENCE_TOKENS,
    PAPER,
    PROMPT,
    STOP_TOKEN_IDS,
    assert_drawn_from,
    assert_recorded,
    logits_of,
    requests,
    write_model,
    write_tokenizer,
)

from forklock import cluster
from forklock import decoding as decode
from forklock.config import (
    ClusterConfig,
    EngineConfig,
    EvaluateConfig,
    ModelConfig,
    PromptsConfig,
    Recipe,
    SynthesizeConfig,
    TrainConfig,
)
from forklock.decoding import Decoding
from forklock.engines import EngineError, Request
from forklock.engines.stop_tokens import stop_token_ids
from forklock.engines.vllm_engine import VllmEngine
from forklock.engines.vllm_terms import recorded_target
from forklock.errors import ForklockError

NUM_DRAWS = 20_000
WARNINGS_OF_RAY = (
    "ignore::FutureWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@pytest.mark.parametrize("setting", [PAPER, Decoding(0.9, 0, 0.85), Decoding(2.0, 0, 1.0)], ids=str)
def test_draws_follow_the_target(engine: VllmEngine, qwen3: ModelConfig, setting: Decoding) -> None:
    expected = decode.target(logits_of(qwen3, [PROMPT])[0][-1], setting)
    drawn = list(engine.generate(requests(NUM_DRAWS, max_new_tokens=1), setting))
    assert sorted(completion.request_id for completion in drawn) == list(range(NUM_DRAWS))
    assert_drawn_from([completion.token_ids[0] for completion in drawn], expected)


def test_greedy_is_the_likeliest_token_at_every_position(engine: VllmEngine, qwen3: ModelConfig) -> None:
    (completion,) = engine.generate(requests(1, max_new_tokens=40), GREEDY, record_target=True)
    (logits_TV,) = logits_of(qwen3, [(*PROMPT, *completion.token_ids)])
    assert completion.token_ids == tuple(decode.greedy(logits_TV[len(PROMPT) - 1 : -1]).tolist())
    target = completion.target
    assert target is not None
    assert tuple(target.token_ids.tolist()) == completion.token_ids
    assert set(target.sizes.tolist()) == set(target.probabilities.tolist()) == {1}


@pytest.mark.parametrize("setting", [PAPER, Decoding(0.9, 40, 0.85), Decoding(2.0, 5, 1.0)], ids=str)
def test_recorded_targets_are_the_definitions(engine: VllmEngine, qwen3: ModelConfig, setting: Decoding) -> None:
    drawn = list(engine.generate(requests(20, max_new_tokens=30), setting, record_target=True))
    assert_recorded(qwen3, drawn, setting)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_actor_of_a_cluster_draws_as_an_engine_here(
    engine: VllmEngine, qwen3: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'forklock[cluster]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)  # else Ray would write one into the home folder
    recipe = Recipe(
        name="test",
        purpose="a test",
        model=qwen3,
        engine=EngineConfig(kind="vllm"),
        prompts=PromptsConfig(source="jsonl", path="nowhere.jsonl"),
        synthesize=SynthesizeConfig(decoding=PAPER),
        train=TrainConfig(steps=1),
        evaluate=EvaluateConfig(base_decoding=GREEDY, student_decoding=PAPER),
        cluster=ClusterConfig(address="local"),
    )
    wanted = requests(40, max_new_tokens=20)
    with (
        cluster.connected(recipe.cluster),
        cluster.open_engine(recipe, qwen3, max_sequence_tokens=MAX_SEQUENCE_TOKENS) as pool,
    ):
        drawn = {completion.request_id: completion for completion in pool.generate(wanted, PAPER)}
        assert pool.weights_digest() == engine.weights_digest()
        assert pool.version == engine.version
    here = {completion.request_id: completion for completion in engine.generate(wanted, PAPER)}
    assert {number: one.token_ids for number, one in drawn.items()} == {
        number: one.token_ids for number, one in here.items()
    }


@pytest.mark.slow
@pytest.mark.usefixtures("vllm_environment", "no_process_left")
def test_mixtures_of_experts(tmp_path: Path) -> None:
    model = write_model(tmp_path, "qwen3_moe")
    expected = decode.target(logits_of(model, [PROMPT])[0][-1], PAPER)
    with VllmEngine(EngineConfig(kind="vllm"), model, max_sequence_tokens=64) as opened:
        drawn = list(opened.generate(requests(5_000, max_new_tokens=1), PAPER))
        recorded = list(opened.generate(requests(10, max_new_tokens=20), PAPER, record_target=True))
    assert_drawn_from([completion.token_ids[0] for completion in drawn], expected)
    assert_recorded(model, recorded, PAPER)


def test_stop_tokens_are_kept_and_limits_add_none(engine: VllmEngine) -> None:
    drawn = list(engine.generate(requests(300, max_new_tokens=60), Decoding(2.0, 0, 1.0)))
    stopped = [completion for completion in drawn if completion.finish_reason == "stop"]
    limited = [completion for completion in drawn if completion.finish_reason == "length"]
    assert len(stopped) + len(limited) == 300
    assert {completion.token_ids[-1] for completion in stopped} == set(STOP_TOKEN_IDS)
    assert all(set(completion.token_ids[:-1]).isdisjoint(STOP_TOKEN_IDS) for completion in stopped)
    assert all(len(completion.token_ids) == 60 for completion in limited)
    assert all(set(completion.token_ids).isdisjoint(STOP_TOKEN_IDS) for completion in limited)


def test_the_sequence_limit_ends_a_completion(engine: VllmEngine) -> None:
    prompt = tuple(range(10, 10 + MAX_SEQUENCE_TOKENS - 4))
    for completion in engine.generate(requests(20, max_new_tokens=100, prompt=prompt), PAPER):
        assert len(completion.token_ids) == 4 or completion.finish_reason == "stop"


def test_seeds_alone_decide(engine: VllmEngine) -> None:
    """The largest seed too; on this CPU neighbours in the batch do not reach a sample's tokens."""
    wanted = [Request(i, PROMPT, 2**63 - 1 - i, 30) for i in range(100)]
    first = {completion.request_id: completion.token_ids for completion in engine.generate(wanted, PAPER)}
    again = {completion.request_id: completion.token_ids for completion in engine.generate(wanted[::-3], PAPER)}
    assert len(set(first.values())) > 90  # some stop early, and alike
    assert again == {request_id: first[request_id] for request_id in again}


def test_requests_are_read_as_room_becomes_free(engine: VllmEngine) -> None:
    num_read = 0

    def read() -> Iterator[Request]:
        nonlocal num_read
        for request in requests(2_000, max_new_tokens=4):
            num_read += 1
            yield request

    completions = engine.generate(read(), PAPER)
    next(completions)
    assert num_read < 1_000
    assert len(list(completions)) == 1_999
    assert num_read == 2_000


def test_short_completions_do_not_wait_for_long_ones(engine: VllmEngine) -> None:
    long = Request(0, PROMPT, 8, MAX_SEQUENCE_TOKENS)
    short = [Request(i, PROMPT, i, 2) for i in range(1, 40)]
    order = [completion.request_id for completion in engine.generate([long, *short], GREEDY)]
    assert order[-1] == 0


def test_a_request_that_does_not_fit_loses_none_before_it(engine: VllmEngine) -> None:
    too_long = Request(7, (9,) * MAX_SEQUENCE_TOKENS, 1, 5)
    completions = engine.generate([*requests(3, max_new_tokens=5), too_long, *requests(3, max_new_tokens=5)], PAPER)
    finished = [next(completions) for _ in range(3)]
    assert {completion.request_id for completion in finished} == {0, 1, 2}
    with pytest.raises(EngineError, match=rf"request 7: a prompt of {MAX_SEQUENCE_TOKENS} tokens.* 5 new"):
        next(completions)


def test_a_token_outside_the_vocabulary_is_refused(engine: VllmEngine) -> None:
    with pytest.raises(EngineError, match=r"request 4: .* token 507, .*knows 500"):
        list(engine.generate([Request(4, (507,), 1, 5)], PAPER))


def test_leaving_off_frees_the_engine_for_more(engine: VllmEngine) -> None:
    completions = engine.generate(requests(600, max_new_tokens=200), PAPER)
    next(completions)
    completions.close()  # type: ignore[attr-defined]
    assert engine._llm.get_num_unfinished_requests() == 0
    assert len(list(engine.generate(requests(10, max_new_tokens=5), PAPER))) == 10


def test_the_digest_is_none_where_weights_are_out_of_reach(engine: VllmEngine) -> None:
    """vLLM's CPU kernels pack linear layers away and leave nothing to read."""
    assert engine.weights_digest() is None


@pytest.mark.parametrize(
    ("setting", "words"),
    [(Decoding(2.5), "temperature = 2.5"), (Decoding(0.001), "temperature = 0.001"), (Decoding(1.0), "top_k")],
    ids=str,
)
def test_decodings_that_vllm_would_change_are_refused(engine: VllmEngine, setting: Decoding, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        engine.generate([], setting, record_target=True)


@pytest.mark.slow
@pytest.mark.usefixtures("vllm_environment", "no_process_left")
def test_a_model_that_cannot_be_loaded_is_one_message(tmp_path: Path) -> None:
    model = write_model(tmp_path, "qwen3")
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(EngineError, match="vLLM cannot load it"):
        VllmEngine(EngineConfig(kind="vllm"), model, max_sequence_tokens=64)


KILLED = """
import os, signal, sys, psutil
from forklock.config import EngineConfig, ModelConfig
from forklock.engines.vllm_engine import VllmEngine

if __name__ == "__main__":
    engine = VllmEngine(EngineConfig(kind="vllm"), ModelConfig(path=sys.argv[1]), max_sequence_tokens=64)
    print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("vllm_environment")
def test_a_killed_run_leaves_no_process_on_the_gpu(tmp_path: Path, qwen3: ModelConfig) -> None:
    program = tmp_path / "killed.py"
    program.write_text(KILLED)
    killed = subprocess.run([sys.executable, program, qwen3.path], stdout=subprocess.PIPE, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    process_ids = [int(process_id) for process_id in killed.stdout.split()]
    assert len(process_ids) > 2  # the resource tracker, the guard, and vLLM's
    left = [psutil.Process(process_id) for process_id in process_ids if psutil.pid_exists(process_id)]
    _, alive = psutil.wait_procs(left, timeout=60.0)
    assert alive == []


def test_ties_at_the_cut_are_cut_to_k_with_the_drawn_token_kept() -> None:
    third = np.log(1 / 3)
    token_ids = np.array([[9, 4, 6], [4, 4, 6], [2, 2, 8]])
    logprobs = np.array([[third, third, third], [third, third, third], [0.0, 0.0, -np.inf]])
    target = recorded_target(token_ids, logprobs, top_k=2)
    assert target.sizes.tolist() == [2, 2, 1]
    assert target.token_ids.tolist() == [4, 9, 4, 6, 2]
    assert target.probabilities.tolist() == [0.5, 0.5, 0.5, 0.5, 1.0]


class TestStopTokens:
    def test_from_the_generation_config(self, qwen3: ModelConfig) -> None:
        assert stop_token_ids(qwen3) == STOP_TOKEN_IDS

    def test_from_the_config_without_one(self, tmp_path: Path) -> None:
        model = write_model(tmp_path, "llama")
        (tmp_path / "generation_config.json").unlink()
        assert stop_token_ids(model) == STOP_TOKEN_IDS[:1]

    def test_from_the_tokenizer_then(self, tmp_path: Path) -> None:
        model = self._without_stop_token(tmp_path)
        write_tokenizer(tmp_path)
        assert stop_token_ids(model) == (3,)

    def test_none_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(EngineError, match=r"no stop token.*eos_token_id"):
            stop_token_ids(self._without_stop_token(tmp_path))

    @pytest.mark.parametrize("path", ["/no/such/folder", "./none", "runs/a/b"])
    def test_no_such_folder(self, path: str) -> None:
        with pytest.raises(ForklockError, match="no such folder"):
            stop_token_ids(ModelConfig(path=path))

    def _without_stop_token(self, folder: Path) -> ModelConfig:
        import transformers

        transformers.Qwen3Config(eos_token_id=None).save_pretrained(folder)
        return ModelConfig(path=str(folder))
