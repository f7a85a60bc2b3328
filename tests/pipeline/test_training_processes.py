"""Several processes against one: the same numbers, whatever starts them, however the model lies over them."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.connection
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from train_cases import VOCABULARY, curve, make_recipe, make_sample, run_training
from training_child import EVEN_POSITIONS, EVEN_SAMPLES, SAMPLES, train_as_rank
from transformers import AutoConfig, AutoModelForCausalLM

from forklock.config import LoraConfig
from forklock.sandbox import linux
from forklock.train import TrainingError
from forklock.train.batches import Schedule, split
from forklock.train.data import load_data

TinyModel = Callable[[str], Path]
SOURCES = Path(__file__).parents[2] / "src"
COMMAND = Path(__file__).with_name("killing_command.py")
HANGS_S = 1_800
"""After which a command is taken to hang; on a machine with much other work it takes minutes."""


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next(folder.glob("*.safetensors")))


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training_child", "pyarrow.parquet", "transformers.models.qwen3.modeling_qwen3"])
    return context


@pytest.fixture
def models(tiny_model: TinyModel, tmp_path: Path) -> Callable[[str], Path]:
    def folder_of(name: str) -> Path:
        if name != "tied":
            return tiny_model(name)
        folder = tmp_path / "tied"
        shutil.copytree(tiny_model("llama"), folder)
        config = AutoConfig.from_pretrained(folder, tie_word_embeddings=True)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        assert model.lm_head.weight is model.model.embed_tokens.weight
        model.save_pretrained(folder)
        return folder

    return folder_of


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def launch(
    processes: multiprocessing.context.ForkServerContext, *arguments: Any, fault: tuple[Any, ...] = (), rank: int = 0
) -> list[int | None]:
    """As a launcher does: where one process fails, it ends the other. `fault` is rank `rank`'s. Gives exit codes."""
    port = free_port()
    model, run_dir, settings = arguments
    children = [
        processes.Process(
            target=train_as_rank, args=(one, port, str(model), str(run_dir), settings, *(fault if one == rank else ()))
        )
        for one in range(2)
    ]
    for child in children:
        child.start()
    running = list(children)
    while running:
        ended = multiprocessing.connection.wait([child.sentinel for child in running])
        running = [child for child in running if child.sentinel not in ended]
        if any(child.exitcode for child in children if child not in running):
            for child in running:
                child.kill()
    for child in children:
        child.join()
    return [child.exitcode for child in children]


def assert_same_training(one: Path, other: Path) -> None:
    """Losses to 1e-6. A weight moves by the learning rate, 1e-3, a step, and where its gradient is next to nothing
    Adam makes much of a rounding: 5e-6 is allowed in weights, of some 3e-3 that they moved."""
    for mine, others in zip(curve(one), curve(other), strict=True):
        assert mine == pytest.approx(others, rel=1e-6)
    for name in ("checkpoint-000002", "model"):
        left, right = weights(one / name), weights(other / name)
        assert left.keys() == right.keys()
        for key, mine in left.items():
            torch.testing.assert_close(mine, right[key], rtol=0, atol=5e-6)
    healths = [json.loads((folder / "summary.json").read_text())["stop_health"] for folder in (one, other)]
    assert healths[0]["base"] == pytest.approx(healths[1]["base"], rel=1e-6)
    assert healths[0]["trained"] == pytest.approx(healths[1]["trained"], rel=1e-5)


CASES: list[tuple[str, dict[str, Any]]] = [
    ("qwen3", {}),
    ("tied", {"target": "soft"}),
    ("qwen3_moe", {}),
    ("qwen3", {"lora": LoraConfig(rank=4)}),
    ("qwen3", {"sharding": "fsdp2"}),
    ("tied", {"sharding": "fsdp2", "gradient_checkpointing": True}),
    ("tied", {"sharding": "fsdp2", "target": "soft"}),
    ("qwen3", {"sharding": "fsdp2", "target": "soft", "layout": "packed"}),
    ("qwen3_moe", {"sharding": "fsdp2", "layout": "packed"}),
    ("qwen3", {"sharding": "fsdp2", "lora": LoraConfig(rank=4)}),
    ("qwen3", {"sharding": "fsdp2", "lora": LoraConfig(rank=4, merge_on_save=False)}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "settings"), CASES, ids=lambda case: str(case))
