"""Code that a benchmark promises to be there before a program's own."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Sequence
from itertools import islice, takewhile

MAX_HEAD_TOKENS = 10_000
"""Docstring, comments and `from __future__` lines that are looked through. The program's text is anybody's."""
MAX_LINE = 1_000
"""Characters. A longer line ends the head: `tokenize` may take time that grows with the square of a line's length."""

_BYTE_ORDER_MARK = "\ufeff"


def with_prelude(prelude: str, program: str) -> str:
    """The program after the prelude; where it begins with `from __future__` lines, these and its docstring come first.

    A program that Python refuses is refused with the prelude too.
    """
    program = program.removeprefix(_BYTE_ORDER_MARK)
    if "__future__" in program:
        lines = io.StringIO(program, newline=None).readlines()  # lines end as Python's do: also in \r\n and \r
        if (end := _end_of_future_imports(lines)) is not None:
            row, column = end
            head = "".join(lines[: row - 1]) + lines[row - 1][:column]
            rest = lines[row - 1][column:] + "".join(lines[row:])
            # The rest may begin with a semicolon, which ends a statement.
            return f"{head}\n{prelude}\npass{rest}"
    return f"{prelude}\n{program}"


def _end_of_future_imports(lines: Sequence[str]) -> tuple[int, int] | None:
    """Row (from 1) and column of what ends the last of them; None where there are none at the head of the program."""
    end = None
    short = takewhile(lambda line: len(line) <= MAX_LINE, lines)
    statement: list[tokenize.TokenInfo] = []
    try:
        for token in islice(tokenize.generate_tokens(short.__next__), MAX_HEAD_TOKENS):
            if token.type in (tokenize.COMMENT, tokenize.NL):
                continue
            if token.type != tokenize.NEWLINE and token.string != ";":
                statement.append(token)
            elif [word.string for word in statement[:3]] == ["from", "__future__", "import"]:
                end = token.start
                statement = []
            elif all(word.type == tokenize.STRING or word.string in "()" for word in statement):
                statement = []
            else:
                break
    except (tokenize.TokenError, SyntaxError):
        pass  # behind the last one that was found
    return end
