"""Training's speed on a GPU: random-initialised Qwen3-0.6B and Qwen3-4B shapes, bfloat16, whole steps with AdamW.

`floor` is the rate of a large bfloat16 matrix product on the same chip, measured in the same call, as the tokens/s
that it would give if a step were nothing but its matrix products (6 operations a weight and token, and attention's);
`ratio` is the share of it that training reaches. Skipped where there is no GPU.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from _rows import Row, publish
from _training import with_forklock
from transformers import Qwen3Config, Qwen3ForCausalLM

from forklock.train.data import Sequence

LENGTH, BATCH, STEPS = 2048, 16, 4
SHAPES = {
    "Qwen3-0.6B": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16},
    "Qwen3-4B": {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32},
}


def matrix_rate() -> float:
    """Floating-point operations a second of a bfloat16 product of 8,192 x 8,192 matrices."""
    left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(5):
        left @ right
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(20):
        left @ right
    torch.cuda.synchronize()
    return 20 * 2 * 8192**3 / (time.perf_counter() - start)


def tokens_per_s(config: Qwen3Config) -> float:
    """Of the steps after the first; the model is new each time."""
    chance = np.random.default_rng(0)
    num_samples = BATCH * STEPS
    token_ids = chance.integers(0, config.vocab_size, (num_samples, LENGTH + 1), dtype=np.int32)
    sequences = [Sequence((f"{number:03d}", 0), row, 64, False, None) for number, row in enumerate(token_ids)]
    seconds = []
    for num_steps in (1, STEPS):
        torch.manual_seed(0)
        with torch.device("cuda"):
            model = Qwen3ForCausalLM(config)
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        settings = {"epochs": None, "steps": num_steps, "global_batch_size": BATCH, "dtype": "bfloat16"}
        torch.cuda.synchronize()
        start = time.perf_counter()
        with_forklock(model, sequences, **settings, tokens_per_device=4 * LENGTH)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        del model
        torch.cuda.empty_cache()
    return BATCH * LENGTH * (STEPS - 1) / (seconds[1] - seconds[0])


def main() -> None:
    if not torch.cuda.is_available():
        names = [f"training on a GPU, {name}" for name in SHAPES]
        publish([Row(name, None, None, None, None, None, unit="tokens/s", note="no GPU here") for name in names])
        return
    rows = []
    rate = matrix_rate()
    for name, shape in SHAPES.items():
        config = Qwen3Config(vocab_size=151_936, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True, **shape)
        with torch.device("meta"):
            num_weights = sum(weight.numel() for weight in Qwen3ForCausalLM(config).parameters())
        attention = 6 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * LENGTH
        ideal = rate / (6 * num_weights + attention)
        ours = tokens_per_s(config)
        note = (
            f"{rate / 1e12:.0f} TFLOP/s matrix rate; gradient checkpointing, whose second forward pass is not counted"
        )
        rows.append(Row(f"training on a GPU, {name}", ours, None, ideal, ours / ideal, None, "tokens/s", note))
    publish(rows)


if __name__ == "__main__":
    main()