def test_two_processes_change_no_result(
    model: str,
    settings: dict[str, Any],
    models: Callable[[str], Path],
    processes: multiprocessing.context.ForkServerContext,
    tmp_path: Path,
) -> None:
    """Uneven samples, so that a mean of means would show."""
    folder = models(model)
    settings = {"steps": 3, "tokens_per_device": 62, "checkpoint_every_steps": 2, **settings}
    assert launch(processes, folder, tmp_path / "two", settings) == [0, 0]
    recipe = make_recipe(folder, record_target=settings.get("target") == "soft", **settings)
    assert_same_training(run_training(recipe, tmp_path / "one", SAMPLES), tmp_path / "two" / "train")


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["off", "fsdp2"])
def test_one_process_of_four_passes_is_two_processes_of_two(
    sharding: str, tiny_model: TinyModel, processes: multiprocessing.context.ForkServerContext, tmp_path: Path
) -> None:
    settings = {"steps": 3, "tokens_per_device": 2 * EVEN_POSITIONS, "checkpoint_every_steps": 2, "sharding": sharding}
    recipe = make_recipe(tiny_model("qwen3"), **settings)
    data = load_data(recipe, EVEN_SAMPLES, VOCABULARY)
    schedule = Schedule(recipe.train, len(data.sequences), recipe.seed)
    for step in range(3):
        drawn = [data.sequences[sample] for sample in schedule.samples_of(step)]
        lengths = {number: sequence.num_positions for number, sequence in enumerate(drawn)}
        for num_processes, num_passes in ((1, [4]), (2, [2, 2])):
            shares = split(lengths, recipe.train, num_processes)
            assert [len(share) for share in shares] == num_passes
            assert all(len(one.samples) == 2 and not one.is_idle for share in shares for one in share)
        assert len({sequence.num_completion_tokens for sequence in drawn}) > 3
    assert launch(processes, tiny_model("qwen3"), tmp_path / "two", {**settings, "is_even": True}) == [0, 0]
    assert_same_training(run_training(recipe, tmp_path / "one", EVEN_SAMPLES), tmp_path / "two" / "train")


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"sharding": "fsdp2"},
        {"sharding": "fsdp2", "lora": LoraConfig(rank=4)},
        {"lora": LoraConfig(rank=4)},
    ],
    ids=["ddp", "fsdp2", "fsdp2-lora", "ddp-lora"],
)
def test_bfloat16_over_two_processes_is_bfloat16_in_one(
    settings: dict[str, Any],
    tiny_model: TinyModel,
    processes: multiprocessing.context.ForkServerContext,
    tmp_path: Path,
) -> None:
    """Two processes are nearer to one, in bfloat16, than that is to float32: what they differ by is roundings of a
    type of eight bits, which a sharded model has at other places."""
    settings = {"steps": 3, "tokens_per_device": 62, "checkpoint_every_steps": 2, **settings}
    folder = tiny_model("qwen3")
    assert launch(processes, folder, tmp_path / "two", {**settings, "dtype": "bfloat16"}) == [0, 0]
    one, exact = (
        run_training(make_recipe(folder, **{**settings, "dtype": kind}), tmp_path / kind, SAMPLES)
        for kind in ("bfloat16", "float32")
    )
    two, base = tmp_path / "two" / "train", weights(folder)

    def losses(run: Path) -> torch.Tensor:
        return torch.tensor([point["loss"] for point in curve(run)], dtype=torch.float64)

    def moved(run: Path) -> torch.Tensor:
        after = weights(run / "model")
        return torch.cat([(after[name] - base[name]).flatten().double() for name in sorted(after)])

    for measure in (losses, moved):
        rounding = (measure(one) - measure(exact)).norm()
        assert 0 < rounding < 0.5 * measure(exact).norm()
        assert (measure(two) - measure(one)).norm() < rounding


@pytest.mark.slow
def test_forklock_starts_its_processes_itself(tiny_model: TinyModel, tmp_path: Path) -> None:
    settings = {"steps": 3, "tokens_per_device": 62, "checkpoint_every_steps": 2}
    one = run_training(make_recipe(tiny_model("qwen3"), **settings), tmp_path / "one", SAMPLES)
    two = run_training(
        make_recipe(tiny_model("qwen3"), num_processes=2, sharding="fsdp2", **settings), tmp_path / "two", SAMPLES
    )
    assert_same_training(one, two)


