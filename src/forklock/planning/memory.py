"""What one device has to hold while it samples and while it trains, part by part.

A model of what this code asks for, not of allocators: fragmentation, kernels' workspaces and the libraries themselves
(0.5 GiB on a CPU, one to two on a GPU) come on top.
"""

from __future__ import annotations

from dataclasses import dataclass

from forklock.config import Recipe, ShapeConfig, TrainConfig
from forklock.planning.disk import num_trained_parameters
from forklock.planning.shape import BYTES_OF, HAS_HEAD_NORMS, ModelShape

LOGITS_AT_ONCE = 1 << 25
"""As `train.loss` has it; a test compares them."""
NUM_GATHERED_LAYERS = 2
"""Sharded: the layer at work, and the next one on its way."""


@dataclass(frozen=True)
class Memory:
    """Of one device, in bytes."""

    parts: dict[str, float]
    limit_bytes: float | None
    """What the device has; None where it is not known."""

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    @property
    def fits(self) -> bool | None:
        return None if self.limit_bytes is None else self.total <= self.limit_bytes


def sampling_memory(recipe: Recipe, shape: ModelShape, limit_bytes: float | None) -> Memory:
    """Weights, and the cache of a single sequence at the length limit: the least that works."""
    engine, dims = recipe.engine, shape.dims
    each = _bytes_in_memory(recipe, shape)
    kv_shares = min(engine.tensor_parallel, dims.num_key_value_heads)
    longest = max(recipe.synthesize.max_sequence_tokens, recipe.evaluate.max_sequence_tokens)
    parts = {
        "weights": shape.num_parameters * each / engine.tensor_parallel,
        "cache of one longest sequence": longest * shape.kv_bytes_a_token(round(each)) / kv_shares,
    }
    if limit_bytes is not None and engine.kind == "vllm":
        limit_bytes *= engine.gpu_memory_fraction
    return Memory(parts, limit_bytes)


def num_sequences_at_once(memory: Memory, mean_share: float) -> float | None:
    """How many sequences of such a share of the longest one's length the cache has room for."""
    if memory.limit_bytes is None:
        return None
    room = memory.limit_bytes - memory.parts["weights"]
    return max(0.0, room / (memory.parts["cache of one longest sequence"] * mean_share))


def training_memory(recipe: Recipe, shape: ModelShape, num_devices: int, limit_bytes: float | None) -> Memory:
    train = recipe.train
    trained = num_trained_parameters(shape, train)
    is_sharded = train.sharding == "fsdp2" and num_devices > 1
    shares = num_devices if is_sharded else 1
    is_narrow = train.dtype == "bfloat16"
    frozen = 0 if train.lora is None else shape.num_parameters * (2 if is_narrow else 4)
    parts = {
        "weights": (4 * trained + frozen) / shares,
        "gradients": 4 * trained / shares,
        "AdamW's two moments": 8 * trained / shares,
    }
    layer, rest = shape.num_layer_parameters, shape.num_rest_parameters
    if is_sharded:
        # Weights of the layers at work, and the gradient of one before it is scattered; the rest for the whole pass.
        parts["gathered"] = layer * (NUM_GATHERED_LAYERS * (2 if is_narrow else 4) + 4) + 8 * rest
    else:
        if is_narrow and train.lora is None:
            parts["weights in bfloat16"] = 2 * dense_parameters(shape)
        if num_devices > 1:
            parts["buckets of gradients"] = 4 * trained
    parts["activations"] = activation_bytes(shape.dims, train)
    # With gradient checkpointing a layer is computed again when the loss's chunk is gone.
    again = train.tokens_per_device * layer_bytes_a_position(shape.dims, train.dtype)
    chunk = chunk_bytes(shape.dims, train)
    parts["a chunk of logits, or a layer again"] = max(chunk, again if train.gradient_checkpointing else 0)
    parts["the head's gradient"] = head_bytes(shape.dims, train)
    return Memory(parts, limit_bytes)


def dense_parameters(shape: ModelShape) -> int:
    """Inside the layers, without experts: what autocast keeps copies of."""
    return shape.dims.num_hidden_layers * shape.num_layer_parameters - shape.num_expert_parameters


def activation_bytes(dims: ShapeConfig, train: TrainConfig) -> float:
    """Kept for the backward pass of one full forward pass; with gradient checkpointing each layer's input alone."""
    positions, layer = train.tokens_per_device, layer_bytes_a_position(dims, train.dtype)
    if not train.gradient_checkpointing:
        return positions * (dims.num_hidden_layers * layer + end_bytes_a_position(dims))
    return positions * (dims.num_hidden_layers * 4 * dims.hidden_size + end_bytes_a_position(dims))


def layer_bytes_a_position(dims: ShapeConfig, dtype: str) -> float:
    """What one decoder layer saves for its backward pass at each position, as counted off transformers' own layers.

    Under bfloat16 norms and rotations are computed, and saved, in float32.
    """
    is_narrow, has_head_norms = dtype == "bfloat16", dims.model_type in HAS_HEAD_NORMS
    hidden, inner = dims.hidden_size, dims.intermediate_size
    heads, key_heads = dims.num_attention_heads, dims.num_key_value_heads
    norms = (26 if is_narrow else 24) * hidden
    attention = (
        ((4 if is_narrow else 8) + (6 if is_narrow else 8) * has_head_norms) * (heads + key_heads) * dims.head_dim
    )
    statistics = 4 * (2 + heads + has_head_norms * (heads + key_heads))
    if not dims.num_experts:
        return norms + attention + statistics + (8 if is_narrow else 16) * inner
    # Experts compute in float32 whatever autocast says (transformers' grouped products are none of its operations).
    chosen = dims.num_experts_per_tok
    experts = (7 if is_narrow else 8) * hidden * chosen + 16 * chosen * dims.moe_intermediate_size
    return norms + attention + statistics + experts + 12 * dims.num_experts


def end_bytes_a_position(dims: ShapeConfig) -> float:
    """What the last norm saves, the hidden states that reach the loss, and their gradient."""
    return 16 * dims.hidden_size


def chunk_bytes(dims: ShapeConfig, train: TrainConfig) -> float:
    """One chunk of logits, with its narrow copies under bfloat16."""
    rows = min(train.tokens_per_device, max(1, LOGITS_AT_ONCE // dims.vocab_size))
    return rows * dims.vocab_size * (8 if train.dtype == "bfloat16" else 4)


def head_bytes(dims: ShapeConfig, train: TrainConfig) -> float:
    """Its gradient, until it is added to the others, and its copy in bfloat16."""
    head = dims.vocab_size * dims.hidden_size
    return (0 if train.lora is not None else 4 * head) + (2 * head if train.dtype == "bfloat16" else 0)


def _bytes_in_memory(recipe: Recipe, shape: ModelShape) -> float:
    if recipe.model.dtype != "auto":
        return BYTES_OF[recipe.model.dtype]
    return shape.saved_bytes / shape.num_parameters
