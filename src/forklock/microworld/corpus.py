"""The imperfect corpus: problems of the pre-training split and programs as people write them, put as a model reads
them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from forklock.config import ModelConfig
from forklock.microworld.problems import Problem, endless_problems
from forklock.microworld.programs import as_answer, write_program
from forklock.microworld.settings import CorpusSettings
from forklock.microworld.slips import slip
from forklock.prompts import Prompt, Renderer
from forklock.seeds import derive_seed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from forklock.train.data import Sequence


def as_prompt(problem: Problem) -> Prompt:
    return Prompt(problem.problem_id, problem.statement, form="function")


def imperfect_programs(corpus: CorpusSettings) -> Iterator[tuple[Problem, str]]:
    """Problems, some of them more than once, each time with a program of its own."""
    chance = Random(derive_seed("microworld programs", corpus.seed))
    rates = corpus.slip_rates.model_dump()
    problems = endless_problems("pretrain", corpus.seed, corpus.length_shares)
    for problem in itertools.islice(problems, corpus.num_programs):
        yield problem, slip(write_program(problem, corpus.wrong_idiom_share, chance), rates, chance)


def sequences(corpus: CorpusSettings, tokenizer: PreTrainedTokenizerBase, model: ModelConfig) -> list[Sequence]:
    """Prompt and answer as the ordinary pipeline would put them, the stop token at the end."""
    from forklock.train.data import Sequence

    renderer = Renderer(tokenizer, model)
    made = []
    for problem, program in imperfect_programs(corpus):
        prompt = renderer.render(as_prompt(problem)).token_ids
        answer = tokenizer(as_answer(program), add_special_tokens=False)["input_ids"]
        token_ids = np.array([*prompt, *answer, tokenizer.eos_token_id], dtype=np.int32)
        made.append(Sequence((problem.problem_id, 0), token_ids, len(prompt), is_finished=True, target=None))
    return made
