"""Code in an answer: what a reader would run."""

from __future__ import annotations

import re
from typing import Literal

_FENCE = re.compile(r"^[ \t]*```([^\n`]*)$", re.MULTILINE)
_THINK_END = "</think>"

Style = Literal["instruct", "thinking", "base"]


def answer_of(text: str) -> str:
    """What follows the thinking, where the text has any."""
    return text.rpartition(_THINK_END)[2]


def last_code_block(text: str, style: Style = "instruct") -> str | None:
    """The content of the answer's last closed fence that is not blank; None where there is none.

    A thinking model that never closed its thinking has not answered. A base model goes on inside a fence that its
    prompt has opened (or with code itself), so that its text is code up to the first fence.
    """
    span = last_code_span(text, style)
    return None if span is None else text[slice(*span)]


def last_code_span(text: str, style: Style = "instruct") -> tuple[int, int] | None:
    """Where `last_code_block` begins and ends in the text."""
    if style == "base":
        code = text.partition("```")[0]
        return (0, len(code)) if code.strip() else None
    if style == "thinking" and _THINK_END not in text:
        return None
    answer = answer_of(text)
    start = len(text) - len(answer)
    spans = _block_spans(answer)
    return (start + spans[-1][0], start + spans[-1][1]) if spans else None


def count_code_blocks(text: str) -> int:
    """Closed fences of an answer that are not blank."""
    return len(_block_spans(answer_of(text)))


def _block_spans(answer: str) -> list[tuple[int, int]]:
    """The contents of closed fences that are not blank. Any fence opens; one without a language closes."""
    spans = []
    start = None
    for fence in _FENCE.finditer(answer):
        if start is None:
            start = fence.end() + 1
        elif not fence[1].strip(" \t"):
            if answer[start : fence.start()].strip():
                spans.append((start, fence.start()))
            start = None
    return spans
