"""Token texts, and which Python token a text begins with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from forklock.analyze.pieces import pieces_of
from forklock.analyze.python_syntax import classes_of_characters, classes_of_pieces
from forklock.code_blocks import last_code_block, last_code_span

CODE = """\
import numpy as np
from os import path

def solve(values, *, limit=3):
    # the total
    total: int = sum(values) + 0x1F
    for value in values:
        total -= value.real
    return f"{total!r:>{limit}} of" + "ü", np.zeros(len(values))
"""


def classed(code: str) -> list[tuple[str, str]]:
    """Runs of characters with the same class, blanks between tokens left out."""
    runs: list[tuple[str, str]] = []
    for character, found in zip(code, classes_of_characters(code), strict=True):
        if runs and runs[-1][1] == found:
            runs[-1] = (runs[-1][0] + character, found)
        else:
            runs.append((character, found))
    return [(text, found) for text, found in runs if found != "space"]


def test_each_character_has_the_class_of_its_python_token() -> None:
    runs = classed(CODE)
    for expected in (
        ("import", "keyword"), ("np", "new name"), ("path", "new name"), ("solve", "new name"), ("limit", "new name"),
        ("(", "punctuation"), ("# the total", "comment"), ("total", "new name"), ("int", "builtin"), ("=", "operator"),
        ("sum", "builtin"), ("values", "name"), ("0x1F", "number"), ("value", "new name"), ("-=", "operator"),
        ("real", "attribute"), ("return", "keyword"), ('f"{total!r:>{limit}} of"', "string"), ('"ü"', "string"),
        ("np", "name"), ("zeros", "attribute"), ("len", "builtin"), ("    ", "indentation"), ("\n", "line break"),
    ):  # fmt: skip
        assert expected in runs
    # What follows a letter of two bytes is still in its place, though the parser counts bytes.
    assert classed('x = "ü"; y = x\n')[-4:] == [
        ("y", "new name"),
        ("=", "operator"),
        ("x", "name"),
        ("\n", "line break"),
    ]


@pytest.mark.parametrize(
    "code", ["x = (1\ny = 2\n", "for x in\n", "if True:\npass\n", 'x = "open\n', "\r\x00", "x\r= 1"]
)
def test_a_broken_program_is_classed_as_far_as_it_goes(code: str) -> None:
    classes = classes_of_characters(code)
    assert len(classes) == len(code)
    if code.startswith("x ="):
        assert classes[0] == "name"  # it does not parse, so what is bound is not known


def test_a_program_that_ends_in_the_middle_is_unreadable_from_there() -> None:
    assert classes_of_characters("x = '''never closed\n")[-1] == "unreadable"


def test_pieces_are_classed_by_their_first_visible_character() -> None:
    pieces = [
        "Sure",
        ":\n",
        "```",
        "python",
        "\n",
        "def",
        " f",
        "(x",
        "):\n",
        "   ",
        " return",
        " x",
        "+",
        "1",
        "\n",
        "```",
        "\n",
        "Done",
    ]
    assert classes_of_pieces(pieces, "instruct") == [
        "prose", "prose", "fence", "fence", "fence", "keyword", "new name", "punctuation", "punctuation",
        "indentation", "keyword", "name", "operator", "number", "line break", "fence", "prose", "prose",
    ]  # fmt: skip


def test_line_breaks_win_over_the_indentation_behind_them_and_strings_keep_their_blanks() -> None:
    pieces = ["```\n", "if", " a", ":", "\n    ", "b", " =", ' "x', "  y", '"', "\n", "", "```"]
    assert classes_of_pieces(pieces, "instruct") == [
        "fence", "keyword", "name", "punctuation", "line break", "new name", "operator", "string", "string", "string",
        "line break", "fence", "fence",
    ]  # fmt: skip


def test_thinking_and_a_base_models_code_are_told_apart() -> None:
    assert classes_of_pieces(["hm", "```\nx\n```", "</think>", "so\n```\n", "x", "\n```"], "thinking") == [
        "thinking", "thinking", "thinking", "prose", "name", "line break"
    ]  # fmt: skip
    assert classes_of_pieces(["x", "=", "1", "\n", "```", " end"], "base")[:5] == [
        "new name", "operator", "number", "line break", "fence"
    ]  # fmt: skip
    assert classes_of_pieces(["no", " code"], "instruct") == ["prose", "prose"]


@pytest.mark.parametrize(
    "text", ["a\n```\nx\n```\nb\n```py\ny\n```", "```\n\n```", "none", "<think>```\nx\n```</think>"]
)
def test_the_span_is_where_the_block_is(text: str) -> None:
    for style in ("instruct", "thinking", "base"):
        span, block = last_code_span(text, style), last_code_block(text, style)
        assert block == (None if span is None else text[span[0] : span[1]])
    assert last_code_block("a\n```\nx\n```\nb\n```py\ny\n```") == "y\n"


def test_pieces_laid_end_to_end_are_the_text(tiny_model: Callable[[str], Path]) -> None:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_model("qwen3"))
    text = "def solve(xs):\n    return 'ü 漢字 👩‍🚀'  # €\n```"
    token_ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
    pieces = pieces_of(tokenizer, token_ids)
    assert len(pieces) == len(token_ids)
    assert "".join(pieces) == text + "<|im_end|>"
    assert pieces.count("") > 5  # of letters that take several tokens, the last one has the letter
    half_a_letter = tokenizer.encode("漢", add_special_tokens=False)[:1]
    assert "".join(pieces_of(tokenizer, half_a_letter * 20)) == tokenizer.decode(half_a_letter * 20)
