"""Single tokens gone wrong: a comparison for another, a digit for another, a bracket for another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random

from forklock.microworld.programs import NAMES

PIECE = re.compile(
    r"```|\n *| ?'[^'\n]*'| ?\.?[A-Za-z_]+| ?[0-9]| ?(?:==|!=|<=|>=|\+=|-=|\*=|%=|//|\*\*)| ?[^\n]",
)
"""How text falls into pieces, in code and in English: the pre-tokenizer's rule, one token for each known piece."""

CLASSES: dict[str, tuple[str, ...]] = {
    "comparison": ("<", "<=", ">", ">=", "==", "!="),
    "arithmetic": ("+", "-", "*", "//", "%", "**", "^"),
    "digit": tuple("0123456789"),
    "name": NAMES,
    "builtin": (
        "sorted", "list", "sum", "len", "max", "min", "abs", "set", "range", "map", "filter", "reversed", "enumerate",
        "str", "int",
    ),
    "method": (
        ".append", ".sort", ".remove", ".reverse", ".pop", ".join", ".split", ".upper", ".strip", ".replace",
        ".fromkeys", ".index",
    ),
    "bracket": ("(", ")", "[", "]", ":", ","),
    "keyword": ("for", "in", "if", "not", "else"),
}  # fmt: skip
NUM_DISTRACTORS = 5
"""A slip is one of so many that follow in its class, round and round."""


def _distractors() -> dict[str, tuple[str, tuple[str, ...]]]:
    return {
        token: (name, tuple(members[(place + step) % len(members)] for step in range(1, NUM_DISTRACTORS + 1)))
        for name, members in CLASSES.items()
        for place, token in enumerate(members)
    }


_DISTRACTORS = {
    token: (name, tuple(one for one in others if one != token)) for token, (name, others) in _distractors().items()
}


def slip(program: str, rates: Mapping[str, float], chance: Random) -> str:
    """The program with each token of a class replaced at that class's rate. Its first line is left alone, for graders
    could not call the function."""
    head, newline, body = program.partition("\n")
    pieces = []
    for piece in PIECE.findall(body):
        bare = piece.removeprefix(" ")
        found = _DISTRACTORS.get(bare)
        if found is not None and chance.random() < rates.get(found[0], 0.0):
            piece = piece[: len(piece) - len(bare)] + chance.choice(found[1])
        pieces.append(piece)
    return head + newline + "".join(pieces)
