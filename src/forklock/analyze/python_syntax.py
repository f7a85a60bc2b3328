"""What each character of a program is, by Python's own tokenizer and parser.

A program that does not parse loses the distinction between names that are bound and names that are used; one that
does not even tokenize is classed up to where that ends, and `unreadable` after it. Soft keywords (`match`, `case`)
count as names.
"""

from __future__ import annotations

import ast
import builtins
import io
import keyword
import tokenize
import warnings
from collections.abc import Iterator, Sequence

from forklock.code_blocks import Style, answer_of, last_code_span

Place = tuple[int, int]
"""Line from 1 and column from 0, in characters."""

SPACE = "space"
"""Characters that belong to no Python token."""
UNREADABLE = "unreadable"
SPECIAL = "special token"
OUTSIDE_CODE = frozenset({"prose", "fence", "thinking", SPECIAL})
_BINDING = {"as", "class", "def"}
_PUNCTUATION = set("()[]{},:;") | {"->"}
_BUILTINS = frozenset(dir(builtins))


def classes_of_characters(code: str) -> list[str]:
    """A class for each character: keyword, new name, name, attribute, builtin, number, string, comment, operator,
    punctuation, line break, indentation; `space` between tokens."""
    classes = [SPACE] * len(code)
    end = 0
    try:
        for found, (start, end) in _tokens(code):
            classes[start:end] = [found] * (end - start)
    except (tokenize.TokenError, SyntaxError):
        classes[end:] = [UNREADABLE] * (len(code) - end)
    return classes


def classes_of_pieces(pieces: Sequence[str], style: Style) -> list[str]:
    """What each piece of a completion begins with.

    Outside the block: `prose`, the `fence` around it, `thinking` before the answer. Inside, a piece counts as the
    Python token that its first visible character belongs to, for that is what was chosen there; one that is blank
    up to a line break as `line break`, one that is blank as `indentation` or `space`. Empty pieces go with the next.
    """
    text = "".join(pieces)
    span = last_code_span(text, style)
    classes = ["prose"] * len(text)
    answer_start = len(text) - len(answer_of(text))
    classes[:answer_start] = ["thinking"] * answer_start
    if span is not None:
        first, last = span
        opening = text.rfind("\n", 0, max(0, first - 1)) + 1 if first else 0
        closing = text.find("\n", last)
        classes[opening:first] = ["fence"] * (first - opening)
        closing = len(text) if closing < 0 else closing
        classes[last:closing] = ["fence"] * (closing - last)
        classes[first:last] = classes_of_characters(text[first:last])
    found, place = [], 0
    for piece in pieces:
        found.append(_class_at(text, classes, place, place + max(1, len(piece))) if place < len(text) else "prose")
        place += len(piece)
    return found


def _class_at(text: str, classes: list[str], start: int, end: int) -> str:
    first = classes[start]
    if first not in (SPACE, "indentation", "line break"):
        return first
    blank = end - start - len(text[start:end].lstrip())
    if "\n" in text[start : start + blank]:
        return "line break"
    if blank < end - start:
        return classes[start + blank]
    return "indentation" if start == 0 or text[start - 1] == "\n" or first == "indentation" else SPACE


def _tokens(code: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Class and extent of each token, f-strings as one."""
    bound, line_starts = _bound_names(code), _line_starts(code)

    def character(place: Place) -> int:
        line, column = place
        return min(line_starts[line - 1] + column, len(code)) if line <= len(line_starts) else len(code)

    before = ""
    string_depth, string_start = 0, 0
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        start, end = character(token.start), character(token.end)
        kind = tokenize.tok_name[token.type]
        if kind.endswith("STRING_START"):  # from Python 3.12 on, f-strings come in parts
            string_start = start if string_depth == 0 else string_start
            string_depth += 1
        elif kind.endswith("STRING_END"):
            string_depth -= 1
            if string_depth == 0:
                yield "string", (string_start, end)
        elif string_depth == 0 and (found := _class_of(token, kind, before, bound)) is not None:
            yield found, (start, end)
        if kind not in ("NL", "NEWLINE", "COMMENT", "INDENT", "DEDENT"):
            before = token.string


def _class_of(token: tokenize.TokenInfo, kind: str, before: str, bound: set[Place]) -> str | None:
    if kind == "NAME":
        return _class_of_name(token, before, bound)
    if kind == "OP":
        return "punctuation" if token.string in _PUNCTUATION else "operator"
    if kind == "ERRORTOKEN":
        return None if token.string.isspace() else UNREADABLE
    named = {
        "NUMBER": "number",
        "STRING": "string",
        "COMMENT": "comment",
        "NEWLINE": "line break",
        "NL": "line break",
        "INDENT": "indentation",
    }
    return named.get(kind)


def _class_of_name(token: tokenize.TokenInfo, before: str, bound: set[Place]) -> str:
    if keyword.iskeyword(token.string):
        return "keyword"
    if before in _BINDING or token.start in bound:
        return "new name"
    if before == ".":
        return "attribute"
    return "builtin" if token.string in _BUILTINS else "name"


def _bound_names(code: str) -> set[Place]:
    """Where variables, parameters and imported names get their meaning; empty where the code does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # generated code may hold invalid escapes and the like
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    lines = list(io.StringIO(code))
    places = set()
    for node in ast.walk(tree):
        if not isinstance(node, (ast.arg, ast.alias, ast.Name)):
            continue
        is_used = isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store)
        if not is_used and node.lineno <= len(lines):  # a lone carriage return ends a line for the parser alone
            line = lines[node.lineno - 1].encode()
            places.add((node.lineno, len(line[: node.col_offset].decode(errors="replace"))))
    return places


def _line_starts(code: str) -> list[int]:
    starts, place = [0], 0
    for line in io.StringIO(code):
        place += len(line)
        starts.append(place)
    return starts
