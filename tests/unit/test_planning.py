"""Plans: parameters against transformers, saved activations against autograd, counts, disk and time against runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from forklock import recipes
from forklock.config import ShapeConfig, TrainConfig
from forklock.planning import memory
from forklock.planning.errors import PlanError
from forklock.planning.estimate import Estimate, estimate
from forklock.planning.report import render
from forklock.planning.shape import count_parameters, read_shape
from forklock.planning.timing import GIB
from forklock.train import loss
from forklock.train.batches import split

TinyModel = Callable[[str], Path]
RATES = {
    "solution_tokens": 500.0,
    "prompt_tokens": 100.0,
    "sampling_tokens_per_s": 1000.0,
    "training_tokens_per_s": 800.0,
    "graded_per_s": 2.0,
}
DIMS: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 16,
    "intermediate_size": 100,
}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 96}


def plan_for(name: str, *overrides: str, **plan: Any) -> Estimate:
    given = [f"plan.{key}={value}" for key, value in plan.items()]
    return estimate(recipes.load([name], [*given, *overrides]), Path("no-such-folder"))


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3", "qwen3_moe"])
@pytest.mark.parametrize("tied", [False, True])
def test_parameters_are_counted_as_transformers_counts_them(architecture: str, tied: bool) -> None:
    dims = {**DIMS, "tie_word_embeddings": tied, **(EXPERTS if architecture == "qwen3_moe" else {})}
    if architecture == "qwen2":
        dims["head_dim"] = dims["hidden_size"] // dims["num_attention_heads"]  # its own rule
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **dims))
    counted = count_parameters(ShapeConfig.model_validate({"model_type": architecture, **dims}))
    assert counted == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("architecture", ["qwen3", "qwen3_moe", "llama"])
def test_headers_and_config_alone_give_the_same_size(architecture: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    folder = tiny_model(architecture)
    by_headers = read_shape(recipes.load(["demo"], [f"model.path={folder}"]))
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    by_config = read_shape(recipes.load(["demo"], [f"model.path={tmp_path}"]))
    assert by_headers.num_parameters == by_config.num_parameters
    assert by_headers.saved_bytes == by_config.saved_bytes
    assert by_headers.source != by_config.source


def test_published_sizes() -> None:
    """As the model cards have them: 30.5 billion in all and 3.3 active; 4.02 billion; 8.03 billion."""
    shape = read_shape(recipes.load(["qwen3-30b-instruct"]))
    assert shape.num_parameters == 30_532_122_624
    assert round(shape.num_active_parameters / 1e9, 1) in (3.3, 3.4)
    assert read_shape(recipes.load(["qwen3-4b-instruct"])).num_parameters == 4_022_468_096
    assert read_shape(recipes.load(["llama-3.1-8b-instruct"])).num_parameters == 8_030_261_248


def saved_bytes_a_position(dims: dict[str, Any], architecture: str, dtype: str, num_layers: int) -> float:
    """What autograd keeps of a decoder's forward pass, weights not counted."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **{**dims, "num_hidden_layers": num_layers})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").train()
    ours = {weight.untyped_storage().data_ptr() for weight in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in ours:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    token_ids = torch.randint(0, 300, (4, 64))
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"),
    ):
        model.get_decoder()(input_ids=token_ids, use_cache=False)
    return sum(storage.nbytes() for storage in kept.values()) / token_ids.numel()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", ["qwen3", "qwen3_moe", "llama"])
