"""Training's speed and memory against a bare loop and against TRL's SFTTrainer, and the loss's against full logits.

Speed: tokens/s over one epoch of samples of log-normal length, 32 to 1,024 tokens, of which unpacked batches are 42 %
tokens, 8 a step, passes of at most 2,048 positions, 3.7M-parameter Qwen3. The floor is a loop with nothing but
length-sorted forward passes, the same loss function of transformers, and AdamW. The peers are TRL's SFTTrainer on the
same token ids: unpacked in batches of 8, and packed best-fit at batch 1, in rows of 1,024 and of 2,048 positions, of
which the faster counts. Each side runs its whole training in the same process, in turn. Resident memory is the peak of
a process that does one side alone.
The loss: the peak resident memory that one forward and backward pass adds, at vocabulary 151,936 and 8,192 positions
of width 64, each side in a process of its own.
Where TRL is not importable, its sides are null.

2026-11-21, TRL 1.16.0, torch 2.13.0, one thread of a machine with no other load. Tokens/s: packed 2,660, bucketed 2,436
(the bare loop 1,704), TRL unpacked 805, TRL's best 1,726 in rows of 1,024. Packed is 3.3 times TRL unpacked (target 3)
and 1.53 times its best (target 1.5: both met), bucketed 2.99 and 1.40 (both missed). In bfloat16 3,518 against 1,046.
Resident memory 742 MiB packed and 642 bucketed against 2,025: 0.37 and 0.32 of it, target 0.4: met; 390 MiB are
imports. The loss's peak 302 MiB hard and 310 soft against 14,249 in full.
The same day on two threads: packed 4,759, bucketed 3,621 (the bare loop 3,025), TRL unpacked 1,225, TRL's best 2,924:
packed 4.2 and 1.78 times (both met), bucketed 3.5 (met) and 1.47 (missed). In bfloat16 6,376 against 1,655. Memory 748
and 660 MiB against 2,011.
"""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from _model import small_model
from _rows import Row, publish, seconds_in_turn
from _training import (
    BATCH,
    BUDGET,
    PROMPT_TOKENS,
    make_sequences,
    peak_resident_bytes,
    with_forklock,
)

from forklock.train.data import Sequence
from forklock.train.loss import SparseTargets, cross_entropy

VOCABULARY, POSITIONS, WIDTH = 151_936, 8_192, 64
HAS_TRL = importlib.util.find_spec("trl") is not None


