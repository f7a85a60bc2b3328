"""Synthesis from a recipe to shards: real model, real kills, and what users get wrong."""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthesis_child import FULL_DISK_EXIT, synthesize

from forklock import recipes, running
from forklock.engines.fake_engine import SCRIPT_FILE
from forklock.sampling import Sample, samples_in

TinyModel = Callable[[str], Path]
NUM_PROMPTS, NUM_SAMPLES = 37, 2


def write_recipe(folder: Path, model: Path, **settings: Any) -> Path:
    questions = [{"question": f"Write a program that prints {number}."} for number in range(NUM_PROMPTS)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
    lines = {
        "model.path": str(model),
        "prompts.source": "jsonl",
        "prompts.path": str(folder / "prompts.jsonl"),
        "synthesize.decoding": {"temperature": 1.3, "top_k": 20, "top_p": 0.9},
        "synthesize.num_samples_per_prompt": NUM_SAMPLES,
        "synthesize.max_sequence_tokens": 300,
        "synthesize.samples_per_shard": 5,
        "train.steps": 1,
        "evaluate.base_decoding": {},
        "evaluate.student_decoding": {},
        **settings,
    }

    def toml(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{name} = {toml(inner)}" for name, inner in value.items()) + " }"
        return json.dumps(value)

    path = folder / "recipe.toml"
    body = "\n".join(f"{key} = {toml(value)}" for key, value in lines.items())
    path.write_text(f'name = "test"\npurpose = "a test"\n{body}\n')
    return path


def by_key(run_dir: Path) -> dict[tuple[str, int], Sample]:
    samples = list(samples_in(run_dir / "synthesize"))
    keyed = {sample.key: sample for sample in samples}
    assert len(keyed) == len(samples), "a sample was drawn twice"
    return keyed


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    """Children forked from a server that has torch imported but never ran it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["synthesis_child", "forklock.engines.transformers_engine", "pyarrow.parquet"])
    return context


def run_child(processes: multiprocessing.context.ForkServerContext, *arguments: Any) -> int:
    child = processes.Process(target=synthesize, args=tuple(map(str, arguments[:3])) + arguments[3:])
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


@pytest.mark.slow
@pytest.mark.parametrize("strict", [True, False])
def test_ten_kills_and_a_full_disk_lose_and_double_nothing(
    strict: bool, processes: multiprocessing.context.ForkServerContext, tiny_model: TinyModel, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path, tiny_model("qwen3"), **{"engine.strict": strict, "engine.batch_tokens": 2048})
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    assert run_child(processes, recipe, undisturbed) == 0

    chance = random.Random(7)
    seen: dict[tuple[str, int], Sample] = {}
    for turn in range(10):
        fault = "full" if turn == 4 else chance.choice(["kill_before", "kill_after"])
        exit_code = run_child(processes, recipe, disturbed, fault, chance.randrange(2))
        if exit_code == 0:
            break
        assert exit_code == (FULL_DISK_EXIT if fault == "full" else -signal.SIGKILL)
        survivors = by_key(disturbed)
        assert seen.items() <= survivors.items()  # what was finished stays as it was
        seen = survivors
    assert 0 < len(seen) < NUM_PROMPTS * NUM_SAMPLES
    assert run_child(processes, recipe, disturbed) == 0

    expected, got = by_key(undisturbed), by_key(disturbed)
    assert expected.keys() == got.keys()
    assert len(expected) == NUM_PROMPTS * NUM_SAMPLES
    num_different = sum(expected[key] != got[key] for key in expected)
    assert num_different == 0 if strict else num_different <= 0.05 * len(expected)
    assert json.loads((disturbed / "synthesize" / "summary.json").read_text())["num_samples"] == len(expected)


def test_samples_carry_what_is_needed_to_draw_them_again(tiny_model: TinyModel, tmp_path: Path) -> None:
    from forklock.engines import Request, open_engine
    from forklock.seeds import derive_seed

    settings = {"seed": 5, "synthesize.record_target": True}
    recipe = recipes.load([str(write_recipe(tmp_path, tiny_model("qwen3"), **settings))])
    summary = running.run_until(recipe, tmp_path / "run", "synthesize")
    samples = by_key(tmp_path / "run")
    assert summary["num_samples"] == len(samples) == NUM_PROMPTS * NUM_SAMPLES
    assert summary["num_tokens"] == sum(len(sample.token_ids) for sample in samples.values())
    assert 1 <= summary["target"]["mean_support"] <= 20
    assert 0 < summary["target"]["mean_kept_mass"] <= 1

    chosen = list(samples.values())[::9]
    for sample in chosen:
        assert sample.seed == derive_seed(5, *sample.key)
        assert sample.target is not None
        assert len(sample.target.sizes) == len(sample.token_ids)
        assert len(sample.prompt_token_ids) + len(sample.token_ids) <= 300
    requests = [
        Request(i, sample.prompt_token_ids, sample.seed, 300 - len(sample.prompt_token_ids))
        for i, sample in enumerate(chosen)
    ]
    with open_engine(recipe.engine, recipe.model, max_sequence_tokens=300) as engine:
        assert {sample.weights_digest for sample in samples.values()} == {engine.weights_digest()}
        again = {done.request_id: done.token_ids for done in engine.generate(requests, chosen[0].decoding)}
    assert sum(again[i] != sample.token_ids for i, sample in enumerate(chosen)) <= 1


def test_more_samples_per_prompt_and_another_seed_are_other_draws(tiny_model: TinyModel, tmp_path: Path) -> None:
    recipe = recipes.load([str(write_recipe(tmp_path, tiny_model("llama")))])
    running.run_until(recipe, tmp_path / "run", "synthesize")
    texts = [sample.token_ids for sample in by_key(tmp_path / "run").values()]
    assert len(set(texts)) > 0.9 * len(texts)


@pytest.fixture
def scripted_model(tiny_model: TinyModel, tmp_path: Path) -> Path:
    """A tokenizer, and three answers: code, an empty one, and one line."""
    import shutil

    from transformers import AutoTokenizer

    folder = tmp_path / "scripted"
    shutil.copytree(tiny_model("qwen3"), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    answers = ["```python\nprint(1)\n```", "", "no"]
    completions = [[*tokenizer.encode(answer), tokenizer.eos_token_id] for answer in answers]
    (folder / SCRIPT_FILE).write_text(json.dumps({"completions": completions}))
    return folder


def test_a_shard_removed_from_an_unfinished_stage_is_drawn_again(
    scripted_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipes.load([str(write_recipe(tmp_path, scripted_model, **{"engine.kind": "fake"}))])

    def fail(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("forklock.synthesize.stage.summarize", fail)
        running.run_until(recipe, tmp_path / "run", "synthesize")
    drawn = by_key(tmp_path / "run")
    (tmp_path / "run" / "synthesize" / "samples-00003.parquet").unlink()
    assert len(by_key(tmp_path / "run")) < len(drawn)
    running.run_until(recipe, tmp_path / "run", "synthesize")
    assert by_key(tmp_path / "run") == drawn


def test_a_damaged_shard_is_named_and_repaired(scripted_model: Path, tmp_path: Path) -> None:
    recipe_file = str(write_recipe(tmp_path, scripted_model, **{"engine.kind": "fake"}))
    command = [sys.executable, "-m", "forklock"]
    again = [*command, "synthesize", recipe_file, "--run-dir", str(tmp_path / "run")]
    subprocess.run(again, check=True, capture_output=True)
    drawn = by_key(tmp_path / "run")
    shard = tmp_path / "run" / "synthesize" / "samples-00003.parquet"
    shard.write_bytes(shard.read_bytes()[::-1])
    refused = subprocess.run(again, check=False, capture_output=True, text=True)
    assert refused.returncode == 1
    assert f"run `forklock repair {tmp_path / 'run'}`" in refused.stderr
    repair = [*command, "repair", str(tmp_path / "run"), "--json"]
    (repaired,) = json.loads(subprocess.run(repair, check=True, capture_output=True).stdout)["repairs"]
    assert repaired["stage"] == "synthesize"
    assert repaired["set_aside"] == [shard.name, "summary.json"]
    subprocess.run(again, check=True, capture_output=True)
    assert by_key(tmp_path / "run") == drawn
    assert json.loads(subprocess.run(repair, check=True, capture_output=True).stdout)["repairs"] == []


def test_status_of_a_run_whose_prompts_are_gone(scripted_model: Path, tmp_path: Path) -> None:
    recipe_file = str(write_recipe(tmp_path, scripted_model, **{"engine.kind": "fake"}))
    running.run_until(recipes.load([recipe_file]), tmp_path / "run", "synthesize")
    (tmp_path / "prompts.jsonl").unlink()
    prompts, synthesis, *_ = running.read_status(tmp_path / "run").stages
    assert (prompts.state, synthesis.state) == ("stale", "stale")
    assert f"{tmp_path / 'prompts.jsonl'} does not exist" in prompts.reasons[0]


STOPPED_BY_A_SIGNAL = """
import os, signal, sys
from forklock import cli
from forklock.engines.fake_engine import FakeEngine

generate, name = FakeEngine.generate, sys.argv.pop()

def generate_and_be_stopped(engine, *arguments, **settings):
    for number, completion in enumerate(generate(engine, *arguments, **settings)):
        if number == 7:
            os.kill(os.getpid(), getattr(signal, name))
        yield completion

FakeEngine.generate = generate_and_be_stopped
cli.main()
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_keeps_what_is_finished(scripted_model: Path, tmp_path: Path, name: str) -> None:
    recipe_file = write_recipe(tmp_path, scripted_model, **{"engine.kind": "fake"})
    arguments = ["synthesize", str(recipe_file), "--run-dir", str(tmp_path / "run")]
    stopped = subprocess.run(
        [sys.executable, "-c", STOPPED_BY_A_SIGNAL, *arguments, name], check=False, capture_output=True, text=True
    )
    assert stopped.returncode == 130
    assert stopped.stderr == f"stopped; what was finished is kept. To go on: forklock {' '.join(arguments)}\n"
    assert len(by_key(tmp_path / "run")) == 7
    again = [sys.executable, "-m", "forklock", *arguments]
    second, third = (subprocess.run(again, check=True, capture_output=True, text=True) for _ in range(2))
    assert second.stderr == f"goes on in {tmp_path / 'run'}: 1 of 2 stages are done; begun: synthesize\n"
    assert third.stderr == f"all 2 stages in {tmp_path / 'run'} are done already\n"
    assert len(by_key(tmp_path / "run")) == NUM_PROMPTS * NUM_SAMPLES
    changed = ["--set", "synthesize.decoding.temperature=0.5"]
    fourth = subprocess.run([*again, *changed], check=True, capture_output=True, text=True)
    words = "1 of 2 stages are done; set aside, for settings or inputs have changed: synthesize\n"
    assert fourth.stderr == f"goes on in {tmp_path / 'run'}: {words}"


def test_weights_that_changed_meanwhile_are_never_taken_for_frozen(
    scripted_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The samples are all there, and look complete to the next call: it has to refuse them as well."""
    from forklock.engines.fake_engine import FakeEngine
    from forklock.sampling.draw import SamplingError

    recipe = recipes.load([str(write_recipe(tmp_path, scripted_model, **{"engine.kind": "fake"}))])
    digests = iter(["before", "after"])
    with monkeypatch.context() as patch, pytest.raises(SamplingError, match="changed while they were sampled from"):
        patch.setattr(FakeEngine, "weights_digest", lambda engine: next(digests))
        running.run_until(recipe, tmp_path / "run", "synthesize")
    assert len(by_key(tmp_path / "run")) == NUM_PROMPTS * NUM_SAMPLES
    with pytest.raises(SamplingError, match="changed while they were sampled from"):
        running.run_until(recipe, tmp_path / "run", "synthesize")


def test_a_kill_before_the_weights_were_looked_at_again_leaves_that_to_the_next_call(
    scripted_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forklock.engines.fake_engine import FakeEngine

    recipe = recipes.load([str(write_recipe(tmp_path, scripted_model, **{"engine.kind": "fake"}))])
    digest, num_looks = FakeEngine.weights_digest, 0

    def digest_then_die(engine: FakeEngine) -> str:
        nonlocal num_looks
        num_looks += 1
        if num_looks == 2:
            raise KeyboardInterrupt
        return digest(engine)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FakeEngine, "weights_digest", digest_then_die)
        running.run_until(recipe, tmp_path / "run", "synthesize")
    record = tmp_path / "run" / "synthesize" / "frozen_model.json"
    assert not record.exists()
    drawn = by_key(tmp_path / "run")
    running.run_until(recipe, tmp_path / "run", "synthesize")
    assert by_key(tmp_path / "run") == drawn
    assert json.loads(record.read_text())["weights"] == next(iter(drawn.values())).weights_digest


def test_samples_of_other_weights_are_not_added_to(
    scripted_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forklock.engines.fake_engine import FakeEngine
    from forklock.sampling.draw import SamplingError

    recipe = recipes.load([str(write_recipe(tmp_path, scripted_model, **{"engine.kind": "fake"}))])
    generate = FakeEngine.generate

    def fail_half_way(engine: FakeEngine, requests: Any, *arguments: Any, **settings: Any) -> Any:
        for number, completion in enumerate(generate(engine, requests, *arguments, **settings)):
            if number == NUM_PROMPTS:
                raise KeyboardInterrupt
            yield completion

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FakeEngine, "generate", fail_half_way)
        running.run_until(recipe, tmp_path / "run", "synthesize")
    assert len(by_key(tmp_path / "run")) == NUM_PROMPTS  # an interrupt keeps what is finished
    with monkeypatch.context() as patch, pytest.raises(SamplingError, match="drawn from other weights"):
        patch.setattr(FakeEngine, "weights_digest", lambda engine: "another model's")
        running.run_until(recipe, tmp_path / "run", "synthesize")
    running.run_until(recipe, tmp_path / "run", "synthesize")
    assert len(by_key(tmp_path / "run")) == NUM_PROMPTS * NUM_SAMPLES


def test_status_says_what_is_missing_from_any_folder(
    scripted_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"engine.kind": "fake", "model.path": "scripted", "prompts.path": "prompts.jsonl"}
    recipe_file = write_recipe(tmp_path, scripted_model, **settings)
    monkeypatch.chdir(tmp_path)
    running.run_until(recipes.load([str(recipe_file)]), tmp_path / "run", "synthesize")
    monkeypatch.chdir("/")
    assert [stage.state for stage in running.read_status(tmp_path / "run").stages][:2] == ["done", "done"]


def test_degenerate_answers_are_marked_and_kept(scripted_model: Path, tmp_path: Path) -> None:
    recipe = recipes.load([str(write_recipe(tmp_path, scripted_model, **{"engine.kind": "fake"}))])
    summary = running.run_until(recipe, tmp_path / "run", "synthesize")
    samples = by_key(tmp_path / "run").values()
    assert {sample.text: sample.degenerate for sample in samples} == {
        "```python\nprint(1)\n```": None,
        "": "empty",
        "no": "single_line",
    }
    marked = [sample.degenerate for sample in samples if sample.degenerate]
    assert summary["num_degenerate"] == {reason: marked.count(reason) for reason in sorted(set(marked))}
    assert summary["num_samples"] == NUM_PROMPTS * NUM_SAMPLES
    assert summary["share_without_code"] == len(marked) / len(samples)


def forklock(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "forklock", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_the_command_draws_then_skips_then_sets_aside(scripted_model: Path, tmp_path: Path) -> None:
    recipe = str(write_recipe(tmp_path, scripted_model, **{"engine.kind": "fake"}))
    first = forklock("synthesize", recipe, "--json", cwd=tmp_path)
    report = json.loads(first.stdout)
    assert report["num_samples"] == NUM_PROMPTS * NUM_SAMPLES
    assert report["prompts"]["num_kept"] == NUM_PROMPTS
    assert report["tokens_per_s"] > 0
    manifest = tmp_path / "runs" / "test" / "synthesize" / "manifest.json"
    written_at = manifest.stat().st_mtime_ns
    assert "without a code block" in forklock("synthesize", recipe, cwd=tmp_path).stdout
    assert manifest.stat().st_mtime_ns == written_at

    hotter = ("--set", "synthesize.decoding.temperature=2.0")
    assert forklock("synthesize", recipe, *hotter, cwd=tmp_path).returncode == 0
    status = json.loads(forklock("status", "runs/test", "--json", "--verify", cwd=tmp_path).stdout)
    assert [(stage["stage"], stage["state"]) for stage in status["stages"]] == [
        ("prompts", "done"),
        ("synthesize", "done"),
        ("train", "not started"),
        ("evaluate/base-livecodebench-v6-t1-k0-p1", "not started"),
        ("evaluate/student-livecodebench-v6-t1-k0-p1", "not started"),
        ("analyze", "not started"),
    ]
    assert len(status["stages"][1]["set_aside"]) == 1
    assert status["damage"] == []

    shard = next((tmp_path / "runs" / "test" / "synthesize").glob("samples-*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1])
    damaged = forklock("status", "runs/test", cwd=tmp_path)
    assert damaged.returncode == 1
    assert "corrupt" in damaged.stdout
    refused = forklock("synthesize", recipe, *hotter, cwd=tmp_path)
    assert refused.returncode == 1
    assert shard.name in refused.stderr


def test_what_users_get_wrong_is_said_in_one_message(scripted_model: Path, tmp_path: Path) -> None:
    def message(**settings: Any) -> str:
        recipe = write_recipe(tmp_path, scripted_model, **{"engine.kind": "fake", **settings})
        done = forklock("synthesize", str(recipe), "--run-dir", "other", cwd=tmp_path)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        return " ".join(done.stderr.split())

    (tmp_path / "empty.jsonl").write_text("")
    assert "no prompts" in message(**{"prompts.path": str(tmp_path / "empty.jsonl")})
    (tmp_path / "bad.jsonl").write_text('{"question": "one"}\nnot json\n')
    assert "bad.jsonl" in (said := message(**{"prompts.path": str(tmp_path / "bad.jsonl")}))
    assert "line 2" in said
    assert "nowhere.jsonl" in message(**{"prompts.path": str(tmp_path / "nowhere.jsonl")})
    assert "leave no room for an answer within 20 tokens" in message(**{"synthesize.max_sequence_tokens": 20})
    assert "no such folder" in message(**{"model.path": "/nowhere/at/all", "engine.kind": "transformers"})

    config = json.loads((scripted_model / "tokenizer_config.json").read_text())
    template_file = scripted_model / "chat_template.jinja"
    broken = "{{ raise_exception('no system messages here') }}"
    if template_file.exists():
        template_file.write_text(broken)
    else:
        (scripted_model / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": broken}))
    assert "no system messages here" in message()