@pytest.mark.slow
def test_a_sharded_training_killed_anywhere_goes_on_to_the_same_bits(
    tiny_model: TinyModel, processes: multiprocessing.context.ForkServerContext, tmp_path: Path
) -> None:
    settings = {"steps": 7, "checkpoint_every_steps": 2, "sharding": "fsdp2", "target": "soft"}
    model, undisturbed, disturbed = tiny_model("qwen3"), tmp_path / "undisturbed", tmp_path / "disturbed"
    assert launch(processes, model, undisturbed, settings) == [0, 0]
    faults = [(0, "before_step", 1), (1, "after_step", 2), (0, "before_card", 0), (1, "before_state", 0),
              (0, "after_state", 0), (1, "after_step", 0)]  # fmt: skip
    for rank, *fault in faults:
        codes = launch(processes, model, disturbed, settings, fault=tuple(fault), rank=rank)
        assert codes[rank] == -signal.SIGKILL
        assert codes[1 - rank] not in (0, None)
    # What two left, one goes on with; and one's work two.
    shutil.copytree(disturbed, tmp_path / "alone")
    alone = run_training(make_recipe(model, record_target=True, **settings), tmp_path / "alone", SAMPLES)
    assert launch(processes, model, disturbed, settings, fault=("before_health", 1), rank=1)[1] == -signal.SIGKILL
    assert launch(processes, model, disturbed, settings, fault=("before_step", 0)) == [0, 0]  # no step is left to take
    for name in ("checkpoint-000004", "checkpoint-000006", "model"):
        one, other = undisturbed / "train" / name, disturbed / "train" / name
        assert {path.name: path.read_bytes() for path in one.iterdir()} == {
            path.name: path.read_bytes() for path in other.iterdir()
        }
    assert (undisturbed / "train" / "curve.csv").read_bytes() == (disturbed / "train" / "curve.csv").read_bytes()
    assert_same_training(alone, disturbed / "train")


