"""The small model that sampling and training are measured on: 3.7M parameters, random."""

from __future__ import annotations

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM


def small_model() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=2048,
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=4,
            num_attention_heads=8,
            num_key_value_heads=4,
            head_dim=32,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
        )
    )
