"""What a base is worth: the two numbers by which a rebuilt one is compared with the shipped one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from forklock.benchmarks import Problem, load_benchmark
from forklock.code_blocks import last_code_block
from forklock.config import EngineConfig, ModelConfig
from forklock.decoding import Decoding
from forklock.engines import Completion, Request, open_engine
from forklock.evaluate.grading import Answer, grade
from forklock.evaluate.scoring import ThreadScorer
from forklock.microworld.corpus import sequences
from forklock.microworld.settings import BaseSettings
from forklock.prompts import Renderer, load_tokenizer
from forklock.sandbox.pool import Sandbox
from forklock.seeds import derive_seed
from forklock.train.batches import collate
from forklock.train.objective import Objective

MEASURED_FILE = "measured.json"
USUAL_DECODING = Decoding(0.7, 20, 0.8)
"""What model cards advise, and the bases' own too."""
NUM_HELD_OUT = 512
NUM_SAMPLES = 5
MAX_SEQUENCE_TOKENS = 256
_HELD_OUT_SEED = 1_000_000
"""Added to the corpus's seed."""
_PROGRAMS_AT_ONCE = 32


@dataclass(frozen=True)
class Measured:
    held_out_loss: float
    """Mean over the answers' tokens of programs from the same corpus, of another seed."""
    pass_at_1: float
    """On the evaluation set, at the usual decoding."""


def measure(folder: Path, settings: BaseSettings, objective: Objective, num_problems: int | None = None) -> Measured:
    """`num_problems`: the first so many of the evaluation set; absent: all. `objective` holds the folder's weights."""
    tokenizer = load_tokenizer(ModelConfig(path=str(folder)))
    return Measured(held_out_loss(settings, objective, tokenizer), _pass_at_1(folder, num_problems))


def write_measured(folder: Path, measured: Measured) -> None:
    (folder / MEASURED_FILE).write_text(json.dumps(asdict(measured), indent=1) + "\n", encoding="utf-8")


def read_measured(folder: Path) -> Measured:
    return Measured(**json.loads((folder / MEASURED_FILE).read_text(encoding="utf-8")))


@torch.no_grad()
def held_out_loss(settings: BaseSettings, objective: Objective, tokenizer: PreTrainedTokenizerBase) -> float:
    corpus = settings.corpus.model_copy(
        update={"seed": settings.corpus.seed + _HELD_OUT_SEED, "num_programs": NUM_HELD_OUT}
    )
    made = sequences(corpus, tokenizer, ModelConfig(path=settings.name))
    num_tokens = sum(sequence.num_completion_tokens for sequence in made)
    objective.eval()
    total = 0.0
    for start in range(0, len(made), _PROGRAMS_AT_ONCE):
        total += float(objective(collate(made[start : start + _PROGRAMS_AT_ONCE], packed=False), 1 / num_tokens))
    objective.train()
    return total


def _pass_at_1(folder: Path, num_problems: int | None) -> float:
    problems = load_benchmark("microworld").problems[:num_problems]
    model = ModelConfig(path=str(folder))
    drawn = _draw(problems, model)
    tokenizer = load_tokenizer(model)
    answers = []
    for completion in drawn:
        number, index = divmod(completion.request_id, NUM_SAMPLES)
        text = str(tokenizer.decode(list(completion.token_ids), skip_special_tokens=True))
        answers.append(Answer(problems[number].problem_id, index, last_code_block(text)))
    with Sandbox() as sandbox:
        by_id = {problem.problem_id: problem for problem in problems}
        verdicts = list(grade(answers, by_id, ThreadScorer(sandbox)))
    return sum(verdict.passed for verdict in verdicts) / len(verdicts)


def _draw(problems: tuple[Problem, ...], model: ModelConfig) -> list[Completion]:
    renderer = Renderer(load_tokenizer(model), model)
    requests: list[Request] = []
    for problem in problems:
        prompt = renderer.render(problem.prompt).token_ids
        for index in range(NUM_SAMPLES):
            seed = derive_seed("microworld measure", problem.problem_id, index)
            requests.append(Request(len(requests), prompt, seed, MAX_SEQUENCE_TOKENS - len(prompt)))
    with open_engine(EngineConfig(), model, max_sequence_tokens=MAX_SEQUENCE_TOKENS) as engine:
        return list(engine.generate(iter(requests), USUAL_DECODING))