UNKNOWN = 250
"""A token whose embedding is no number: whatever sees it has no finite loss."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{}, {"layout": "packed"}, {"num_processes": 2}, {"num_processes": 2, "sharding": "fsdp2"}],
    ids=["one", "packed", "ddp", "fsdp2"],
)
def test_samples_without_a_finite_loss_are_named_and_no_others(
    settings: dict[str, Any], tiny_model: TinyModel, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model("qwen3"), folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.get_input_embeddings().weight.data[UNKNOWN] = float("nan")
    model.save_pretrained(folder)
    drawn = [make_sample(number, target=None) for number in range(30)]
    samples = [
        replace(
            one,
            prompt_token_ids=(5, 6, UNKNOWN if number in (11, 19) else 7),
            token_ids=tuple(3 if token == UNKNOWN else token for token in one.token_ids),
        )
        for number, one in enumerate(drawn)
    ]
    recipe = make_recipe(folder, steps=2, global_batch_size=30, tokens_per_device=400, **settings)
    lengths = {number: len(sample.token_ids) + 2 for number, sample in enumerate(samples)}
    passes = [one.samples for share in split(lengths, recipe.train, recipe.train.num_processes) for one in share]
    assert all(len(one) > 1 for one in passes if {11, 19} & set(one))  # they have innocent neighbours
    named = r"sample index\) prompt-011 \(0\), prompt-019 \(0\)\. Training stopped"
    with pytest.raises(TrainingError, match=rf"step 1: the loss .* {named}"):
        run_training(recipe, tmp_path / "run", samples)
    assert not (tmp_path / "run" / "train" / "model").exists()


RECIPE = """
name = "launched"
purpose = "a test"
model.path = "{model}"
[prompts]
source = "jsonl"
path = "{folder}/prompts.jsonl"
[synthesize]
decoding = {{ temperature = 1.6, top_k = 20, top_p = 0.8 }}
max_sequence_tokens = 260
drop_degenerate = false
[train]
steps = 2
global_batch_size = 8
dtype = "float32"
[evaluate]
base_decoding = {{ temperature = 1.0 }}
student_decoding = {{ temperature = 1.1, top_k = 20, top_p = 0.8 }}
"""


@pytest.mark.slow
def test_it_just_works_under_torchrun_and_accelerate(tiny_model: TinyModel, tmp_path: Path) -> None:
    questions = [json.dumps({"question": f"Add {number}."}) for number in range(9)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(questions) + "\n")
    (tmp_path / "recipe.toml").write_text(RECIPE.format(model=tiny_model("qwen3"), folder=tmp_path))

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1"}
        python = [sys.executable, "-m"]
        return subprocess.run(
            [*python, *command], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=HANGS_S
        )

    def train(*options: str) -> tuple[str, ...]:
        return ("-m", "forklock", "train", "recipe.toml", "--json", *options)

    torchrun = ("torch.distributed.run", "--nproc-per-node", "2", "--standalone")
    accelerate = (
        "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
    )  # fmt: skip
    failed = run(*torchrun, *train("--run-dir", "run"))
    assert failed.returncode == 1
    message = "run: prompts and synthesize must be done before a launcher starts the training"
    assert failed.stderr.count(message) == 1
    assert json.loads(failed.stdout)["error"].startswith(message)

    assert run("forklock", "synthesize", "recipe.toml", "--run-dir", "run").returncode == 0
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    shutil.copytree(tmp_path / "run", tmp_path / "alone")
    failed = run(*torchrun, *train("--run-dir", "run", "--set", "train.tokens_per_device=3"))
    assert failed.returncode == 1
    assert failed.stderr.count("train.tokens_per_device = 3 is under the") == 1  # both processes met it
    for name, launcher, options in (
        ("run", torchrun, ["--set", "train.sharding=fsdp2"]),
        ("other", accelerate, []),
        ("alone", (), []),
        ("run", torchrun, []),  # all is done: nobody waits
    ):
        done = run(*(launcher or ("forklock",)), *train("--run-dir", name, *options)[0 if launcher else 2 :])
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["num_steps"] == 2  # said once
    for name in ("run", "other"):
        for key, mine in weights(tmp_path / "alone" / "train" / "model").items():
            torch.testing.assert_close(mine, weights(tmp_path / name / "train" / "model")[key], rtol=0, atol=5e-6)


@pytest.mark.slow
def test_a_killed_command_leaves_no_process_and_goes_on_to_the_same_bits(tiny_model: TinyModel, tmp_path: Path) -> None:
    """`forklock train --processes 2`, of which the command or a worker is killed with SIGKILL. Whoever of them lived on
    would hold standard output open, and reading it would not end."""
    questions = [json.dumps({"question": f"Add {number}."}) for number in range(9)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(questions) + "\n")
    (tmp_path / "recipe.toml").write_text(RECIPE.format(model=tiny_model("qwen3"), folder=tmp_path))

    def run(command: str, name: str, victim: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1", "VICTIM": victim}
        more = ("--processes", "2", "--set", "train.checkpoint_every_steps=1") if command == "train" else ()
        return subprocess.run(
            [sys.executable, str(COMMAND), command, "recipe.toml", "--run-dir", name, "--json",
             "--set", "train.steps=3", *more],
            capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=HANGS_S,
        )  # fmt: skip

    assert run("synthesize", "undisturbed").returncode == 0
    for name in ("worker", "command"):
        shutil.copytree(tmp_path / "undisturbed", tmp_path / name)
    assert run("train", "undisturbed").returncode == 0
    for victim in ("worker", "command"):
        killed = run("train", victim, victim)
        if victim == "worker":
            assert killed.returncode == 1
            assert re.match(r"a training process (ended|failed): ", json.loads(killed.stdout)["error"])
            assert "Traceback" not in killed.stderr
        else:
            assert killed.returncode == -signal.SIGKILL
        assert not (tmp_path / victim / "train" / "model").exists()
        assert (tmp_path / victim / "train" / "scratch" / "state-000001").is_dir()
        done = run("train", victim)
        assert done.returncode == 0, done.stderr
        for file in ("model/model.safetensors", "checkpoint-000002/model.safetensors", "curve.csv", "summary.json"):
            undisturbed = tmp_path / "undisturbed" / "train" / file
            assert undisturbed.read_bytes() == (tmp_path / victim / "train" / file).read_bytes()
        events = (tmp_path / victim / "events.jsonl").read_text()
        assert '"num_resumed_steps": 1' in events or '"num_resumed_steps":1' in events


@pytest.mark.slow
def test_a_worker_that_fails_for_no_known_reason_is_one_message(tiny_model: TinyModel, tmp_path: Path) -> None:
    """A config that transformers reads, and knows no such activation when it builds the model."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model("qwen3"), folder)
    recipe = make_recipe(folder, num_processes=2, steps=1)
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "hidden_act": "nonesuch"}))
    with pytest.raises(TrainingError, match=r"a training process failed: .*traceback\.txt has the whole") as caught:
        run_training(recipe, tmp_path / "run", SAMPLES)
    assert "\n" not in str(caught.value)
    assert "Traceback" in (tmp_path / "run" / "train" / "scratch" / "traceback.txt").read_text()


def test_a_worker_ends_where_its_command_did_before_it_began(
    processes: multiprocessing.context.ForkServerContext,
) -> None:
    """The kernel's word of a parent's death comes only to those who asked before it."""
    worker_process = processes.Process(target=linux.die_with, args=(os.getpid(),))  # the forkserver is its parent
    worker_process.start()
    worker_process.join()
    assert worker_process.exitcode == 1
