"""Training from samples to model folders: real kills, real processes, models that load, and controls."""

from __future__ import annotations

import io
import json
import multiprocessing
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from train_cases import STOP, curve, make_recipe, make_sample, run_training
from training_child import SAMPLES, train
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from forklock.config import LoraConfig
from forklock.decoding import Decoding
from forklock.sampling.draw import FROZEN_MODEL_FILE, tokenizer_digest
from forklock.train import TrainingError, loop, objective, worker
from forklock.train.data import Counts
from forklock.train.model_folder import generation_config, write_card
from forklock.train.report import render
from forklock.train.schedule import MIN_HELD_OUT, is_held_out

TinyModel = Callable[[str], Path]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training_child", "pyarrow.parquet", "transformers.models.qwen3.modeling_qwen3"])
    return context


def run_child(processes: multiprocessing.context.ForkServerContext, *arguments: Any) -> int:
    child = processes.Process(target=train, args=(str(arguments[0]), str(arguments[1]), *arguments[2:]))
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"layout": "packed"}, {"target": "soft", "lora": LoraConfig(dropout=0.3)}])
def test_killed_anywhere_and_run_again_gives_the_same_bits(
    settings: dict[str, Any],
    processes: multiprocessing.context.ForkServerContext,
    tiny_model: TinyModel,
    tmp_path: Path,
) -> None:
    settings = {"steps": 9, "checkpoint_every_steps": 2, "warmup_steps": 2, **settings}
    model = tiny_model("qwen3")
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    assert run_child(processes, model, undisturbed, settings) == 0
    # After a resume counting starts again: each kill is a little further on.
    faults = [
        ("before_step", 1), ("after_step", 2), ("before_card", 1), ("after_card", 0), ("before_state", 0),
        ("after_state", 0), ("before_step", 1), ("after_state", 0), ("after_card", 0),
    ]  # fmt: skip
    for fault, at in faults:
        assert run_child(processes, model, disturbed, settings, fault, at) == -signal.SIGKILL
    assert run_child(processes, model, disturbed, settings) == 0

    names = ["checkpoint-000002", "checkpoint-000004", "checkpoint-000006", "checkpoint-000008", "model"]
    for name in names:
        one, other = undisturbed / "train" / name, disturbed / "train" / name
        files = sorted(path.name for path in one.iterdir())
        assert files == sorted(path.name for path in other.iterdir())
        assert all((one / file).read_bytes() == (other / file).read_bytes() for file in files)
    for file in ("curve.csv", "summary.json"):
        assert (undisturbed / "train" / file).read_bytes() == (disturbed / "train" / file).read_bytes()
    assert not (disturbed / "train" / "scratch").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "fault", "at"),
    [
        ({}, "before_endings", 0),
        ({}, "after_endings", 0),
        ({"checkpoint_every_steps": 2}, "before_health", 1),
        ({"checkpoint_every_steps": 2, "target": "soft", "layout": "packed"}, "after_health", 1),
        ({"checkpoint_every_steps": 2, "lora": LoraConfig(dropout=0.3)}, "before_card", 1),
        ({"checkpoint_every_steps": 4}, "after_card", 0),
    ],
    ids=lambda case: str(case),
)
def test_a_training_that_is_over_is_not_done_again(
    settings: dict[str, Any],
    fault: str,
    at: int,
    processes: multiprocessing.context.ForkServerContext,
    tiny_model: TinyModel,
    tmp_path: Path,
) -> None:
    """Killed while completions are drawn from the trained model, or after the last step and before it is written: the
    next call, which would die at a step, takes none; what it makes is what an undisturbed one does."""
    model, settings = tiny_model("qwen3"), {"steps": 3, **settings}
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    assert run_child(processes, model, undisturbed, settings) == 0
    assert run_child(processes, model, disturbed, settings, fault, at) == -signal.SIGKILL
    assert run_child(processes, model, disturbed, settings, "before_step") == 0
    for file in ("model/model.safetensors", "curve.csv", "summary.json"):
        assert (undisturbed / "train" / file).read_bytes() == (disturbed / "train" / file).read_bytes()


def test_how_a_step_is_cut_changes_no_result(tiny_model: TinyModel, tmp_path: Path) -> None:
    cuts = {"whole": {"tokens_per_device": 4000}, "cut": {"tokens_per_device": 62}, "packed": {"layout": "packed"}}
    curves = {
        name: curve(run_training(make_recipe(tiny_model("llama"), **settings), tmp_path / name, SAMPLES))
        for name, settings in cuts.items()
    }
    for name in ("cut", "packed"):
        for mine, other in zip(curves["whole"], curves[name], strict=True):
            assert mine == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("architecture", ["qwen3", "qwen3_moe", "llama"])
