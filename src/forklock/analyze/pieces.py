"""The text of each token, so that pieces laid end to end are the text of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_INCOMPLETE = "�"
_MAX_PENDING = 8
"""Tokens that may share one character; with more the text is broken itself, and is shown as it is."""


def pieces_of(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[str]:
    """What each token adds to the text. Special tokens come by name.

    Tokens that end inside a character have an empty piece, and the token that completes it has the character.
    Takes time proportional to the number of tokens.
    """

    def decode(first: int, end: int) -> str:
        text: str = tokenizer.decode(list(token_ids[first:end]), clean_up_tokenization_spaces=False)  # type: ignore[assignment]
        return text

    pieces = []
    # Each token is decoded behind the one before it: some tokenizers drop the space a text begins with.
    context = start = 0
    for end in range(1, len(token_ids) + 1):
        before, after = decode(context, start), decode(context, end)
        if after.endswith(_INCOMPLETE) and end < len(token_ids) and end - start < _MAX_PENDING:
            pieces.append("")
            continue
        pieces.append(after[len(before) :])
        context, start = start, end
    return pieces


def text_of_token(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    """Of one token by itself; part of a character shows as the replacement character."""
    before: list[int] = tokenizer.encode("a", add_special_tokens=False)
    return pieces_of(tokenizer, [*before, token_id])[-1]