def test_a_layers_activations_are_those_that_autograd_keeps(architecture: str, dtype: str) -> None:
    dims = {**DIMS, **(EXPERTS if architecture == "qwen3_moe" else {})}
    found = [saved_bytes_a_position(dims, architecture, dtype, layers) for layers in (2, 4)]
    shape = ShapeConfig.model_validate({"model_type": architecture, **dims})
    copies = 0.0
    if dtype == "bfloat16":  # of a layer's weights, which are reckoned apart
        layer = count_parameters(shape.model_copy(update={"num_hidden_layers": 1})) - count_parameters(
            shape.model_copy(update={"num_hidden_layers": 0})
        )
        experts = 3 * 48 * 96 * 8 if architecture == "qwen3_moe" else 0
        copies = 2 * (layer - experts - 2 * 48) / 256
    expected = memory.layer_bytes_a_position(shape, dtype) + copies
    assert (found[1] - found[0]) / 2 == pytest.approx(expected, rel=0.02)


def test_the_loss_works_on_as_many_logits_as_the_plan_says() -> None:
    assert memory.LOGITS_AT_ONCE == loss.LOGITS_AT_ONCE


def test_counts_follow_from_the_stages_and_what_is_shared_counts_once() -> None:
    plan = plan_for("qwen3-30b-instruct", "students.again.eval_decoding={temperature=0.5}", **RATES)
    work = {each.stage: each for each in plan.work}
    assert work["synthesize"].num_samples == 10_168
    assert work["synthesize"].num_tokens == 10_168 * 500
    assert [each.stage for each in plan.work if each.kind == "train"] == ["train"]
    assert work["train"].num_steps == 2500
    assert work["train"].num_tokens == 2500 * 32 * 500
    points = [each for each in plan.work if each.kind == "evaluate"]
    assert len(points) == 3 * 2  # base, student and the other decoding, on two benchmarks
    assert {each.num_graded for each in points} == {131 * 10, 374 * 10}
    # Ten model folders: nine checkpoints and the last; twice the state while the second is being written.
    assert work["train"].num_bytes == 10 * 2 * plan.shape.num_parameters
    assert work["train"].num_scratch_bytes == 2 * 12 * plan.shape.num_parameters


def test_a_sweep_shares_with_the_run_and_has_a_sum_of_its_own() -> None:
    plan = plan_for("demo-sweep", **RATES)
    kinds = Counter(work.kind for work in plan.swept)
    assert kinds == {"prompts": 1, "synthesize": 6, "train": 6, "evaluate": 18 + 30}
    others = {work.stage for work in plan.work} - plan.of_sweep
    assert others == {"students/train-soft", "evaluate/soft-microworld-t1.6-k20-p0.8", "analyze"}
    assert plan.as_json()["sweep"]["num_graded"] == 48 * 400 * 5
    assert plan_for("demo").as_json()["sweep"] is None


