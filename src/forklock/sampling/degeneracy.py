"""The paper's filter (Section 3.1, C.1): empty responses and single-line stubs. It looks at form, never at whether
an answer is right, and marks samples; it deletes none."""

from __future__ import annotations

from typing import Literal

from forklock.code_blocks import answer_of

Degeneracy = Literal["empty", "single_line"]


def degeneracy_of(text: str) -> Degeneracy | None:
    """Why a response is degenerate. Of a response that thinks, the answer after the thinking counts."""
    lines = [line for line in answer_of(text).splitlines() if line.strip()]
    if not lines:
        return "empty"
    return "single_line" if len(lines) == 1 else None