def padded(sequences: list[Sequence]) -> dict[str, torch.Tensor]:
    width = max(len(sequence.token_ids) for sequence in sequences)
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        tokens = torch.from_numpy(sequence.token_ids.astype(np.int64))
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
        labels[row, PROMPT_TOKENS : len(tokens)] = tokens[PROMPT_TOKENS:]
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def bare_loop(sequences: list[Sequence]) -> None:
    model = small_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-6, betas=(0.9, 0.95), weight_decay=0.1)
    for start in range(0, len(sequences), BATCH):
        chosen = sorted(sequences[start : start + BATCH], key=lambda sequence: -len(sequence.token_ids))
        num_tokens = sum(sequence.num_completion_tokens for sequence in chosen)
        while chosen:
            rows = max(1, BUDGET // len(chosen[0].token_ids))
            batch = padded(chosen[:rows])
            del batch["attention_mask"]
            model(**batch, use_cache=False, num_items_in_batch=num_tokens).loss.backward()
            chosen = chosen[rows:]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def with_trl(sequences: list[Sequence], *, row_positions: int | None = None, bf16: bool = False) -> None:
    """Unpacked, or packed best-fit into rows of so many positions."""
    import datasets
    import trl
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, PrinterCallback

    datasets.disable_progress_bars()
    rows = [
        {
            "input_ids": sequence.token_ids.tolist(),
            "labels": [-100] * PROMPT_TOKENS + sequence.token_ids[PROMPT_TOKENS:].tolist(),
        }
        for sequence in sequences
    ]
    words = Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>"))
    with tempfile.TemporaryDirectory() as folder:
        arguments = trl.SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=BATCH if row_positions is None else 1,
            packing=row_positions is not None,
            packing_strategy="bfd",
            max_length=row_positions,
            num_train_epochs=1,
            learning_rate=5e-6,
            bf16=bf16,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=False,
        )
        trainer = trl.SFTTrainer(
            small_model(),
            arguments,
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<pad>"),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def one_pass_bytes(side: str) -> int:
    """Run in a process of its own: the most resident memory a pass adds to what its inputs take."""
    torch.manual_seed(0)
    hidden = torch.randn(POSITIONS, WIDTH, requires_grad=True)
    head = torch.randn(VOCABULARY, WIDTH, requires_grad=True)
    labels = torch.randint(VOCABULARY, (POSITIONS,))
    torch.randn(64, 64) @ torch.randn(64, 64)  # what the first product takes for itself
    before = peak_resident_bytes()
    if side == "in full":
        torch.nn.functional.cross_entropy(hidden @ head.T, labels, reduction="sum").backward()
    else:
        targets = SparseTargets.hard(labels)
        if side == "soft":
            sizes = torch.full((POSITIONS,), 20)
            ids = torch.rand(POSITIONS, 200).argsort(dim=-1)[:, :20].flatten()
            targets = SparseTargets.soft(sizes, ids, torch.rand(POSITIONS * 20))
        cross_entropy(hidden, head, targets).backward()
    return peak_resident_bytes() - before


def in_own_process(what: str) -> int:
    command = [sys.executable, __file__, "--one", what]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def loss_rows() -> list[Row]:
    in_full = in_own_process("in full")
    return [
        Row(
            f"peak memory of the {side} loss at {VOCABULARY:,} x {POSITIONS:,}",
            (ours := in_own_process(side)) / 2**20,
            in_full / 2**20,
            None,
            in_full / ours,
            5.0,
            unit="MiB",
            note="ratio: how many times less than logits in full, hard target",
        )
        for side in ("hard", "soft")
    ]


def memory_rows() -> list[Row]:
    peer = in_own_process("trl") if HAS_TRL else None
    note = "ratio: how many times less than TRL unpacked" if HAS_TRL else "TRL is not installed"
    rows = []
    for layout in ("packed", "bucketed"):
        ours = in_own_process(layout)
        ratio = None if peer is None else peer / ours
        as_mib = None if peer is None else peer / 2**20
        name = f"peak resident memory of a training, {layout}"
        rows.append(Row(name, ours / 2**20, as_mib, None, ratio, 2.5, unit="MiB", note=note))
    return rows


def sides_of(sequences: list[Sequence]) -> dict[str, Callable[[], object]]:
    sides: dict[str, Callable[[], object]] = {
        "bucketed": lambda: with_forklock(small_model(), sequences),
        "packed": lambda: with_forklock(small_model(), sequences, layout="packed"),
        "bfloat16": lambda: with_forklock(small_model(), sequences, layout="packed", dtype="bfloat16"),
        "bare": partial(bare_loop, sequences),
    }
    if HAS_TRL:
        sides |= {
            "trl": partial(with_trl, sequences),
            "trl 1024": partial(with_trl, sequences, row_positions=1024),
            "trl 2048": partial(with_trl, sequences, row_positions=2048),
            "trl bfloat16": partial(with_trl, sequences, bf16=True),
        }
    return sides


def median_ratio(theirs: list[float], mine: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(theirs, mine, strict=True))


def token_share(sequences: list[Sequence]) -> float:
    """Of the positions of unpacked batches in this order, those that are no padding."""
    lengths = [sequence.num_positions for sequence in sequences]
    batches = [lengths[start : start + BATCH] for start in range(0, len(lengths), BATCH)]
    return sum(lengths) / sum(max(batch) * len(batch) for batch in batches)


def speed_rows() -> list[Row]:
    sequences = make_sequences()
    print(f"{token_share(sequences):.0%} of the positions of unpacked batches are tokens", file=sys.stderr)
    sides = sides_of(sequences)
    seconds = dict(zip(sides, seconds_in_turn(list(sides.values()), repeats=3), strict=True))
    num_tokens = sum(sequence.num_positions for sequence in sequences)
    rate = {side: num_tokens / statistics.median(times) for side, times in seconds.items()}
    best = max((side for side in seconds if side in ("trl 1024", "trl 2048")), key=rate.__getitem__, default="")
    rows = [
        Row(
            f"training, {side}, against the bare loop",
            rate[side],
            None,
            rate["bare"],
            median_ratio(seconds["bare"], seconds[side]),
            1 / 1.15,
            unit="tokens/s",
            note="at most 1.15 times its time",
        )
        for side in ("packed", "bucketed")
    ]
    for name, side, peer, target in (
        ("training, packed, against TRL unpacked", "packed", "trl", 3.0),
        ("training, packed, against TRL's best", "packed", best, 1.5),
        ("training, bucketed, against TRL unpacked", "bucketed", "trl", 3.0),
        ("training, bucketed, against TRL's best", "bucketed", best, 1.5),
        ("training, packed, bfloat16, against TRL unpacked", "bfloat16", "trl bfloat16", None),
    ):
        there = peer in seconds
        rows.append(
            Row(
                name,
                rate[side],
                rate[peer] if there else None,
                rate["bare"],
                median_ratio(seconds[peer], seconds[side]) if there else None,
                target,
                unit="tokens/s",
                note=f"peer: {peer}" if there else "TRL is not installed",
            )
        )
    return rows


def one(what: str) -> int:
    """In a process of its own."""
    if what == "trl":
        with_trl(make_sequences())
    elif what in ("packed", "bucketed"):
        with_forklock(small_model(), make_sequences(), layout=what)
    else:
        return one_pass_bytes(what)
    return peak_resident_bytes()


if __name__ == "__main__":
    if "--one" in sys.argv:
        print(one(sys.argv[-1]))
    else:
        publish([*speed_rows(), *memory_rows(), *loss_rows()])
