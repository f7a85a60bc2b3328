"""One sample as a row of each format.

| format | carries | its reader |
| --- | --- | --- |
| messages | chat messages, and the token ids of prompt and completion | whatever reads chats; our own tools the ids |
| megatron-bridge | `input` and `output`, text with its special tokens | tokenises both again |
| axolotl | `input_ids`, `attention_mask`, `labels` | takes them as they are (an empty `type:`) |
| llama-factory | the same, as a dataset on disk | takes them as they are (`tokenized_path`) |
| trl | `input_ids`, `labels` | takes them as they are |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from forklock.sampling import Sample

Format = Literal["messages", "megatron-bridge", "axolotl", "llama-factory", "trl"]
Row = dict[str, Any]
Decode = Callable[[Sequence[int]], str]
IGNORED = -100
"""The label of a position that is not trained on; all these trainers use PyTorch's number for it."""


@dataclass(frozen=True)
class Texts:
    """What turns a sample's ids into the words that two of the formats need."""

    decode: Decode
    """Special tokens and all."""
    messages: Callable[[str], list[dict[str, str]]]
    """Of a prompt, by its id."""


def row_of(sample: Sample, form: Format, texts: Texts) -> Row:
    match form:
        case "messages":
            return _messages(sample, texts)
        case "megatron-bridge":
            return {"input": texts.decode(sample.prompt_token_ids), "output": texts.decode(sample.token_ids)}
        case "trl":
            return _tokens(sample)
        case "axolotl" | "llama-factory":
            row = _tokens(sample)
            return {
                "input_ids": row["input_ids"],
                "attention_mask": [1] * len(row["input_ids"]),
                "labels": row["labels"],
            }


def _messages(sample: Sample, texts: Texts) -> Row:
    return {
        "messages": [*texts.messages(sample.prompt_id), {"role": "assistant", "content": sample.text}],
        "prompt_id": sample.prompt_id,
        "sample_index": sample.sample_index,
        "prompt_token_ids": list(sample.prompt_token_ids),
        "completion_token_ids": list(sample.token_ids),
        "finish_reason": sample.finish_reason,
    }


def _tokens(sample: Sample) -> Row:
    """Trained on is what was drawn, to the token: the stop token stands where the model drew one, and nowhere else."""
    prompt, completion = list(sample.prompt_token_ids), list(sample.token_ids)
    return {"input_ids": prompt + completion, "labels": [IGNORED] * len(prompt) + completion}