def test_every_checkpoint_is_a_whole_model_folder(architecture: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_model(architecture), base)
    AutoModelForCausalLM.from_pretrained(base).bfloat16().save_pretrained(base)
    recipe = make_recipe(base, steps=2, checkpoint_every_steps=1, dtype="bfloat16")
    folder = run_training(recipe, tmp_path / "run", SAMPLES)
    before = weights(base)
    for name in ("checkpoint-000001", "model"):
        loaded, info = AutoModelForCausalLM.from_pretrained(folder / name, output_loading_info=True)
        assert not any(info.values())
        assert loaded.dtype == torch.bfloat16
        after = weights(folder / name)
        assert {key: (value.shape, value.dtype) for key, value in after.items()} == {
            key: (value.shape, value.dtype) for key, value in before.items()
        }
        assert any(not torch.equal(after[key], before[key]) for key in after)
        tokenizer, original = AutoTokenizer.from_pretrained(folder / name), AutoTokenizer.from_pretrained(base)
        assert tokenizer.chat_template == original.chat_template
        assert tokenizer.get_vocab() == original.get_vocab()
        generation = GenerationConfig.from_pretrained(folder / name)
        assert (generation.temperature, generation.top_k, generation.top_p) == (1.1, 20, 0.8)
        assert (generation.do_sample, generation.eos_token_id) == (True, STOP)
        card = (folder / name / "README.md").read_text()
        assert "base_model" not in card  # the hub refuses folders
        assert str(base) not in card
        assert f"Simple self-distillation of `{base.name}`" in card
        assert "T=1.1 k=20 p=0.8" in card
    assert "step 1 of 2" in (folder / "checkpoint-000001" / "README.md").read_text()


def test_a_model_from_the_hub_is_named_in_the_card(tmp_path: Path) -> None:
    write_card(tmp_path, make_recipe("Qwen/Qwen3-4B"), Counts(), 1, 2)
    assert (tmp_path / "README.md").read_text().startswith("---\nbase_model: Qwen/Qwen3-4B\n")


def test_greedy_decoding_is_saved_as_such(tmp_path: Path) -> None:
    generation_config(GenerationConfig(temperature=0.6, top_k=7, do_sample=True), Decoding(0.0)).save_pretrained(
        tmp_path
    )
    assert not GenerationConfig.from_pretrained(tmp_path).do_sample


