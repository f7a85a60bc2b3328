"""A model's dimensions and exact number of parameters, without its weights in memory and without torch."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from forklock.config import ModelConfig, Recipe, ShapeConfig
from forklock.model_path import local_folder
from forklock.packages import load_package
from forklock.planning.errors import PlanError

BYTES_OF = {"float32": 4, "bfloat16": 2, "float16": 2}
_HEADER_BYTES_OF = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "I64": 8, "I32": 4, "U8": 1, "I8": 1}
HAS_HEAD_NORMS = ("qwen3", "qwen3_moe")
_HAS_BIAS = ("qwen2",)
_MEND = (
    "Point model.path at a folder with that file (no weights are needed), or give its dimensions as [plan.shape]: "
    "model_type, vocab_size, hidden_size, num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim, "
    "intermediate_size; with experts num_experts, num_experts_per_tok, moe_intermediate_size"
)


@dataclass(frozen=True)
class ModelShape:
    """What memory, disk and traffic are reckoned from."""

    source: str
    """Where it was read."""
    dims: ShapeConfig
    num_parameters: int
    """Tied weights once."""
    saved_bytes: int
    """Of the weights as they are saved."""

    @cached_property
    def num_expert_parameters(self) -> int:
        dims = self.dims
        return dims.num_hidden_layers * dims.num_experts * _mlp(dims, dims.moe_intermediate_size)

    @cached_property
    def num_active_parameters(self) -> int:
        """That a token passes through."""
        idle = 1 - self.dims.num_experts_per_tok / self.dims.num_experts if self.dims.num_experts else 0
        return self.num_parameters - round(self.num_expert_parameters * idle)

    @cached_property
    def num_layer_parameters(self) -> int:
        """Of one decoder layer."""
        return _layer(self.dims)

    @cached_property
    def num_rest_parameters(self) -> int:
        """Embeddings, last norm and head."""
        return self.num_parameters - self.dims.num_hidden_layers * self.num_layer_parameters

    def kv_bytes_a_token(self, bytes_a_number: int) -> int:
        """Keys and values that one cached token takes, over all layers."""
        dims = self.dims
        return 2 * dims.num_hidden_layers * dims.num_key_value_heads * dims.head_dim * bytes_a_number

    def num_adapter_parameters(self, rank: int, targets: tuple[str, ...] | str) -> int:
        """Of low-rank adapters: rank times inputs plus outputs of each layer that gets one (experts get none)."""
        widths = _linear_widths(self.dims)
        chosen = widths if isinstance(targets, str) else {name: widths[name] for name in targets if name in widths}
        return self.dims.num_hidden_layers * sum(rank * (inputs + outputs) for inputs, outputs in chosen.values())


def read_shape(recipe: Recipe) -> ModelShape:
    """From the model's folder where it is here; else from `plan.shape`; else from the hub, where it can be reached."""
    folder = local_folder(recipe.model.path)
    if folder is not None and folder.is_dir():
        return _of_folder(folder)
    if recipe.plan.shape is not None:
        is_of_hub = folder is None and "/" in recipe.model.path  # owner/name
        source = "plan.shape" if is_of_hub else f"plan.shape ({recipe.model.path} is not here)"
        return _of_dims(recipe.plan.shape, source, 2)
    if folder is not None:
        raise PlanError(f"model.path = {recipe.model.path!r}: there is no such folder, so no config.json. {_MEND}")
    return _of_config(_from_hub(recipe.model), f"{recipe.model.path} on the hub")


def count_parameters(dims: ShapeConfig) -> int:
    """Closed form for the model types that `ShapeConfig` names."""
    embeddings = dims.vocab_size * dims.hidden_size
    head = 0 if dims.tie_word_embeddings else embeddings
    return embeddings + head + dims.hidden_size + dims.num_hidden_layers * _layer(dims)


