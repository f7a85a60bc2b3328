"""The default engine: transformers models on a CPU or one GPU, any model with full attention in all layers."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel

from forklock.composed import composed
from forklock.config import EngineConfig, ModelConfig
from forklock.decoding import Decoding
from forklock.engines import Completion, Engine, EngineError, Request
from forklock.engines.continuous import BatchLimits, ContinuousBatch
from forklock.engines.stop_tokens import stop_token_ids
from forklock.weights import read_weights

MAX_ROWS = 256
"""Sequences of one batch at most: past it a step's time grows with its rows, and logits take the memory."""
SHARE_OF_FREE_MEMORY = 0.5
"""What the cache may take of it when the recipe sets no budget."""


class TransformersEngine:
    """Samples are the same whatever the batch, the order or a restart, but for the last bits of batched kernels
    (`engine.strict` takes those away too)."""

    def __init__(self, config: EngineConfig, model: ModelConfig, *, max_sequence_tokens: int) -> None:
        self.version = f"transformers {transformers.__version__} torch {torch.__version__}"
        self._plays: Decoding | None = None
        self._stop_token_ids = frozenset(stop_token_ids(model))
        self._model = load_frozen(model)
        text_config = self._model.config.get_text_config()
        if others := _other_attention(text_config):
            raise EngineError(
                f"{model.path}: has layers of {', '.join(sorted(others))}, and the transformers engine serves "
                'full attention alone; use engine.kind = "vllm"'
            )
        self._max_tokens: int = min(max_sequence_tokens, text_config.max_position_embeddings)
        tokens = config.batch_tokens or self._affordable_tokens()
        self._limits = BatchLimits(tokens=tokens, max_rows=MAX_ROWS, strict=config.strict)

    def generate(
        self, requests: Iterable[Request | None], decoding: Decoding, *, record_target: bool = False
    ) -> Iterator[Completion]:
        if record_target and self._plays is not None:
            raise EngineError("a played student has no targets to record: it is not the model that would be trained")
        law = decoding if self._plays is None else composed(self._plays, decoding)
        batch = ContinuousBatch(self._model, self._limits, self._stop_token_ids, law)
        return batch.run(map(self._checked, requests), record_target=record_target)

    def playing(self, training: Decoding) -> Engine:
        """It shares the model; leave one of the two alone."""
        player = copy.copy(self)
        player._plays = training
        return player

    def weights_digest(self) -> str:
        """SHA-256 over names, shapes and bytes of all parameters and buffers."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy())
        return digest.hexdigest()

    def _checked(self, request: Request | None) -> Request | None:
        if request is None:
            return None
        wanted = len(request.prompt_token_ids) + request.max_new_tokens
        if not request.prompt_token_ids or request.max_new_tokens < 1 or wanted > self._max_tokens:
            raise EngineError(
                f"request {request.request_id}: {len(request.prompt_token_ids)} prompt tokens and "
                f"{request.max_new_tokens} new ones do not fit the {self._max_tokens} tokens of a sequence"
            )
        return request

    def _affordable_tokens(self) -> int:
        config = self._model.config.get_text_config()
        head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        num_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        bytes_a_token = 2 * config.num_hidden_layers * num_heads * head_size * self._model.dtype.itemsize
        if self._model.device.type == "cuda":
            free_bytes = torch.cuda.mem_get_info(self._model.device)[0]
        else:
            free_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        affordable = int(free_bytes * SHARE_OF_FREE_MEMORY / bytes_a_token)
        return max(self._max_tokens, affordable)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _other_attention(config: PreTrainedConfig) -> set[str]:
    """Kinds of layers beside full attention. Where the layers are not named, a window is for all of them."""
    if layer_types := getattr(config, "layer_types", None):
        return set(layer_types) - {"full_attention"}
    windows = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
    return {kind for kind, setting in windows.items() if getattr(config, setting, None)}


def load_frozen(model: ModelConfig) -> PreTrainedModel:
    """The model in evaluation mode, no parameter wanting a gradient, on the GPU where there is one."""
    frozen: PreTrainedModel = read_weights(model).requires_grad_(False)
    frozen.train(False)
    if torch.cuda.is_available():
        torch.nn.Module.cuda(frozen)
    return frozen