def test_a_model_that_is_not_here_is_planned_by_its_shape(tmp_path: Path) -> None:
    plan = plan_for("qwen3-30b-instruct", f"model.path={tmp_path / 'elsewhere'}")
    assert plan.shape.num_parameters == 30_532_122_624
    assert plan.shape.source == f"plan.shape ({tmp_path / 'elsewhere'} is not here)"
    assert plan_for("qwen3-30b-instruct", "model.path=elsewhere").shape.source == "plan.shape (elsewhere is not here)"
    assert plan_for("qwen3-30b-instruct").shape.source == "plan.shape"  # a name on the hub, which is not asked
    with pytest.raises(PlanError, match=r"no such folder.*\[plan\.shape\]: model_type"):
        plan_for("demo", f"model.path={tmp_path / 'elsewhere'}")
    with pytest.raises(PlanError, match=r"config\.json: cannot be read.*\[plan\.shape\]: model_type"):
        plan_for("demo", f"model.path={tmp_path}")


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\n", b"short"])
def test_weights_that_are_not_whole_are_named(content: bytes, tiny_model: TinyModel, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((tiny_model("qwen3") / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(PlanError, match=r"model\.safetensors: its \d+ bytes are no whole safetensors file"):
        plan_for("demo", f"model.path={tmp_path}")


def test_what_is_not_known_is_said_and_bounds_are_called_bounds() -> None:
    plan = plan_for("qwen3-4b-instruct")
    assert plan.rates.synthesis_tokens.source == "upper bound"
    assert plan.rates.synthesis_tokens.value == 131_072
    assert not plan.seconds(plan.work)[1]
    assert {word for word in plan.unknown() if "plan." in word} == {
        f"give plan.{key}, or --from RUN" for key in ("sampling_tokens_per_s", "training_tokens_per_s", "graded_per_s")
    }
    with pytest.raises(PlanError, match=r"plan\.num_prompts"):
        plan_for("qwen3-4b-instruct", "plan.num_prompts=none")
    with pytest.raises(PlanError, match=r"plan\.shape"):
        plan_for("qwen3-4b-instruct", "plan.shape=none")


def test_time_on_several_nodes_is_the_slower_of_devices_and_network() -> None:
    machines = {"num_nodes": 8, "devices_per_node": 8, "network_gib_per_s": 10.0, "storage_gib_per_s": 4.0}
    plan = plan_for("qwen3-30b-instruct", **RATES, **machines)
    time = plan.times["train"]
    parameters, layers = plan.shape.num_parameters, 48 * plan.shape.num_layer_parameters
    into_a_node = 2 * 2 * layers + 4 * (parameters - layers) + 4 * parameters  # twice gathered, once scattered
    seconds = 2500 * into_a_node * 7 / 8 / (10 * GIB)
    assert time.parts["gradients and weights over the network"] == pytest.approx(seconds)
    assert time.parts["training"] == pytest.approx(2500 * 32 * 500 / (800 * 32))
    assert time.bottleneck == "gradients and weights over the network"
    assert plan.bottleneck() is not None
    loading = plan.times["synthesize"].parts["weights to every node"]
    assert loading == pytest.approx(8 * plan.shape.saved_bytes / (4 * GIB))
    fast = plan_for("qwen3-30b-instruct", **RATES, **{**machines, "network_gib_per_s": 10_000.0})
    assert fast.times["train"].bottleneck == "training"


def test_as_many_devices_have_work_as_training_gives_it_to() -> None:
    plan = plan_for("qwen3-30b-instruct", **RATES, num_nodes=8, devices_per_node=8)
    lengths = {number: 500 + number for number in range(32)}
    shares = split(lengths, plan.recipe.train, num_processes=64)
    at_work = [share for share in shares if any(not one.is_idle for one in share)]
    assert len(at_work) == plan.machines.num_training_devices_at_work == 32
    assert plan.machines.num_training_devices == 64


def test_warnings_where_it_does_not_fit() -> None:
    plan = plan_for("qwen3-30b-instruct", device_memory_gib=8)
    assert [word.split()[0] for word in plan.warnings()][:2] == ["sampling", "training"]
    assert not [word for word in plan_for("demo").warnings() if "GiB on each device" in word]


def test_sharding_leaves_each_device_its_share() -> None:
    recipe = recipes.load(["qwen3-30b-instruct"])
    shape = read_shape(recipe)
    parts = [memory.training_memory(recipe, shape, devices, None).parts for devices in (8, 64)]
    for name in ("weights", "gradients", "AdamW's two moments"):
        assert parts[0][name] == pytest.approx(8 * parts[1][name])
    assert parts[0]["AdamW's two moments"] == 8 * shape.num_parameters / 8
    whole = recipe.model_copy(update={"train": TrainConfig(steps=1, sharding="off")})
    assert memory.training_memory(whole, shape, 8, None).parts["weights"] == 4 * shape.num_parameters


def test_the_report_is_80_columns_wide_and_json_is_plain() -> None:
    from rich.console import Console

    plan = plan_for("qwen3-30b-instruct", **RATES)
    console = Console(width=80, record=True)
    console.print(render(plan))
    assert max(map(len, console.export_text().splitlines())) <= 80
    assert json.loads(json.dumps(plan.as_json(), allow_nan=False))["total"]["num_steps"] == 2500
