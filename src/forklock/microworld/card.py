"""The model card of a base."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from forklock.microworld.measure import NUM_HELD_OUT, USUAL_DECODING, Measured
from forklock.microworld.settings import BaseSettings
from forklock.run_dir import write_text
from forklock.train.state import CurvePoint

CURVE_FILE = "curve.json"
"""Training loss of every step, in order."""


@dataclass(frozen=True)
class Pretrained:
    """What making a base gave."""

    curve: list[CurvePoint]
    num_tokens: int
    """Prompts included."""
    measured: Measured


def write_card(folder: Path, settings: BaseSettings, made: Pretrained) -> None:
    """README.md: what the model is, what it was trained on, and what came of it."""
    corpus, train = settings.corpus, settings.train
    rates = ", ".join(f"{name} {rate:g}" for name, rate in corpus.slip_rates.model_dump().items())
    shares = ", ".join(f"{share:g}" for share in corpus.length_shares)
    curve = [point.loss for point in made.curve]
    tail = curve[-max(1, len(curve) // 10) :]
    start = f"the {settings.starts_from} base" if settings.starts_from else "random weights"
    lines = [
        "---",
        "license: apache-2.0",
        "library_name: transformers",
        "language: en",
        "tags: [code, self-distillation, forklock]",
        "---",
        f"# forklock microworld, {settings.name}",
        "",
        f"{settings.purpose}. A toy: it writes short Python functions for problems of forklock's microworld, and",
        "nothing else. Its errors are meant.",
        "",
        f"- starts from {start}; seed {settings.seed}",
        f"- corpus: {corpus.num_programs:,} programs, {made.num_tokens:,} tokens with their prompts; seed "
        f"{corpus.seed}; shares of 1, 2, 3, ... operations: {shares}",
        f"- meant errors: a wrong idiom at {corpus.wrong_idiom_share:g} of the places that have one; tokens replaced "
        f"by another of their class, by class: {rates}",
        f"- training: {len(curve):,} steps of {train.global_batch_size} programs; AdamW, learning rate "
        f"{train.learning_rate:g} to {train.final_learning_rate:g}; cross-entropy on the answers",
        f"- loss: {curve[0]:.4f} at the first step, {sum(tail) / len(tail):.4f} over the last {len(tail)}; "
        f"{made.measured.held_out_loss:.4f} on {NUM_HELD_OUT} further programs",
        f"- pass@1 on the evaluation set at {USUAL_DECODING}: {100 * made.measured.pass_at_1:.1f} %",
        f"- made by `forklock microworld pretrain --base {settings.name} --out FOLDER`; every step's loss is in "
        f"`{CURVE_FILE}`",
        "- licence: Apache-2.0, as forklock's own",
    ]
    write_text(folder / "README.md", "\n".join(lines) + "\n")
