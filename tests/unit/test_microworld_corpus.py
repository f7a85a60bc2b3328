"""The corpus is as imperfect as its settings say, and the tokenizer loses nothing of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from forklock.config import ModelConfig
from forklock.microworld.corpus import as_prompt, imperfect_programs, sequences
from forklock.microworld.problems import draw_problems
from forklock.microworld.programs import as_answer, write_program
from forklock.microworld.settings import BaseSettingsError, CorpusSettings, SlipRates, load_settings
from forklock.microworld.slips import CLASSES, NUM_DISTRACTORS, PIECE, slip
from forklock.microworld.tokenizer import build_tokenizer
from forklock.prompts import Renderer

RATES = {"comparison": 0.25, "digit": 0.1, "bracket": 0.05, "keyword": 0.02}
CLASS_OF = {token: name for name, members in CLASSES.items() for token in members}
MODEL = ModelConfig(path="microworld")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """As it loads from disk, like any other."""
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer().save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_tokens_slip_at_their_class_s_rate_and_to_tokens_of_that_class() -> None:
    """Binomial, four standard deviations; classes without a rate stay as they are."""
    chance, drawn, slipped, replacements = Random(0), Counter[str](), Counter[str](), dict[str, set[str]]()
    for problem in draw_problems("pretrain", 1, 2500):
        program = write_program(problem, 0.3, chance)
        before, after = PIECE.findall(program), PIECE.findall(slip(program, RATES, chance))
        first = before.index("\n    ")
        assert after[:first] == before[:first]
        for old, new in zip(before[first:], after[first:], strict=True):
            name = CLASS_OF.get(old.removeprefix(" "))
            if name is None:
                assert new == old
                continue
            drawn[name] += 1
            if new != old:
                slipped[name] += 1
                assert CLASS_OF[new.removeprefix(" ")] == name
                assert new.startswith(" ") == old.startswith(" ")
                replacements.setdefault(old, set()).add(new)
    assert set(drawn) == set(CLASSES)
    for name, num in drawn.items():
        rate = RATES.get(name, 0.0)
        assert abs(slipped[name] / num - rate) <= 4 * (rate * (1 - rate) / num) ** 0.5, name
    assert len(replacements[" 3"]) == len(replacements[" >"]) == NUM_DISTRACTORS
    assert all(len(found) <= NUM_DISTRACTORS for found in replacements.values())


def test_a_corpus_follows_from_its_settings() -> None:
    settings = CorpusSettings(num_programs=40, seed=3, wrong_idiom_share=0.4, slip_rates=SlipRates(digit=0.2))
    assert list(imperfect_programs(settings)) == list(imperfect_programs(settings))
    other = settings.model_copy(update={"seed": 4})
    assert list(imperfect_programs(settings)) != list(imperfect_programs(other))


def test_programs_come_back_as_they_were_and_every_piece_is_one_token(tokenizer: PreTrainedTokenizerBase) -> None:
    rates = dict.fromkeys(CLASSES, 0.3)
    chance = Random(5)
    for problem in draw_problems("pretrain", 2, 1000):
        program = slip(write_program(problem, 0.5, chance), rates, chance)
        token_ids = tokenizer(as_answer(program), add_special_tokens=False)["input_ids"]
        assert tokenizer.convert_ids_to_tokens(token_ids) == PIECE.findall(as_answer(program))
        assert tokenizer.decode([*token_ids, tokenizer.eos_token_id], skip_special_tokens=True) == as_answer(program)


@pytest.mark.parametrize(
    "text", ["", "Print the sum of two integers.", "x  =\n\n\n  {'k': [1.5, -2]}  # isn't", "`~@$"]
)
def test_any_printable_text_comes_back(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_a_prompt_is_what_the_ordinary_renderer_makes_of_it(tokenizer: PreTrainedTokenizerBase) -> None:
    settings = CorpusSettings(num_programs=20, wrong_idiom_share=0.5)
    made = sequences(settings, tokenizer, MODEL)
    renderer = Renderer(tokenizer, MODEL)
    for sequence, (problem, program) in zip(made, imperfect_programs(settings), strict=True):
        rendered = renderer.render(as_prompt(problem))
        assert tuple(sequence.token_ids[: sequence.num_prompt_tokens]) == rendered.token_ids
        answer = tokenizer.decode(sequence.token_ids[sequence.num_prompt_tokens :])
        assert answer == as_answer(program) + tokenizer.eos_token
        assert len(rendered.token_ids) < 90
        assert problem.statement in rendered.text


def test_the_shipped_settings_are_as_the_bases_are_called() -> None:
    firm, leaky = load_settings("firm"), load_settings("leaky")
    assert (firm.starts_from, leaky.starts_from) == (None, "firm")
    assert firm.corpus.slip_rates.comparison < leaky.corpus.slip_rates.comparison
    assert firm.corpus.seed != leaky.corpus.seed


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "odd.toml"
    with pytest.raises(BaseSettingsError, match="neither `leaky` nor `firm`"):
        load_settings(str(path))
    path.write_text('name = "odd"\npurpose = "?"\n[corpus]\nnum_programs = 1\nwrong_idiom_share = 1.5\n')
    with pytest.raises(BaseSettingsError, match=r"corpus\.wrong_idiom_share.*train: Field required"):
        load_settings(str(path))
