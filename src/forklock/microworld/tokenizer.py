"""An ordinary tokenizer for code and the English of problems: every known piece is a token, anything else falls into
characters, and text comes back as it was. Nothing outside printable ASCII is known."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from forklock.microworld.problems import draw_problems
from forklock.microworld.programs import as_answer, write_program
from forklock.microworld.slips import CLASSES, PIECE
from forklock.prompts.records import Prompt
from forklock.prompts.wording import conversation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END, PAD, START = "<|im_end|>", "<|endoftext|>", "<|im_start|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_NUM_READ = 2_000
"""Programs from which the pieces are taken: many more than it takes to see all of them."""
_CHARACTERS = tuple("\n" + "".join(map(chr, range(32, 127))))
_PIECE_SCORE, _CHARACTER_SCORE = -1.0, -100.0


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The same one on each call. The two sentences that open and close every prompt are a token each."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    sentences = _fixed_sentences()
    words = sorted({*_pieces(), "system", "user", "assistant"} - set(_CHARACTERS))
    vocabulary = [(token, 0.0) for token in (PAD, START, END)]
    vocabulary += [(character, _CHARACTER_SCORE) for character in _CHARACTERS]
    vocabulary += [(piece, _PIECE_SCORE) for piece in (*words, *sentences)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    rule = "|".join([*(_escaped(sentence) for sentence in sentences), PIECE.pattern])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(rule), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[START],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def _fixed_sentences() -> tuple[str, str]:
    """The system message, and how a user turn asks for a function."""
    system, user = conversation(Prompt("", "?", form="function"))
    return system["content"], user["content"].removeprefix("?\n\n")


def _pieces() -> set[str]:
    chance = Random(0)
    found = {form for members in CLASSES.values() for one in members for form in (one, f" {one}")}
    for problem in draw_problems("pretrain", 0, _NUM_READ):
        found.update(PIECE.findall(problem.statement))
        found.update(PIECE.findall(as_answer(write_program(problem, 0.5, chance))))
    return found


def _escaped(text: str) -> str:
    return "".join(character if character.isalnum() or character in " \n" else f"\\{character}" for character in text)