@pytest.mark.filterwarnings(r"ignore:The following \w+_pattern keys did not match:RuntimeWarning")  # peft, on experts
@pytest.mark.parametrize("kind", ["qwen3", "qwen3_moe"])
def test_adapters_are_merged_or_kept(kind: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    import peft

    base, token_ids = tiny_model(kind), torch.arange(3, 40).unsqueeze(0)
    logits = []
    for merge in (True, False):
        recipe = make_recipe(base, lora=LoraConfig(rank=4, merge_on_save=merge), learning_rate=1e-2)
        folder = run_training(recipe, tmp_path / str(merge), SAMPLES) / "model"
        if merge:
            model = AutoModelForCausalLM.from_pretrained(folder)
            assert weights(folder).keys() == weights(base).keys()
        else:
            model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
        assert AutoTokenizer.from_pretrained(folder).chat_template == AutoTokenizer.from_pretrained(base).chat_template
        generation = GenerationConfig.from_pretrained(folder)
        assert (generation.temperature, generation.top_k, generation.top_p) == (1.1, 20, 0.8)
        assert f"LoRA of rank 4, {'merged' if merge else 'an adapter'}" in (folder / "README.md").read_text()
        with torch.no_grad():
            logits.append(model(token_ids).logits)
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert (logits[0] - AutoModelForCausalLM.from_pretrained(base)(token_ids).logits).abs().max() > 0.1


def test_the_summary_counts_and_the_curve_follows_the_schedule(tiny_model: TinyModel, tmp_path: Path) -> None:
    recipe = make_recipe(tiny_model("qwen3"), steps=None, epochs=2.0, global_batch_size=10, warmup_steps=2)
    marked = make_sample(50, degenerate="empty")
    folder = run_training(recipe, tmp_path, [*SAMPLES, marked])
    summary, points = json.loads((folder / "summary.json").read_text()), curve(folder)
    num_tokens = sum(len(sample.token_ids) for sample in SAMPLES)
    assert summary["num_samples"] == 31
    assert summary["num_degenerate"] == {"empty": 1}
    assert summary["num_steps"] == len(points) == 6
    assert summary["num_tokens_trained"] == sum(point["num_completion_tokens"] for point in points) == 2 * num_tokens
    rates = [point["learning_rate"] for point in points]
    assert rates[:3] == pytest.approx([0, 5e-4, 1e-3])
    assert rates == sorted(rates[:2]) + sorted(rates[2:], reverse=True)
    assert 1e-4 < rates[-1] < 4e-4
    assert summary["last_loss"] < summary["first_loss"]
    assert summary["stop_health"]["measured_on"] == "samples trained on"
    assert summary["stop_health"]["num_samples"] == sum(sample.finish_reason == "stop" for sample in SAMPLES)


def test_a_model_that_unlearns_to_stop_is_warned_about(tiny_model: TinyModel, tmp_path: Path) -> None:
    """It learns to stop; trained on, on samples that never stop, it forgets."""
    stopping = [
        make_sample(number, token_ids=(5, 6, 7, STOP), finish_reason="stop", target=None) for number in range(8)
    ]
    learned = run_training(
        make_recipe(tiny_model("qwen3"), steps=40, learning_rate=3e-3), tmp_path / "learned", stopping
    )
    health = json.loads((learned / "summary.json").read_text())["stop_health"]
    assert health["trained"] > 0.8 > health["base"]
    assert health["warning"] is None
    assert health["endings"]["trained"] > 0.8
    assert health["endings"]["warning"] is None
    assert json.loads((learned / "summary.json").read_text())["warnings"] == []

    endless = [
        make_sample(number + 100, token_ids=(5, 6, 7) * 4, finish_reason="length", target=None) for number in range(40)
    ]
    recipe = make_recipe(learned / "model", steps=40)
    forgotten = run_training(recipe, tmp_path / "forgotten", [*endless, *stopping[:1]])
    summary = json.loads((forgotten / "summary.json").read_text())
    health = summary["stop_health"]
    assert health["trained"] < 0.9 * health["base"]
    assert f"fell from {health['base']:.3f} to {health['trained']:.3f}" in health["warning"]
    events = (tmp_path / "forgotten" / "events.jsonl").read_text()
    assert health["warning"] in events
    assert summary["warnings"] == [health["warning"]]  # one prompt alone says nothing of endings
    assert json.loads((forgotten / "manifest.json").read_text())["warnings"] == summary["warnings"]
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(render(summary))
    assert all(warning in console.export_text() for warning in summary["warnings"])


def test_a_loss_that_is_no_number_stops_before_it_is_learned(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned = SAMPLES[7].prompt_id
    spoilt = objective.Objective.forward

    def forward(self: Any, one: Any, scale: float) -> torch.Tensor:
        first = SAMPLES[7].prompt_token_ids
        rows = one.input_ids_BL[:, : len(first)].tolist()
        return spoilt(self, one, scale) * (float("nan") if list(first) in rows else 1.0)

    recipe = make_recipe(tiny_model("qwen3"), steps=None, epochs=1.0, checkpoint_every_steps=1, tokens_per_device=62)
    with monkeypatch.context() as patched:
        patched.setattr(objective.Objective, "forward", forward)
        with pytest.raises(TrainingError, match=rf"loss is not a finite number.*{poisoned} \(0\)"):
            run_training(recipe, tmp_path, SAMPLES)
    kept = {path.name: weights(path) for path in (tmp_path / "train").glob("checkpoint-*")}
    assert kept
    assert not (tmp_path / "train" / "model").exists()
    assert not (tmp_path / "train" / "manifest.json").exists()
    folder = run_training(recipe, tmp_path, SAMPLES)
    for name, before in kept.items():  # what was there stayed, and the next call went on from it
        assert all(torch.isfinite(weight).all() for weight in before.values())
        after = weights(folder / name)
        assert all(torch.equal(after[key], weight) for key, weight in before.items())
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    trained = next(event["details"] for event in events if event["event"] == "trained")
    assert trained["num_resumed_steps"] == len(kept)


@pytest.mark.parametrize("is_one_alone", [True, False])
def test_a_gradient_that_is_no_number_is_traced_to_its_samples(
    is_one_alone: bool, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is a number all the while: a root of nothing has none for a slope."""
    whole_loss, guilty = objective.Objective.forward, SAMPLES[7]

    def forward(self: Any, one: Any, scale: float) -> torch.Tensor:
        is_there = list(guilty.prompt_token_ids) in one.input_ids_BL[:, : len(guilty.prompt_token_ids)].tolist()
        if is_there and (is_one_alone or len(one.input_ids_BL) > 1):
            return whole_loss(self, one, scale) + (self.head().sum() * 0).sqrt()
        return whole_loss(self, one, scale)

    monkeypatch.setattr(objective.Objective, "forward", forward)
    recipe = make_recipe(tiny_model("qwen3"), steps=1, global_batch_size=30, tokens_per_device=4000)
    words = rf"{guilty.prompt_id} \(0\)\. Training" if is_one_alone else r"\(0\), .*, each of which is finite alone\."
    with pytest.raises(
        TrainingError, match=rf"step 1: the gradient is not a finite .* sample index\) .*{words}"
    ) as caught:
        run_training(recipe, tmp_path, SAMPLES)
    assert str(caught.value).count("prompt-") == (1 if is_one_alone else 30)


def test_a_model_without_finite_probabilities_is_not_written(tiny_model: TinyModel, tmp_path: Path) -> None:
    """A held-out sample has a token of which no embedding is left; every step's loss is finite."""
    base, unknown = tmp_path / "base", 250
    shutil.copytree(tiny_model("qwen3"), base)
    model = AutoModelForCausalLM.from_pretrained(base)
    model.get_input_embeddings().weight.data[unknown] = float("nan")
    model.save_pretrained(base)
    samples = [
        make_sample(number, with_target=False, token_ids=(5, 6, STOP), finish_reason="stop", prompt_token_ids=(7, 8))
        for number in range(1200)
    ]
    held_out = [number for number, sample in enumerate(samples) if is_held_out(sample.prompt_id)]
    assert len(held_out) >= MIN_HELD_OUT
    samples[held_out[3]] = replace(samples[held_out[3]], prompt_token_ids=(7, unknown))
    with pytest.raises(TrainingError, match=r"after step 2: the model has no finite probabilities where held-out"):
        run_training(make_recipe(base, steps=2, checkpoint_every_steps=1), tmp_path / "run", samples)
    assert (tmp_path / "run" / "train" / "checkpoint-000001").is_dir()
    assert not (tmp_path / "run" / "train" / "model").exists()


def test_a_disk_without_room_for_a_checkpoint_is_noticed_before_it_is_written(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    recipe = make_recipe(tiny_model("qwen3"), checkpoint_every_steps=2)
    with monkeypatch.context() as patched:
        free = iter([1 << 30, 1000, 1000])
        patched.setattr(loop.shutil, "disk_usage", lambda _: Usage(free=next(free)))
        with pytest.raises(TrainingError, match=r"checkpoint-000002 needs .* MiB.*Nothing was written"):
            run_training(recipe, tmp_path, SAMPLES)
        patched.setattr(loop._Stepper, "take", None)
        with pytest.raises(TrainingError, match=r"model needs .* MiB.*Nothing was written"):  # before any step
            run_training(recipe, tmp_path, SAMPLES)
        assert not list((tmp_path / "train").rglob("*.safetensors"))
    assert (run_training(recipe, tmp_path, SAMPLES) / "model" / "model.safetensors").exists()


def test_a_disk_with_room_for_the_model_alone_is_enough_in_the_end(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step is kept for a kill to come only where there is room for that too."""

    class Usage(NamedTuple):
        free: int

    model = tiny_model("qwen3")
    num_bytes = 4 * sum(weight.numel() for weight in weights(model).values())
    monkeypatch.setattr(loop.shutil, "disk_usage", lambda _: Usage(free=4 * num_bytes - 1))
    monkeypatch.setattr(loop, "save_state", None)
    folder = run_training(make_recipe(model, checkpoint_every_steps=4), tmp_path, SAMPLES)
    assert (folder / "model" / "model.safetensors").exists()
    monkeypatch.setattr(loop.shutil, "disk_usage", lambda _: Usage(free=4 * num_bytes))
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        run_training(make_recipe(model, checkpoint_every_steps=4, steps=3), tmp_path, SAMPLES)


def test_what_cannot_be_done_is_refused(tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("qwen3")
    with pytest.raises(TrainingError, match=r"train\.warmup_steps = 5 leaves none of the 1 steps"):
        run_training(make_recipe(model, steps=None, epochs=0.1, warmup_steps=5), tmp_path / "c", SAMPLES)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(TrainingError, match=r"ACCELERATE_USE_FSDP is set.*the recipe says so instead"):
        run_training(make_recipe(model), tmp_path / "e", SAMPLES)


def test_samples_of_another_tokenizer_are_refused(tiny_model: TinyModel, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model("qwen3"), model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    record = tmp_path / FROZEN_MODEL_FILE
    worker._check_tokenizer(tmp_path, tokenizer, "m")  # samples from elsewhere say nothing
    record.write_text(json.dumps({"weights": None, "tokenizer": tokenizer_digest(tokenizer)}))
    worker._check_tokenizer(tmp_path, tokenizer, "m")
    tokenizer.add_tokens(["another"])
    tokenizer.save_pretrained(model)
    with pytest.raises(TrainingError, match="tokens_per_device"):  # the samples are there now
        run_training(make_recipe(model, tokens_per_device=3), tmp_path / "run", SAMPLES)
    shutil.copy(record, tmp_path / "run" / "synthesize")
    with pytest.raises(TrainingError, match=rf"model\.path = '{model}': its tokenizer is not the one"):
        run_training(make_recipe(model), tmp_path / "run", SAMPLES)
