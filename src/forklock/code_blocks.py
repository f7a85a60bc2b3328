"""Code in an answer: what a reader would run."""

from __future__ import annotations

import re
from typing import Literal

_FENCE = re.compile(r"^[ \t]*```([^\n`]*)$", re.MULTILINE)
_TRIPLE_QUOTE = re.compile(r"\"\"\"|'''")
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
    """The contents of closed fences that are not blank."""
    fences = list(_FENCE.finditer(answer))
    spans = []
    opening, heeds_quotes = 0, True
    while opening < len(fences):
        start = fences[opening].end() + 1
        closing, is_sure = _closing_fence(answer, fences, opening, heeds_quotes=heeds_quotes)
        if closing is None:
            break
        end = fences[closing].start()
        if answer[start:end].strip():
            spans.append((start, end))
        opening = closing + 1
        heeds_quotes &= is_sure  # else the rest of a hostile text would be read again for each of its fences
    return spans


def _closing_fence(
    answer: str, fences: list[re.Match[str]], opening: int, *, heeds_quotes: bool
) -> tuple[int | None, bool]:
    """The first fence without a language closes, unless it stands in a text in triple quotes: what a docstring shows is
    part of its program. Where such quotes never end, as in code cut short or in another language, they hide nothing;
    the second value is then False."""
    first, quote, read_to = None, "", fences[opening].end()
    for number in range(opening + 1, len(fences)):
        fence = fences[number]
        if fence[1].strip(" \t"):
            continue
        if not heeds_quotes:
            return number, True
        for triple in _TRIPLE_QUOTE.finditer(answer, read_to, fence.start()):
            if not quote or quote == triple[0]:
                quote = "" if quote else triple[0]
        read_to = fence.start()
        if not quote:
            return number, True
        first = number if first is None else first
    return first, False
