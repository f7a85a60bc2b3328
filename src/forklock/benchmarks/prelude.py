"""Code that a benchmark promises to be there before a program's own."""

from __future__ import annotations

import re

_FUTURE = re.compile(r"^from[ \t]+__future__[ \t]+import[ \t]+[\w, \t]+$", re.MULTILINE)


def with_prelude(prelude: str, program: str) -> str:
    """The program after the prelude, its `from __future__` lines before both."""
    *_, last = [None, *_FUTURE.finditer(program)]
    if last is None:
        return f"{prelude}\n{program}"
    return f"{program[: last.end()]}\n{prelude}\n{program[last.end() :]}"