def _layer(dims: ShapeConfig) -> int:
    queries = dims.num_attention_heads * dims.head_dim
    keys = dims.num_key_value_heads * dims.head_dim
    attention = dims.hidden_size * (2 * queries + 2 * keys)
    norms = 2 * dims.hidden_size + (2 * dims.head_dim if dims.model_type in HAS_HEAD_NORMS else 0)
    bias = queries + 2 * keys if dims.model_type in _HAS_BIAS else 0
    if not dims.num_experts:
        return attention + norms + bias + _mlp(dims, dims.intermediate_size)
    router = dims.hidden_size * dims.num_experts
    return attention + norms + bias + router + dims.num_experts * _mlp(dims, dims.moe_intermediate_size)


def _mlp(dims: ShapeConfig, width: int) -> int:
    return 3 * dims.hidden_size * width


def _linear_widths(dims: ShapeConfig) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of a layer's linear parts, by name."""
    hidden, queries = dims.hidden_size, dims.num_attention_heads * dims.head_dim
    keys = dims.num_key_value_heads * dims.head_dim
    attention = {"q_proj": (hidden, queries), "k_proj": (hidden, keys), "v_proj": (hidden, keys)}
    attention["o_proj"] = (queries, hidden)
    if dims.num_experts:
        return attention
    inner = dims.intermediate_size
    return attention | {"gate_proj": (hidden, inner), "up_proj": (hidden, inner), "down_proj": (inner, hidden)}


def _of_folder(folder: Path) -> ModelShape:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PlanError(f"{path}: cannot be read ({error}), so that the model's size is not known. {_MEND}") from error
    shape = _of_config(config, str(path))
    tensors = dict(_saved_tensors(folder))
    if not tensors:
        return shape
    if shape.dims.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    num_parameters = sum(count for count, _ in tensors.values())
    saved_bytes = sum(count * size for count, size in tensors.values())
    return ModelShape(f"the headers of {folder}", shape.dims, num_parameters, saved_bytes)


def _saved_tensors(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Name, number of entries and bytes of each, off the headers of the safetensors files."""
    for path in sorted(folder.glob("*.safetensors")):
        for name, tensor in _header(path).items():
            if name != "__metadata__":
                yield name, (math.prod(tensor["shape"]), _HEADER_BYTES_OF.get(tensor["dtype"], 2))


def _header(path: Path) -> dict[str, Any]:
    num_bytes = path.stat().st_size
    with path.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0] if num_bytes >= 8 else num_bytes
        if length > num_bytes - 8:
            raise PlanError(
                f"{path}: its {num_bytes} bytes are no whole safetensors file (a git-lfs pointer?). Fetch it, or point "
                "model.path at a folder with config.json alone"
            )
        header: dict[str, Any] = json.loads(file.read(length))
    return header


def _of_config(config: dict[str, Any], source: str) -> ModelShape:
    config = {**config, **config.get("text_config", {})}
    given = {name: config[name] for name in ShapeConfig.model_fields if config.get(name) is not None}
    if config.get("num_local_experts"):  # as transformers writes it
        given.setdefault("num_experts", config["num_local_experts"])
    if "num_attention_heads" in given:
        given.setdefault("num_key_value_heads", given["num_attention_heads"])
        given.setdefault("head_dim", given.get("hidden_size", 0) // given["num_attention_heads"])
    if config.get("mlp_only_layers") or config.get("decoder_sparse_step", 1) != 1:
        raise PlanError(f"{source}: mixes dense layers with experts, which a plan does not reckon with")
    try:
        dims = ShapeConfig.model_validate(given)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise PlanError(
            f"{source}: its size can't be read off it ({faults}); give the dimensions of a model alike as plan.shape"
        ) from error
    saved = BYTES_OF.get(str(config.get("dtype") or config.get("torch_dtype")), 4)
    return _of_dims(dims, source, saved)


def _of_dims(dims: ShapeConfig, source: str, saved_bytes_each: int) -> ModelShape:
    num_parameters = count_parameters(dims)
    return ModelShape(source, dims, num_parameters, num_parameters * saved_bytes_each)


def _from_hub(model: ModelConfig) -> dict[str, Any]:
    hub = load_package("huggingface_hub")
    try:
        path = hub.hf_hub_download(model.path, "config.json", revision=model.revision)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise PlanError(
            f"model.path = {model.path!r}: its config.json can't be had from the hub ({reason}). {_MEND}"
        ) from error
    found: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return found
