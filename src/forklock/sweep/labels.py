"""Cells and groups of cells in a few words, for tables and figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def variant(row: Mapping[str, Any]) -> str:
    parts = [" soft"] * (row["target"] == "soft") + [f" seed {row['seed']}"] * bool(row["seed"])
    return "".join(parts + [f" step {row['checkpoint']}"] * (row["checkpoint"] is not None))


def short_setting(decoding: Mapping[str, Any]) -> str:
    """As "1.6/20/0.8", where room is short."""
    cut = "" if (decoding["top_k"], decoding["top_p"]) == (0, 1.0) else f"/{decoding['top_k']}/{decoding['top_p']:g}"
    return f"{decoding['temperature']:g}{cut}"


def group_label(found: Mapping[str, Any], others: list[dict[str, Any]]) -> str:
    """A group of cells in words: of target and evaluation only what tells groups apart."""
    label = cut_label(found["train_top_k"], found["train_top_p"])
    if len({other["target"] for other in others}) > 1:
        label += f", {found['target']}"
    if len({(other["eval_top_k"], other["eval_top_p"]) for other in others}) > 1:
        label += f", eval {cut_label(found['eval_top_k'], found['eval_top_p'])}"
    return label


def cut_label(top_k: int, top_p: float) -> str:
    if (top_k, top_p) == (0, 1.0):
        return "no truncation"
    return " ".join([f"k={top_k}"] * bool(top_k) + [f"p={top_p:g}"] * (top_p < 1))
