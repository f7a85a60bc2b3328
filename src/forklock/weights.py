"""A model read whole: weights that are cut short, missing or of other shapes are refused, never made up."""

from __future__ import annotations

from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedModel

from forklock.config import ModelConfig
from forklock.errors import ForklockError


class WeightsError(ForklockError):
    """`model.path` names a folder that is not a whole model."""


def read_weights(model: ModelConfig, device: torch.device | None = None) -> PreTrainedModel:
    """On the CPU, or straight to the device. Weights that the model has no place for are transformers' to warn of."""
    straight_to = {"device_map": {"": device}} if device is not None else {}
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            model.path,
            revision=model.revision or "main",
            dtype=model.dtype,
            attn_implementation="sdpa",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **straight_to,
        )
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"model.path = {model.path!r}: cannot be loaded: {reason}") from error
    causal: PreTrainedModel
    causal, found = loaded
    misshapen = [name for name, *_ in found["mismatched_keys"]]
    for kind, names in (("are missing", sorted(found["missing_keys"])), ("have other shapes", sorted(misshapen))):
        if names:
            raise WeightsError(
                f"model.path = {model.path!r}: {len(names)} of the weights that its config.json asks for {kind}, "
                f"{names[0]} among them; transformers would draw them at random"
            )
    return causal
